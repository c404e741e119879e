package sim

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// network is one member's way to the brokers: the Dial of its client. Each connection has a goroutine that passes one
// request after the other, and its answer, and does to them what the script says. So faults are made at the member's
// end: producers and the checker meet none, and the broker is used as it is.
type network struct {
	script *script
	tamper tamper // nil but for planted faults

	links *sync.WaitGroup // connections of all members, which may outlive theirs: see cut
	late  *sync.WaitGroup // late requests of all members

	mu     sync.Mutex
	down   bool
	frozen chan struct{} // closed at the thaw; nil: not frozen
	open   map[*link]struct{}
}

// tamper may answer a request in place of the broker, or change it on its way: planted faults that no real network has.
type tamper func(r request, forward func(frame []byte) ([]byte, error)) (answer []byte, handled bool, err error)

func newNetwork(s *script, links, late *sync.WaitGroup, t tamper) *network {
	return &network{script: s, links: links, late: late, tamper: t, open: map[*link]struct{}{}}
}

// link is one connection.
type link struct {
	network        *network
	client, server net.Conn
	addr           string
}

var errDown = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("the simulated network is down")}

// dial is the Dial of a client.
func (n *network) dial(ctx context.Context, protocol, addr string) (net.Conn, error) {
	if err := n.thawed(ctx); err != nil {
		return nil, err
	}
	server, err := new(net.Dialer).DialContext(ctx, protocol, addr)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	l := &link{network: n, client: far, server: server, addr: addr}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		_ = server.Close()
		return nil, errDown
	}
	n.open[l] = struct{}{}
	n.links.Go(l.serve)
	return near, nil
}

// cut closes all connections and refuses new ones until mend. The broker's end of one closes only when the broker has
// answered what it has, as with a host that is gone without a word. kfake needs that: a member of a group whose answer
// meets a closed connection gets no session timeout, and would never leave its group.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = true
	for l := range n.open {
		_ = l.client.Close()
	}
}

func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = false
}

// freeze holds everything where it is until thaw: requests that are on their way arrive then, even when the member has
// given them up.
func (n *network) freeze() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.frozen == nil {
		n.frozen = make(chan struct{})
	}
}

func (n *network) thaw() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.frozen != nil {
		close(n.frozen)
		n.frozen = nil
	}
}

// thawed waits until the network is not frozen.
func (n *network) thawed(ctx context.Context) error {
	n.mu.Lock()
	frozen := n.frozen
	n.mu.Unlock()
	if frozen == nil {
		return nil
	}
	select {
	case <-frozen:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the network for good. Connections that wait for an answer end with the cluster.
func (n *network) close() {
	n.thaw()
	n.cut()
}

// serve passes requests until an end closes.
func (l *link) serve() {
	kept := false // the server's end belongs to a late request
	defer func() {
		l.network.mu.Lock()
		delete(l.network.open, l)
		l.network.mu.Unlock()
		_ = l.client.Close()
		if !kept {
			_ = l.server.Close()
		}
	}()
	for {
		frame, err := readFrame(l.client)
		if err != nil {
			return
		}
		r, err := parseHeader(frame)
		if err != nil {
			return
		}
		f := l.network.script.next(kind(r.key))
		if f != nil && f.action == late {
			kept = true
			l.deliverLate(f, frame)
			return
		}
		answer, err := l.pass(r, f)
		if err != nil || l.network.thawed(context.Background()) != nil {
			return
		}
		if _, err := l.client.Write(answer); err != nil {
			return
		}
	}
}

// errCut ends a connection.
var errCut = errors.New("sim: the connection is cut")

// pass does one request and returns its answer.
func (l *link) pass(r request, f *fault) ([]byte, error) {
	_ = l.network.thawed(context.Background())
	if f == nil {
		if l.network.tamper != nil {
			if answer, handled, err := l.network.tamper(r, l.forward); handled || err != nil {
				return answer, err
			}
		}
		return l.forward(r.frame)
	}
	switch f.action {
	case lost:
		return nil, errCut
	case silent:
		_, _ = io.Copy(io.Discard, l.client) // until the client gives up
		return nil, errCut
	case unheard:
		_, _ = l.forward(r.frame)
		return nil, errCut
	case slow:
		if !f.answer {
			time.Sleep(f.pause) // the fault itself
		}
		answer, err := l.forward(r.frame)
		if f.answer {
			time.Sleep(f.pause)
		}
		return answer, err
	}
	return l.code(r, f)
}

// forward gives a frame to the broker and returns its answer.
func (l *link) forward(frame []byte) ([]byte, error) {
	if _, err := l.server.Write(frame); err != nil {
		return nil, err
	}
	return readFrame(l.server)
}

// code answers with a code. A fault that the request has no place for waits for the next one of its kind.
func (l *link) code(r request, f *fault) ([]byte, error) {
	m := r.message()
	switch request := m.(type) {
	case *kmsg.MetadataRequest: // it changes nothing at the broker
		answer, err := l.forward(r.frame)
		if err != nil {
			return nil, err
		}
		a := r.decodeAnswer(m, answer).(*kmsg.MetadataResponse)
		if !refuseMetadata(a, f.code, f.action == partly) {
			l.network.script.postpone(f)
			return answer, nil
		}
		return r.answer(a), nil
	case *kmsg.ProduceRequest:
		if f.action != partly {
			break
		}
		topic, partition, ok := withoutFirst(request)
		if !ok {
			l.network.script.postpone(f)
			return l.forward(r.frame)
		}
		answer, err := l.forward(r.with(request))
		if err != nil {
			return nil, err
		}
		a := r.decodeAnswer(m, answer).(*kmsg.ProduceResponse)
		addRefused(a, topic, partition, f.code)
		return r.answer(a), nil
	}
	a := blank(m)
	if f.action == applied {
		answer, err := l.forward(r.frame)
		if err != nil {
			return nil, err
		}
		a = r.decodeAnswer(m, answer)
	}
	// Before version 2 OffsetFetch has no place at the top: the coordinator's codes stand at each partition.
	setCodes(a, f.code, f.top && (r.key != int16(kmsg.OffsetFetch) || r.version >= 2))
	return r.answer(a), nil
}

// carryOutMax is how long a broker takes at most to carry out a request, answered or not: JoinGroup and Fetch may wait.
const carryOutMax = 300 * time.Millisecond

// deliverLate leaves the client without an answer and gives its request to the broker later, on the same connection.
func (l *link) deliverLate(f *fault, frame []byte) {
	l.network.late.Go(func() {
		defer l.server.Close()
		time.Sleep(f.pause) // the fault itself
		_ = l.server.SetReadDeadline(time.Now().Add(carryOutMax))
		_, _ = l.forward(frame)
	})
	if f.hang {
		_, _ = io.Copy(io.Discard, l.client)
	}
}
