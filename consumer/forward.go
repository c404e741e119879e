package consumer

import (
	"fmt"
	"strconv"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// copyHeaders is how many headers a copy has after those of the record that it copies: the place and the timestamp of that
// record, and the layout that it was forwarded under. The copy itself carries the time of writing: with an old timestamp retention could delete it unread, and one in
// the future the broker may refuse.
const copyHeaders = 3

// headerLayout is the last header of a copy. A copy that is in another partition than its user's is forwarded again if it was
// written under another layout than the present one; so however often layouts change, none goes round in circles.
const headerLayout = "lapwing-layout"

// copyOf is what a record of the rekey topic copies.
type copyOf struct {
	source     contract.Source
	timeMillis int64
	layout     string
}

// copied returns what a record of the rekey topic copies; false: somebody wrote it there, and it stands for itself.
func copied(rec *wire.Record) (c copyOf, ok bool) {
	n := rec.HeaderCount()
	if n < copyHeaders {
		return c, false
	}
	i := 0
	for name, value := range rec.Headers() {
		var err error
		switch i++; {
		case i <= n-copyHeaders:
		case i == n-2 && string(name) == contract.HeaderSource:
			c.source, err = contract.ParseSource(value)
		case i == n-1 && string(name) == contract.HeaderTimestamp:
			c.timeMillis, err = strconv.ParseInt(string(value), 10, 64)
		case i == n && string(name) == headerLayout:
			c.layout = string(value)
		default:
			return c, false
		}
		if err != nil {
			return c, false
		}
	}
	return c, true
}

// forward appends a copy of the record, for the lane that its user belongs to.
func (t *tenure) forward(r *record, now time.Time) {
	e, x := t.engine, r.extra
	limit := &e.limits.rekey
	m := message{timeMillis: now.UnixMilli(), key: x.key, value: x.value}
	m.headers = append(m.headers, x.headers...)
	m.headers = append(m.headers,
		wire.Header{Key: contract.HeaderSource, Value: contract.AppendSource(nil, t.sourceOf(r))},
		wire.Header{Key: contract.HeaderTimestamp, Value: strconv.AppendInt(nil, x.timeMillis, 10)},
		wire.Header{Key: headerLayout, Value: []byte(t.under)})
	if x.headersCut == 0 && t.open.addCopy(x.lane, limit, limit.single(), &m) {
		t.open.counts.forwarded++
		return
	}
	x.refusal = &contract.Refusal{Reason: contract.ReasonWrongPartition,
		Detail: fmt.Sprintf("user %d belongs to partition %d by %s, and topic %s takes no record of this size", r.event.UserID, x.lane, t.layout.partitioner, limit.topic)}
	t.bury(r, now)
}

// sourceOf returns the input record that a record is, or is a copy of.
func (t *tenure) sourceOf(r *record) contract.Source {
	if r.extra != nil && r.extra.origin != nil {
		return *r.extra.origin
	}
	return contract.Source{Topic: t.readers[r.source].source.topic, Partition: t.lane, Offset: r.offset}
}

// addBoundary adds the record that tells a replay in which order the parcel took its sources, if that could not be told.
func (t *tenure) addBoundary(p *parcel) {
	if len(p.segments) == 0 || len(p.ends) < 2 {
		return
	}
	if len(p.segments) > 1 || p.segments[0].source != t.lastSource {
		b := boundary{from: p.starts, segments: p.segments}
		limit := &t.engine.limits.rekey
		p.addCopy(t.lane, limit, boundaryBytesMax, &message{
			timeMillis: time.Now().UnixMilli(), value: b.append(nil), headers: []wire.Header{{Key: headerBoundary, Value: []byte(t.under)}},
		})
	}
	t.lastSource = p.segments[len(p.segments)-1].source
}
