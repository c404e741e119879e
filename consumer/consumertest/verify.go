package consumertest

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Names of headers, repeated from the topics' contract: the judge must not take them from what it judges.
const (
	headerAlert       = "lapwing-alert"
	headerSource      = "lapwing-source"
	headerRules       = "lapwing-rules"
	headerReason      = "lapwing-reason"
	headerDetail      = "lapwing-detail"
	headerTimestamp   = "lapwing-timestamp"
	headerCut         = "lapwing-cut"
	headerRequestID   = "lapwing-request-id"
	headerTraceparent = "traceparent"
)

// whence names a record and its source; the text is made only where it is shown.
type whence struct {
	r         *kgo.Record
	input     string
	partition int32
	offset    int64
	user      int64
}

// String gives place, source and user.
func (w whence) String() string {
	return fmt.Sprintf("%s/%d/%d of %s/%d/%d, user %d", w.r.Topic, w.r.Partition, w.r.Offset, w.input, w.partition, w.offset, w.user)
}

// record compares one record of the output or of the dead letters.
func (c *Checker) record(r *kgo.Record) {
	at, err := c.source(r)
	if err != nil {
		c.report.problem(&c.report.Wrong, "wrong: %s/%d/%d, key %q: %v", r.Topic, r.Partition, r.Offset, r.Key, err)
		return
	}
	l := c.x.lane(at.input, at.partition)
	var e *expected
	if l != nil {
		e = l.at(at.offset)
	}
	if e == nil || e.outcome == outcomeNone {
		c.report.problem(&c.report.Wrong, "wrong: %s: its source is no visible input record", at)
		return
	}
	at.user = e.user
	if e.outcome == outcomeDeleted {
		c.report.problem(&c.report.Wrong, "wrong: %s: its source was deleted before it was judged: nothing is due: %q", at, r.Value)
		return
	}
	isDead := r.Topic == c.o.DeadLetters
	if isDead != (e.outcome == outcomeDead) || !isDead && e.outcome != outcomeResult && e.outcome != outcomeForked && e.outcome != outcomeOrdered {
		c.report.problem(&c.report.Wrong, "wrong: %s: nothing of its kind is due in this topic: %q", at, r.Value)
		return
	}
	again := e.is(flagFound)
	if again && !c.o.Repeats {
		c.report.problem(&c.report.Twice, "twice: %s: %q", at, r.Value)
		return
	}
	if !again {
		e.flags |= flagFound
		c.order(at, l, e)
		if e.outcome == outcomeOrdered {
			c.judgeNext(at, l, e)
		}
	}
	c.found(r, l, e, at, again)
}

// found compares a record with what is due; again: it was found before, and must be the same now.
func (c *Checker) found(r *kgo.Record, l *lane, e *expected, at whence, again bool) {
	count, err := &c.report.Results, error(nil)
	if e.outcome == outcomeDead {
		count, err = &c.report.Dead, c.dead(r, l, at.offset, again)
	} else {
		err = c.result(r, l, e, at, again)
	}
	follows := err != nil && e.outcome == outcomeOrdered && c.ordered[e.user].firstWrong()
	switch {
	case follows:
		c.report.Wrong++
	case again && err == nil:
		c.report.Repeated++
	case again:
		c.report.problem(&c.report.Wrong, "wrong: %s: repeated with other bytes: %v", at, err)
	case err != nil:
		c.report.problem(&c.report.Wrong, "wrong: %s: %v", at, err)
	}
	if !again {
		*count++
	}
}

// source reads the header that names the input record.
func (c *Checker) source(r *kgo.Record) (whence, error) {
	text, ok := header(r, headerSource)
	if !ok {
		return whence{}, fmt.Errorf("header %s is missing: %q", headerSource, r.Value)
	}
	topic, rest, _ := bytes.Cut(text, []byte("/"))
	p, rest, _ := bytes.Cut(rest, []byte("/"))
	number, ok1 := plainNumber(p)
	offset, ok2 := plainNumber(rest)
	lanes, ok3 := c.x.inputs[string(topic)]
	if !ok3 || !ok1 || !ok2 || number > math.MaxInt32 {
		return whence{}, fmt.Errorf("header %s is %q, not %s/partition/offset", headerSource, text, strings.Join(c.o.Inputs, " or "))
	}
	return whence{r: r, input: lanes[0].topic, partition: int32(number), offset: offset}, nil
}

// route is the way of records from an input partition to a partition of another topic; along it order is kept by those
// that are in their users' own partition, and by dead letters.
type route struct {
	from *lane
	to   place
}

