package consumertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// outcome is what must become of an input record.
type outcome uint8

const (
	outcomeNone      outcome = iota // no record of ours at this offset: a marker, or compacted
	outcomeTombstone                // nothing is written
	outcomeDead
	outcomeEvent   // read, not judged yet
	outcomeResult  // a result
	outcomeSilent  // judged, but not published (results: alerts)
	outcomeForked  // a result or none: what is known allows several outcomes, in lane.forks
	outcomeDeleted // nothing is written: it was deleted before any engine had judged it
	outcomeOrdered // a result; which one is known when it is found: that of an event of an ordered user
)

// Flags of an expected record.
const (
	flagFound   uint8 = 1 << iota
	flagEvent         // it is an event that is judged, whatever becomes of it
	flagHeaders       // lane.headers holds what travels to the result
	flagAwaited       // somebody waits for the result: it has a request id
	flagForeign       // the user belongs to another partition, or did: it may have been forwarded
	flagOrdered       // its user is an ordered user
)

// expected is what is known of one input record, and what was found of it. It is small and has no pointers: there are
// millions.
type expected struct {
	user, time int64
	digest     uint64 // of the value of the result that is due
	amount     uint32 // in expectation.amounts
	outcome    outcome
	typ        uint8
	codes      uint8 // bits of the codes that are due
	flags      uint8
}

func (e *expected) is(flag uint8) bool { return e.flags&flag != 0 }

// amount is one text of an amount that was met, and its value.
type amount struct {
	text  string
	value money
}

// lane is the expectation of one input partition.
type lane struct {
	topic     string
	partition int32
	first     int64 // the offset of the first record
	length    int64 // records follow each other without a gap: outcomeNone fills it
	pages     [][]expected
	letters   map[int64]*letter // the dead letters that are due
	headers   map[int64]travel  // what travels from an event to its result
	holes     holes
	forks     map[int64]*fork
	left      candidates // after the check: those that the results leave
}

func newLane(topic string, partition int32) *lane {
	return &lane{topic: topic, partition: partition, letters: map[int64]*letter{}, headers: map[int64]travel{}, forks: map[int64]*fork{}}
}

// pageRecords is how many records have one piece of memory, so that growing moves none.
const pageRecords = 8192

// at returns nil for an offset outside.
func (l *lane) at(offset int64) *expected {
	i := offset - l.first
	if i < 0 || i >= l.length {
		return nil
	}
	return &l.pages[i/pageRecords][i%pageRecords]
}

// end is the offset after the last record.
func (l *lane) end() int64 { return l.first + l.length }

func (l *lane) add(offset int64, e expected) {
	if l.length == 0 {
		l.first = offset
	}
	for l.end() < offset {
		l.push(expected{})
	}
	l.push(e)
}

func (l *lane) push(e expected) {
	if l.length%pageRecords == 0 {
		l.pages = append(l.pages, make([]expected, 0, pageRecords))
	}
	last := &l.pages[len(l.pages)-1]
	*last = append(*last, e)
	l.length++
}

// travellingBytesMax is the longest header that travels.
const travellingBytesMax = 256

// travel is what the headers of an event bring to its result; nil: no such header.
type travel struct{ requestID, traceparent []byte }

// expectation keeps what is in the input topics, and says what must be in the other topics.
type expectation struct {
	o       CheckOptions
	lanes   []*lane            // by topic and partition; those of partitions that came later follow
	inputs  map[string][]*lane // by topic: its lanes by partition
	first   int32              // how many partitions each input had at first
	byUser  partitioner
	homes   map[layoutKey]partitioner // those that say where a user belonged at some time, with byUser
	amounts []amount
	known   map[string]uint32 // the place of an amount's text
	seed    maphash.Seed
	scratch []byte
}

// layoutKey is what says where a user belongs: a partitioner, for so many partitions.
type layoutKey struct {
	partitioner string
	partitions  int32
}

func newExpectation(o CheckOptions, partitions int32) (*expectation, error) {
	x := &expectation{
		o: o, inputs: map[string][]*lane{}, first: partitions, homes: map[layoutKey]partitioner{}, known: map[string]uint32{},
		seed: maphash.MakeSeed(),
	}
	return x, x.grow(partitions)
}

// grow gives each input so many partitions, if it has fewer. A group may have judged with any number in between.
func (x *expectation) grow(partitions int32) (err error) {
	for _, topic := range x.o.Inputs {
		for p := int32(len(x.inputs[topic])); p < partitions; p++ {
			l := newLane(topic, p)
			x.inputs[topic], x.lanes = append(x.inputs[topic], l), append(x.lanes, l)
		}
	}
	for _, name := range append([]string{x.o.Partitioner}, x.o.Former...) {
		for n := x.first; n <= x.partitions(); n++ {
			key := layoutKey{name, n}
			if x.homes[key] == nil {
				if x.homes[key], err = newPartitioner(name, n); err != nil {
					return err
				}
			}
		}
	}
	x.byUser = x.homes[layoutKey{x.o.Partitioner, x.partitions()}]
	return nil
}

// partitions returns how many partitions each input has.
func (x *expectation) partitions() int32 { return int32(len(x.inputs[x.o.Inputs[0]])) }

// lane returns nil for a partition that the input does not have.
func (x *expectation) lane(topic string, partition int32) *lane {
	lanes := x.inputs[topic]
	if partition < 0 || int(partition) >= len(lanes) {
		return nil
	}
	return lanes[partition]
}

// inputEvent reads the members of an event. What is no event is planted, and says so in a header.
type inputEvent struct {
	Type   *string `json:"type"`
	Amount *string `json:"amount"`
	UserID *int64  `json:"user_id"`
	Time   *int64  `json:"time"`
}

