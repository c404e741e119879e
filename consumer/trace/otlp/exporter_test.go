package otlp

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	pb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// spans are n spans of one trace, numbered by their names.
func spans(n int) []trace.Span {
	parent := trace.Parse([]byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
	out := make([]trace.Span, n)
	for i := range out {
		at := time.Unix(1_700_000_000, int64(i))
		out[i] = trace.Span{Name: fmt.Sprint(i), Context: parent.Child(i), Parent: parent.Span, Start: at, End: at.Add(time.Second)}
	}
	return out
}

// newExporter returns an exporter to a collector that sends soon.
func newExporter(t *testing.T, c *consumertest.Collector, change func(*Options)) *Exporter {
	t.Helper()
	o := DefaultOptions()
	o.Endpoint, o.Interval, o.Registerer = c.URL+"/v1/traces", 5*time.Millisecond, prometheus.NewRegistry()
	if change != nil {
		change(&o)
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func (e *Exporter) dropped(reason string) int {
	return int(testutil.ToFloat64(e.metrics.dropped.WithLabelValues(reason)))
}

func TestExport(t *testing.T) {
	c := consumertest.NewCollector(t, nil)
	e := newExporter(t, c, func(o *Options) {
		o.Resource = []trace.Attribute{trace.Text("service.name", "lapwing")}
		o.Headers = http.Header{"Authorization": {"Bearer lapwing-test-secret-otlp"}}
	})
	want := spans(2)
	want[0].Kind, want[0].Parent = trace.KindConsumer, trace.SpanID{}
	want[0].Attributes = []trace.Attribute{trace.Text("text", "a"), trace.Number("number", -3)}
	want[1].Error = "it failed"
	e.Take(want)
	got := c.WaitSpans(t, 2, 10*time.Second)
	first, second := got[0], got[1]
	if first.Trace != "4bf92f3577b34da6a3ce929d0e0e4736" || first.ID != fmt.Sprintf("%x", want[0].Context.Span) || first.Parent != "" || first.Name != "0" ||
		first.Kind != pb.Span_SPAN_KIND_CONSUMER || !first.Start.Equal(want[0].Start) || !first.End.Equal(want[0].End) || first.Error != "" ||
		len(first.Attributes) != 2 || first.Attributes["text"] != "a" || first.Attributes["number"] != int64(-3) {
		t.Errorf("first: %+v", first)
	}
	if second.Parent != "00f067aa0ba902b7" || second.Kind != pb.Span_SPAN_KIND_INTERNAL || second.Error != "it failed" {
		t.Errorf("second: %+v", second)
	}
	if c.Resource()["service.name"] != "lapwing" {
		t.Errorf("resource: %v", c.Resource())
	}
	r := c.Requests()[0]
	if r.URL.Path != "/v1/traces" || r.Header.Get("Authorization") != "Bearer lapwing-test-secret-otlp" {
		t.Errorf("%s with %v", r.URL, r.Header)
	}
	e.Close()
	if n := testutil.ToFloat64(e.metrics.exported); n != 2 {
		t.Errorf("%v exported", n)
	}
}

// TestBatches: spans go in requests of at most BatchMax, in their order, and a full one does not wait for the interval.
func TestBatches(t *testing.T) {
	c := consumertest.NewCollector(t, nil)
	e := newExporter(t, c, func(o *Options) { o.BatchMax, o.Interval = 10, time.Hour })
	e.Take(spans(25))
	c.WaitSpans(t, 20, 10*time.Second)
	e.Close() // sends the rest
	got := c.Spans()
	if len(got) != 25 || len(c.Requests()) != 3 {
		t.Fatalf("%d spans in %d requests", len(got), len(c.Requests()))
	}
	for i, s := range got {
		if s.Name != fmt.Sprint(i) {
			t.Fatalf("span %d is %s", i, s.Name)
		}
	}
}

// TestQueueIsBounded: while the collector hangs, Take neither blocks nor keeps more than QueueMax, and Close ends in time.
func TestQueueIsBounded(t *testing.T) {
	c := consumertest.NewCollector(t, nil)
	release, hangs := make(chan struct{}), make(chan struct{}, 1)
	c.Answer(func(_ http.ResponseWriter, r *http.Request) {
		hangs <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	e := newExporter(t, c, func(o *Options) { o.BatchMax, o.QueueMax, o.DrainTimeout = 10, 50, 200*time.Millisecond })
	e.Take(spans(10))
	<-hangs // these are under way
	began := time.Now()
	e.Take(spans(30))
	e.Take(spans(30))
	if took := time.Since(began); took > 100*time.Millisecond {
		t.Errorf("Take took %v", took)
	}
	if n := e.dropped(dropQueue); n != 10 {
		t.Errorf("%d dropped, want 10", n)
	}
	began = time.Now()
	e.Close()
	if took := time.Since(began); took < 150*time.Millisecond || took > 5*time.Second {
		t.Errorf("Close took %v, want 200ms", took)
	}
	if n := e.dropped(dropExport); n != 60 {
		t.Errorf("%d dropped at the end, want the 10 under way and the 50 of the queue", n)
	}
	e.Drop(5)
	if n := e.dropped(dropBatch); n != 5 {
		t.Errorf("%d dropped of the batch, want 5", n)
	}
}

// TestRetries: what the collector may take later is sent again, as long as RetryTimeout allows; a refusal is final.
func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name    string
		status  int
		refused int32 // so many times, then taken
		retry   time.Duration
		want    int // requests; 0: some
		dropped int
	}{
		{"later", http.StatusServiceUnavailable, 2, time.Minute, 3, 0},
		{"too many", http.StatusTooManyRequests, 1, time.Minute, 2, 0},
		{"never", http.StatusBadGateway, 1 << 30, 300 * time.Millisecond, 0, 4},
		{"refused", http.StatusBadRequest, 1, time.Minute, 1, 4},
		{"moved", http.StatusFound, 1, time.Minute, 1, 4},
		{"no permission", http.StatusUnauthorized, 1, time.Minute, 1, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := consumertest.NewCollector(t, nil)
			var asked atomic.Int32
			c.Answer(func(w http.ResponseWriter, _ *http.Request) {
				if asked.Add(1) >= tt.refused {
					c.Answer(nil)
				}
				http.Error(w, "not now", tt.status)
			})
			e := newExporter(t, c, func(o *Options) { o.RetryTimeout = tt.retry })
			e.Take(spans(4))
			for deadline := time.Now().Add(10 * time.Second); len(c.Spans())+e.dropped(dropExport) < 4; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d taken, %d dropped", len(c.Spans()), e.dropped(dropExport))
				}
			}
			if n := len(c.Requests()); tt.want != 0 && n != tt.want || tt.want == 0 && n < 2 {
				t.Errorf("%d requests, want %d", n, tt.want)
			}
			if n := e.dropped(dropExport); n != tt.dropped {
				t.Errorf("%d dropped, want %d", n, tt.dropped)
			}
		})
	}
}