// order checks that sources of one input partition follow each other in a partition of the output; those of forwarded
// events, which may overtake each other, for each user.
func (c *Checker) order(at whence, l *lane, e *expected) {
	if u := c.ordered[e.user]; u != nil && e.is(flagOrdered) {
		if g := c.growthOrder(u, l, at.offset, e.user); g != nil {
			c.report.problem(&c.report.Disorder, "disorder: %s was there when the inputs had %d partitions, and comes after what came later in others", at, g.partitions)
		}
	}
	if e.is(flagForeign) {
		if last, ok := c.ordered[e.user].follow(l, at.offset); !ok {
			c.report.problem(&c.report.Disorder, "disorder: %s comes after that of offset %d", at, last)
		}
		return
	}
	way := route{l, place{at.r.Topic, at.r.Partition}}
	last, seen := c.last[way]
	if seen && at.offset < last {
		c.report.problem(&c.report.Disorder, "disorder: %s comes after that of offset %d", at, last)
		return
	}
	c.last[way] = at.offset
}

// result compares a result with what the model says.
func (c *Checker) result(r *kgo.Record, l *lane, e *expected, at whence, again bool) error {
	c.scratch = strconv.AppendInt(c.scratch[:0], e.user, 10)
	if !same(r.Key, c.scratch) {
		return fmt.Errorf("key %q, not %q", r.Key, c.scratch)
	}
	if want := c.byOutput(r.Key); r.Partition != want {
		return fmt.Errorf("partition %d, the key's is %d of %d", r.Partition, want, c.partitions[r.Topic])
	}
	digest, codes := maphash.Bytes(c.x.seed, r.Value), e.codes
	var left []string // out of the result, as its mark says
	if mark, cut := header(r, headerCut); cut {
		left = strings.Split(string(mark), ", ")
	}
	if e.outcome != outcomeForked && slices.Contains(left, "detail") {
		if want := appendResult(nil, e, &verdict{codes: codes}, nil); !bytes.Equal(r.Value, want) {
			return fmt.Errorf("value %q of a result without its detail is not %q", r.Value, want)
		}
	} else if e.outcome == outcomeForked {
		f := l.forks[at.offset]
		i := slices.IndexFunc(f.options, func(o option) bool { return o.digest == digest && !o.silent })
		if i < 0 || f.found >= 0 && f.found != i {
			return c.differs(r.Value, l, at)
		}
		f.found, f.where = i, at.String()
		codes = f.options[i].codes
	} else if digest != e.digest && e.outcome == outcomeOrdered {
		return c.orderDiffers(r.Value, e, again)
	} else if digest != e.digest {
		return c.differs(r.Value, l, at)
	}
	if rules, ok := header(r, headerRules); ok && c.rules == "" {
		c.rules = string(rules)
	} else if ok && string(rules) != c.rules {
		return fmt.Errorf("header %s is %q, earlier results have %q", headerRules, rules, c.rules)
	}
	var t travel
	if e.is(flagHeaders) {
		t = l.headers[at.offset]
	}
	if len(left) > 0 && !again {
		c.report.Cut++
	}
	return resultHeaders(r, codes != 0, t, left)
}

// differs says in what a result's value is not the one that is due.
func (c *Checker) differs(value []byte, l *lane, at whence) error {
	if len(c.report.Problems) >= problemsMax {
		return errors.New("value") // it is counted, nobody reads it
	}
	w := c.x.walk(l)
	w.all, w.only = false, at.user
	var text []byte
	err := w.to(at.offset+1, func(offset int64, e *expected, found []judged) {
		if offset != at.offset {
			return
		}
		for i := range found {
			want := c.x.appendDue(nil, l, offset, e, &found[i].verdict)
			text = fmt.Appendf(text, "; %s: value %s, not %s", difference(value, want), value, want)
			if len(found) > 1 {
				text = fmt.Appendf(text, " (if %s)", l.holes.text(found[i].of))
			}
		}
	})
	if err != nil {
		return err
	}
	return errors.New(string(bytes.TrimPrefix(text, []byte("; "))))
}

