package httpd

import (
	"io"
	"net/http"
)

// Bodies of refusals, in the form of the gateway's errors. They are the same whatever was wrong.
const (
	unauthorizedBody = `{"error":{"reason":"unauthorized","detail":"a bearer token is needed"}}`
	forbiddenBody    = `{"error":{"reason":"forbidden","detail":"a client certificate is needed"}}`
)

// guard lets those requests pass to h that may ask, and answers probes with the status alone.
func (s *Server) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		certified := s.options.TLS.ClientCA == "" || r.TLS != nil && len(r.TLS.VerifiedChains) > 0
		known := s.tokens == nil || s.tokens.Load().take(r.Header["Authorization"])
		r.Header.Del("Authorization") // nobody behind this can leak it
		switch {
		case certified && known:
			h.ServeHTTP(w, r)
		case r.URL.Path == "/healthz" || r.URL.Path == "/readyz":
			h.ServeHTTP(&statusOnly{ResponseWriter: w}, r)
		case !certified:
			s.refuse(w, http.StatusForbidden, refusedCertificate, forbiddenBody)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="lapwing"`)
			s.refuse(w, http.StatusUnauthorized, refusedToken, unauthorizedBody)
		}
	})
}

func (s *Server) refuse(w http.ResponseWriter, status int, reason, body string) {
	s.metrics.refused(reason)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// statusOnly keeps the body of an answer back.
type statusOnly struct {
	http.ResponseWriter
	written bool // the header
}

// WriteHeader implements http.ResponseWriter.
func (s *statusOnly) WriteHeader(status int) {
	s.written = true
	s.Header().Del("Content-Length")
	s.Header().Del("Content-Type")
	s.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (s *statusOnly) Write(p []byte) (int, error) {
	if !s.written {
		s.WriteHeader(http.StatusOK)
	}
	return len(p), nil
}
