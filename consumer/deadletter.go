package consumer

import (
	"math"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// deadSize bounds the bytes of the record's dead letter.
func (r *record) deadSize() int {
	return contract.DeadLetterReserve + len(r.extra.key) + len(r.extra.value) + r.extra.headersSize()
}

// headersSize bounds the bytes of the record's own headers in a batch.
func (x *recordExtra) headersSize() int {
	size := x.headersCut
	for _, h := range x.headers {
		size += contract.HeadersSize(contract.Header{Name: h.Key, Value: h.Value})
	}
	return size
}

// bury appends the record's dead letter to the open parcel: byte for byte, or cut to what the topic takes.
func (t *tenure) bury(r *record, now time.Time) {
	e, x := t.engine, r.extra
	t.open.counts.buried++
	t.open.counts.dead[x.refusal.Reason]++
	limit := &e.limits.dead
	partition := t.lane % e.topics.dead
	m := message{timeMillis: now.UnixMilli(), key: x.key, value: x.value}
	source := t.sourceOf(r)
	own := contract.AppendDeadLetterHeaders(nil, x.refusal, source, x.timeMillis)
	if x.headersCut == 0 {
		m.headers = appendHeaders(append(m.headers, x.headers...), own)
		if t.open.addDead(partition, limit, limit.single(), &m) {
			return
		}
	}
	cut := contract.CutDeadLetter(x.key, x.value, x.headersSize(), limit.single())
	m.key, m.value, m.headers = cut.Key, cut.Value, nil
	if !cut.DropHeaders {
		m.headers = append(m.headers, x.headers...)
	}
	m.headers = append(appendHeaders(m.headers, own), wire.Header{Key: contract.HeaderCut, Value: []byte(cut.Text)})
	if t.open.addDead(partition, limit, limit.single(), &m) {
		return
	}
	// The topic takes less than the reserve: nothing of the record itself is left.
	m.headers = withoutDetail(m.headers, cut.Text)
	// If the limit has shrunk since it was checked, the topic refuses this one, and the next start stops the lane.
	t.open.addDead(partition, limit, math.MaxInt, &m)
}

func appendHeaders(to []wire.Header, more []contract.Header) []wire.Header {
	for _, h := range more {
		to = append(to, wire.Header{Key: h.Name, Value: h.Value})
	}
	return to
}

// withoutDetail empties the header that is the longest of Lapwing's own, and says so.
func withoutDetail(headers []wire.Header, cut string) []wire.Header {
	for i := range headers {
		switch headers[i].Key {
		case contract.HeaderDetail:
			headers[i].Value = nil
		case contract.HeaderCut:
			headers[i].Value = []byte(cut + contract.DetailDropped)
		}
	}
	return headers
}
