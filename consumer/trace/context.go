// Package trace is what engine and gateway know of distributed traces: which of them an event belongs to (W3C Trace
// Context), whether it is sampled, and the spans that come of it. It sends nothing; package otlp does.
//
// The ids of an event's spans are no random numbers but a hash of the record's place in the log. So a result that is
// published again after a crash (guarantee: at_least_once) has the same bytes, traceparent included, and a span that is
// sent again is the same span.
package trace

import (
	"encoding/binary"
	"encoding/hex"
)

// ID is the id of a trace; the zero value is none.
type ID [16]byte

// SpanID is the id of a span within its trace; the zero value is none.
type SpanID [8]byte

// Context names a span and its trace, as the header traceparent does. The zero value names none.
type Context struct {
	Trace ID
	Span  SpanID
	Flags byte
}

// Flags of a Context.
const (
	FlagSampled = 1                        // the spans of the trace are recorded
	flagRandom  = 2                        // the id of the trace is random
	flagsKnown  = FlagSampled | flagRandom // the others are nobody's yet, and not passed on
)

// Valid reports whether the context names a span.
func (c Context) Valid() bool { return c.Trace != ID{} && c.Span != SpanID{} }

// Sampled reports whether the spans of the trace are recorded.
func (c Context) Sampled() bool { return c.Flags&FlagSampled != 0 }

// Parse reads a traceparent: version, trace id, parent id and flags in lower-case hex (W3C Trace Context, 3.2). Of a
// version that is not known yet the beginning is read, as the standard asks. What is no traceparent gives the zero value.
func Parse(text []byte) Context {
	const (
		size    = len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
		traceAt = 3
		spanAt  = traceAt + 32 + 1
		flagsAt = spanAt + 16 + 1
	)
	if len(text) < size || text[traceAt-1] != '-' || text[spanAt-1] != '-' || text[flagsAt-1] != '-' {
		return Context{}
	}
	var c Context
	var version, flags [1]byte
	if !decodeHex(version[:], text[:traceAt-1]) || !decodeHex(c.Trace[:], text[traceAt:spanAt-1]) ||
		!decodeHex(c.Span[:], text[spanAt:flagsAt-1]) || !decodeHex(flags[:], text[flagsAt:size]) {
		return Context{}
	}
	c.Flags = flags[0] & flagsKnown
	switch {
	case !c.Valid(), version[0] == 0xff, version[0] == 0 && len(text) > size, len(text) > size && text[size] != '-':
		return Context{}
	}
	return c
}

// decodeHex reads lower-case hex of twice the length of dst.
func decodeHex(dst, text []byte) bool {
	for _, c := range text {
		if 'A' <= c && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(dst, text)
	return err == nil
}

// AppendTraceparent appends the text of the header traceparent.
func (c Context) AppendTraceparent(dst []byte) []byte {
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, c.Trace[:])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, c.Span[:])
	return append(dst, '-', '0', '0'+c.Flags&flagsKnown)
}

// Child returns the context of a span below c, with an id of its own for each number.
func (c Context) Child(number int) Context {
	span := mix(binary.BigEndian.Uint64(c.Span[:]) + uint64(number+1)*golden)
	c.Span = spanID(span)
	return c
}

func spanID(n uint64) (id SpanID) {
	binary.BigEndian.PutUint64(id[:], max(n, 1)) // zero is none
	return id
}