// add takes the next input record of its partition, of which it keeps nothing. An error is a fault of the test: a record
// that is neither an event nor planted.
func (x *expectation) add(r *kgo.Record) error {
	if r.Partition >= x.partitions() { // the topic has grown
		if err := x.grow(r.Partition + 1); err != nil {
			return err
		}
	}
	l := x.lane(r.Topic, r.Partition)
	if l == nil {
		return fmt.Errorf("consumertest: input %s/%d/%d: the topic had %d partitions", r.Topic, r.Partition, r.Offset, x.partitions())
	}
	if r.Value == nil {
		l.add(r.Offset, expected{outcome: outcomeTombstone})
		return nil
	}
	if _, planted := header(r, HeaderPlanted); planted {
		l.letters[r.Offset] = newLetter(r)
		l.add(r.Offset, expected{outcome: outcomeDead})
		return nil
	}
	e, err := x.event(r)
	if err != nil {
		return fmt.Errorf("consumertest: input %s/%d/%d is no event and has no header %s: %q (%w)",
			r.Topic, r.Partition, r.Offset, HeaderPlanted, r.Value, err)
	}
	e.flags |= flagEvent
	if len(r.Headers) > 0 {
		t := travel{requestID: travelling(r, headerRequestID), traceparent: travelling(r, headerTraceparent)}
		if t.requestID != nil || t.traceparent != nil {
			l.headers[r.Offset] = t
			e.flags |= flagHeaders
		}
		if t.requestID != nil {
			e.flags |= flagAwaited
		}
	}
	l.add(r.Offset, e)
	return nil
}

// partitionOf returns the partition that a user's events belong to.
func (x *expectation) partitionOf(user int64) int32 {
	x.scratch = strconv.AppendInt(x.scratch[:0], user, 10)
	return x.byUser(x.scratch)
}

// stays reports whether the user has belonged to one partition all the time.
func (x *expectation) stays(user int64) bool {
	home := x.partitionOf(user)
	for _, other := range x.homes {
		if other(x.scratch) != home {
			return false
		}
	}
	return true
}

// event decodes an event.
func (x *expectation) event(r *kgo.Record) (expected, error) {
	e := expected{outcome: outcomeEvent}
	var typ, text []byte
	var ok bool
	if typ, text, e.user, e.time, ok = plainEvent(r.Value); !ok {
		var ev inputEvent
		if err := json.Unmarshal(r.Value, &ev); err != nil {
			return e, err
		}
		if ev.Type == nil || ev.Amount == nil || ev.UserID == nil || ev.Time == nil {
			return e, errors.New("a member is missing")
		}
		typ, text, e.user, e.time = []byte(*ev.Type), []byte(*ev.Amount), *ev.UserID, *ev.Time
	}
	t := slices.Index(typeNames[:], string(typ))
	if t < 0 {
		return e, fmt.Errorf("type %q", typ)
	}
	e.typ = uint8(t)
	at, known := x.known[string(text)]
	if !known {
		a := amount{text: string(text)}
		var err error
		if a.value, err = parseMoney(a.text); err != nil {
			return e, err
		}
		at = uint32(len(x.amounts))
		x.amounts = append(x.amounts, a)
		x.known[a.text] = at
	}
	e.amount = at
	return e, nil
}

// plainEvent reads an event that is written as the generator writes it, many times faster than encoding/json. Of anything
// else it says nothing.
func plainEvent(value []byte) (typ, amount []byte, user, at int64, ok bool) {
	rest, ok1 := bytes.CutPrefix(value, []byte(`{"type":"`))
	typ, rest, ok2 := bytes.Cut(rest, []byte(`","amount":"`))
	amount, rest, ok3 := bytes.Cut(rest, []byte(`","user_id":`))
	userText, rest, ok4 := bytes.Cut(rest, []byte(`,"time":`))
	timeText, rest, noted := bytes.Cut(rest, []byte(`,"note":"`))
	if noted {
		rest, noted = bytes.CutSuffix(rest, []byte(`"}`))
	} else {
		timeText, noted = bytes.CutSuffix(timeText, []byte(`}`))
	}
	if !ok1 || !ok2 || !ok3 || !ok4 || !noted || quotes(typ) || quotes(amount) || quotes(rest) {
		return nil, nil, 0, 0, false
	}
	user, ok1 = plainNumber(userText)
	at, ok2 = plainNumber(timeText)
	return typ, amount, user, at, ok1 && ok2
}

// quotes says whether a JSON string is more than its bytes.
func quotes(text []byte) bool {
	return bytes.IndexByte(text, '"') >= 0 || bytes.IndexByte(text, '\\') >= 0
}

// plainNumber reads up to 18 digits without a leading zero.
func plainNumber(text []byte) (n int64, ok bool) {
	if len(text) == 0 || len(text) > 18 || text[0] == '0' && len(text) > 1 {
		return 0, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// header returns the value of a record's last header of this name.
func header(r *kgo.Record, name string) ([]byte, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// travelling returns a copy of the header if it goes on to the result, else nil. The copy does not keep the memory of a
// whole fetch.
func travelling(r *kgo.Record, name string) []byte {
	value, ok := header(r, name)
	if !ok || len(value) > travellingBytesMax {
		return nil
	}
	return append(make([]byte, 0, len(value)), value...)
}

// same compares bytes; null and empty differ.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// users returns the users of the lane's events in ascending order, without the ordered ones.
func (l *lane) users() []int64 {
	seen := map[int64]struct{}{}
	for _, page := range l.pages {
		for i := range page {
			if e := &page[i]; e.is(flagEvent) && !e.is(flagOrdered) {
				seen[e.user] = struct{}{}
			}
		}
	}
	users := make([]int64, 0, len(seen))
	for user := range seen {
		users = append(users, user)
	}
	slices.Sort(users)
	return users
}
