package consumertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"math/bits"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/rules/rulestest"
)

// codes are the built-in rules' in the order in which they are evaluated. A set of them is kept as bits in this order.
var codes = [...]int{1100, 30, 300, 123}

// outcome is what must become of an input record.
type outcome uint8

const (
	outcomeNone      outcome = iota // no record of ours at this offset: a marker, or compacted
	outcomeTombstone                // nothing is written
	outcomeResult
	outcomeSilent // judged, but not published (results: alerts)
	outcomeDead
)

// expected is what the model says of one input record, and what was found of it. It is small: there are millions.
type expected struct {
	user    int64
	time    int64
	amount  string
	digest  uint64 // of the first result found
	outcome outcome
	deposit bool
	codes   uint8 // bits of the codes
	found   bool
}

func (e *expected) typ() string {
	if e.deposit {
		return "deposit"
	}
	return "withdraw"
}

// appendCodes appends the codes as JSON.
func (e *expected) appendCodes(b []byte) []byte {
	b = append(b, '[')
	for i, code := range codes {
		if e.codes&(1<<i) == 0 {
			continue
		}
		if e.codes&(1<<i-1) != 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(code), 10)
	}
	return append(b, ']')
}

func (e *expected) alerts() int { return bits.OnesCount8(e.codes) }

// lane is the expectation of one input partition.
type lane struct {
	first   int64 // offset of records[0]
	records []expected
	input   map[int64]*kgo.Record // what a rare record needs in full: a dead letter, an event with headers
}

func (l *lane) at(offset int64) *expected {
	if offset < l.first || offset >= l.first+int64(len(l.records)) {
		return nil
	}
	return &l.records[offset-l.first]
}

func (l *lane) end() int64 { return l.first + int64(len(l.records)) }

func (l *lane) add(offset int64, e expected) {
	if len(l.records) == 0 {
		l.first = offset
	}
	for l.end() < offset {
		l.records = append(l.records, expected{})
	}
	l.records = append(l.records, e)
}

// userType is a user's events of one type.
type userType struct {
	user    int64
	deposit bool
}

// lateness is how far behind the latest of its user and type an event may be for its window to be exact: later ones are
// judged on what an engine has kept, which the model does not know.
const lateness = 30

// expectation recomputes from the input topic what must be in the other topics, by the naive model of the rules.
type expectation struct {
	lanes      map[int32]*lane
	partitions int32
	byKey      kgo.TopicPartitioner
	alertsOnly bool
	model      *rulestest.Model
	amounts    map[string]string // one copy of each amount's text
	latest     map[userType]int64
	beyond     int
	seed       maphash.Seed
}

func newExpectation(partitions int32, alertsOnly bool) *expectation {
	return &expectation{
		lanes: map[int32]*lane{}, partitions: partitions, byKey: newKeyPartitioner(), alertsOnly: alertsOnly,
		model: rulestest.NewModel(), amounts: map[string]string{}, latest: map[userType]int64{}, seed: maphash.MakeSeed(),
	}
}

// inputEvent reads the members of an event. What is no event is planted, and says so in a header.
type inputEvent struct {
	Type   *string `json:"type"`
	Amount *string `json:"amount"`
	UserID *int64  `json:"user_id"`
	Time   *int64  `json:"time"`
}

// add takes the next input record of its partition. An error is a fault of the test: a record that is neither an event
// nor planted.
func (x *expectation) add(r *kgo.Record) error {
	l := x.lanes[r.Partition]
	if l == nil {
		l = &lane{input: map[int64]*kgo.Record{}}
		x.lanes[r.Partition] = l
	}
	if r.Value == nil {
		l.add(r.Offset, expected{outcome: outcomeTombstone})
		return nil
	}
	if _, planted := header(r, HeaderPlanted); planted {
		l.input[r.Offset] = r
		l.add(r.Offset, expected{outcome: outcomeDead})
		return nil
	}
	var ev inputEvent
	err := json.Unmarshal(r.Value, &ev)
	if err != nil || ev.Type == nil || ev.Amount == nil || ev.UserID == nil || ev.Time == nil {
		return fmt.Errorf("consumertest: input %s/%d/%d is no event and has no header %s: %q (%w)",
			r.Topic, r.Partition, r.Offset, HeaderPlanted, r.Value, err)
	}
	key := strconv.AppendInt(nil, *ev.UserID, 10)
	if partitionOf(x.byKey, key, x.partitions) != r.Partition {
		l.input[r.Offset] = r
		l.add(r.Offset, expected{outcome: outcomeDead, user: *ev.UserID})
		return nil
	}
	e := expected{user: *ev.UserID, time: *ev.Time, amount: x.intern(*ev.Amount), deposit: *ev.Type == "deposit", outcome: outcomeResult}
	for _, code := range x.model.Judge(rulestest.Event{Type: *ev.Type, Amount: e.amount, UserID: e.user, Time: e.time}) {
		for i := range codes {
			if codes[i] == code {
				e.codes |= 1 << i
			}
		}
	}
	of := userType{e.user, e.deposit}
	if e.time < x.latest[of]-lateness {
		x.beyond++
	}
	x.latest[of] = max(x.latest[of], e.time)
	_, awaited := header(r, headerRequestID)
	if x.alertsOnly && e.codes == 0 && !awaited {
		e.outcome = outcomeSilent
	}
	if len(r.Headers) > 0 {
		l.input[r.Offset] = r
	}
	l.add(r.Offset, e)
	return nil
}

func (x *expectation) intern(text string) string {
	if known, ok := x.amounts[text]; ok {
		return known
	}
	x.amounts[text] = text
	return text
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

// same compares bytes; null and empty differ.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
