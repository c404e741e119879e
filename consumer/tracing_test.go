package consumer

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/trace"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// spanSink keeps the spans that it takes.
type spanSink struct {
	mu      sync.Mutex
	spans   []trace.Span
	dropped int
}

func (s *spanSink) Take(spans []trace.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans = append(s.spans, spans...)
}

func (s *spanSink) Drop(spans int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped += spans
}

// taken returns the spans when there are n, and fails when they do not come or more do.
func (s *spanSink) taken(t *testing.T, n int) []trace.Span {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		spans := slices.Clone(s.spans)
		s.mu.Unlock()
		if len(spans) == n {
			return spans
		}
		if len(spans) > n || time.Now().After(deadline) {
			t.Fatalf("%d spans, want %d: %+v", len(spans), n, spans)
		}
	}
}

func attribute(s *trace.Span, key string) any {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value
		}
	}
	return nil
}

const (
	sampledParent   = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	unsampledParent = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00"
)

// TestEngineTraces follows one record of each sort: its spans, and the traceparent that its result has.
func TestEngineTraces(t *testing.T) {
	for _, guarantee := range []Guarantee{ExactlyOnce, AtLeastOnce} {
		t.Run(guarantee.String(), func(t *testing.T) {
			onEachKafka(t, 1, func(t *testing.T, b *bench) { testTraces(t, b, guarantee) })
		})
	}
}

