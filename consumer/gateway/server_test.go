package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/httpd"
)

// The handler behind its server; what holds of any handler there is tested in package httpd.

const token = "lapwing-test-secret-gateway"

func writeFile(t testing.TB, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSecured posts over TLS with a token, on each Kafka.
func TestSecured(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		c.startEngine(t, nil)
		a := consumertest.NewAuthority(t)
		cert, key := a.Pair("gateway")
		g := c.serve(t, func(o *Options) {
			o.HTTP.TLS = httpd.TLSFiles{Cert: writeFile(t, "tls.crt", cert), Key: writeFile(t, "tls.key", key)}
			o.HTTP.TokensFile = writeFile(t, "tokens", []byte(token+"\n"))
		}).ready(t)
		g.url = "https" + strings.TrimPrefix(g.url, "http")
		g.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: a.Pool()}

		if got := g.post(t, deposit(1, "1", 10)); got.status != http.StatusUnauthorized || !strings.Contains(got.body, `"reason":"unauthorized"`) {
			t.Errorf("without a token: %d %s", got.status, got.body)
		}
		if n := c.records(t, c.input); n != 0 {
			t.Errorf("%d events were written for nobody", n)
		}
		if got := g.post(t, deposit(1, "1", 10), "Authorization", "Bearer "+token); got.status != http.StatusOK || got.body != `{"alert":false,"alert_codes":[],"user_id":1}` {
			t.Errorf("with a token: %d %s", got.status, got.body)
		}
		if got := g.get(t, http.MethodGet, "/readyz"); got.status != http.StatusOK || got.body != "" {
			t.Errorf("/readyz without a token: %d %q", got.status, got.body)
		}
	})
}

// TestRate: so many events are taken at once, then so many a second, and the others are told when to come again.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 5
		var written atomic.Int64
		s := newStub(t, func(o *Options) { o.RateMax = perSecond }, func(h *handler, m *message) {
			written.Add(1)
			take(h, m)
		})
		total := int64(0)
		for _, c := range []struct {
			pause time.Duration
			want  int // of 20
		}{
			{0, perSecond}, {0, 0}, {200 * time.Millisecond, 1}, {199 * time.Millisecond, 0}, {time.Millisecond, 1},
			{time.Second, perSecond}, {time.Hour, perSecond}, {600 * time.Millisecond, 3},
		} {
			time.Sleep(c.pause)
			taken := 0
			for range 20 {
				w := s.do(newPost(good))
				if w.Code == http.StatusOK {
					taken++
					continue
				}
				checkError(t, w, answer{status: http.StatusTooManyRequests, reason: "rate_limited", written: "no"})
				if w.Header().Get("Retry-After") != "1" {
					t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
				}
			}
			if taken != c.want {
				t.Errorf("after %v %d of 20 events are taken, want %d", c.pause, taken, c.want)
			}
			total += int64(taken)
		}
		if written.Load() != total {
			t.Errorf("%d events are written, %d were taken", written.Load(), total)
		}
		// What is no event's request does not count.
		time.Sleep(time.Second)
		for range 20 {
			if w := s.do(with(newPost(good), "Content-Type", "text/plain")); w.Code != http.StatusUnsupportedMediaType {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		if w := s.do(newPost(good)); w.Code != http.StatusOK {
			t.Errorf("%d %s, want 200", w.Code, w.Body)
		}
	})
}

// TestSlowBodies: clients that dribble their bodies hold all places, but only as long as a request may take.
func TestSlowBodies(t *testing.T) {
	const places = 8
	c := newFake(t, 1, 1)
	c.startEngine(t, nil)
	g := c.serve(t, func(o *Options) {
		o.InFlightMax = places
		o.HTTP.ReadTimeout = 3 * time.Second
	}).ready(t)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for range places {
		group.Go(func() {
			conn, err := net.Dial("tcp", g.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, err = io.WriteString(conn, "POST /event HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
			for range 20 { // and then it waits for the answer
				if err == nil && ctx.Err() == nil {
					time.Sleep(20 * time.Millisecond) // the dribble
					_, err = io.WriteString(conn, " ")
				}
			}
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || response.StatusCode != http.StatusRequestTimeout {
				t.Errorf("a slow client is answered %v, %v", response, err)
				return
			}
			response.Body.Close()
		})
	}
	eventually(t, "all places are taken", func() error { return g.inFlightIs(t, places) })
	if got := g.post(t, deposit(1, "1", 10)); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "busy") {
		t.Errorf("%d %s, want 503 busy", got.status, got.body)
	}
	began := time.Now()
	eventually(t, "the places are free", func() error { return g.inFlightIs(t, 0) })
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the places were free after %v, want 3s", took)
	}
	if got := g.post(t, deposit(1, "1", 10)); got.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", got.status, got.body)
	}
	if n := value(t, g.metrics.requests.WithLabelValues("408", "request_timeout")); n != places {
		t.Errorf("%v requests are counted as too slow, want %d", n, places)
	}
}

