package consumer

import (
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// deadSize bounds the bytes of the record's dead letter.
func (r *record) deadSize() int {
	return contract.DeadLetterReserve + len(r.extra.key) + len(r.extra.value) + r.extra.headersSize()
}

func (x *recordExtra) headersSize() int {
	size := 0
	for _, h := range x.headers {
		size += contract.HeadersSize(contract.Header{Name: h.Key, Value: h.Value})
	}
	return size
}

// bury appends the record's dead letter to the open parcel: byte for byte, or cut to what the topic takes.
func (t *tenure) bury(r *record, now time.Time) {
	e, x := t.engine, r.extra
	cut := contract.CutDeadLetter(x.key, x.value, x.headersSize(), e.deadBytes())
	var headers []wire.Header
	if !cut.DropHeaders {
		headers = append(headers, x.headers...)
	}
	source := contract.Source{Topic: e.options.Input, Partition: t.lane, Offset: r.offset}
	for _, h := range contract.AppendDeadLetterHeaders(nil, x.refusal, source, x.timeMillis) {
		headers = append(headers, wire.Header{Key: h.Name, Value: h.Value})
	}
	if cut.Text != "" {
		headers = append(headers, wire.Header{Key: contract.HeaderCut, Value: []byte(cut.Text)})
	}
	t.open.deadBatch(e.options.DeadLetters, t.lane%e.topics.dead, r.deadSize(), e.batchBytes()).Append(now.UnixMilli(), cut.Key, cut.Value, headers...)
	t.open.counts.dead[x.refusal.Reason]++
}
