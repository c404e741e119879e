package state_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lapwing/lapwing/state"
)

// faults loses requests and replies between a store and its server.
type faults struct {
	mu   sync.Mutex
	lose bool // replies
	left int  // writes that still arrive, -1: all
}

func (f *faults) loseReplies(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose = on
}

func (f *faults) cutWrites(after int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = after
}

// losing reports whether replies are lost.
func (f *faults) losing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lose
}

// take takes one write from those that are left.
func (f *faults) take() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.left < 0:
		return true
	case f.left == 0:
		return false
	}
	f.left--
	return true
}

// before is the fault of a Memory store that loses a request.
func (f *faults) before(op state.Op) error {
	if op.Kind == state.OpWrite && !f.take() {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// after is the fault of a Memory store that loses a reply.
func (f *faults) after(state.Op) error {
	if f.losing() {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// dial connects through the faults.
func (f *faults) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &faultConn{Conn: conn, faults: f}, nil
}

// faultConn is a connection that loses what the faults say.
type faultConn struct {
	net.Conn
	faults *faults
}

// writeCommand is the name of the command that a write of a lane is.
var writeCommand = []byte("evalsha")

// Write implements net.Conn. Where a write is cut, those before it arrive whole.
func (c *faultConn) Write(b []byte) (int, error) {
	for at := 0; ; at += len(writeCommand) {
		i := bytes.Index(b[at:], writeCommand)
		if i < 0 {
			return c.Conn.Write(b)
		}
		at += i
		if !c.faults.take() {
			n, _ := c.Conn.Write(b[:at])
			return n, c.finish()
		}
	}
}

// Read implements net.Conn.
func (c *faultConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.faults.losing() {
		return 0, c.finish()
	}
	return n, err
}

// finish ends the connection once the server has carried out all that arrived. Closing it is left to its owner, who would be
// told that it is closed already.
func (c *faultConn) finish() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, c.Conn)
	return errors.Join(io.ErrUnexpectedEOF, net.ErrClosed)
}

// skip skips a test that needs what this machine lacks, unless that is required.
func skip(t testing.TB, what, reason string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("LAPWING_TEST_REQUIRE"), ","), what) {
		t.Fatalf("%s, and LAPWING_TEST_REQUIRE asks for %s", reason, what)
	}
	t.Skip(reason)
}