// TestHalfClosed: a client that has said that it will send no more counts as gone, and is not told that all went well.
func TestHalfClosed(t *testing.T) {
	c := newFake(t, 1, 1) // nobody judges
	g := c.serve(t, nil).ready(t)
	conn, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text := deposit(1, "1", 10)
	fmt.Fprintf(conn, "POST /event HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if answer, _ := io.ReadAll(conn); len(answer) > 0 {
		t.Errorf("answered %q", answer)
	}
	if n := value(t, g.metrics.requests.WithLabelValues("499", "client_gone")); n != 1 {
		t.Errorf("%v clients are counted as gone, want 1", n)
	}
}

// TestFlood posts from many more connections than are allowed: the gateway answers or closes, and neither its goroutines nor its
// events in flight go beyond their limits.
func TestFlood(t *testing.T) {
	const connectionsMax, places, flood = 40, 10, 400
	c := newFake(t, 1, 1)
	c.startEngine(t, nil)
	g := c.serve(t, func(o *Options) { o.InFlightMax, o.HTTP.ConnectionsMax = places, connectionsMax }).ready(t)
	if got := g.post(t, deposit(1, "1", 10)); got.status != http.StatusOK { // writers and readers are there
		t.Fatalf("%d %s", got.status, got.body)
	}
	g.client.CloseIdleConnections()
	time.Sleep(100 * time.Millisecond) // until the gateway has noticed
	before := runtime.NumGoroutine()
	var answers sync.Map // status: *atomic.Int64
	count := func(what string) {
		n, _ := answers.LoadOrStore(what, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}
	text := deposit(1, "1", 10)
	request := fmt.Sprintf("POST /event HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	var group sync.WaitGroup
	var most, inFlight atomic.Int64
	gate := make(chan struct{}) // all at once
	var answered sync.WaitGroup // nobody gives a connection back before
	answered.Add(flood)
	for range flood {
		group.Go(func() {
			done := sync.OnceFunc(answered.Done)
			defer done()
			<-gate
			conn, err := net.Dial("tcp", g.Addr().String())
			if err != nil {
				count("not connected")
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(conn, request)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				count("closed")
				return
			}
			response.Body.Close()
			count(response.Status)
			done()
			answered.Wait()
		})
	}
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				most.Store(max(most.Load(), int64(runtime.NumGoroutine())))
				inFlight.Store(max(inFlight.Load(), int64(value(t, g.metrics.inFlight))))
			}
		}
	})
	close(gate)
	group.Wait()
	close(done)
	watch.Wait()
	// The flood's own goroutine a client, and this test's watch; two for each connection while its request is answered.
	if n := most.Load() - int64(before); n > flood+2*connectionsMax+20 {
		t.Errorf("%d goroutines more for a flood of %d with %d connections", n, flood, connectionsMax)
	}
	if n := inFlight.Load(); n > places {
		t.Errorf("%d events in flight, want at most %d", n, places)
	}
	total := int64(0)
	seen := map[string]int64{}
	answers.Range(func(what, n any) bool {
		seen[what.(string)] = n.(*atomic.Int64).Load()
		total += seen[what.(string)]
		return true
	})
	t.Logf("a flood of %d: %v", flood, seen)
	if n := seen["200 OK"] + seen["503 Service Unavailable"]; total != flood || seen["200 OK"] == 0 || n > connectionsMax || n < connectionsMax-1 {
		t.Errorf("of %d: %v, want %d answers", flood, seen, connectionsMax)
	}
	for what := range seen {
		if !slices.Contains([]string{"200 OK", "503 Service Unavailable", "closed"}, what) {
			t.Errorf("unexpected: %s", what)
		}
	}
	eventually(t, "an ordinary client is served", func() error {
		got, err := g.tryPost(t.Context(), deposit(2, "1", 10))
		if err == nil && got.status != http.StatusOK {
			err = errors.New(got.body)
		}
		return err
	})
}

