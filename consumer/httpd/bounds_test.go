package httpd

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// What clients may cost: slow ones, and many of them.

// dribble sends a text, then a byte every 20 ms until the server has closed the connection, and returns how long that took.
func dribble(conn net.Conn, text string) time.Duration {
	began := time.Now()
	closed := make(chan struct{})
	go func() { // ends with the connection
		_, _ = io.Copy(io.Discard, conn)
		close(closed)
	}()
	_, err := io.WriteString(conn, text)
	for time.Since(began) < patience {
		select {
		case <-closed:
			return time.Since(began)
		case <-time.After(20 * time.Millisecond):
			if err == nil && text != "" {
				_, err = conn.Write([]byte("a")) // an error: the server has closed, which is read too
			}
		}
	}
	_ = conn.Close()
	<-closed
	return patience
}

// TestSlowClients: each kind of slow client is cut off when its time is over, and nothing is left of it.
func TestSlowClients(t *testing.T) {
	const header, whole, clients = time.Second, 2 * time.Second, 10 // of each kind
	a := consumertest.NewAuthority(t)
	for _, name := range []string{"plain", "TLS"} {
		t.Run(name, func(t *testing.T) {
			server := func(readTimeout time.Duration) *running {
				return serve(t, nil, func(o *Options) {
					o.ReadHeaderTimeout, o.ReadTimeout, o.WriteTimeout, o.IdleTimeout = header, readTimeout, 2*patience, 2*patience
					if name == "TLS" {
						o.TLS = newFiles(t).certificate(a, "server")
					}
				})
			}
			ofHeader, ofWhole := server(2*patience), server(whole)
			before := runtime.NumGoroutine()
			var group sync.WaitGroup
			for _, kind := range []struct {
				name, text string
				server     *running
				handshake  bool
				least      time.Duration // which the server gives
			}{
				{"silent", "", ofHeader, false, header},
				{"silent after the handshake", "", ofHeader, true, header},
				{"dribbling a header", "POST / HTTP/1.1\r\nHost: a\r\nX: ", ofHeader, true, header},
				{"dribbling a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", ofWhole, true, whole},
				{"dribbling a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", ofWhole, true, whole},
			} {
				for range clients {
					group.Go(func() {
						conn := kind.server.dial()
						if name == "TLS" && kind.handshake {
							client := tls.Client(conn, &tls.Config{RootCAs: a.Pool(), ServerName: "localhost"})
							if err := client.Handshake(); err != nil {
								t.Errorf("%s: %v", kind.name, err)
								return
							}
							conn = client
						}
						// The end is followed by half a second in which net/http lets a client take its answer.
						if took := dribble(conn, kind.text); took < kind.least/2 || took > patience/2 {
							t.Errorf("%s: cut off after %v, want %v", kind.name, took, kind.least)
						}
					})
				}
			}
			group.Wait()
			eventually(t, "the connections are gone", func() bool {
				return value(t, ofHeader.metrics.connections)+value(t, ofWhole.metrics.connections) == 0
			})
			eventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+5 })
		})
	}
}

// TestClientThatDoesNotRead asks for a large answer and takes none of it: the handler is freed when the time is over.
func TestClientThatDoesNotRead(t *testing.T) {
	const clients = 20
	ended := make(chan error, clients)
	large := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.Copy(w, io.LimitReader(zeros{}, 64<<20)) // more than the kernel takes for a client
		ended <- err
	})
	r := serve(t, large, func(o *Options) { o.WriteTimeout = 400 * time.Millisecond })
	before := runtime.NumGoroutine()
	began := time.Now()
	for range clients {
		if _, err := io.WriteString(r.dial(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	for range clients {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("64 MiB were written to nobody")
			}
		case <-time.After(patience):
			t.Fatalf("a handler still writes after %v", patience)
		}
	}
	if took := time.Since(began); took < 300*time.Millisecond || took > patience/2 {
		t.Errorf("cut off after %v, want 400ms", took)
	}
	eventually(t, "the connections are gone", func() bool { return value(t, r.metrics.connections) == 0 })
	eventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+5 })
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestHeaderTooLarge: a header has an end even if a client sends it fast.
func TestHeaderTooLarge(t *testing.T) {
	r := serve(t, nil, func(o *Options) { o.HeaderBytesMax = 1 << 10 })
	got := r.get(r.client(nil), "/", "X: "+strings.Repeat("a", 3<<10))
	if got.StatusCode != http.StatusOK { // net/http adds 4 KiB
		t.Errorf("3 KiB: %s", got.Status)
	}
	if got, err := r.tryGet(r.client(nil), "/", "X: "+strings.Repeat("a", 8<<10)); err == nil && got.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("8 KiB: %s", got.Status)
	}
}