// TestRetryAfter: the collector says how long to wait.
func TestRetryAfter(t *testing.T) {
	c := consumertest.NewCollector(t, nil)
	c.Answer(func(w http.ResponseWriter, _ *http.Request) {
		c.Answer(nil)
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	began := time.Now()
	newExporter(t, c, nil).Take(spans(1))
	c.WaitSpans(t, 1, 10*time.Second)
	if took := time.Since(began); took < time.Second {
		t.Errorf("sent again after %v, want 1s", took)
	}
}

// TestPartialSuccess: what the collector says that it did not take is counted as dropped, whatever number it says.
func TestPartialSuccess(t *testing.T) {
	for says, want := range map[int64]int{3: 3, 0: 0, 5: 4, math.MaxInt64: 4, -1: 0} {
		c := consumertest.NewCollector(t, nil)
		c.Answer(func(w http.ResponseWriter, _ *http.Request) {
			text, err := proto.Marshal(&v1.ExportTraceServiceResponse{PartialSuccess: &v1.ExportTracePartialSuccess{RejectedSpans: says, ErrorMessage: "too old"}})
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write(text)
		})
		e := newExporter(t, c, nil)
		e.Take(spans(4))
		e.Close()
		if exported, rejected := int(testutil.ToFloat64(e.metrics.exported)), e.dropped(dropRejected); exported != 4-want || rejected != want {
			t.Errorf("the collector says %d: %d exported and %d rejected, want %d and %d", says, exported, rejected, 4-want, want)
		}
	}
}

func TestTLS(t *testing.T) {
	a := consumertest.NewAuthority(t)
	c := consumertest.NewCollector(t, a)
	newExporter(t, c, func(o *Options) { o.TLS = a.ClientConfig() }).Take(spans(1))
	c.WaitSpans(t, 1, 10*time.Second)

	e := newExporter(t, c, func(o *Options) { o.RetryTimeout = 50 * time.Millisecond }) // trusts the system's only
	e.Take(spans(1))
	for deadline := time.Now().Add(10 * time.Second); e.dropped(dropExport) != 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a certificate that nobody trusts was taken")
		}
	}
}

func TestOptions(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"Endpoint is empty":         func(o *Options) { o.Endpoint = "" },
		"is no URL":                 func(o *Options) { o.Endpoint = "127.0.0.1:4318" },
		"BatchMax 0":                func(o *Options) { o.BatchMax = 0 },
		"QueueMax 1 is below":       func(o *Options) { o.QueueMax = 1 },
		"Interval 0s":               func(o *Options) { o.Interval = 0 },
		"RequestTimeout 0s":         func(o *Options) { o.RequestTimeout = 0 },
		"RetryTimeout 0s":           func(o *Options) { o.RetryTimeout = 0 },
		"DrainTimeout 0s is not ab": func(o *Options) { o.DrainTimeout = 0 },
	} {
		o := DefaultOptions()
		o.Endpoint = "http://127.0.0.1:4318/v1/traces"
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
