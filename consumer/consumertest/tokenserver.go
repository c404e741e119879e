package consumertest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// TokenServer is an OpenID Connect token server of one test: it gives signed tokens (RS256) for client credentials, and
// shows brokers its key (JWKS). The clients speak TLS with it, the brokers do not. Safe for concurrent use.
type TokenServer struct {
	clients, brokers *httptest.Server
	key              *rsa.PrivateKey

	mu       sync.Mutex
	secrets  map[string]string        // by client id
	lives    map[string]time.Duration // of their tokens
	status   int                      // of all answers, unless 0
	requests map[string]int           // by client id
	scopes   []string                 // of each request
}

// Names in the tokens.
const (
	TokenIssuer   = "https://tokens.test"
	TokenAudience = "kafka"
)

// NewTokenServer starts a server whose certificate is of an authority; it knows no client yet.
func NewTokenServer(tb testing.TB, a *Authority) *TokenServer {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	s := &TokenServer{key: key, secrets: map[string]string{}, lives: map[string]time.Duration{}, requests: map[string]int{}}
	certFile, keyFile := a.IssueUntil("tokenserver", time.Now().Add(time.Hour), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		tb.Fatal(err)
	}
	s.clients = httptest.NewUnstartedServer(http.HandlerFunc(s.token))
	s.clients.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.clients.StartTLS()
	tb.Cleanup(s.clients.Close)
	s.brokers = httptest.NewServer(http.HandlerFunc(s.keys))
	tb.Cleanup(s.brokers.Close)
	return s
}

// TokenURL is where clients ask for tokens.
func (s *TokenServer) TokenURL() string { return s.clients.URL + "/token" }

// KeysURL is where brokers ask for the key.
func (s *TokenServer) KeysURL() string { return s.brokers.URL + "/keys" }

// Register lets a client have tokens, whose subject is its id, and says how long they live.
func (s *TokenServer) Register(id, secret string, life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[id], s.lives[id] = secret, life
}

// Fail has all requests answered with a status; 0: as they should be.
func (s *TokenServer) Fail(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// Requests returns how many requests of a client there were.
func (s *TokenServer) Requests(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[id]
}

// Scopes returns the scopes that each request has asked for, in their order.
func (s *TokenServer) Scopes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.scopes...)
}

// token answers a client. Its refusals repeat what they were sent, as a careless server would.
func (s *TokenServer) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scopes = append(s.scopes, r.FormValue("scope"))
	w.Header().Set("Content-Type", "application/json")
	answer := func(status int, document any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(document)
	}
	id, secret, _ := r.BasicAuth()
	s.requests[id]++
	want, known := s.secrets[id]
	switch {
	case s.status != 0:
		answer(s.status, map[string]string{"error": "temporarily_unavailable"})
	case r.Method != http.MethodPost || r.FormValue("grant_type") != "client_credentials":
		answer(http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
	case !known || secret != want:
		answer(http.StatusUnauthorized, map[string]string{"error": "invalid_client", "error_description": fmt.Sprintf("no client %s with %s", id, secret)})
	default:
		answer(http.StatusOK, map[string]any{
			"access_token": s.sign(id), "token_type": "Bearer", "expires_in": int(s.lives[id].Seconds()),
		})
	}
}

// sign makes a token (JWS, RFC 7515). It is called with mu held.
func (s *TokenServer) sign(subject string) string {
	now := time.Now()
	part := func(document any) string {
		text, _ := json.Marshal(document) // of texts and numbers: it cannot fail
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]string{"alg": "RS256", "typ": "JWT", "kid": "test"}) + "." + part(map[string]any{
		"iss": TokenIssuer, "aud": TokenAudience, "sub": subject, "iat": now.Unix(), "exp": now.Add(s.lives[subject]).Unix(), "jti": rand.Text(),
	})
	hash := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, hash[:])
	if err != nil {
		panic(err) // the key is ours and large enough
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// keys answers a broker.
func (s *TokenServer) keys(w http.ResponseWriter, _ *http.Request) {
	encode := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "test", "n": encode(s.key.N), "e": encode(big.NewInt(int64(s.key.E))),
	}}})
}
