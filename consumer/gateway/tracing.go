package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/trace"
)

// traced is a request's trace: a span for the request, below the one that its traceparent names, and a span for writing the
// event below that. The record carries the second one, and the engine goes on from there. Its methods take nil: requests
// are not traced.
type traced struct {
	request trace.Context
	parent  trace.SpanID
	began   time.Time

	sent      time.Time // zero: no event came of it
	taken     time.Time // when Kafka acknowledged the event; zero: it did not
	partition int32
	offset    int64
}

// trace begins the trace of a POST, or returns nil where requests are not traced.
func (h *handler) trace(r *http.Request, began time.Time) *traced {
	tracer := h.options.Tracer
	if tracer == nil || r.Method != http.MethodPost {
		return nil
	}
	parent := trace.Parse([]byte(r.Header.Get(contract.HeaderTraceparent)))
	return &traced{request: tracer.Request(parent), parent: parent.Span, began: began}
}

// write is the span of writing the event.
func (t *traced) write() trace.Context { return t.request.Child(0) }

// traceparent is the event's.
func (t *traced) traceparent() []byte { return t.write().AppendTraceparent(nil) }

// send notes that the event is on its way.
func (t *traced) send(m *message) {
	if t != nil {
		t.sent, t.partition = time.Now(), m.partition
	}
}

// written notes that the event is in the topic.
func (t *traced) written(offset int64) {
	if t != nil {
		t.taken, t.offset = time.Now(), offset
	}
}

// traced hands on the spans of a request that is answered, if its trace is sampled.
func (h *handler) traced(t *traced, a answer) {
	if t == nil || !t.request.Sampled() {
		return
	}
	request := trace.Span{
		Name: "POST /event", Kind: trace.KindServer, Context: t.request, Parent: t.parent, Start: t.began, End: time.Now(),
		Attributes: []trace.Attribute{
			trace.Text("http.request.method", http.MethodPost),
			trace.Text("http.route", "/event"),
			trace.Text("url.path", "/event"),
			trace.Number("http.response.status_code", int64(a.status)),
		},
	}
	if a.status >= http.StatusBadRequest {
		request.Attributes = append(request.Attributes, trace.Text("error.type", string(a.reason)))
	}
	if a.status >= http.StatusInternalServerError { // what the client did wrong is no error of the server
		request.Error = a.detail
	}
	spans := []trace.Span{request}
	if !t.sent.IsZero() {
		spans = append(spans, t.writeSpan(h.options.Input, request.End))
	}
	h.options.Tracer.Sink.Take(spans)
}

// writeSpan is the span of writing the event to the topic, up to its acknowledgement or the end of the request.
func (t *traced) writeSpan(topic string, end time.Time) trace.Span {
	s := trace.Span{
		Name: "send " + topic, Kind: trace.KindProducer, Context: t.write(), Parent: t.request.Span, Start: t.sent, End: end,
		Attributes: []trace.Attribute{
			trace.Text("messaging.system", "kafka"),
			trace.Text("messaging.operation.name", "send"),
			trace.Text("messaging.operation.type", "send"),
			trace.Text("messaging.destination.name", topic),
			trace.Text("messaging.destination.partition.id", strconv.Itoa(int(t.partition))),
		},
	}
	if t.taken.IsZero() {
		// The result may be there before the acknowledgement, so this is no error by itself.
		return s
	}
	s.End = t.taken
	s.Attributes = append(s.Attributes, trace.Number("messaging.kafka.offset", t.offset))
	return s
}
