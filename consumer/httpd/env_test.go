package httpd

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(consumertest.Main{M: m}) }

// patience bounds what a test waits for; nothing that works comes near it.
const patience = time.Minute

// Tokens that tests use.
const (
	tokenA = "lapwing-test-secret-token-a"
	tokenB = "lapwing-test-secret-token-b"
	tokenC = "lapwing-test-secret-token-c"
)

// files is a folder of files that a server reads.
type files struct {
	t   testing.TB
	dir string
}

func newFiles(t testing.TB) files { return files{t, t.TempDir()} }

// write replaces a file in one step, as a Secret's mount does, and returns its name.
func (f files) write(name string, text []byte) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// tokens writes a file of tokens.
func (f files) tokens(tokens ...string) string {
	return f.write("tokens", []byte("# of the test\n"+strings.Join(tokens, "\n")+"\n"))
}

// certificate writes a certificate and its key.
func (f files) certificate(a *consumertest.Authority, name string) TLSFiles {
	cert, key := a.Pair(name)
	return TLSFiles{Cert: f.write("tls.crt", cert), Key: f.write("tls.key", key)}
}

// running is a server that serves, on a port of its own.
type running struct {
	*Server
	t   testing.TB
	url string
	log *consumertest.LogBuffer
}

// hello is what the handler of the tests answers; it also says what it saw of the request's Authorization.
const hello = "hello"

func greet(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", fmt.Sprint(len(hello)+len(r.Header.Get("Authorization"))))
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, hello+r.Header.Get("Authorization"))
}

// serve starts a server until the test ends; its files are looked at often. A nil handler greets.
func serve(t testing.TB, h http.Handler, adjust func(*Options)) *running {
	t.Helper()
	o := DefaultOptions()
	o.Name, o.Listen, o.ReloadInterval = "test", "127.0.0.1:0", 5*time.Millisecond
	r := &running{t: t, log: new(consumertest.LogBuffer)}
	o.Logger = newLog(r.log)
	scheme := "http"
	if adjust != nil {
		adjust(&o)
	}
	if o.TLS.Cert != "" {
		scheme = "https"
	}
	var err error
	if r.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	addr, err := r.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.url = scheme + "://" + addr.String()
	if h == nil {
		h = http.HandlerFunc(greet)
	}
	served := make(chan error, 1)
	go func() { served <- r.Serve(h) }() // ends when it is stopped
	t.Cleanup(func() {
		if err := r.Stop(time.Second); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

// client returns a client whose connections end with the test. A nil configuration is for plain HTTP.
func (r *running) client(c *tls.Config) *http.Client {
	transport := &http.Transport{TLSClientConfig: c, MaxIdleConnsPerHost: 64}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// reply is an HTTP response, read.
type reply struct {
	*http.Response
	body string
}

// get asks for a path; each header is "Name: value".
func (r *running) get(client *http.Client, path string, headers ...string) reply {
	r.t.Helper()
	got, err := r.tryGet(client, path, headers...)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func (r *running) tryGet(client *http.Client, path string, headers ...string) (reply, error) {
	request, err := http.NewRequest(http.MethodGet, r.url+path, nil)
	if err != nil {
		return reply{}, err
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Add(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{response, string(text)}, err
}

// bearer is the header of a token.
func bearer(token string) string { return "Authorization: Bearer " + token }

// dial opens a connection that ends with the test. It may be called from any goroutine.
func (r *running) dial() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		panic(err) // not Fatal: tests dial in other goroutines, too
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// is fails unless a metric has the value.
func (r *running) is(what string, m prometheus.Metric, want float64) {
	r.t.Helper()
	if got := value(r.t, m); got != want {
		r.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// value returns a counter's or gauge's value.
func value(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

// eventually polls until done.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// newLog returns a logger of all levels.
func newLog(b *consumertest.LogBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
