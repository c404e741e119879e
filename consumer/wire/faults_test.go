package wire

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"

	"github.com/segmentio/kafka-go/protocol"
)

// fault is what happens to a request on its way.
type fault int

const (
	loseRequest fault = iota // The broker never gets it.
	loseAnswer               // The broker has done it, nobody hears of it.
	delay                    // The broker gets it when release is called.
)

func (f fault) String() string { return [...]string{"request lost", "answer lost", "delayed"}[f] }

// faults is a Dial whose connections have faults. After a fault the connection
// is closed for its user.
type faults struct {
	mu      sync.Mutex
	armed   map[protocol.ApiKey][]fault
	always  map[protocol.ApiKey]fault
	hit     map[protocol.ApiKey]int
	delayed []func()
}

func newFaults() *faults {
	return &faults{armed: map[protocol.ApiKey][]fault{}, always: map[protocol.ApiKey]fault{}, hit: map[protocol.ApiKey]int{}}
}

// arm makes the next requests of a kind meet the faults, one each.
func (f *faults) arm(key protocol.ApiKey, kinds ...fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed[key] = append(f.armed[key], kinds...)
}

// persist makes every request of a kind meet a fault until heal.
func (f *faults) persist(key protocol.ApiKey, kind fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.always[key] = kind
}

func (f *faults) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.always)
	clear(f.armed)
}

// hits says how many requests of a kind met a fault.
func (f *faults) hits(key protocol.ApiKey) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit[key]
}

// release delivers the delayed requests and waits for their answers.
func (f *faults) release() {
	f.mu.Lock()
	delayed := f.delayed
	f.delayed = nil
	f.mu.Unlock()
	for _, deliver := range delayed {
		deliver()
	}
}

func (f *faults) next(key protocol.ApiKey) (fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kind, ok := f.always[key]
	if queue := f.armed[key]; !ok && len(queue) > 0 {
		kind, ok = queue[0], true
		f.armed[key] = queue[1:]
	}
	if ok {
		f.hit[key]++
	}
	return kind, ok
}

func (f *faults) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: conn, faults: f}, nil
}

// faultyConn sees the frames that its user writes. kafka-go uses a connection
// from one goroutine.
type faultyConn struct {
	net.Conn
	faults *faults
	left   int    // Bytes of the current request still to come.
	kind   fault  // Of the current request, if bad.
	bad    bool   //
	kept   []byte // Of a delayed request.
	held   bool   // The connection belongs to release now.
}

func (c *faultyConn) Write(b []byte) (int, error) {
	if c.left == 0 {
		c.left = 4 + int(binary.BigEndian.Uint32(b))
		c.kind, c.bad = c.faults.next(protocol.ApiKey(binary.BigEndian.Uint16(b[4:])))
	}
	c.left -= len(b)
	switch {
	case !c.bad || c.kind == loseAnswer:
		return c.Conn.Write(b)
	case c.kind == delay:
		c.kept = append(c.kept, b...)
		if c.left == 0 {
			c.held = true
			c.faults.mu.Lock()
			c.faults.delayed = append(c.faults.delayed, c.deliver)
			c.faults.mu.Unlock()
		}
	}
	return len(b), nil
}

func (c *faultyConn) Read(b []byte) (int, error) {
	if !c.bad {
		return c.Conn.Read(b)
	}
	if c.kind == loseAnswer {
		swallow(c.Conn)
		c.kind = loseRequest // kafka-go reads again after an EOF.
	}
	return 0, io.EOF
}

func (c *faultyConn) Close() error {
	if c.held {
		return nil
	}
	return c.Conn.Close()
}

func (c *faultyConn) deliver() {
	defer c.Conn.Close()
	if _, err := c.Conn.Write(c.kept); err == nil {
		swallow(c.Conn)
	}
}

// swallow reads one answer: then the request has had its effect.
func swallow(r io.Reader) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err == nil {
		_, _ = io.CopyN(io.Discard, r, int64(binary.BigEndian.Uint32(size[:])))
	}
}
