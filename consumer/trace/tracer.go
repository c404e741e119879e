package trace

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"time"
)

// Tracer says what is traced, and takes the spans. A nil one traces nothing. Its methods are safe for concurrent use.
type Tracer struct {
	// Sink takes the finished spans.
	Sink Sink
	// Ratio is the share, from 0 to 1, that is sampled of what comes without a valid traceparent. What comes with one
	// is sampled if its flag says so.
	Ratio float64
	// BatchEventsMax bounds the events of one lane in one transaction whose spans are sent.
	BatchEventsMax int
}

// Sink takes finished spans. Its methods never block, and are safe for concurrent use.
type Sink interface {
	// Take takes spans; they are the sink's from then on.
	Take(spans []Span)
	// Drop counts spans that were not made, since there were too many.
	Drop(spans int)
}

// Kind is what a span is to those before and after it.
type Kind int

// Kinds of spans, as of OpenTelemetry.
const (
	KindInternal Kind = iota
	KindServer
	KindProducer
	KindConsumer
)

// Span is something that took time.
type Span struct {
	Name       string
	Kind       Kind
	Context    Context
	Parent     SpanID // zero: it begins its trace
	Start, End time.Time
	Attributes []Attribute
	// Error is why it failed; empty: it did not.
	Error string
}

// Attribute is something that is known of a span. The value is a string or an int64.
type Attribute struct {
	Key   string
	Value any
}

// Text is an attribute that is a text.
func Text(key, value string) Attribute { return Attribute{key, value} }

// Number is an attribute that is a whole number.
func Number(key string, value int64) Attribute { return Attribute{key, value} }

// samples decides about a trace that begins here, by its id: whoever decides by the same ratio decides the same.
func (t *Tracer) samples(id ID) bool {
	const bits = 63 // as OpenTelemetry's samplers take them, from the end of the id
	return float64(binary.BigEndian.Uint64(id[8:])>>(64-bits)) < t.Ratio*(1<<bits)
}

// Partition gives the records of a partition, as one consumer group reads them, the ids of their spans.
type Partition struct{ seeds [3]uint64 }

// NewPartition returns the ids of a partition. What it is called by should be its alone, in this and in other clusters.
func NewPartition(names ...string) Partition {
	hash := sha256.Sum256([]byte(strings.Join(names, "\x00")))
	var p Partition
	for i := range p.seeds {
		p.seeds[i] = binary.BigEndian.Uint64(hash[8*i:])
	}
	return p
}

// Record returns the span of a record, below the span that its traceparent names. Without one it begins a trace. False:
// it is not sampled.
func (t *Tracer) Record(p *Partition, offset int64, parent Context) (Context, bool) {
	c := parent
	if !parent.Valid() {
		if t.Ratio <= 0 {
			return Context{}, false
		}
		c.Flags = FlagSampled
		binary.BigEndian.PutUint64(c.Trace[:8], max(p.hash(0, offset), 1)) // all zeros is none
		binary.BigEndian.PutUint64(c.Trace[8:], p.hash(1, offset))
		if !t.samples(c.Trace) {
			return Context{}, false
		}
	} else if !parent.Sampled() {
		return Context{}, false
	}
	c.Span = spanID(p.hash(2, offset))
	return c, true
}

// Request returns a span with random ids for a request, below the span that its traceparent names. Without one it begins a
// trace. It is sampled or not; either way its traceparent is to be passed on, so that those after it do the same.
func (t *Tracer) Request(parent Context) Context {
	c := parent
	if !parent.Valid() {
		binary.BigEndian.PutUint64(c.Trace[:8], max(rand.Uint64(), 1)) // all zeros is none
		binary.BigEndian.PutUint64(c.Trace[8:], rand.Uint64())
		c.Flags = flagRandom
		if t.samples(c.Trace) {
			c.Flags |= FlagSampled
		}
	}
	c.Span = spanID(rand.Uint64())
	return c
}

func (p *Partition) hash(seed int, offset int64) uint64 {
	return mix(p.seeds[seed] + uint64(offset)*golden)
}

// golden is 2^64 divided by the golden ratio: multiples of it are far from each other.
const golden = 0x9e3779b97f4a7c15

// mix spreads a change of any bit over all bits, one to one (the finalizer of SplitMix64).
func mix(n uint64) uint64 {
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
