package gateway

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync"
)

// waiters are the requests that wait for a result, by request id. It is safe for concurrent use.
//
// An id is the instance, 128 random bits in hex, and a number. Without the instance's bits nobody can
// make an id that is taken for one of ours, so a result never reaches another client's request.
type waiters struct {
	prefix []byte

	mu      sync.Mutex
	last    uint64
	results map[uint64]chan []byte
}

// newWaiters draws a new instance.
func newWaiters() *waiters {
	var instance [16]byte
	rand.Read(instance[:]) // never fails: crypto/rand ends the process instead
	return &waiters{
		prefix:  append(hex.AppendEncode(nil, instance[:]), '-'),
		results: make(map[uint64]chan []byte),
	}
}

// waiter is one request's place; give it back with remove.
type waiter struct {
	number uint64
	id     []byte
	result <-chan []byte // gets at most one value and never blocks the reader
}

// add makes a place under a new id.
func (w *waiters) add() waiter {
	result := make(chan []byte, 1)
	w.mu.Lock()
	w.last++
	number := w.last
	w.results[number] = result
	w.mu.Unlock()
	id := append(make([]byte, 0, len(w.prefix)+20), w.prefix...)
	return waiter{number: number, id: strconv.AppendUint(id, number, 10), result: result}
}

// remove ends the wait. A result that comes later is dropped.
func (w *waiters) remove(p waiter) {
	w.mu.Lock()
	delete(w.results, p.number)
	w.mu.Unlock()
}

// fate is what became of a record of the output topic.
type fate int

const (
	fateForeign   fate = iota // of no request of this gateway
	fateLate                  // of one that waits no more, or the copy of a result
	fateDelivered             // taken by its request
	fateCount
)

// String returns the metric's label.
func (f fate) String() string {
	switch f {
	case fateForeign:
		return "foreign"
	case fateLate:
		return "late"
	default:
		return "delivered"
	}
}

// deliver gives a copy of the value to the request of this id, if it waits here.
func (w *waiters) deliver(id, value []byte) fate {
	text, ours := bytes.CutPrefix(id, w.prefix)
	if !ours {
		return fateForeign
	}
	number, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return fateForeign
	}
	w.mu.Lock()
	result := w.results[number]
	delete(w.results, number) // at_least_once may repeat a result: the first one counts
	w.mu.Unlock()
	if result == nil {
		return fateLate
	}
	result <- bytes.Clone(value)
	return fateDelivered
}
