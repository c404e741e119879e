package consumertest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// lineServer answers each line with its name and the line, and keeps what it got.
type lineServer struct {
	addr string
	mu   sync.Mutex
	got  []string
}

func newLineServer(t *testing.T, name string) *lineServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &lineServer{addr: listener.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					s.mu.Lock()
					s.got = append(s.got, lines.Text())
					s.mu.Unlock()
					_, _ = conn.Write([]byte(name + " " + lines.Text() + "\n"))
				}
			})
		}
	})
	t.Cleanup(func() { listener.Close(); wg.Wait() })
	return s
}

func (s *lineServer) lines() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.got, " ")
}

func (s *lineServer) waitLines(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); s.lines() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the server got %q, want %q", s.lines(), want)
		}
	}
}

// lineClient is a connection to the line server.
type lineClient struct {
	net.Conn
	reader *bufio.Reader
}

func dialLine(t *testing.T, addr string) *lineClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &lineClient{conn, bufio.NewReader(conn)}
}

// ask sends a line and returns the reply; an error is that of the connection, or a timeout after a moment.
func (c *lineClient) ask(line string, wait time.Duration) (string, error) {
	if _, err := c.Write([]byte(line + "\n")); err != nil {
		return "", err
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
	reply, err := c.reader.ReadString('\n')
	return strings.TrimSpace(reply), err
}

func (c *lineClient) mustAsk(t *testing.T, line, want string) {
	t.Helper()
	if got, err := c.ask(line, 5*time.Second); err != nil || got != want {
		t.Fatalf("ask(%s) = %q, %v, want %q", line, got, err, want)
	}
}

const brief = 100 * time.Millisecond

func TestProxyPassRefuseSwap(t *testing.T) {
	a, b := newLineServer(t, "a"), newLineServer(t, "b")
	p := NewProxy(t, a.addr)
	c := dialLine(t, p.Addr())
	c.mustAsk(t, "1", "a 1")
	p.Refuse()
	if _, err := c.ask("2", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a refusing proxy kept the connection: %v", err)
	}
	if conn, err := net.Dial("tcp", p.Addr()); err == nil {
		conn.Close()
		t.Error("a refusing proxy took a connection")
	}
	p.Pass()
	c = dialLine(t, p.Addr())
	c.mustAsk(t, "3", "a 3")
	p.SetTarget(b.addr)
	if _, err := c.ask("4", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a swap kept the connection: %v", err)
	}
	dialLine(t, p.Addr()).mustAsk(t, "5", "b 5")
	a.waitLines(t, "1 3")
	if p.Accepted() != 3 {
		t.Errorf("Accepted = %d, want 3", p.Accepted())
	}
}

func TestProxyBlackHole(t *testing.T) {
	a := newLineServer(t, "a")
	p := NewProxy(t, a.addr)
	c := dialLine(t, p.Addr())
	c.mustAsk(t, "1", "a 1")
	p.BlackHole()
	if _, err := c.ask("2", brief); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a black hole answered, or closed: %v", err)
	}
	p.Pass()
	c.mustAsk(t, "3", "a 3")
	a.waitLines(t, "1 3")
}

func TestProxyDelay(t *testing.T) {
	p := NewProxy(t, newLineServer(t, "a").addr)
	c := dialLine(t, p.Addr())
	p.Delay(brief)
	start := time.Now()
	c.mustAsk(t, "1", "a 1")
	if took := time.Since(start); took < 2*brief {
		t.Errorf("a request and its reply took %v, want at least %v", took, 2*brief)
	}
}

func TestProxyDropsAndCutsReplies(t *testing.T) {
	a := newLineServer(t, "a")
	p := NewProxy(t, a.addr)
	c := dialLine(t, p.Addr())
	p.DropReplies()
	if _, err := c.ask("1", brief); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the reply was not dropped: %v", err)
	}
	a.waitLines(t, "1")
	p.CutReplies(1)
	if _, err := c.ask("2", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection was not cut: %v", err)
	}
	dialLine(t, p.Addr()).mustAsk(t, "3", "a 3")
	a.waitLines(t, "1 2 3")
}

