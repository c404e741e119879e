package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	pb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// gateway makes a gateway of the system, and returns where it takes events.
func (s *system) gateway(tail string) (g *consumertest.Engine, url string) {
	s.t.Helper()
	listen := "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(s.t))
	admin := "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(s.t))
	g = consumertest.NewEngine(s.t, consumertest.EngineOptions{Command: "gateway", Name: "gateway", HTTP: admin, Config: fmt.Sprintf(`
kafka: {brokers: [%q], group: %s, input: [%s], output: %s, dead_letters: %s}
http: %s
gateway: {listen: %q}
%s
`, s.broker, s.group, s.input, s.output, s.dead, admin, listen, tail)})
	return g, "http://" + listen + "/event"
}

// postTraced posts an event with a traceparent, if there is one, and wants it judged.
func postTraced(t *testing.T, url, event, traceparent string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(event))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if traceparent != "" {
		r.Header.Set("traceparent", traceparent)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s %v", answer.Status, text, err)
	}
}

const clientTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

// TestTraceOfARequest follows a request through a gateway and an engine, processes of their own on real services, to a
// collector over mutual TLS: the spans are those of one trace, each the child of the one before, and the times are in order.
func TestTraceOfARequest(t *testing.T) {
	s := newSystem(t, systemOptions{})
	authority := consumertest.NewAuthority(t)
	collector := consumertest.NewCollector(t, authority)
	headers := writeFile(t, t.TempDir(), "headers", "# of the collector\nAuthorization: Bearer lapwing-test-secret-tracing\n\n")
	certFile, keyFile := authority.Issue("lapwing")
	s.tail = fmt.Sprintf("tracing: {endpoint: %q, sample_ratio: 0, ca_file: %q, cert_file: %q, key_file: %q, headers_file: %q, export_interval: 20ms}",
		collector.URL, authority.CAFile(), certFile, keyFile, headers)
	engine := s.engine("engine")
	gateway, url := s.gateway(s.tail)
	engine.Start()
	gateway.Start()
	engine.WaitReady(readyTimeout)
	gateway.WaitReady(readyTimeout)

	postTraced(t, url, `{"type":"withdraw","amount":"1","user_id":1,"time":1}`, "")
	postTraced(t, url, `{"type":"withdraw","amount":"1","user_id":1,"time":2}`, "00-"+strings.Repeat("1", 32)+"-00f067aa0ba902b7-00")
	before := time.Now()
	postTraced(t, url, `{"type":"withdraw","amount":"200","user_id":1,"time":3}`, "00-"+clientTrace+"-00f067aa0ba902b7-01")
	collector.WaitSpans(t, 7, readyTimeout)
	term(t, engine)
	term(t, gateway)
	after := time.Now()
	spans := map[string]consumertest.CollectedSpan{}
	for _, span := range collector.Spans() {
		spans[span.Name] = span
		if span.Trace != clientTrace || span.Start.Before(before) || span.End.After(after) || span.End.Before(span.Start) || span.Error != "" {
			t.Errorf("%+v", span)
		}
	}
	if n := len(collector.Spans()); n != 7 || len(spans) != 7 {
		t.Fatalf("%d spans, want 7: %+v", n, spans)
	}
	request, send, process := spans["POST /event"], spans["send "+s.input], spans["process "+s.input]
	if request.Parent != "00f067aa0ba902b7" || request.Kind != pb.Span_SPAN_KIND_SERVER || request.Attributes["http.response.status_code"] != int64(200) {
		t.Errorf("request: %+v", request)
	}
	if send.Parent != request.ID || send.Kind != pb.Span_SPAN_KIND_PRODUCER || process.Parent != send.ID || process.Kind != pb.Span_SPAN_KIND_CONSUMER {
		t.Errorf("sent: %+v, processed: %+v", send, process)
	}
	for _, key := range []string{"messaging.destination.name", "messaging.destination.partition.id", "messaging.kafka.offset"} {
		if send.Attributes[key] == nil || send.Attributes[key] != process.Attributes[key] {
			t.Errorf("%s: sent %v, processed %v", key, send.Attributes[key], process.Attributes[key])
		}
	}
	if process.Attributes["messaging.kafka.offset"] != int64(2) || process.Attributes["lapwing.alerts"] != int64(2) { // 1100 and 30
		t.Errorf("processed: %+v", process)
	}
	at := send.Start // the clock is one, and the engine may read the record before the gateway has its acknowledgement
	for _, name := range []string{"fetch", "wait", "judge", "commit"} {
		step := spans[name]
		if step.Parent != process.ID || step.Start.Before(at) {
			t.Errorf("%s: %+v, and the step before ended at %v", name, step, at)
		}
		at = step.End
	}
	for _, r := range collector.Requests() {
		if got := r.Header.Get("Authorization"); r.URL.Path != tracesPath || got != "Bearer lapwing-test-secret-tracing" {
			t.Errorf("%s with the authorization %q", r.URL, got)
		}
	}
	if r := collector.Resource(); r["service.name"] != "lapwing" || r["service.version"] == "" {
		t.Errorf("resource: %v", r)
	}
	s.checkTraced(process.ID)
	if log := engine.Log() + gateway.Log(); strings.Contains(log, "lapwing-test-secret") {
		t.Error("a secret is in the log")
	}
}

