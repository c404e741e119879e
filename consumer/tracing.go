package consumer

import (
	"strconv"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/trace"
	"github.com/lapwing/lapwing/consumer/wire"
)

// A sampled record has a span "process", below the one that its traceparent names, and below that one span for each step on
// its way; they are made when its transaction is committed, so a record that is judged again after a crash has one of each.
// The span's id is known when the record is read: the result carries it, and those who read the result go on from there.

// traced is what a sampled record has from the start.
type traced struct {
	span   trace.Context // process
	parent trace.SpanID
}

// tracedRecord is a sampled record that waits in its parcel for the commit.
type tracedRecord struct {
	traced
	source                      contract.Source
	arrived, taken, begins, end time.Time // with its chunk, its chunk by the judge; of its own judging
	outcome                     string
	alerts                      int
	reason                      contract.Reason // of a dead letter
}

// What became of a record, in the attribute lapwing.outcome.
const (
	outcomeResult     = "result"
	outcomeSilent     = "silent" // judged, and only alerts are published
	outcomeDeadLetter = "dead_letter"
)

// trace notes the record's span, if its trace is sampled. Its result continues from there.
func (r *reader) trace(c *chunk, out *record, rec *wire.Record) {
	text, _ := rec.Header(contract.HeaderTraceparent)
	parent := trace.Parse(text)
	span, ok := r.tracer.Record(&r.spans, rec.Offset, parent)
	if !ok {
		return
	}
	if out.extra == nil {
		out.extra = new(recordExtra)
	}
	out.extra.traced = &traced{span: span, parent: parent.Span}
	if out.kind == kindEvent { // a dead letter keeps its headers
		out.extra.traceparent = c.keep(span.AppendTraceparent(nil))
	}
}

// oneTraced is one, and notes for the record's trace what became of it.
func (t *tenure) oneTraced(c *chunk, r *record, now time.Time) error {
	if r.extra == nil || r.extra.traced == nil { // nearly always
		return t.one(c, r, now)
	}
	counts := &t.open.counts
	events, results, begins := counts.events, counts.results, time.Now()
	if err := t.one(c, r, now); err != nil {
		return err
	}
	tr := tracedRecord{
		traced: *r.extra.traced, source: t.sourceOf(r), arrived: c.arrived, taken: c.taken, begins: begins, end: time.Now(),
	}
	switch {
	case r.kind == kindDead:
		tr.outcome, tr.reason = outcomeDeadLetter, r.extra.refusal.Reason
	case counts.events == events:
		return nil // it was judged before
	case counts.results > results:
		tr.outcome, tr.alerts = outcomeResult, len(t.verdict.Alerts)
	default:
		tr.outcome = outcomeSilent
	}
	if tracer := t.engine.options.Tracer; len(t.open.traced) < tracer.BatchEventsMax {
		t.open.traced = append(t.open.traced, tr)
	} else {
		tracer.Sink.Drop(spansPerRecord)
	}
	return nil
}

// spansPerRecord is how many spans a record has.
const spansPerRecord = 5

// traceCommit makes the spans of what the loads have and hands them on: it is committed just now.
func (e *Engine) traceCommit(loads []load, start time.Time) {
	if e.options.Tracer == nil {
		return
	}
	end, records, events := time.Now(), 0, 0
	for _, l := range loads {
		records += len(l.parcel.traced)
		events += l.parcel.counts.events
	}
	if records == 0 {
		return
	}
	commit := []trace.Attribute{
		trace.Number("lapwing.transaction.events", int64(events)), trace.Number("lapwing.transaction.lanes", int64(len(loads))),
	}
	spans := make([]trace.Span, 0, records*spansPerRecord)
	for _, l := range loads {
		for i := range l.parcel.traced {
			tr := &l.parcel.traced[i]
			step := func(name string, start, end time.Time, attributes ...trace.Attribute) {
				number := len(spans) % spansPerRecord
				spans = append(spans, trace.Span{
					Name: name, Context: tr.span.Child(number), Parent: tr.span.Span, Start: start, End: end, Attributes: attributes,
				})
			}
			spans = append(spans, e.processSpan(tr, end))
			step("fetch", tr.arrived, tr.taken) // decoding, and the wait for the judge
			step("wait", tr.taken, tr.begins)   // for states from Redis, for those before it, for room
			step("judge", tr.begins, tr.end)
			step("commit", start, end, commit...)
		}
	}
	e.options.Tracer.Sink.Take(spans)
}

// processSpan returns the span of the record as a whole. The names are those of OpenTelemetry's conventions for messaging.
func (e *Engine) processSpan(tr *tracedRecord, end time.Time) trace.Span {
	s := trace.Span{
		Name: "process " + tr.source.Topic, Kind: trace.KindConsumer, Context: tr.span, Parent: tr.parent, Start: tr.arrived, End: end,
		Attributes: []trace.Attribute{
			trace.Text("messaging.system", "kafka"),
			trace.Text("messaging.operation.name", "process"),
			trace.Text("messaging.operation.type", "process"),
			trace.Text("messaging.destination.name", tr.source.Topic),
			trace.Text("messaging.destination.partition.id", strconv.Itoa(int(tr.source.Partition))),
			trace.Number("messaging.kafka.offset", tr.source.Offset),
			trace.Text("messaging.consumer.group.name", e.options.Group),
			trace.Text("lapwing.outcome", tr.outcome),
			trace.Number("lapwing.alerts", int64(tr.alerts)),
		},
	}
	if tr.reason != "" {
		s.Error = "the record is no event"
		s.Attributes = append(s.Attributes, trace.Text("error.type", string(tr.reason)))
	}
	return s
}
