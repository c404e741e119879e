package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/httpd"
)

// httpClient asks a server with TLS and tokens.
type httpClient struct {
	t      *testing.T
	client *http.Client
}

// do sends a request, with a token unless it is empty.
func (s httpClient) do(method, url, token, body string) (status int, answer string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := s.client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// within sends a request until it is answered with a status.
func (s httpClient) within(status int, method, url, token, body string) (answer string) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got, answer := s.do(method, url, token, body)
		if got == status {
			return answer
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s %s: %d %s, want %d", method, url, got, answer, status)
		}
	}
}

// TestDevSecured posts to an engine through a gateway with TLS, client certificates and tokens, and reads the admin endpoints,
// which have TLS and tokens. A token is changed while all runs.
func TestDevSecured(t *testing.T) {
	const first, second, event = "lapwing-test-secret-token-1", "lapwing-test-secret-token-2", `{"type":"withdraw","amount":"150.00","user_id":7,"time":20}`
	dir, servers, clients := t.TempDir(), consumertest.NewAuthority(t), consumertest.NewAuthority(t)
	cert, key := servers.Pair("lapwing")
	for variable, text := range map[string]string{
		"GATEWAY_TLS_CERT_FILE": string(cert), "GATEWAY_TLS_KEY_FILE": string(key), "GATEWAY_TLS_CLIENT_CA_FILE": string(clients.PEM()),
		"GATEWAY_TOKENS_FILE": first + "\n", "ADMIN_TLS_CERT_FILE": string(cert), "ADMIN_TLS_KEY_FILE": string(key), "ADMIN_TOKENS_FILE": first + "\n",
	} {
		t.Setenv("LAPWING_"+variable, writeFile(t, dir, variable, text))
	}
	t.Setenv("LAPWING_GATEWAY_TLS_ENABLED", "true")
	t.Setenv("LAPWING_ADMIN_TLS_ENABLED", "true")
	t.Setenv("LAPWING_GATEWAY_LISTEN", "0.0.0.0:1") // --http goes before it
	t.Setenv("LAPWING_KAFKA_GROUP", "of-nobody")    // not taken
	admin := fmt.Sprintf("127.0.0.1:%d", consumertest.FreePort(t))
	printed, url := startDev(t, "--admin", admin)
	admin = "https://" + admin
	if !strings.HasPrefix(url, "https://") || !strings.Contains(printed, admin+"/metrics") || !strings.Contains(printed, "curl -XPOST "+url) {
		t.Errorf("printed\n%s", printed)
	}
	client := func(certificates ...tls.Certificate) httpClient {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: servers.Pool(), Certificates: certificates}}
		t.Cleanup(transport.CloseIdleConnections)
		return httpClient{t, &http.Client{Transport: transport, Timeout: 20 * time.Second}}
	}
	known, unknown := client(clients.Certificate("client")), client()
	answer := known.within(http.StatusOK, http.MethodPost, url, first, event) // while it starts: 503
	if answer != `{"alert":true,"alert_codes":[1100],"user_id":7}` {
		t.Errorf("answered %s", answer)
	}
	for _, c := range []struct {
		what       string
		from       httpClient
		url, token string
		status     int
		body       string
	}{
		{"no token", known, url, "", http.StatusUnauthorized, "unauthorized"},
		{"a wrong token", known, url, second, http.StatusUnauthorized, "unauthorized"},
		{"no certificate", unknown, url, first, http.StatusForbidden, "forbidden"},
		{"metrics without a token", unknown, admin + "/metrics", "", http.StatusUnauthorized, "unauthorized"},
		{"metrics", unknown, admin + "/metrics", first, http.StatusOK, "lapwing_ready 1"},
		{"ready", unknown, admin + "/readyz", first, http.StatusOK, "ready\n"},
	} {
		method := http.MethodGet
		if c.url == url {
			method = http.MethodPost
		}
		if status, body := c.from.do(method, c.url, c.token, event); status != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s: %d %.200s, want %d %s", c.what, status, body, c.status, c.body)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, body := unknown.do(http.MethodGet, admin+path, "", ""); status != http.StatusOK || body != "" {
			t.Errorf("%s without a token: %d %q, want the status alone", path, status, body)
		}
	}
	_, metrics := unknown.do(http.MethodGet, admin+"/metrics", first, "")
	for _, want := range []string{
		`lapwing_http_refusals_total{listener="gateway",reason="token"} 2`, `lapwing_http_refusals_total{listener="gateway",reason="certificate"} 1`,
		`lapwing_http_refusals_total{listener="admin",reason="token"} 1`, `lapwing_http_stale_files{listener="gateway"} 0`, "lapwing_events_total 1\n",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	if strings.Contains(metrics, "lapwing-test-secret") {
		t.Error("a token is in the metrics")
	}

	if err := os.Rename(writeFile(t, dir, "new", second+"\n"), filepath.Join(dir, "GATEWAY_TOKENS_FILE")); err != nil {
		t.Fatal(err)
	}
	known.within(http.StatusOK, http.MethodPost, url, second, event)
	if status, body := known.do(http.MethodPost, url, first, event); status != http.StatusUnauthorized {
		t.Errorf("the former token: %d %s", status, body)
	}
}

