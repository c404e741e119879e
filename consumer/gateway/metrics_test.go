package gateway

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// value returns a counter's or gauge's value.
func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

// observations returns how many values a histogram has got.
func observations(t *testing.T, h prometheus.Histogram) uint64 {
	t.Helper()
	var out dto.Metric
	if err := h.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetHistogram().GetSampleCount()
}

func TestMetricNames(t *testing.T) {
	registry := prometheus.NewRegistry()
	var problem error
	m, err := newMetrics(registry, func() error { return problem })
	if err != nil {
		t.Fatal(err)
	}
	m.answered(answer{status: 200, reason: reasonOK}, 0)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 10 {
		t.Errorf("%d metrics, want 10", len(families))
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "lapwing_gateway_") {
			t.Errorf("metric %s is not named lapwing_gateway_", f.GetName())
		}
		if counter := f.GetType() == dto.MetricType_COUNTER; counter != strings.HasSuffix(f.GetName(), "_total") {
			t.Errorf("metric %s: only counters end in _total, and all of them", f.GetName())
		}
	}
	if _, err := newMetrics(registry, func() error { return problem }); err == nil {
		t.Error("the metrics of two gateways in one registry are taken")
	}
	for _, c := range []struct {
		problem error
		want    float64
	}{{nil, 1}, {errors.New("Kafka is away"), 0}, {nil, 1}} {
		problem = c.problem
		if got := ready(t, registry); got != c.want {
			t.Errorf("with the problem %v lapwing_gateway_ready is %v, want %v", c.problem, got, c.want)
		}
	}
}

// ready returns the value of lapwing_gateway_ready.
func ready(t *testing.T, g prometheus.Gatherer) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "lapwing_gateway_ready" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("lapwing_gateway_ready is not there")
	return 0
}