// memory returns the bytes in use of heap and stacks.
func memory() int64 {
	runtime.GC()
	runtime.GC() // what finalizers had held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestConnectionFlood opens thousands of connections where a few are allowed: those beyond are closed at once, and goroutines
// and memory follow the few.
func TestConnectionFlood(t *testing.T) {
	flood := 3000
	if testing.Short() {
		flood = 500
	}
	const connectionsMax = 100
	a := consumertest.NewAuthority(t)
	for _, kind := range []struct {
		name string
		tls  bool
		// Of a connection that has sent half a header, with the half of it that is the client's in this process.
		bytesMax int64
	}{{"plain", false, 32 << 10}, {"TLS", true, 96 << 10}} {
		t.Run(kind.name, func(t *testing.T) {
			r := serve(t, nil, func(o *Options) {
				o.ConnectionsMax = connectionsMax
				o.ReadHeaderTimeout, o.ReadTimeout = time.Hour, time.Hour // what is kept is not cut off
				if kind.tls {
					o.TLS = newFiles(t).certificate(a, "server")
				}
			})
			goroutines, bytes := runtime.NumGoroutine(), memory()
			var kept []net.Conn
			closed := make([]bool, flood)
			for i := range flood {
				conn, err := net.Dial("tcp", r.listener.Addr().String())
				if err != nil {
					t.Fatalf("connection %d: %v", i, err)
				}
				t.Cleanup(func() { conn.Close() })
				if i < connectionsMax {
					if kind.tls {
						conn = tls.Client(conn, &tls.Config{RootCAs: a.Pool(), ServerName: "localhost"})
					}
					if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n"); err != nil {
						t.Fatalf("connection %d: %v", i, err)
					}
				}
				kept = append(kept, conn)
			}
			var group sync.WaitGroup
			gate := make(chan struct{}, 64)
			deadline := time.Now().Add(patience / 4) // of all: those that are refused are closed already
			for i, conn := range kept[connectionsMax:] {
				gate <- struct{}{}
				group.Go(func() {
					_ = conn.SetReadDeadline(deadline)
					_, err := conn.Read(make([]byte, 1))
					var timeout net.Error
					closed[i] = err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
					<-gate
				})
			}
			group.Wait()
			refused := 0
			for _, c := range closed {
				if c {
					refused++
				}
			}
			if refused != flood-connectionsMax {
				t.Errorf("%d of %d connections were closed, want all but %d", refused, flood, connectionsMax)
			}
			r.is("open connections", r.metrics.connections, connectionsMax)
			r.is("refused connections", r.metrics.refusals[refusedConnections], float64(flood-connectionsMax))
			if n := runtime.NumGoroutine() - goroutines; n > connectionsMax+10 {
				t.Errorf("%d goroutines for %d connections", n, connectionsMax)
			}
			// Each of the flood, refused or not, has a descriptor and its bookkeeping on the client's side.
			grown, most := memory()-bytes, connectionsMax*kind.bytesMax+int64(flood)*2<<10
			t.Logf("%d connections of a flood of %d take %d KiB", connectionsMax, flood, grown>>10)
			if grown > most {
				t.Errorf("%d KiB for %d connections, want at most %d", grown>>10, connectionsMax, most>>10)
			}
			// Those who were in first are served.
			if _, err := io.WriteString(kept[0], "\r\n"); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(kept[0]), nil)
			if err != nil || response.StatusCode != http.StatusOK {
				t.Errorf("the first connection: %v, %v", response, err)
			}
			for _, conn := range kept {
				conn.Close()
			}
			// And a client of afterwards.
			var config *tls.Config
			if kind.tls {
				config = &tls.Config{RootCAs: a.Pool()}
			}
			eventually(t, "the flood is over", func() bool { return value(t, r.metrics.connections) == 0 })
			if err := isOK(r.get(r.client(config), "/")); err != nil {
				t.Errorf("after the flood: %v", err)
			}
		})
	}
}

// TestManyIdleConnections measures what the default number of idle connections costs.
func TestManyIdleConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("opens thousands of TLS connections")
	}
	const connections = 1000
	a := consumertest.NewAuthority(t)
	r := serve(t, nil, func(o *Options) { o.TLS = newFiles(t).certificate(a, "server") })
	goroutines, bytes := runtime.NumGoroutine(), memory()
	for range connections {
		conn := tls.Client(r.dial(), &tls.Config{RootCAs: a.Pool(), ServerName: "localhost"})
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	each := (memory() - bytes) / connections
	t.Logf("%d idle TLS connections take %d KiB each, of both ends", connections, each>>10)
	if n := runtime.NumGoroutine() - goroutines; each > 128<<10 || n > connections+10 {
		t.Errorf("%d KiB each, %d goroutines", each>>10, n)
	}
	if got := fmt.Sprint(value(t, r.metrics.connections)); got != fmt.Sprint(connections) {
		t.Errorf("%s connections are open", got)
	}
}