// FuzzServer sends any bytes in place of a request: the answers are HTTP and of the known ones, and an event is written only
// with a token.
func FuzzServer(f *testing.F) {
	request := func(headers, body string) []byte {
		return fmt.Appendf(nil, "POST /event HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", headers, len(body), body)
	}
	const authorization = "Authorization: Bearer " + token + "\r\n"
	f.Add(request(authorization, good))
	f.Add(request("", good))
	f.Add(append(request(authorization, good), request(authorization, good)...))
	f.Add(request(authorization+"Expect: 100-continue\r\n", good))
	f.Add(request(authorization+"Transfer-Encoding: chunked\r\n", good))
	f.Add(request("Authorization: Basic eA==\r\n"+authorization, good))
	f.Add([]byte("POST /event HTTP/1.1\r\nHost: a\r\n" + authorization + "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))
	f.Add([]byte("GET /readyz HTTP/1.0\r\n\r\n"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Add([]byte("\x16\x03\x01\x00\x05hello"))

	written := make(chan []byte, 100)
	s := newStub(f, func(o *Options) { o.BodyBytesMax = 256 }, func(h *handler, m *message) {
		written <- m.value
		take(h, m)
	})
	folder, err := os.MkdirTemp("", "gateway") // a socket's name must be short
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { os.RemoveAll(folder) })
	// A socket, not a port: thousands of connections a second would use up the ports.
	listener, err := net.Listen("unix", filepath.Join(folder, "s"))
	if err != nil {
		f.Fatal(err)
	}
	log := new(consumertest.LogBuffer)
	o := httpd.DefaultOptions()
	o.Name, o.Listener, o.TokensFile = "gateway", listener, writeFile(f, "tokens", []byte(token))
	o.ReadHeaderTimeout, o.ReadTimeout, o.IdleTimeout = time.Second, time.Second, time.Second
	o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	server, err := httpd.New(o)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := server.Listen(f.Context()); err != nil {
		f.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s) }()
	f.Cleanup(func() {
		if err := errors.Join(server.Stop(patience), <-served); err != nil {
			f.Error(err)
		}
	})
	decoder := contract.NewDecoder(DefaultOptions().Decoder)
	exposed := log.String() // a socket is no loopback address

	f.Fuzz(func(t *testing.T, raw []byte) {
		conn, err := net.Dial("unix", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write(raw); err == nil {
			_ = conn.(*net.UnixConn).CloseWrite()
		}
		answers := bufio.NewReader(conn)
		probed := bytes.Contains(raw, []byte("/healthz")) || bytes.Contains(raw, []byte("/readyz")) // the status alone
		for {
			if _, err := answers.Peek(1); err != nil {
				break // closed
			}
			response, err := http.ReadResponse(answers, nil)
			if err != nil {
				break // of a HEAD, or cut off by a reset
			}
			body, err := io.ReadAll(response.Body)
			if err != nil {
				break
			}
			if !slices.Contains([]int{100, 200, 400, 401, 404, 405, 408, 413, 415, 417, 431, 501, 503, 505}, response.StatusCode) {
				t.Fatalf("%s to %q", response.Status, raw)
			}
			if response.StatusCode == http.StatusOK && !bytes.HasPrefix(body, []byte("{")) && !probed {
				t.Fatalf("200 with %q to %q", body, raw)
			}
		}
		for len(written) > 0 {
			var event contract.Event
			if value := <-written; !bytes.Contains(raw, []byte(token)) || decoder.Decode(value, time.Now().UnixMilli(), &event) != nil {
				t.Fatalf("%q is written for %q", value, raw)
			}
		}
		if log.String() != exposed {
			t.Fatalf("the log has %s", log)
		}
	})
}
