package state

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// dialer returns the function that connects.
func dialer(o RedisOptions) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
		defer cancel()
		conn, err := dial(ctx, network, addr)
		switch {
		case err != nil:
			return nil, err
		case o.TLS == nil:
			return newPlainConn(conn), nil
		}
		config := o.TLS.Clone()
		if config.ServerName == "" {
			if config.ServerName, _, err = net.SplitHostPort(addr); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // of no use, and often closed already
			return nil, &handshakeError{err}
		}
		return &freshConn{Conn: secure, secure: true}, nil
	}
}

// handshakeError is a TLS handshake that failed.
type handshakeError struct{ err error }

// Error says what happened.
func (e *handshakeError) Error() string { return e.err.Error() }

// Unwrap returns what happened.
func (e *handshakeError) Unwrap() error { return e.err }

// freshConn is a connection that knows whether the server has ever answered on it. One that the server closes before that
// was not to its liking: it is a port for TLS, or under TLS 1.3 asks for another certificate, of which the handshake does
// not tell.
type freshConn struct {
	net.Conn
	secure   bool
	answered atomic.Bool
}

// Read implements net.Conn.
func (c *freshConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && (c.secure || b[0] != alertRecord) {
		c.answered.Store(true)
	}
	return n, c.fresh(err)
}

// alertRecord begins the alert with which a port for TLS answers to anything else. No reply of Redis begins so.
const alertRecord = 0x15

// alertWait is how long a server's last words are waited for.
const alertWait = 100 * time.Millisecond

// Write implements net.Conn.
func (c *freshConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil && c.secure && !c.answered.Load() {
		// The server has closed the connection, and its alert, which says why, may still be there to be read.
		_ = c.SetReadDeadline(time.Now().Add(alertWait))
		if _, alert := c.Conn.Read(make([]byte, 1)); isAlert(alert) {
			err = alert
		}
	}
	return n, c.fresh(err)
}

// fresh marks an error of a connection without an answer.
func (c *freshConn) fresh(err error) error {
	if err == nil || c.answered.Load() {
		return err
	}
	// go-redis takes off one layer of what a connection's set-up returns.
	return fmt.Errorf("%w", &unansweredError{secure: c.secure, err: err})
}

// plainConn is a freshConn whose file descriptor go-redis may look at, to see whether the server has closed it.
type plainConn struct {
	*freshConn
	syscall.Conn
}

func newPlainConn(conn net.Conn) net.Conn {
	fresh := &freshConn{Conn: conn}
	if descriptor, ok := conn.(syscall.Conn); ok {
		return plainConn{fresh, descriptor}
	}
	return fresh
}

// unansweredError is an error of a connection on which the server has never answered.
type unansweredError struct {
	secure bool // after a TLS handshake
	err    error
}

// Error says what happened.
func (e *unansweredError) Error() string { return e.err.Error() }

// Unwrap returns what happened.
func (e *unansweredError) Unwrap() error { return e.err }

// isAlert reports whether an error is a TLS alert of the other side.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
