package httpd

import (
	"net"
	"sync"
)

// limited accepts so many connections at a time; the next is closed at once, so that a flood does not wait in the kernel
// with nobody to time it out.
type limited struct {
	net.Listener
	slots   chan struct{} // one element for each open connection
	metrics *serverMetrics
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			l.metrics.connections.Inc()
			return &counted{Conn: conn, free: sync.OnceFunc(func() {
				l.metrics.connections.Dec()
				<-l.slots
			})}, nil
		default:
			l.metrics.refused(refusedConnections)
			_ = conn.Close() // it was nobody's yet
		}
	}
}

// counted is a connection that has a slot until it is closed.
type counted struct {
	net.Conn
	free func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// CloseWrite ends one direction: net/http does so before it closes a connection whose request it has not read to the end,
// so that the answer is not lost.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
