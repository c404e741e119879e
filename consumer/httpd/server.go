package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server is an HTTP server on one address. Make one with New, then call Listen, Serve and Stop, each once; Stop may come at
// any time.
type Server struct {
	options  Options
	log      *slog.Logger
	metrics  *serverMetrics
	tls      *watched[tls.Config] // nil: plain HTTP
	tokens   *watched[tokens]     // nil: none is needed
	server   *http.Server
	listener net.Listener
}

// New checks the options and reads the files that they name. It listens on nothing.
func New(o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Server{options: o, log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.log = s.log.With("listener", o.Name)
	if o.Metrics == nil {
		o.Metrics, _ = NewMetrics(nil) // fails only where it registers
	}
	s.metrics = o.Metrics.of(o.Name)
	s.server = &http.Server{
		ReadHeaderTimeout:            o.ReadHeaderTimeout,
		ReadTimeout:                  o.ReadTimeout,
		WriteTimeout:                 o.WriteTimeout,
		IdleTimeout:                  o.IdleTimeout,
		MaxHeaderBytes:               o.HeaderBytesMax,
		DisableGeneralOptionsHandler: true, // OPTIONS * would be answered before the guard
		ErrorLog:                     log.New(serverLog{s}, "", 0),
	}
	var err error
	if o.TokensFile != "" {
		if s.tokens, err = watchTokens(o.TokensFile); err != nil {
			return nil, fmt.Errorf("%s: tokens: %w", o.Name, err)
		}
	}
	if o.TLS.Cert != "" {
		if s.tls, err = o.TLS.watch(); err != nil {
			return nil, fmt.Errorf("%s: TLS: %w", o.Name, err)
		}
		s.server.TLSConfig = &tls.Config{
			MinVersion:         tls.VersionTLS12,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.tls.Load(), nil },
		}
		s.countCertificate()
	}
	return s, nil
}

// countCertificate tells the metrics when the certificate ends.
func (s *Server) countCertificate() {
	s.metrics.certificateEnd.Set(float64(s.tls.Load().Certificates[0].Leaf.NotAfter.Unix()))
}

// Listen begins to listen, and returns the address. What is open to other machines without protection is said in the log.
func (s *Server) Listen(ctx context.Context) (net.Addr, error) {
	s.listener = s.options.Listener
	if s.listener == nil {
		var err error
		if s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", s.options.Listen); err != nil {
			return nil, fmt.Errorf("%s: %w", s.options.Name, err)
		}
	}
	addr := s.listener.Addr()
	if lacks := s.options.Exposed(); lacks != "" {
		s.log.Warn("other machines can reach this listener", "address", addr.String(), "problem", lacks)
	}
	return addr, nil
}

// Serve has h answer the requests that may be asked, until Stop; it returns nil then, also while requests are still answered.
func (s *Server) Serve(h http.Handler) error {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	if s.tls != nil || s.tokens != nil {
		group.Go(func() { s.reload(ctx) })
	}
	s.server.Handler = s.guard(h)
	listener := &limited{Listener: s.listener, slots: make(chan struct{}, s.options.ConnectionsMax), metrics: s.metrics}
	var err error
	if s.tls != nil {
		err = s.server.ServeTLS(listener, "", "")
	} else {
		err = s.server.Serve(listener)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: serve on %s: %w", s.options.Name, s.listener.Addr(), err)
	}
	return nil
}

// Stop accepts no more connections, waits until the requests in flight are answered, at most for the timeout, and ends the
// connections that are left, whose handlers see it. An error says that there were some.
func (s *Server) Stop(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		return errors.Join(err, s.server.Close())
	}
	return nil
}

// reload looks at the files until ctx ends.
func (s *Server) reload(ctx context.Context) {
	ticker := time.NewTicker(s.options.ReloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		stale := 0.0
		if s.tls != nil {
			if s.tls.refresh(s.log, "certificates") {
				stale = 1
			}
			s.countCertificate()
		}
		if s.tokens != nil && s.tokens.refresh(s.log, "tokens") {
			stale = 1
		}
		s.metrics.staleFiles.Set(stale)
	}
}

// serverLog takes what net/http has to say. Anybody can make it say that a handshake failed, as often as they like.
type serverLog struct{ *Server }

// Write implements io.Writer; net/http writes one message a call.
func (l serverLog) Write(message []byte) (int, error) {
	text := strings.TrimSpace(string(message))
	if strings.HasPrefix(text, "http: TLS handshake error") {
		l.metrics.refused(refusedHandshake)
		l.log.Debug("no TLS connection came about", "err", text)
	} else {
		l.log.Warn("HTTP server", "err", text)
	}
	return len(message), nil
}
