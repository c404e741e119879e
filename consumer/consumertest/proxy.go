package consumertest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Direction is the way of bytes through a Proxy.
type Direction uint8

// The two directions.
const (
	ToServer Direction = iota
	ToClient
)

// Action is what a Proxy does with a piece of bytes.
type Action uint8

// The actions.
const (
	Forward  Action = iota
	Swallow         // drop the bytes, keep the connection
	Cut             // drop the bytes and close both ends of the connection
	CutAfter        // forward the bytes, then close both ends
)

// Proxy is a TCP proxy on loopback with faults on demand, between a client and a server that speak in requests and replies.
// Its methods may be called from any goroutine; each has taken effect for new bytes when it returns. It ends with its test.
type Proxy struct {
	tb   testing.TB
	addr string
	wg   sync.WaitGroup

	mu        sync.Mutex
	target    string
	listener  net.Listener // nil while refusing
	links     map[*link]struct{}
	accepted  int
	delay     time.Duration
	rate      int          // bytes per second of each direction; 0: no limit
	free      [2]time.Time // by direction: when the bytes let through so far have used up their time
	blackHole bool
	intercept func(d Direction, piece []byte) Action
	closed    bool
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn      // server is nil until it is dialed
	over           chan struct{} // closed by the first cut
	ended          bool          // over is closed. Guarded by Proxy.mu, like server.

	// held is closed when the link may go on; nil while it is not held. Guarded by Proxy.mu, like late.
	held chan struct{}
	late bool // was held: what its client has sent reaches the server even when the client has gone
}

const (
	proxyDialTimeout = 5 * time.Second
	// proxyPiecesPerSecond is how often a throttled direction is given bytes.
	proxyPiecesPerSecond = 50
)

// NewProxy starts a proxy to the target, host:port, which passes everything.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	p := &Proxy{tb: tb, target: target, links: map[*link]struct{}{}}
	listener, err := listenAnywhere()
	if err != nil {
		tb.Fatal(err)
	}
	p.addr = listener.Addr().String()
	p.serveOn(listener)
	tb.Cleanup(p.close)
	return p
}

// Addr returns the address that clients connect to. It stays the same.
func (p *Proxy) Addr() string { return p.addr }

// Accepted returns how many connections were accepted so far.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Pass ends refusing, the black hole, the delay, the throttle and the interception. Held connections stay held; see Release.
func (p *Proxy) Pass() {
	p.mu.Lock()
	p.blackHole, p.delay, p.rate, p.intercept = false, 0, 0, nil
	listening, closed := p.listener != nil, p.closed
	p.mu.Unlock()
	if listening || closed {
		return
	}
	listener, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.tb.Errorf("consumertest: proxy: listen again on %s: %v", p.addr, err)
		return
	}
	p.serveOn(listener)
}

// Refuse closes all connections and refuses new ones, like a server that is not running.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	listener := p.listener
	p.listener = nil
	p.mu.Unlock()
	if listener != nil {
		_ = listener.Close()
	}
	p.CutAll()
}

// BlackHole swallows all bytes of both directions and keeps all connections, like a network that lost its route. Unlike
// there the bytes never come later: CutAll before Pass, and no connection goes on with a hole in its bytes.
func (p *Proxy) BlackHole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blackHole = true
}

// Delay holds back each piece of bytes, in each direction, for so long. The next piece of a connection, of at most 64 KiB,
// waits until then; so order is kept, and a delay of 10 ms lets at most 6.5 MB/s through a connection.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Throttle lets so many bytes a second through in each direction, all connections together; 0: without limit.
func (p *Proxy) Throttle(bytesPerSecond int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate, p.free = bytesPerSecond, [2]time.Time{}
}

// Intercept asks the function, one call at a time, about each piece of bytes as it was read from a connection. A piece is
// mostly one request, or one reply, but nothing promises it. Nil: everything is forwarded.
func (p *Proxy) Intercept(fn func(d Direction, piece []byte) Action) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.intercept = fn
}

// DropReplies swallows the replies to requests, which still reach the server.
func (p *Proxy) DropReplies() {
	p.Intercept(func(d Direction, _ []byte) Action {
		if d == ToClient {
			return Swallow
		}
		return Forward
	})
}

// CutReplies closes a connection instead of giving the next reply, n times; the requests have reached the server.
func (p *Proxy) CutReplies(n int) {
	p.Intercept(func(d Direction, _ []byte) Action {
		if d == ToClient && n > 0 {
			n--
			return Cut
		}
		return Forward
	})
}