// checkTraced: the result of offset 2 goes on from a span, the others have what came with the request.
func (s *system) checkTraced(span string) {
	s.t.Helper()
	got := map[string]string{}
	for _, r := range s.published(3) {
		source := headerOf(r, "lapwing-source")
		got[source[strings.LastIndexByte(source, '/')+1:]] = headerOf(r, "traceparent")
	}
	if got["2"] != "00-"+clientTrace+"-"+span+"-01" {
		s.t.Errorf("the traced result has the traceparent %s, want span %s", got["2"], span)
	}
	for offset, want := range map[string]string{"0": `^00-[0-9a-f]{32}-[0-9a-f]{16}-02$`, "1": "^00-" + strings.Repeat("1", 32) + "-[0-9a-f]{16}-00$"} {
		if !regexp.MustCompile(want).MatchString(got[offset]) {
			s.t.Errorf("result %s has the traceparent %q, want %s", offset, got[offset], want)
		}
	}
}

// published reads the output until there are at least n results, and then what else is there.
func (s *system) published(n int) (all []*kgo.Record) {
	s.t.Helper()
	c := s.client(kgo.ConsumeTopics(s.output), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for deadline := time.Now().Add(readyTimeout); ; {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		more := c.PollFetches(ctx).Records()
		cancel()
		switch all = append(all, more...); {
		case len(more) == 0 && len(all) >= n:
			return all
		case time.Now().After(deadline):
			s.t.Fatalf("%d results, want %d", len(all), n)
		}
	}
}

func headerOf(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// TestTracedRepeats kills an engine that publishes at least once: the results that come again have the same bytes, with the
// traceparent that the engine has given them.
func TestTracedRepeats(t *testing.T) {
	if testing.Short() {
		t.Skip("the killed member's session has to end; left out by -short")
	}
	s := newSystem(t, systemOptions{})
	collector := consumertest.NewCollector(t, nil)
	s.extra = "  guarantee: at_least_once\n  offset_commit_interval: 10s"
	s.tail = fmt.Sprintf("tracing: {endpoint: %q, sample_ratio: 0.5}", collector.URL)
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	const count = 2000
	s.produceFrom(count, consumertest.NewGenerator(consumertest.EventOptions{Seed: 1, Users: 100, Headers: 0.2}))
	s.published(count)
	e.Kill()
	e.Start()
	s.drain(readyTimeout)
	term(t, e)
	first := map[string]*kgo.Record{}
	repeated, traced := 0, 0
	for _, r := range s.published(count) {
		source := headerOf(r, "lapwing-source")
		before := first[source]
		if first[source] = r; before == nil {
			continue
		}
		repeated++
		if headerOf(r, "traceparent") != "" {
			traced++
		}
		if !bytes.Equal(r.Value, before.Value) || !slices.EqualFunc(r.Headers, before.Headers, func(a, b kgo.RecordHeader) bool {
			return a.Key == b.Key && bytes.Equal(a.Value, b.Value)
		}) {
			t.Fatalf("the result of %s is %s %s, and was %s %s", source, r.Value, r.Headers, before.Value, before.Headers)
		}
	}
	if len(first) != count || repeated == 0 || traced < repeated/4 {
		t.Errorf("%d results, %d repeated, %d of these traced", len(first), repeated, traced)
	}
}

// TestCollectorAway: with every event traced and nobody there to take the spans, events are judged as ever, what does not
// fit is counted, and the engine ends in time.
func TestCollectorAway(t *testing.T) {
	s := newSystem(t, systemOptions{})
	s.tail = fmt.Sprintf(`tracing: {endpoint: "http://127.0.0.1:%d", sample_ratio: 1, queue_max: 1000, export_max: 1000, export_interval: 10ms, retry_timeout: 1s}`,
		consumertest.FreePort(t))
	s.http = "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	g := consumertest.NewGenerator(mixed(1))
	s.produceFrom(20_000, g)
	s.drain(readyTimeout)
	e.WaitLog(readyTimeout, "spans were not taken by the collector")
	_, text := get(t, "http://"+s.http+"/metrics")
	for _, reason := range []string{"batch", "queue", "export"} {
		if m := regexp.MustCompile(`lapwing_trace_spans_dropped_total\{reason="` + reason + `"\} (\S+)`).FindStringSubmatch(text); m == nil || m[1] == "0" {
			t.Errorf("no spans are dropped for %s: %q", reason, m)
		}
	}
	term(t, e)
	s.checkStopped(true)
}
