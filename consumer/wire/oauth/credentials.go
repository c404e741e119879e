package oauth

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/lapwing/lapwing/consumer/wire"
)

// ClientCredentials are how a token server is asked for tokens (RFC 6749, section 4.4), with the client's id and secret in
// the header Authorization.
type ClientCredentials struct {
	TokenURL     string
	ClientID     string
	ClientSecret string
	Scope        string         // names, separated by spaces; empty: the server's default
	Roots        *x509.CertPool // that the server's certificate must be signed by; nil: those of the system
}

// requestTimeoutMax bounds a request whose context has no deadline; that of a login has one.
const requestTimeoutMax = 30 * time.Second

// TokenError is why a token server gave no token. It shows no secret.
type TokenError struct {
	URL string
	Err error
}

// Error says what the server said.
func (e *TokenError) Error() string { return fmt.Sprintf("token server %s: %v", e.URL, e.Err) }

// Unwrap returns the cause.
func (e *TokenError) Unwrap() error { return e.Err }

// Hint is what to look at.
func (e *TokenError) Hint() string {
	return "check kafka.sasl.oauth: token_url, client_id and client_secret, scope, ca_file; and that the token server runs"
}

// Source returns what fetches tokens. Its errors are *TokenError; what time may mend wraps wire.ErrUnavailable or is an
// error of the network.
func (c ClientCredentials) Source() Source {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots}
	transport.DisableKeepAlives = true // a token is fetched now and then
	client := &http.Client{
		Transport: transport,
		Timeout:   requestTimeoutMax,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects, and the secret is for token_url only")
		},
	}
	config := clientcredentials.Config{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret, TokenURL: c.TokenURL,
		Scopes: strings.Fields(c.Scope), AuthStyle: oauth2.AuthStyleInHeader,
	}
	return func(ctx context.Context) (Token, error) {
		token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
		if err != nil {
			return Token{}, &TokenError{URL: c.TokenURL, Err: c.clean(err)}
		}
		return Token{Value: token.AccessToken, Expires: token.Expiry}, nil
	}
}

// saidMax bounds what is shown of a server's words.
const saidMax = 300

// clean says what a server's refusal was, without what else its answer held.
func (c ClientCredentials) clean(err error) error {
	var refusal *oauth2.RetrieveError
	if !errors.As(err, &refusal) {
		return err // of the network, or of an answer that is none; the request's secret is in neither
	}
	said := refusal.ErrorCode
	if refusal.ErrorDescription != "" {
		said += " (" + refusal.ErrorDescription + ")"
	}
	if c.ClientSecret != "" {
		said = strings.ReplaceAll(said, c.ClientSecret, "[redacted]")
	}
	said = strings.ToValidUTF8(said[:min(len(said), saidMax)], "")
	err = fmt.Errorf("answered %s: %s", refusal.Response.Status, cmp.Or(said, "without a reason"))
	switch code := refusal.Response.StatusCode; {
	case code >= http.StatusInternalServerError, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return fmt.Errorf("%w: %w", wire.ErrUnavailable, err)
	}
	return err
}