func TestProxyCutsAfterBytes(t *testing.T) {
	a := newLineServer(t, "a")
	p := NewProxy(t, a.addr)
	c := dialLine(t, p.Addr())
	p.CutAfterBytes(4) // lines of two bytes: the second is cut off
	c.mustAsk(t, "1", "a 1")
	if _, err := c.ask("2", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection was not cut: %v", err)
	}
	dialLine(t, p.Addr()).mustAsk(t, "3", "a 3")
	a.waitLines(t, "1 3")
}

// TestProxyHolds is the slow connection: its client goes away, a later connection is served, then its request arrives.
func TestProxyHolds(t *testing.T) {
	a := newLineServer(t, "a")
	p := NewProxy(t, a.addr)
	c := dialLine(t, p.Addr())
	c.mustAsk(t, "1", "a 1")
	p.Hold()
	if _, err := c.ask("late", brief); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a held connection answered, or closed: %v", err)
	}
	c.Close()
	dialLine(t, p.Addr()).mustAsk(t, "2", "a 2")
	a.waitLines(t, "1 2")
	p.Release()
	a.waitLines(t, "1 2 late")
}

// readSequence reads n bytes of a numbered sequence and fails at the first that is out of order.
func readSequence(r io.Reader, n int) error {
	buffer := make([]byte, 64<<10)
	for read := 0; read < n; {
		got, err := r.Read(buffer)
		for i, b := range buffer[:got] {
			if b != byte((read+i)%251) {
				return fmt.Errorf("byte %d is %d", read+i, b)
			}
		}
		if read += got; err != nil && read < n {
			return fmt.Errorf("%d of %d bytes: %w", read, n, err)
		}
	}
	return nil
}

// sendSequence sends n bytes through a proxy with these faults and returns how long it took until all had arrived in order.
func sendSequence(tb testing.TB, n int, faults func(*Proxy)) time.Duration {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer listener.Close()
	arrived := make(chan error, 1)
	go func() { // ends with the connection, or the listener; arrived is waited for
		conn, err := listener.Accept()
		if err == nil {
			defer conn.Close()
			err = readSequence(conn, n)
		}
		arrived <- err
	}()
	p := NewProxy(tb, listener.Addr().String())
	faults(p)
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	sequence := make([]byte, n)
	for i := range sequence {
		sequence[i] = byte(i % 251)
	}
	start := time.Now()
	if _, err := conn.Write(sequence); err != nil {
		tb.Fatal(err)
	}
	if err := <-arrived; err != nil {
		tb.Fatal(err)
	}
	return time.Since(start)
}

func TestProxyDelayKeepsOrder(t *testing.T) {
	sendSequence(t, 1<<20, func(p *Proxy) { p.Delay(time.Millisecond) })
}

func TestProxyThrottle(t *testing.T) {
	const bytes, rate = 100_000, 500_000
	took := sendSequence(t, bytes, func(p *Proxy) { p.Throttle(rate) })
	if took < 200*time.Millisecond { // 100 kB at 500 kB/s
		t.Errorf("%d bytes at %d a second took %v", bytes, rate, took)
	}
	if took := sendSequence(t, bytes, func(p *Proxy) { p.Throttle(1); p.Pass() }); took > 5*time.Second {
		t.Errorf("%d bytes after the throttle took %v", bytes, took)
	}
}

// TestProxyEndsWithinFaults: cutting ends a delay and a throttle that have hours to go.
func TestProxyEndsWithinFaults(t *testing.T) {
	for name, fault := range map[string]func(*Proxy){
		"delay":    func(p *Proxy) { p.Delay(time.Hour) },
		"throttle": func(p *Proxy) { p.Throttle(1) },
	} {
		t.Run(name, func(t *testing.T) {
			p := NewProxy(t, newLineServer(t, "a").addr)
			c := dialLine(t, p.Addr())
			c.mustAsk(t, "1", "a 1")
			fault(p)
			if _, err := c.ask(strings.Repeat("x", 10_000), brief); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("answered, or closed: %v", err)
			}
			ended := make(chan struct{})
			go func() { p.close(); close(ended) }()
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Fatal("the proxy does not end")
			}
		})
	}
}

// BenchmarkProxy is the way of bytes through a proxy, one connection.
func BenchmarkProxy(b *testing.B) {
	const bytes = 32 << 20
	b.SetBytes(bytes)
	for b.Loop() {
		sendSequence(b, bytes, func(*Proxy) {})
	}
}
