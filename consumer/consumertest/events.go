package consumertest

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Kind says what an input record is to Lapwing.
type Kind uint8

// The kinds of input records.
const (
	KindEvent Kind = iota
	KindBad
	KindTombstone
)

// HeaderPlanted is the header in which a Generator notes the reason it planted in a bad record, for the checker. Lapwing
// knows nothing of it and keeps it in the dead letter like any other header.
const HeaderPlanted = "planted-reason"

// Input is one generated input record. Its slices are never changed again.
type Input struct {
	Kind    Kind
	Reason  string // of a bad record
	User    int64  // of an event
	Key     []byte // nil: a null key, in a partition that the generator draws
	Value   []byte // nil: a tombstone
	Headers []kgo.RecordHeader
	// Shift moves the record so many partitions on from the one that its key names; above 0 only where an event belongs
	// into another partition (strays), which a topic of one partition cannot show.
	Shift int
	// Draw chooses the partition of a record without key.
	Draw uint32
}

// EventOptions configures a Generator. The zero value makes good events of 1000 uniform users.
type EventOptions struct {
	Seed      uint64
	Users     int   // distinct users; 0: 1000
	UserFirst int64 // the users are UserFirst .. UserFirst+Users-1
	// Zipf is the exponent of a Zipf distribution of users, above 1; 0: uniform.
	Zipf float64
	// Hot is the share of events of one hot user, UserFirst, beside those that the distribution gives it.
	Hot float64
	// TimeFirst is the first event time in seconds; 0: 1000.
	TimeFirst int64
	// GapSeconds is the mean event time between two events of a user; 0: 6, so that a window of 30 s holds about five.
	GapSeconds float64
	// LatenessMax is how far, in seconds, an event may be behind the latest time; 0: 30, negative: no event is late.
	LatenessMax int64
	// Ordinary: amounts of two decimals, and no unknown members: what most producers send, and not what finds mistakes.
	Ordinary   bool
	Bad        float64  // share of records that are no events
	Reasons    []string // that bad records are drawn from; empty: all of BadReasons
	Strays     float64  // share of events in another partition than their user's
	Tombstones float64  // share of null values
	Headers    float64  // share of events with a request id, a traceparent and a header of their own
}

// Generator makes a sequence of input records that depends on its options alone. It is used by one goroutine at a time.
type Generator struct {
	o     EventOptions
	rng   *rand.Rand
	zipf  *rand.Zipf
	made  uint64
	clock float64 // event time, seconds
	step  float64
	slab  []byte
}

// NewGenerator returns a generator at its first record.
func NewGenerator(o EventOptions) *Generator {
	if o.Users <= 0 {
		o.Users = 1000
	}
	if o.TimeFirst <= 0 {
		o.TimeFirst = 1000
	}
	if o.GapSeconds <= 0 {
		o.GapSeconds = 6
	}
	if o.LatenessMax == 0 {
		o.LatenessMax = 30
	}
	if len(o.Reasons) == 0 {
		o.Reasons = BadReasons()
	}
	g := &Generator{
		o: o, rng: rand.New(rand.NewPCG(o.Seed, 0x6c617077696e67)),
		clock: float64(o.TimeFirst), step: o.GapSeconds / float64(o.Users),
	}
	if o.Zipf > 1 {
		g.zipf = rand.NewZipf(g.rng, o.Zipf, 1, uint64(o.Users-1))
	}
	return g
}

// Made returns how many records were made.
func (g *Generator) Made() uint64 { return g.made }

// Next makes the next record.
func (g *Generator) Next() Input {
	g.made++
	g.clock += g.step
	user := g.user()
	switch draw := g.rng.Float64(); {
	case draw < g.o.Bad:
		return g.bad(user)
	case draw < g.o.Bad+g.o.Tombstones:
		return Input{Kind: KindTombstone, Key: g.userKey(user)}
	}
	in := g.event(user)
	if g.o.Strays > 0 && g.rng.Float64() < g.o.Strays {
		in.Shift = 1 + g.rng.IntN(straysShiftMax)
	}
	if g.o.Headers > 0 && g.rng.Float64() < g.o.Headers {
		in.Headers = g.headers()
	}
	return in
}

