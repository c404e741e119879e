package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl/plain"
)

// strictBroker is one connection's broker whose logins last for a while. It does what Kafka does: it ends the connection at
// a request after the end of the login, and at a login within a second of the one before.
type strictBroker struct {
	lasts  time.Duration
	logins int
	asked  int // requests that were answered
}

func (b *strictBroker) serve(conn net.Conn) {
	defer conn.Close()
	var since time.Time
	for {
		var head [12]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		size := binary.BigEndian.Uint32(head[:])
		if _, err := io.CopyN(io.Discard, conn, int64(size)-8); err != nil {
			return
		}
		answer := append(make([]byte, 4), head[8:12]...)
		switch protocol.ApiKey(binary.BigEndian.Uint16(head[4:])) {
		case protocol.SaslHandshake:
			if b.logins > 0 && time.Since(since) < time.Second {
				return
			}
			answer = append(answer, 0, 0, 0, 0, 0, 0)
		case protocol.SaslAuthenticate:
			b.logins++
			since = time.Now()
			answer = append(answer, 0, 0, 0xff, 0xff, 0, 0, 0, 0)
			answer = binary.BigEndian.AppendUint64(answer, uint64(b.lasts.Milliseconds()))
		default:
			if time.Since(since) > b.lasts {
				return
			}
			b.asked++
		}
		binary.BigEndian.PutUint32(answer, uint32(len(answer)-4))
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// request is one of 20 bytes after its size, written in three parts.
func request(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	frame := append([]byte{0, 0, 0, 20, 0, byte(protocol.Metadata)}, make([]byte, 18)...)
	for _, part := range [][]byte{frame[:3], frame[3:9], frame[9:]} {
		if _, err := conn.Write(part); err != nil {
			return err
		}
	}
	_, err := io.ReadFull(conn, make([]byte, 8))
	return err
}

// TestSessionLivesOn: a connection outlives its logins, whether it is busy or not.
func TestSessionLivesOn(t *testing.T) {
	for _, x := range []struct {
		name                 string
		lasts, every         time.Duration
		requests             int
		loginsMin, loginsMax int
	}{
		{"busy", 2 * time.Second, 100 * time.Millisecond, 200, 11, 13}, // one each 1.7 s of 20
		{"idle", 2 * time.Second, 5 * time.Second, 4, 4, 5},            // the session has ended each time
		{"shorter than may be renewed", 500 * time.Millisecond, 100 * time.Millisecond, 30, 5, 9},
		{"for ever", 0, time.Minute, 3, 1, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &strictBroker{lasts: x.lasts}
				ours, theirs := net.Pipe()
				c, err := New(Options{
					Brokers: []string{"broker:9092"}, SASL: plain.Mechanism{Username: "u", Password: "lapwing-test-secret"},
					Dial: func(context.Context, string, string) (net.Conn, error) { go b.serve(theirs); return ours, nil },
				})
				if err != nil {
					t.Fatal(err)
				}
				conn, err := c.dial(t.Context(), "tcp", "broker:9092")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if x.lasts == 0 {
					if _, ok := conn.(*session); ok {
						t.Fatal("a login without an end is watched")
					}
					return
				}
				for i := range x.requests {
					time.Sleep(x.every)
					if err := request(conn); err != nil {
						t.Fatalf("request %d, after %d logins: %v", i, b.logins, err)
					}
				}
				if b.asked != x.requests || b.logins < x.loginsMin || b.logins > x.loginsMax {
					t.Errorf("%d requests, %d logins", b.asked, b.logins)
				}
			})
		})
	}
}

// TestSessionRefused: a login that is not renewed is an error of that stage, and nothing of the request was sent.
func TestSessionRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		c, err := New(Options{
			Brokers: []string{"broker:9092"}, SASL: plain.Mechanism{}, DialTimeout: time.Second,
			Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		conn := newSession(c, ours, "broker:9092", 2*time.Second)
		go func() { _, _ = theirs.Read(make([]byte, 4)); theirs.Close() }() // ends at the login
		time.Sleep(4 * time.Second)
		err = request(conn)
		var stage *StageError
		if !errors.As(err, &stage) || stage.Stage != StageSASL || stage.Broker != "broker:9092" || !unsent(err) || Classify(err) != Retry {
			t.Fatal(err)
		}
		conn.Close()
	})
}

// TestFraming counts messages in a stream that is cut anywhere.
func TestFraming(t *testing.T) {
	stream := []byte{0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 9}
	for cut := 1; cut <= len(stream); cut++ {
		var f framing
		var got int32
		for at := 0; at < len(stream); at += cut {
			got += f.count(stream[at:min(at+cut, len(stream))])
		}
		if got != 3 || !f.between() {
			t.Errorf("in pieces of %d: %d messages, between %v", cut, got, f.between())
		}
	}
	var f framing
	if n := f.count(stream[:6]); n != 0 || f.between() {
		t.Errorf("in the middle: %d, %v", n, f.between())
	}
}

// TestFramingOfHugeSizes is of sizes that only a broken stream has: they must not be counted.
func TestFramingOfHugeSizes(t *testing.T) {
	f := framing{}
	if n := f.count([]byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3}); n != 0 || f.between() {
		t.Error(n, f.between())
	}
}
