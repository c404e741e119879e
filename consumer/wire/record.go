package wire

import (
	"encoding/binary"
	"iter"
)

// Record is one record of a partition. It and all that it refers to are valid
// only during the callback that gets it.
type Record struct {
	Offset     int64
	TimeMillis int64
	Key        []byte // nil: null, as opposed to empty.
	Value      []byte // nil: null (a tombstone), as opposed to empty.

	headers     []byte // Checked when the record was read.
	headerCount int
}

// HeaderCount returns the number of headers.
func (r *Record) HeaderCount() int { return r.headerCount }

// Headers yields the names and values of the headers in their order. A name
// may come more than once; a null value is nil.
func (r *Record) Headers() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		rest := r.headers
		for range r.headerCount {
			var name, value []byte
			name, rest, _ = varbytes(rest)
			value, rest, _ = varbytes(rest)
			if !yield(name, value) {
				return
			}
		}
	}
}

// Header returns the value of the last header of that name, as Kafka's own
// clients do, and whether there is one.
func (r *Record) Header(name string) (value []byte, ok bool) {
	rest := r.headers
	for range r.headerCount {
		var n, v []byte
		n, rest, _ = varbytes(rest)
		v, rest, _ = varbytes(rest)
		if string(n) == name {
			value, ok = v, true
		}
	}
	return value, ok
}

// varint reads a zigzag varint. Nearly all have one byte or two.
func varint(b []byte) (v int64, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), b[1:], true
	}
	return longVarint(b)
}

func longVarint(b []byte) (v int64, rest []byte, ok bool) {
	if len(b) > 1 && b[1] < 0x80 {
		u := uint64(b[0]&0x7f) | uint64(b[1])<<7
		return int64(u>>1) ^ -int64(u&1), b[2:], true
	}
	v, n := binary.Varint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

// varbytes reads a byte string with a varint length; -1 is null.
func varbytes(b []byte) (v, rest []byte, ok bool) {
	n, b, ok := varint(b)
	if !ok || n > int64(len(b)) || n < -1 {
		return nil, nil, false
	}
	if n == -1 {
		return nil, b, true
	}
	return b[:n:n], b[n:], true
}

// parse reads a record without its length. base and first are the offset and
// the timestamp that the batch's deltas count from.
func (r *Record) parse(b []byte, base, first int64) (delta int64, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	b = b[1:] // Attributes of a record have no meaning yet.
	timestamp, b, ok := varint(b)
	if !ok {
		return 0, false
	}
	if delta, b, ok = varint(b); !ok {
		return 0, false
	}
	if r.Key, b, ok = varbytes(b); !ok {
		return 0, false
	}
	if r.Value, b, ok = varbytes(b); !ok {
		return 0, false
	}
	n, b, ok := varint(b)
	if !ok || n < 0 || n > int64(len(b)/2) {
		return 0, false
	}
	r.Offset, r.TimeMillis = base+delta, first+timestamp
	r.headers, r.headerCount = b, int(n)
	for range n {
		var name []byte
		if name, b, ok = varbytes(b); !ok || name == nil {
			return 0, false
		}
		if _, b, ok = varbytes(b); !ok {
			return 0, false
		}
	}
	return delta, len(b) == 0
}