// straysShiftMax is how many partitions a stray is moved on, at most. Where that is a multiple of the partition count it is
// in its own.
const straysShiftMax = 12

func (g *Generator) user() int64 {
	if g.o.Hot > 0 && g.rng.Float64() < g.o.Hot {
		return g.o.UserFirst
	}
	if g.zipf != nil {
		return g.o.UserFirst + int64(g.zipf.Uint64())
	}
	return g.o.UserFirst + g.rng.Int64N(int64(g.o.Users))
}

// time draws an event time: a third of the events are late, by up to LatenessMax seconds, both bounds included.
func (g *Generator) time() int64 {
	now := int64(g.clock)
	if g.o.LatenessMax <= 0 || g.rng.IntN(3) > 0 {
		return now
	}
	return max(now-g.rng.Int64N(g.o.LatenessMax+1), 0)
}

// Amounts that stand at a limit of the built-in rules, or just beside it.
var (
	withdrawals = []string{"100", "100.00", "100.01", "99.99", "100.000000000000000001", "99.999999999999999999", "200.00", "101", "0.01"}
	deposits    = []string{"66.67", "66.66", "100.00", "100.01", "100", "99.99", "50", "50.00", "200", "200.01", "0.000000000000000001", "20.5"}
)

func (g *Generator) event(user int64) Input {
	typ, amounts := "deposit", deposits
	if g.rng.IntN(2) == 0 {
		typ, amounts = "withdraw", withdrawals
	}
	b := g.room()
	b = append(b, `{"type":"`...)
	b = append(b, typ...)
	b = append(b, `","amount":"`...)
	if !g.o.Ordinary && g.rng.IntN(2) == 0 {
		b = append(b, amounts[g.rng.IntN(len(amounts))]...)
	} else {
		b = appendCents(b, 1+g.rng.Int64N(12_000))
	}
	b = append(b, `","user_id":`...)
	b = strconv.AppendInt(b, user, 10)
	b = append(b, `,"time":`...)
	b = strconv.AppendInt(b, g.time(), 10)
	if !g.o.Ordinary && g.rng.IntN(16) == 0 {
		b = append(b, `,"note":"an unknown member is ignored"`...)
	}
	b = append(b, '}')
	return Input{Kind: KindEvent, User: user, Value: g.keep(b), Key: g.userKey(user)}
}

func appendCents(b []byte, cents int64) []byte {
	b = strconv.AppendInt(b, cents/100, 10)
	return append(b, '.', byte('0'+cents/10%10), byte('0'+cents%10))
}

func (g *Generator) headers() []kgo.RecordHeader {
	return []kgo.RecordHeader{
		{Key: "origin", Value: []byte("generator")},
		{Key: headerRequestID, Value: fmt.Appendf(nil, "request-%d-%d", g.o.Seed, g.made)},
		{Key: headerTraceparent, Value: fmt.Appendf(nil, "00-%016x%016x-%016x-01", g.o.Seed, g.made, g.rng.Uint64())},
	}
}

func (g *Generator) userKey(user int64) []byte {
	return g.keep(strconv.AppendInt(g.room(), user, 10))
}

// room returns an empty slice with space for an ordinary value; keep takes what was appended. Together they make one
// allocation for hundreds of records.
func (g *Generator) room() []byte {
	const slabBytes, valueBytesMax = 64 << 10, 512
	if cap(g.slab)-len(g.slab) < valueBytesMax {
		g.slab = make([]byte, 0, slabBytes)
	}
	return g.slab[len(g.slab):len(g.slab):cap(g.slab)]
}

func (g *Generator) keep(b []byte) []byte {
	g.slab = g.slab[:len(g.slab)+len(b)]
	return b[:len(b):len(b)]
}
