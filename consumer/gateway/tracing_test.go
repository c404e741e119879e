package gateway

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/trace"
)

// spanSink keeps the spans that it takes.
type spanSink struct {
	mu    sync.Mutex
	spans []trace.Span
}

func (s *spanSink) Take(spans []trace.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans = append(s.spans, spans...)
}

func (s *spanSink) Drop(int) {}

func attribute(s *trace.Span, key string) any {
	if i := slices.IndexFunc(s.Attributes, func(a trace.Attribute) bool { return a.Key == key }); i >= 0 {
		return s.Attributes[i].Value
	}
	return nil
}

const sampledParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// TestHandlerTraces: what spans a request has, and what traceparent its event has.
func TestHandlerTraces(t *testing.T) {
	parent := trace.Parse([]byte(sampledParent))
	for _, tt := range []struct {
		name   string
		ratio  float64
		header string
		body   string
		write  func(*handler, *message)
		status int64
		spans  int
		error  string // of the request: its reason, or none
	}{
		{"sampled", 0, sampledParent, deposit(1, "1", 1), take, http.StatusOK, 2, ""},
		{"not sampled", 1, strings.TrimSuffix(sampledParent, "1") + "0", deposit(1, "1", 1), take, http.StatusOK, 0, ""},
		{"none, all are taken", 1, "", deposit(1, "1", 1), take, http.StatusOK, 2, ""},
		{"none, none is taken", 0, "", deposit(1, "1", 1), take, http.StatusOK, 0, ""},
		{"none that is well-formed", 1, "00-x", deposit(1, "1", 1), take, http.StatusOK, 2, ""},
		{"no event", 0, sampledParent, "{", take, http.StatusBadRequest, 1, "not_json"},
		{"not written", 0, sampledParent, deposit(1, "1", 1), func(_ *handler, m *message) {
			if claim([]*message{m}) != nil {
				m.finish(outcome{err: &writeError{err: errUnknownYet, certain: true}})
			}
		}, http.StatusServiceUnavailable, 2, string(reasonNotWritten)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sink := new(spanSink)
			var traceparent string
			s := newStub(t, func(o *Options) { o.Tracer = &trace.Tracer{Sink: sink, Ratio: tt.ratio} }, func(h *handler, m *message) {
				for _, header := range m.headers {
					if header.Key == contract.HeaderTraceparent {
						traceparent = string(header.Value)
					}
				}
				tt.write(h, m)
			})
			r := newPost(tt.body)
			if tt.header != "" {
				r = with(r, "traceparent", tt.header)
			}
			if w := s.do(r); int64(w.Code) != tt.status {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			if len(sink.spans) != tt.spans {
				t.Fatalf("%d spans, want %d: %+v", len(sink.spans), tt.spans, sink.spans)
			}
			event := trace.Parse([]byte(traceparent))
			if tt.status != http.StatusBadRequest && (!event.Valid() || event.Sampled() != (tt.spans > 0)) {
				t.Errorf("the event has the traceparent %q", traceparent)
			}
			if strings.HasPrefix(tt.header, "00-4bf") && event.Valid() && (event.Trace != parent.Trace || event.Span == parent.Span) {
				t.Errorf("the event has the traceparent %q, below %s", traceparent, tt.header)
			}
			if tt.spans == 0 {
				return
			}
			request := &sink.spans[0]
			wantParent := trace.SpanID{}
			if tt.header == sampledParent {
				wantParent = parent.Span
			}
			if request.Name != "POST /event" || request.Kind != trace.KindServer || request.Parent != wantParent ||
				attribute(request, "http.response.status_code") != tt.status || (request.Error != "") != (tt.status >= 500) {
				t.Errorf("request: %+v", request)
			}
			if got := attribute(request, "error.type"); (got == nil) != (tt.error == "") || got != nil && got != tt.error {
				t.Errorf("error.type is %v, want %s", got, tt.error)
			}
			if tt.spans == 2 {
				checkSend(t, request, &sink.spans[1], event, tt.status == http.StatusOK)
			}
		})
	}
}

// checkSend checks the span of writing the event, which the event's traceparent names.
func checkSend(t *testing.T, request, send *trace.Span, event trace.Context, written bool) {
	t.Helper()
	if send.Name != "send events" || send.Kind != trace.KindProducer || send.Parent != request.Context.Span || send.Context != event {
		t.Errorf("send: %+v", send)
	}
	if send.Start.Before(request.Start) || send.End.Before(send.Start) || request.End.Before(send.End) {
		t.Errorf("request from %v to %v, send from %v to %v", request.Start, request.End, send.Start, send.End)
	}
	if offset := attribute(send, "messaging.kafka.offset"); !written && offset != nil {
		t.Errorf("offset %v of what was not written", offset)
	}
}

// TestHandlerTracesNothing: without a tracer the traceparent is passed on as it is.
func TestHandlerTracesNothing(t *testing.T) {
	var got string
	s := newStub(t, nil, func(h *handler, m *message) {
		got = string(m.headers[1].Value)
		take(h, m)
	})
	if w := s.do(with(newPost(deposit(1, "1", 1)), "traceparent", sampledParent)); w.Code != http.StatusOK || got != sampledParent {
		t.Errorf("%d, and the event has the traceparent %q", w.Code, got)
	}
}