// TestServerOptions: a configuration without keys is the servers' own defaults but where they listen, and each key arrives.
func TestServerOptions(t *testing.T) {
	gateway, admin := NewConfig().gatewayServer(), NewConfig().adminServer()
	want := httpd.DefaultOptions()
	want.Name, want.Listen = "gateway", "127.0.0.1:5001"
	if gateway != want {
		t.Errorf("the gateway's are %+v, want %+v", gateway, want)
	}
	want.Name, want.Listen, want.ConnectionsMax = "admin", "127.0.0.1:9644", 64
	if admin != want {
		t.Errorf("those of admin are %+v, want %+v", admin, want)
	}
	a := consumertest.NewAuthority(t)
	cert, key := a.Pair("lapwing")
	dir := t.TempDir()
	for name, text := range map[string]string{"cert": string(cert), "key": string(key), "ca": string(a.PEM()), "tokens": "lapwing-test-secret\n"} {
		writeFile(t, dir, name, text)
	}
	const section = `{tls: {enabled: true, cert_file: cert, key_file: key, client_ca_file: ca}, tokens_file: tokens, connections_max: 7,
  header_bytes_max: 2KiB, read_header_timeout: 1s, read_timeout: 2s, idle_timeout: 4s, `
	c, err := LoadConfig(writeFile(t, dir, "lapwing.yaml", "http: :1\nadmin: "+section+"write_timeout: 3s}\ngateway: "+section+"listen: :2, rate_max: 8}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want = httpd.Options{
		Name: "admin", Listen: ":1", TLS: httpd.TLSFiles{Cert: dir + "/cert", Key: dir + "/key", ClientCA: dir + "/ca"}, TokensFile: dir + "/tokens",
		ReloadInterval: time.Second, ConnectionsMax: 7, HeaderBytesMax: 2048,
		ReadHeaderTimeout: time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 3 * time.Second, IdleTimeout: 4 * time.Second,
	}
	if got := c.adminServer(); got != want {
		t.Errorf("those of admin are %+v, want %+v", got, want)
	}
	want.Name, want.Listen, want.WriteTimeout = "gateway", ":2", httpd.DefaultOptions().WriteTimeout
	if got := c.gatewayServer(); got != want {
		t.Errorf("the gateway's are %+v, want %+v", got, want)
	}
	if c.Gateway.RateMax != 8 {
		t.Errorf("rate_max is %d", c.Gateway.RateMax)
	}
	if found := c.exposed(); len(found) != 0 {
		t.Errorf("warnings: %q", found)
	}
}

// TestCheckWarns of what other machines can reach without protection.
func TestCheckWarns(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{"", ""},
		{"http: \"\"\n", ""},
		{"http: 0.0.0.0:9644\n", "warning        http: other machines can reach 0.0.0.0:9644 without TLS and without tokens or client certificates; see admin.tls and admin.tokens_file\n"},
		{"gateway: {listen: \":5001\", tokens_file: tokens}\n", "warning        gateway.listen: other machines can reach :5001 without TLS; see gateway.tls and gateway.tokens_file\n"},
	} {
		dir := t.TempDir()
		writeFile(t, dir, "tokens", "lapwing-test-secret\n")
		code, stdout, stderr := lapwing(t, "", "check", "--config", writeFile(t, dir, "lapwing.yaml", c.config))
		if code != exitOK || stderr != "" || !strings.HasSuffix(stdout, c.want) || c.want == "" && strings.Contains(stdout, "warning") {
			t.Errorf("%q: exit code %d, printed\n%s%s\nwant at the end\n%s", c.config, code, stdout, stderr, c.want)
		}
	}
}

// TestAdminProfile: a profile may take longer than an answer.
func TestAdminProfile(t *testing.T) {
	c := NewConfig()
	c.HTTP, c.Pprof, c.Admin.WriteTimeout = fmt.Sprintf("127.0.0.1:%d", consumertest.FreePort(t)), true, 100*time.Millisecond
	registry, servers := newRegistry()
	fine := func() (bool, string) { return true, "" }
	serve, err := c.admin(slog.New(slog.DiscardHandler), registry, servers, fine, fine)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	response, err := http.Get("http://" + c.HTTP + "/debug/pprof/profile?seconds=1")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK || len(profile) == 0 {
		t.Errorf("%s, %d bytes, %v", response.Status, len(profile), err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
