package main

import (
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestTracingOptions(t *testing.T) {
	c, err := LoadConfig("testdata/tracing.good.yaml", []string{"LAPWING_TRACING_BATCH_EVENTS_MAX=7"})
	if err != nil {
		t.Fatal(err)
	}
	tracer, closeTracer, err := c.tracer(slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer closeTracer()
	if tracer.Ratio != 1 || tracer.BatchEventsMax != 7 {
		t.Errorf("got %+v", tracer)
	}
	tracer, closeTracer, err = NewConfig().tracer(slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if tracer != nil || err != nil {
		t.Errorf("by default: %+v, %v", tracer, err)
	}
	closeTracer()
}

func TestTracingEndpoint(t *testing.T) {
	for endpoint, want := range map[string]string{ // empty: none
		"http://127.0.0.1:4318":                       "http://127.0.0.1:4318/v1/traces",
		"https://collector.example/":                  "https://collector.example/v1/traces",
		"https://collector.example/otlp/v1/traces":    "https://collector.example/otlp/v1/traces",
		"http://[::1]:4318":                           "http://[::1]:4318/v1/traces",
		"127.0.0.1:4318":                              "",
		"grpc://127.0.0.1:4317":                       "",
		"http://":                                     "",
		"http://:4318":                                "",
		"http://user:lapwing-test-secret@example":     "",
		"http://example/?key=lapwing-test-secret-key": "",
		"http://example/#here":                        "",
		"http://exa mple/":                            "",
	} {
		u, err := (&TracingConfig{Endpoint: endpoint}).url()
		if (err == nil) != (want != "") || err == nil && u.String() != want {
			t.Errorf("%s is %v, %v; want %s", endpoint, u, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "lapwing-test-secret") {
			t.Errorf("a secret is shown: %v", err)
		}
	}
}

func TestHeadersFile(t *testing.T) {
	got, err := readHeaders("testdata/headers.txt")
	want := http.Header{"Authorization": {"Bearer lapwing-test-secret-tracing: 1"}, "X-Scope-Orgid": {"tenant", "other"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for text, line := range map[string]string{
		"lapwing-test-secret-1":                  "line 1",
		"A: b\nlapwing-test-secret-2":            "line 2",
		"A: ":                                    "line 1",
		": lapwing-test-secret-3":                "line 1",
		"a b: lapwing-test-secret-4":             "line 1",
		"\n\nA: lapwing-test-secret-5\x01x":      "line 3",
		"é: lapwing-test-secret-6":               "line 1",
		"A : lapwing-test-secret-7":              "line 1",
		strings.Repeat("#\n", 40_000) + "A: b\n": "bytes are allowed",
	} {
		file := File(writeFile(t, t.TempDir(), "headers", text))
		if _, err := readHeaders(file); err == nil || !strings.Contains(err.Error(), line) || strings.Contains(err.Error(), "lapwing-test-secret") {
			t.Errorf("%.40q: got %v, want %s and no value", text, err, line)
		}
	}
	if _, err := readHeaders("testdata/missing"); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestRatio(t *testing.T) {
	for text, want := range map[string]Ratio{"0": 0, "1": 1, "0.25": 0.25, "1e-3": 0.001} {
		var r Ratio
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%s is %v, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "-0.1", "1.0001", "NaN", "+Inf", "half", "10%"} {
		if new(Ratio).UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q is a share", text)
		}
	}
}