// resultHeaders checks that a result has the headers due, each once, and no other; left are those that its mark says were
// left out.
func resultHeaders(r *kgo.Record, alert bool, t travel, left []string) error {
	due := [...]struct {
		name  string
		value []byte // nil: any, but not empty
		due   bool
	}{
		{headerAlert, []byte("0"), true}, {headerSource, nil, true}, {headerRules, nil, true},
		{headerRequestID, t.requestID, t.requestID != nil && !slices.Contains(left, headerRequestID)},
		{headerTraceparent, t.traceparent, t.traceparent != nil && !slices.Contains(left, headerTraceparent)},
		{headerCut, nil, len(left) > 0},
	}
	if alert {
		due[0].value = []byte("1")
	}
	for _, h := range r.Headers {
		i := 0
		for i < len(due) && (due[i].name != h.Key || !due[i].due) {
			i++
		}
		if i == len(due) {
			return fmt.Errorf("header %s: %q is not due, or there twice", h.Key, h.Value)
		}
		if due[i].value != nil && !bytes.Equal(due[i].value, h.Value) {
			return fmt.Errorf("header %s is %q, not %q", h.Key, h.Value, due[i].value)
		}
		if due[i].value == nil && len(h.Value) == 0 {
			return fmt.Errorf("header %s is empty", h.Key)
		}
		due[i].due = false
	}
	for i := range due {
		if due[i].due {
			return fmt.Errorf("header %s is missing", due[i].name)
		}
	}
	return nil
}

// dead compares a dead letter with the record that it was.
func (c *Checker) dead(r *kgo.Record, l *lane, offset int64, again bool) error {
	input, err := l.letters[offset].record(l.topic, l.partition, offset)
	if err != nil {
		return err
	}
	if want := input.Partition % c.partitions[r.Topic]; r.Partition != want {
		return fmt.Errorf("partition %d, not %d", r.Partition, want)
	}
	if mark, cut := header(r, headerCut); cut {
		if !again {
			c.report.Cut++
		}
		return cutDead(r, input, string(mark))
	}
	if !same(r.Key, input.Key) || !same(r.Value, input.Value) {
		return fmt.Errorf("key %q and value %.200q are not the input's %q and %.200q", r.Key, r.Value, input.Key, input.Value)
	}
	if !beginsWith(r.Headers, input.Headers) {
		return fmt.Errorf("headers %v do not begin with the input's %v", r.Headers, input.Headers)
	}
	return deadHeaders(r.Headers[len(input.Headers):], input)
}

func beginsWith(headers, first []kgo.RecordHeader) bool {
	return len(headers) >= len(first) && slices.EqualFunc(headers[:len(first)], first, func(a, b kgo.RecordHeader) bool {
		return a.Key == b.Key && same(a.Value, b.Value)
	})
}

// cutDead compares a dead letter that was too large for its topic: beginnings of key and value are kept, and the input's
// headers or, where the mark says so, none of them.
func cutDead(r, input *kgo.Record, mark string) error {
	dropped := len(input.Headers) > 0 && strings.Contains(mark, "headers dropped")
	if !bytes.HasPrefix(input.Key, r.Key) || !bytes.HasPrefix(input.Value, r.Value) || !dropped && len(r.Value)+len(r.Key) >= len(input.Value)+len(input.Key) {
		return fmt.Errorf("it is no cut of the input: %d bytes of key, %d of value", len(r.Key), len(r.Value))
	}
	headers := r.Headers
	if beginsWith(headers, input.Headers) {
		headers = headers[len(input.Headers):]
	} else if !strings.Contains(mark, "headers dropped") {
		return fmt.Errorf("headers %v do not begin with the input's %v, and %s does not say so: %q", r.Headers, input.Headers, headerCut, mark)
	}
	return deadHeaders(slices.DeleteFunc(slices.Clone(headers), func(h kgo.RecordHeader) bool { return h.Key == headerCut }), input)
}

// deadHeaders checks the headers that a dead letter has after the input's own, in any order.
func deadHeaders(added []kgo.RecordHeader, input *kgo.Record) error {
	reason, _ := header(input, HeaderPlanted)
	want := map[string]string{
		headerReason: string(reason), headerDetail: "", headerTimestamp: strconv.FormatInt(input.Timestamp.UnixMilli(), 10),
		headerSource: fmt.Sprintf("%s/%d/%d", input.Topic, input.Partition, input.Offset),
	}
	for _, h := range added {
		value, due := want[h.Key]
		if !due {
			return fmt.Errorf("header %s: %q is not due, or there twice", h.Key, h.Value)
		}
		if value != "" && value != string(h.Value) {
			return fmt.Errorf("header %s is %q, not %q, for %.200q", h.Key, h.Value, value, input.Value)
		}
		delete(want, h.Key)
	}
	for name := range want {
		return fmt.Errorf("header %s is missing", name)
	}
	return nil
}
