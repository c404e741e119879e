package oauth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/consumer/wire/oauth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "oauth-lapwing-test-secret-3"

// counted is a source of tokens A, B, ... and counts them.
type counted struct {
	n     int // guarded by the mechanism: one fetch at a time
	life  time.Duration
	takes time.Duration
}

func (c *counted) fetch(context.Context) (oauth.Token, error) {
	c.n++
	time.Sleep(c.takes)
	token := oauth.Token{Value: string(rune('A' - 1 + c.n))}
	if c.life > 0 {
		token.Expires = time.Now().Add(c.life)
	}
	return token, nil
}

func mechanism(t *testing.T, source oauth.Source, extensions map[string]string) *oauth.Mechanism {
	t.Helper()
	m, err := oauth.New(source, extensions)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// first returns the first message of a login.
func first(t *testing.T, m *oauth.Mechanism) string {
	t.Helper()
	_, message, err := m.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(message)
}

func TestFirstMessage(t *testing.T) {
	m := mechanism(t, (&counted{}).fetch, map[string]string{"traceId": "7", "cluster": "a b"})
	if got, want := first(t, m), "n,,\x01auth=Bearer A\x01cluster=a b\x01traceId=7\x01\x01"; got != want {
		t.Errorf("%q, want %q (RFC 7628, 3.1)", got, want)
	}
	for key, value := range map[string]string{"auth": "x", "a-b": "x", "": "x", "a": "\x01"} {
		if _, err := oauth.New(nil, map[string]string{key: value}); err == nil {
			t.Errorf("extension %q=%q is taken", key, value)
		}
	}
}

// TestTokenServes: logins at the same time share one fetch, later ones the token, until 60 % of its life are over.
func TestTokenServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &counted{life: 100 * time.Second, takes: time.Second}
		m := mechanism(t, source.fetch, nil)
		var logins sync.WaitGroup
		for range 20 {
			logins.Go(func() { first(t, m) })
		}
		logins.Wait()
		time.Sleep(57 * time.Second)
		if got := first(t, m); !strings.Contains(got, "Bearer A") || source.n != 1 {
			t.Errorf("after 58 s of 101: %q, %d fetches", got, source.n)
		}
		time.Sleep(3 * time.Second)
		if got := first(t, m); !strings.Contains(got, "Bearer B") || source.n != 2 {
			t.Errorf("after 61 s: %q, %d fetches", got, source.n)
		}
		unknown := &counted{}
		m = mechanism(t, unknown.fetch, nil)
		first(t, m)
		if first(t, m); unknown.n != 2 {
			t.Errorf("a token without a known end served %d logins of 2", 3-unknown.n)
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mechanism(t, (&counted{takes: time.Minute}).fetch, nil)
		var slow sync.WaitGroup
		slow.Go(func() { first(t, m) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := m.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		slow.Wait()
	})
}

// TestRefusedToken: the broker's document is answered by one byte, and the token is not shown again.
func TestRefusedToken(t *testing.T) {
	source := &counted{life: time.Hour}
	m := mechanism(t, source.fetch, nil)
	exchange, _, err := m.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done, response, err := exchange.Next(t.Context(), []byte(`{"status":"invalid_token"}`))
	if done || string(response) != "\x01" || err != nil {
		t.Errorf("%v %q %v", done, response, err)
	}
	if done, _, err := exchange.Next(t.Context(), nil); done || err == nil || !strings.Contains(err.Error(), "invalid_token") {
		t.Errorf("%v %v", done, err)
	}
	if got := first(t, m); !strings.Contains(got, "Bearer B") {
		t.Errorf("the refused token is shown again: %q", got)
	}
	exchange, _, _ = m.Start(t.Context())
	if done, _, err := exchange.Next(t.Context(), nil); !done || err != nil {
		t.Errorf("%v %v", done, err)
	}
}

// TestClientCredentials asks a server, which repeats what it was sent in its refusals.
func TestClientCredentials(t *testing.T) {
	authority := consumertest.NewAuthority(t)
	server := consumertest.NewTokenServer(t, authority)
	server.Register("lapwing", secret, time.Hour)
	elsewhere := httptest.NewServer(http.RedirectHandler(server.TokenURL(), http.StatusTemporaryRedirect))
	defer elsewhere.Close()
	good := oauth.ClientCredentials{TokenURL: server.TokenURL(), ClientID: "lapwing", ClientSecret: secret, Scope: "a b", Roots: authority.Pool()}
	token, err := good.Source()(t.Context())
	if left := time.Until(token.Expires); err != nil || strings.Count(token.Value, ".") != 2 || left < 59*time.Minute || left > time.Hour {
		t.Fatalf("%q, %v left, %v", token.Value, left, err)
	}
	if scopes := server.Scopes(); scopes[0] != "a b" {
		t.Errorf("scopes %q", scopes)
	}
	for name, x := range map[string]struct {
		change func(c *oauth.ClientCredentials)
		status int
		class  wire.Class
		says   string
	}{
		"wrong secret":      {change: func(c *oauth.ClientCredentials) { c.ClientSecret += "-wrong" }, class: wire.Fatal, says: "401 Unauthorized: invalid_client (no client lapwing with [redacted])"},
		"unknown authority": {change: func(c *oauth.ClientCredentials) { c.Roots = nil }, class: wire.Fatal, says: "unknown authority"},
		"redirects":         {change: func(c *oauth.ClientCredentials) { c.TokenURL = elsewhere.URL }, class: wire.Retry, says: "redirects"},
		"overloaded":        {status: http.StatusServiceUnavailable, class: wire.Retry, says: "503"},
		"too many requests": {status: http.StatusTooManyRequests, class: wire.Retry, says: "429"},
		"forbidden":         {status: http.StatusForbidden, class: wire.Fatal, says: "403"},
		"away":              {change: func(c *oauth.ClientCredentials) { c.TokenURL = "http://127.0.0.1:1/token" }, class: wire.Retry, says: "refused"},
	} {
		c := good
		if x.change != nil {
			x.change(&c)
		}
		server.Fail(x.status)
		_, err := c.Source()(t.Context())
		var asked *oauth.TokenError
		if !errors.As(err, &asked) || asked.URL != c.TokenURL || wire.Classify(err) != x.class || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v is %v", name, err, wire.Classify(err))
		}
		if strings.Contains(err.Error(), "lapwing-test-secret") {
			t.Errorf("%s: the secret is shown: %v", name, err)
		}
	}
}
