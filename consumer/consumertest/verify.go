package consumertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
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
func (c *checker) record(r *kgo.Record) {
	at := whence{r: r, input: c.o.Input}
	partition, offset, err := c.source(r)
	if err != nil {
		c.report.problem(&c.report.Wrong, "wrong: %s/%d/%d: %v", r.Topic, r.Partition, r.Offset, err)
		return
	}
	at.partition, at.offset = partition, offset
	l := c.x.lanes[partition]
	var e *expected
	if l != nil {
		e = l.at(offset)
	}
	if e == nil || e.outcome == outcomeNone {
		c.report.problem(&c.report.Wrong, "wrong: %s: its source is no visible input record", at)
		return
	}
	at.user = e.user
	wanted := outcomeResult
	if r.Topic == c.o.DeadLetters {
		wanted = outcomeDead
	}
	if e.outcome != wanted {
		c.report.problem(&c.report.Wrong, "wrong: %s: nothing of its kind is due in this topic: %q", at, r.Value)
		return
	}
	if c.again(r, e, at) {
		return
	}
	c.order(at)
	if wanted == outcomeDead {
		c.report.Dead++
		err = c.dead(r, l.input[offset])
	} else {
		c.report.Results++
		err = c.result(r, e, partition, offset, l.input[offset])
	}
	if err != nil {
		c.report.problem(&c.report.Wrong, "wrong: %s: %v", at, err)
	}
}

// source reads the header that names the input record.
func (c *checker) source(r *kgo.Record) (partition int32, offset int64, err error) {
	text, ok := header(r, headerSource)
	if !ok {
		return 0, 0, fmt.Errorf("header %s is missing: %q", headerSource, r.Value)
	}
	parts := strings.Split(string(text), "/")
	if len(parts) != 3 || parts[0] != c.o.Input {
		return 0, 0, fmt.Errorf("header %s is %q, not %s/partition/offset", headerSource, text, c.o.Input)
	}
	p, err1 := strconv.ParseInt(parts[1], 10, 32)
	offset, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, fmt.Errorf("header %s is %q: %w", headerSource, text, err)
	}
	return int32(p), offset, nil
}

// again notes that a source was found, and reports it if it was found before.
func (c *checker) again(r *kgo.Record, e *expected, at whence) bool {
	var h maphash.Hash
	h.SetSeed(c.x.seed)
	_, _ = h.Write(r.Key)
	_ = h.WriteByte(0)
	_, _ = h.Write(r.Value)
	digest := h.Sum64()
	switch {
	case !e.found:
		e.found, e.digest = true, digest
		return false
	case !c.o.Repeats:
		c.report.problem(&c.report.Twice, "twice: %s: %q", at, r.Value)
	case e.digest != digest:
		c.report.problem(&c.report.Wrong, "wrong: %s: repeated with other bytes: %q", at, r.Value)
	default:
		c.report.Repeated++
	}
	return true
}

// order checks that sources of one input partition follow each other in a partition of the output.
func (c *checker) order(at whence) {
	way := route{at.partition, place{at.r.Topic, at.r.Partition}}
	last, seen := c.last[way]
	if seen && at.offset < last {
		c.report.problem(&c.report.Disorder, "disorder: %s comes after that of offset %d", at, last)
		return
	}
	c.last[way] = at.offset
}

// fullResult is what stands after the three members where results have all detail.
type fullResult struct {
	Event *struct {
		Type      string `json:"type"`
		Amount    string `json:"amount"`
		Time      int64  `json:"time"`
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
	} `json:"event"`
	Evidence []struct {
		Code int `json:"code"`
	} `json:"evidence"`
}

