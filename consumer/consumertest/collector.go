package consumertest

import (
	"crypto/tls"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	pb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector takes spans as a collector of OpenTelemetry does: OTLP over HTTP, in protobuf. Make one with NewCollector; it
// ends with its test. Its methods are safe for concurrent use.
type Collector struct {
	URL    string
	Server *httptest.Server

	mu       sync.Mutex
	answer   http.HandlerFunc // nil: everything is taken
	spans    []CollectedSpan
	requests []*http.Request
	resource map[string]any
}

// CollectedSpan is a span that a Collector took; ids are in hex, an empty parent is none.
type CollectedSpan struct {
	Trace, ID, Parent string
	Name              string
	Kind              pb.Span_SpanKind
	Start, End        time.Time
	Attributes        map[string]any // string or int64
	Error             string
}

// NewCollector starts a collector on loopback; with an authority it speaks TLS, and clients need a certificate of it, too.
func NewCollector(tb testing.TB, a *Authority) *Collector {
	tb.Helper()
	c := new(Collector)
	c.Server = httptest.NewUnstartedServer(c)
	if a != nil {
		c.Server.TLS = &tls.Config{Certificates: []tls.Certificate{a.Certificate("collector")}, ClientCAs: a.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
		c.Server.StartTLS()
	} else {
		c.Server.Start()
	}
	c.URL = c.Server.URL
	tb.Cleanup(c.Server.Close)
	return c
}

// Answer sets how requests are answered from now on, in place of being taken; nil: they are taken again.
func (c *Collector) Answer(answer http.HandlerFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// ServeHTTP takes the spans of a request.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var message otlp.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &message)
	}
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "not a request of OTLP", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.requests = append(c.requests, r)
	answer := c.answer
	c.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	c.take(&message)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *Collector) take(message *otlp.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range message.GetResourceSpans() {
		c.resource = attributes(of.GetResource().GetAttributes())
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, collected(s))
			}
		}
	}
}

func collected(s *pb.Span) CollectedSpan {
	out := CollectedSpan{
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Name: s.GetName(), Kind: s.GetKind(), Attributes: attributes(s.GetAttributes()),
		Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())),
	}
	if s.GetStatus().GetCode() == pb.Status_STATUS_CODE_ERROR {
		out.Error = s.GetStatus().GetMessage()
	}
	return out
}

func attributes(values []*common.KeyValue) map[string]any {
	out := make(map[string]any, len(values))
	for _, v := range values {
		switch value := v.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[v.GetKey()] = value.StringValue
		case *common.AnyValue_IntValue:
			out[v.GetKey()] = value.IntValue
		default:
			out[v.GetKey()] = value
		}
	}
	return out
}

// Spans returns the spans that were taken, in the order of their coming.
func (c *Collector) Spans() []CollectedSpan {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Requests returns all requests, those too that were not taken.
func (c *Collector) Requests() []*http.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.requests)
}

// Resource returns what the spans of the last request have in common.
func (c *Collector) Resource() map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resource
}

// WaitSpans waits until at least n spans were taken, and returns all.
func (c *Collector) WaitSpans(tb testing.TB, n int, timeout time.Duration) []CollectedSpan {
	tb.Helper()
	for deadline := time.Now().Add(timeout); ; time.Sleep(10 * time.Millisecond) {
		spans := c.Spans()
		if len(spans) >= n {
			return spans
		}
		if time.Now().After(deadline) {
			tb.Fatalf("after %v the collector has %d spans, want %d", timeout, len(spans), n)
		}
	}
}
