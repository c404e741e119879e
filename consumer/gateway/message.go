package gateway

import (
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// messageState is where a message stands between its request and its lane:
//
//	queued -> sending -> done
//	             |  ^
//	             v  |
//	           queued -> withdrawn
//
// Only the lane sends and finishes, only the request withdraws.
type messageState int32

const (
	stateQueued    messageState = iota // not sent, or certainly not written
	stateSending                       // a produce request holds it
	stateDone                          // its outcome is known to the request
	stateWithdrawn                     // the request has gone: never to be sent
)

// String returns the state's name.
func (s messageState) String() string {
	switch s {
	case stateQueued:
		return "queued"
	case stateSending:
		return "sending"
	case stateDone:
		return "done"
	default:
		return "withdrawn"
	}
}

// outcome is what became of a message: its offset, or a *writeError.
type outcome struct {
	offset int64
	err    error
}

// message is an event on its way to the input topic.
type message struct {
	partition  int32
	time       time.Time
	key, value []byte
	headers    []protocol.Header

	state atomic.Int32
	done  chan outcome // holds the one outcome, so that a lane never waits for a request
}

func newMessage(partition int32, at time.Time, key, value []byte, headers []protocol.Header) *message {
	return &message{
		partition: partition, time: at, key: key, value: value, headers: headers, done: make(chan outcome, 1),
	}
}

// move changes the state if it is from.
func (m *message) move(from, to messageState) bool {
	return m.state.CompareAndSwap(int32(from), int32(to))
}

// withdraw keeps a message that was not sent from being sent. False: it is being sent or done.
func (m *message) withdraw() bool { return m.move(stateQueued, stateWithdrawn) }

// finish gives the request its outcome. The message is sending.
func (m *message) finish(o outcome) {
	if !m.move(stateSending, stateDone) {
		panic("gateway: a message is finished that is " + messageState(m.state.Load()).String())
	}
	m.done <- o
}

// Bytes of a record beside key, value and headers, and of a header beside name and value, at most:
// lengths, deltas of time and offset, attributes.
const (
	recordOverheadBytes = 40
	headerOverheadBytes = 10
)

// size bounds the message's bytes in a record batch.
func (m *message) size() int {
	n := recordOverheadBytes + len(m.key) + len(m.value)
	for _, h := range m.headers {
		n += headerOverheadBytes + len(h.Key) + len(h.Value)
	}
	return n
}