func testTraces(t *testing.T, b *bench, guarantee Guarantee) {
	sink := new(spanSink)
	e, stop := b.engine(state.NewMemory(), func(o *Options) {
		o.Guarantee, o.Tracer = guarantee, &trace.Tracer{Sink: sink, BatchEventsMax: 10}
	})
	waitReady(t, e)
	before := time.Now()
	traced := func(value, parent string) *kgo.Record {
		r := &kgo.Record{Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "lapwing-request-id", Value: []byte("id")}}}
		if parent != "" {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "traceparent", Value: []byte(parent)})
		}
		return r
	}
	records := []*kgo.Record{
		traced(event("withdraw", "200", 1, 10), sampledParent),
		traced(event("withdraw", "1", 1, 11), unsampledParent),
		traced(event("withdraw", "1", 1, 12), "not a traceparent"),
		traced(event("withdraw", "1", 2, 13), ""),
		traced("not json", sampledParent),
	}
	if err := b.client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	results, dead := b.read(b.output, 4), b.read(b.dead, 1)
	spans := sink.taken(t, 2*spansPerRecord)
	after := time.Now()

	judged, refused := spans[:spansPerRecord], spans[spansPerRecord:]
	if s := &judged[0]; s.Error != "" || attribute(s, "lapwing.outcome") != "result" || attribute(s, "lapwing.alerts") != int64(1) ||
		attribute(s, "messaging.kafka.offset") != int64(0) {
		t.Errorf("of the judged event: %+v", s)
	}
	if s := &refused[0]; s.Error == "" || attribute(s, "lapwing.outcome") != "dead_letter" || attribute(s, "error.type") != "not_json" ||
		attribute(s, "messaging.kafka.offset") != int64(4) {
		t.Errorf("of the dead letter: %+v", s)
	}
	for _, of := range [][]trace.Span{judged, refused} {
		checkRecordSpans(t, b, of, before, after)
		if n := attribute(&of[4], "lapwing.transaction.events"); n == nil || n.(int64) > 4 {
			t.Errorf("events of the transaction: %v", n)
		}
	}
	for i, want := range []string{string(judged[0].Context.AppendTraceparent(nil)), unsampledParent, "not a traceparent", ""} {
		if got := header(results[i], "traceparent"); got != want {
			t.Errorf("result %d has the traceparent %q, want %q", i, got, want)
		}
	}
	if got := header(dead[0], "traceparent"); got != sampledParent {
		t.Errorf("the dead letter has the traceparent %q, which is not the record's", got)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// checkRecordSpans checks the spans of a record with sampledParent: who is whose child, and that the steps follow each other.
func checkRecordSpans(t *testing.T, b *bench, spans []trace.Span, before, after time.Time) {
	t.Helper()
	parent := trace.Parse([]byte(sampledParent))
	process := &spans[0]
	if process.Name != "process "+b.input || process.Kind != trace.KindConsumer || process.Parent != parent.Span {
		t.Errorf("the first span is %+v", process)
	}
	for key, want := range map[string]any{
		"messaging.system": "kafka", "messaging.operation.name": "process", "messaging.operation.type": "process", "messaging.destination.name": b.input,
		"messaging.destination.partition.id": "0", "messaging.consumer.group.name": b.group,
	} {
		if got := attribute(process, key); got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	ids := map[trace.SpanID]bool{parent.Span: true}
	at := before
	for i, want := range []string{process.Name, "fetch", "wait", "judge", "commit"} {
		s := &spans[i]
		if s.Name != want || s.Context.Trace != parent.Trace || ids[s.Context.Span] || i > 0 && s.Parent != process.Context.Span {
			t.Errorf("span %d is %+v, want %s", i, s, want)
		}
		ids[s.Context.Span] = true
		if i == 0 {
			continue
		}
		if s.Start.Before(at) || s.End.Before(s.Start) {
			t.Errorf("%s goes from %v to %v, and the step before ended at %v", s.Name, s.Start, s.End, at)
		}
		at = s.End
	}
	if !process.Start.Equal(spans[1].Start) || !process.End.Equal(at) || at.After(after) {
		t.Errorf("process goes from %v to %v, its steps from %v to %v", process.Start, process.End, spans[1].Start, at)
	}
}

// TestRatioTraces: without a traceparent events begin traces of their own, which their results continue; a second engine
// that judges the same records again under the same group gives them the same ids.
func TestRatioTraces(t *testing.T) {
	var parents [2][]string
	for i := range parents {
		e := idleEngine(t, 1)
		sink := new(spanSink)
		e.options.Tracer = &trace.Tracer{Sink: sink, Ratio: 0.5, BatchEventsMax: 1000}
		lane := idleTenure(t, e, 0)
		c := new(chunk)
		const count = 200
		for offset := range int64(count) {
			rec := wire.Record{Offset: offset, Value: []byte(event("deposit", "1", int(offset), 1))}
			c.records = append(c.records, record{offset: offset})
			lane.readers[0].decode(c, &c.records[offset], &rec)
			if x := c.records[offset].extra; x != nil {
				parents[i] = append(parents[i], fmt.Sprint(offset, " ", string(x.traceparent)))
			}
		}
		c.next = count
		if err := lane.consume(t.Context(), c, math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		p := lane.take()
		e.traceCommit([]load{{lane, p}}, time.Now())
		roots := 0
		for _, s := range sink.spans {
			if s.Parent == (trace.SpanID{}) {
				roots++
			}
		}
		if n := len(parents[i]); n < 50 || n > 150 || roots != n || len(sink.spans) != n*spansPerRecord {
			t.Errorf("of %d events %d are sampled, with %d spans, %d of them roots", count, n, len(sink.spans), roots)
		}
	}
	if !slices.Equal(parents[0], parents[1]) {
		t.Errorf("judged again, the results have other bytes: %v, then %v", parents[0], parents[1])
	}
}

// TestTracesAreBounded: beyond the limit of a batch events are judged all the same, with the same results, and their spans
// are counted.
func TestTracesAreBounded(t *testing.T) {
	e := idleEngine(t, 1)
	sink := new(spanSink)
	e.options.Tracer = &trace.Tracer{Sink: sink, Ratio: 1, BatchEventsMax: 3}
	lane := idleTenure(t, e, 0)
	for batch := range 3 { // the third is in the memory of the first
		c := new(chunk)
		for i := range 10 {
			offset := int64(10*batch + i)
			rec := wire.Record{Offset: offset, Value: []byte(event("deposit", "1", i, 1))}
			c.records = append(c.records, record{offset: offset})
			lane.readers[0].decode(c, &c.records[i], &rec)
		}
		c.next = int64(10*batch + 10)
		if err := lane.consume(t.Context(), c, math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		p := lane.take()
		if p.counts.results != 10 {
			t.Errorf("%d results, want 10", p.counts.results)
		}
		e.traceCommit([]load{{lane, p}}, time.Now())
		lane.settle()
		if want := 3 * spansPerRecord * (batch + 1); len(sink.spans) != want || sink.dropped != 7*spansPerRecord*(batch+1) {
			t.Errorf("%d spans and %d dropped, want %d and %d", len(sink.spans), sink.dropped, want, 7*spansPerRecord*(batch+1))
		}
	}
}

// TestReplayIsNotTraced: what is applied again silently was traced when it was judged.
func TestReplayIsNotTraced(t *testing.T) {
	e := idleEngine(t, 1)
	sink := new(spanSink)
	e.options.Tracer = &trace.Tracer{Sink: sink, Ratio: 1, BatchEventsMax: 100}
	fence, err := e.options.Store.Claim(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	lane := newTenure(e, heldLane(e, fence, 0), func() {}, lanePlan{incarnation: 1, plan: plan{judgeFrom: 2}, sources: []sourcePlan{{plan: plan{judgeFrom: 2}}}},
		state.Checkpoint{Layout: e.layout.String(), Incarnation: 1})
	c := new(chunk)
	for offset := range int64(3) {
		rec := wire.Record{Offset: offset, Value: []byte(event("withdraw", "1", 1, int(offset)))}
		c.records = append(c.records, record{offset: offset})
		lane.readers[0].decode(c, &c.records[offset], &rec)
	}
	c.next = 3
	if err := lane.consume(t.Context(), c, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	e.traceCommit([]load{{lane, lane.take()}}, time.Now())
	if len(sink.spans) != spansPerRecord || attribute(&sink.spans[0], "messaging.kafka.offset") != int64(2) || attribute(&sink.spans[0], "lapwing.alerts") != int64(1) {
		t.Errorf("want the spans of offset 2, the third withdrawal, only: %+v", sink.spans)
	}
}

// TestFailedCommitIsNotTraced: an event whose first transaction fails is judged again, and has one of each span.
func TestFailedCommitIsNotTraced(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := newBench(t, cluster.ListenAddrs()[0], 1)
	var refusals atomic.Int32
	cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if refusals.Add(1) > 1 {
			return nil, nil, false
		}
		return refusal(req, kerr.UnknownMemberID.Code), nil, true
	})
	sink := new(spanSink)
	e, stop := b.engine(state.NewMemory(), func(o *Options) { o.Tracer = &trace.Tracer{Sink: sink, Ratio: 1, BatchEventsMax: 10} })
	waitReady(t, e)
	b.send(event("withdraw", "1", 1, 1))
	b.read(b.output, 1)
	sink.taken(t, spansPerRecord)
	if refusals.Load() < 2 {
		t.Errorf("%d transactions, want a failed one and another", refusals.Load())
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	sink.taken(t, spansPerRecord)
}

// TestForwardedTrace: an event in another partition than its user's is traced where it is judged, under its own place.
func TestForwardedTrace(t *testing.T) {
	b := newBench(t, consumertest.Kfake(t), 2)
	sink := new(spanSink)
	e, stop := b.engine(state.NewMemory(), func(o *Options) { o.Tracer = &trace.Tracer{Sink: sink, BatchEventsMax: 10} })
	waitReady(t, e)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	wrong := 1 - contract.Murmur2.Partition([]byte("1"), 2)
	err = client.ProduceSync(t.Context(), &kgo.Record{Topic: b.input, Partition: wrong, Value: []byte(event("withdraw", "1", 1, 1)),
		Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte(sampledParent)}}}).FirstErr()
	if err != nil {
		t.Fatal(err)
	}
	result := b.read(b.output, 1)[0]
	spans := sink.taken(t, spansPerRecord)
	s := &spans[0]
	source := fmt.Sprintf("%v/%v/%v", attribute(s, "messaging.destination.name"), attribute(s, "messaging.destination.partition.id"), attribute(s, "messaging.kafka.offset"))
	if want := fmt.Sprintf("%s/%d/0", b.input, wrong); source != want || header(result, "lapwing-source") != want {
		t.Errorf("the span is of %s and the result of %s, want %s", source, header(result, "lapwing-source"), want)
	}
	if s.Parent != trace.Parse([]byte(sampledParent)).Span || header(result, "traceparent") != string(s.Context.AppendTraceparent(nil)) {
		t.Errorf("the trace is broken: %+v, then %s", s, header(result, "traceparent"))
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