// CutAfterBytes closes the connection on which the n-th byte, counted over all connections from now on, goes to the server;
// the piece with it is not forwarded.
func (p *Proxy) CutAfterBytes(n int) {
	p.Intercept(func(d Direction, piece []byte) Action {
		if d == ToClient || n <= 0 {
			return Forward
		}
		if n -= len(piece); n > 0 {
			return Forward
		}
		return Cut
	})
}

// Hold keeps what the present connections send to the server from now on, even when their clients have gone, until
// Release: a slow connection whose requests arrive late. New connections are not held.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.held == nil {
			l.held, l.late = make(chan struct{}), true
		}
	}
}

// Release lets held connections go on.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.release()
	}
}

// CutAll closes all connections, also held ones.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
		l.release()
	}
}

// SetTarget sends new connections to another server and closes the present ones.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.CutAll()
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Refuse()
	p.wg.Wait()
}

// serveOn takes connections from the listener, which it owns.
func (p *Proxy) serveOn(listener net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.listener != nil { // closed, or passed by another goroutine, since the caller looked
		_ = listener.Close()
		return
	}
	p.listener = listener
	p.wg.Go(func() { p.accept(listener) })
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // the listener was closed
		}
		l := &link{client: conn, over: make(chan struct{})}
		p.mu.Lock()
		refusing := p.listener != listener
		if !refusing {
			p.accepted++
			p.links[l] = struct{}{}
		}
		p.mu.Unlock()
		if refusing {
			_ = conn.Close()
			return
		}
		p.wg.Go(func() { p.serve(l) })
	}
}

func (p *Proxy) serve(l *link) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		l.cut()
		delete(p.links, l)
	}()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.DialTimeout("tcp", target, proxyDialTimeout)
	if err != nil {
		return
	}
	p.mu.Lock()
	l.server = server
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(l, ToServer, server, l.client) })
	both.Go(func() { p.copy(l, ToClient, l.client, server) })
	both.Wait()
}

// cut closes both ends and ends their delays. It is called with Proxy.mu held, since server is set while others may cut.
func (l *link) cut() {
	if !l.ended {
		l.ended = true
		close(l.over)
	}
	_ = l.client.Close()
	if l.server != nil {
		_ = l.server.Close()
	}
}

// release is called with Proxy.mu held.
func (l *link) release() {
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
}

// copy moves bytes one way until an end closes, then closes the other; but what the gone client of a held connection had
// sent goes on to the server, and the answers to nobody.
func (p *Proxy) copy(l *link, d Direction, to, from net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !p.move(l, d, to, buffer[:n]) || err != nil {
			break
		}
	}
	held, late := p.holding(l)
	if held != nil && d == ToServer {
		<-held
	}
	if half, ok := to.(*net.TCPConn); late && ok && d == ToServer {
		_ = half.CloseWrite() // the server answers what it has, then closes
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.cut()
}

// move forwards a piece, or does what is asked for instead; false: the connection is over.
func (p *Proxy) move(l *link, d Direction, to net.Conn, piece []byte) bool {
	held, late := p.holding(l)
	if held != nil && d == ToServer {
		<-held
	}
	p.mu.Lock()
	delay, action := p.delay, Forward
	switch {
	case p.blackHole:
		action = Swallow
	case p.intercept != nil:
		action = p.intercept(d, piece)
	}
	p.mu.Unlock()
	if !l.wait(delay) {
		return false
	}
	if action == Forward || action == CutAfter {
		if err := p.forward(l, d, to, piece); err != nil && (d == ToServer || !late) {
			return false
		}
	}
	return action == Forward || action == Swallow
}

// forward writes a piece, in parts where the proxy is throttled.
func (p *Proxy) forward(l *link, d Direction, to net.Conn, piece []byte) error {
	for len(piece) > 0 {
		n, wait := p.allowed(d, len(piece))
		if !l.wait(wait) {
			return net.ErrClosed
		}
		if _, err := to.Write(piece[:n]); err != nil {
			return err
		}
		piece = piece[n:]
	}
	return nil
}

// allowed returns how many of n bytes may be forwarded next, and after which time.
func (p *Proxy) allowed(d Direction, n int) (int, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate <= 0 {
		return n, 0
	}
	n = min(n, max(1, p.rate/proxyPiecesPerSecond))
	now := time.Now()
	if p.free[d].Before(now) {
		p.free[d] = now
	}
	p.free[d] = p.free[d].Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	return n, p.free[d].Sub(now)
}

// wait is the fault asked for; false: the connection was cut meanwhile.
func (l *link) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.over:
		return false
	}
}

func (p *Proxy) holding(l *link) (held chan struct{}, late bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.held, l.late
}