// result compares a result with what the model says.
func (c *checker) result(r *kgo.Record, e *expected, partition int32, offset int64, input *kgo.Record) error {
	if want := strconv.AppendInt(nil, e.user, 10); !same(r.Key, want) {
		return fmt.Errorf("key %q, not %q", r.Key, want)
	}
	if want := partitionOf(c.x.byKey, r.Key, c.partitions[r.Topic]); r.Partition != want {
		return fmt.Errorf("partition %d, the key's is %d of %d", r.Partition, want, c.partitions[r.Topic])
	}
	b := append(c.scratch[:0], `{"alert":`...)
	b = strconv.AppendBool(b, e.codes != 0)
	b = append(b, `,"alert_codes":`...)
	b = e.appendCodes(b)
	b = append(b, `,"user_id":`...)
	b = strconv.AppendInt(b, e.user, 10)
	c.scratch = b
	if !bytes.HasPrefix(r.Value, b) {
		return fmt.Errorf("value %q does not begin with %q", r.Value, b)
	}
	if rest := r.Value[len(b):]; c.o.Minimal && string(rest) != "}" {
		return fmt.Errorf("value %q has more than %q}", r.Value, b)
	} else if !c.o.Minimal && (len(rest) == 0 || rest[0] != ',') {
		return fmt.Errorf("value %q ends with its three members", r.Value)
	}
	if !c.o.Minimal {
		if err := c.detail(r.Value, e, partition, offset); err != nil {
			return err
		}
	}
	if rules, ok := header(r, headerRules); ok && c.rules == "" {
		c.rules = string(rules)
	} else if ok && string(rules) != c.rules {
		return fmt.Errorf("header %s is %q, earlier results have %q", headerRules, rules, c.rules)
	}
	return resultHeaders(r, e, input)
}

func (c *checker) detail(value []byte, e *expected, partition int32, offset int64) error {
	var full fullResult
	if err := json.Unmarshal(value, &full); err != nil {
		return fmt.Errorf("value %q: %w", value, err)
	}
	ev := full.Event
	if ev == nil || ev.Type != e.typ() || ev.Amount != e.amount || ev.Time != e.time || ev.Topic != c.o.Input || ev.Partition != partition || ev.Offset != offset {
		return fmt.Errorf("value %q: its event is not %s %s at %d, %s/%d/%d", value, e.typ(), e.amount, e.time, c.o.Input, partition, offset)
	}
	found := make([]byte, 0, 32)
	found = append(found, '[')
	for i, evidence := range full.Evidence {
		if i > 0 {
			found = append(found, ',')
		}
		found = strconv.AppendInt(found, int64(evidence.Code), 10)
	}
	if found, want := append(found, ']'), e.appendCodes(nil); !bytes.Equal(found, want) {
		return fmt.Errorf("value %q: its evidence is of %s, not of %s", value, found, want)
	}
	return nil
}

// resultHeaders checks that a result has the headers due, each once, and no other.
func resultHeaders(r *kgo.Record, e *expected, input *kgo.Record) error {
	want := map[string][]byte{headerAlert: []byte("0"), headerSource: nil, headerRules: nil}
	if e.codes != 0 {
		want[headerAlert] = []byte("1")
	}
	if input != nil {
		for _, name := range []string{headerRequestID, headerTraceparent} {
			if value, ok := header(input, name); ok {
				want[name] = value
			}
		}
	}
	for _, h := range r.Headers {
		value, due := want[h.Key]
		if !due {
			return fmt.Errorf("header %s: %q is not due, or there twice", h.Key, h.Value)
		}
		if value != nil && !bytes.Equal(value, h.Value) {
			return fmt.Errorf("header %s is %q, not %q", h.Key, h.Value, value)
		}
		if len(h.Value) == 0 {
			return fmt.Errorf("header %s is empty", h.Key)
		}
		delete(want, h.Key)
	}
	for name := range want {
		return fmt.Errorf("header %s is missing", name)
	}
	return nil
}

// dead compares a dead letter with the record that it was.
func (c *checker) dead(r, input *kgo.Record) error {
	if want := input.Partition % c.partitions[r.Topic]; r.Partition != want {
		return fmt.Errorf("partition %d, not %d", r.Partition, want)
	}
	if mark, cut := header(r, headerCut); cut {
		c.report.Cut++
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
	if !bytes.HasPrefix(input.Key, r.Key) || !bytes.HasPrefix(input.Value, r.Value) || len(r.Value)+len(r.Key) >= len(input.Value)+len(input.Key) {
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
	reason, planted := header(input, HeaderPlanted)
	if !planted {
		reason = []byte(reasonWrongPartition)
	}
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
