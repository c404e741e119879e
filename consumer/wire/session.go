package wire

import (
	"context"
	"encoding/binary"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// renewPercent is the part of its life after which a login is renewed.
	renewPercent = 85
	// renewAfterMin: a broker refuses to renew a login within a second. A request in a session that is shorter waits.
	renewAfterMin = 1100 * time.Millisecond
)

// session is a connection whose login ends: the broker closes it at the first
// request after that, however busy it is (connections.max.reauth.ms, or the end
// of a token). Shortly before, in between two requests, session logs in again on
// the same connection (KIP-368). So nobody above notices anything: no request is
// lost with the connection, and no heartbeat that would end a generation.
//
// It relies on what kafka-go does: one request at a time on a connection. While
// an answer is due it does not log in again, but at the next request.
type session struct {
	net.Conn
	client *Client
	addr   string

	// Only the goroutine that writes uses these.
	since    time.Time
	renewAt  time.Time
	requests framing
	answers  framing // Only the goroutine that reads uses it.
	due      atomic.Int32

	mu              sync.Mutex // Guards the deadlines.
	readBy, writeBy time.Time
}

func newSession(c *Client, conn net.Conn, addr string, lasts time.Duration) *session {
	s := &session{Conn: conn, client: c, addr: addr}
	s.lasts(lasts)
	return s
}

// lasts notes how long the login of this moment lasts.
func (s *session) lasts(d time.Duration) {
	s.since = time.Now()
	s.renewAt = s.since.Add(d * renewPercent / 100)
}

// Write sends bytes of requests; before a new one it renews a login that will end.
func (s *session) Write(b []byte) (int, error) {
	if s.requests.between() && s.due.Load() == 0 && !time.Now().Before(s.renewAt) {
		if err := s.renew(); err != nil {
			return 0, err
		}
	}
	s.due.Add(s.requests.count(b)) // Before the answer can be there.
	return s.Conn.Write(b)
}

func (s *session) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.due.Add(-s.answers.count(b[:n]))
	return n, err
}

// renew logs in again, within the deadline that the request has.
func (s *session) renew() error {
	time.Sleep(renewAfterMin - time.Since(s.since))
	s.mu.Lock()
	readBy, writeBy := s.readBy, s.writeBy
	s.mu.Unlock()
	by := time.Now().Add(s.client.options.DialTimeout)
	if !writeBy.IsZero() && writeBy.Before(by) {
		by = writeBy
	}
	ctx, cancel := context.WithDeadline(context.Background(), by)
	defer cancel()
	host, port, err := net.SplitHostPort(s.addr)
	if err == nil {
		err = bounded(ctx, s.Conn, func() error {
			l := login{client: s.client, host: host}
			l.port, _ = strconv.Atoi(port) // dial has read it
			lasts, err := l.over(ctx, s.Conn)
			if err == nil && lasts > 0 {
				s.lasts(lasts)
			}
			return err
		})
	}
	if err != nil {
		return &StageError{Broker: s.addr, Stage: StageSASL, Err: err}
	}
	if err := s.Conn.SetReadDeadline(readBy); err != nil {
		return err
	}
	return s.Conn.SetWriteDeadline(writeBy)
}

func (s *session) SetDeadline(t time.Time) error {
	s.mu.Lock()
	s.readBy, s.writeBy = t, t
	s.mu.Unlock()
	return s.Conn.SetDeadline(t)
}

func (s *session) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	s.readBy = t
	s.mu.Unlock()
	return s.Conn.SetReadDeadline(t)
}

func (s *session) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	s.writeBy = t
	s.mu.Unlock()
	return s.Conn.SetWriteDeadline(t)
}

// framing follows a stream of Kafka's messages, each with its size before it.
type framing struct {
	size [4]byte
	got  int // Bytes of size.
	rest int // Bytes of the message that are still to come.
}

// between reports whether the stream is at the begin of a message.
func (f *framing) between() bool { return f.got == 0 && f.rest == 0 }

// count goes on by b and returns how many messages end in it.
func (f *framing) count(b []byte) (ended int32) {
	for len(b) > 0 {
		if f.rest == 0 {
			n := copy(f.size[f.got:], b)
			f.got += n
			b = b[n:]
			if f.got < len(f.size) {
				return ended
			}
			f.got, f.rest = 0, int(binary.BigEndian.Uint32(f.size[:]))
			if f.rest == 0 {
				ended++
			}
		}
		n := min(f.rest, len(b))
		f.rest -= n
		b = b[n:]
		if n > 0 && f.rest == 0 {
			ended++
		}
	}
	return ended
}
