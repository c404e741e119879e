package gateway

import (
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
	m, err := newMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	m.answered(answer{status: 200, reason: reasonOK}, 0)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 9 {
		t.Errorf("%d metrics, want 9", len(families))
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "lapwing_gateway_") {
			t.Errorf("metric %s is not named lapwing_gateway_", f.GetName())
		}
		if counter := f.GetType() == dto.MetricType_COUNTER; counter != strings.HasSuffix(f.GetName(), "_total") {
			t.Errorf("metric %s: only counters end in _total, and all of them", f.GetName())
		}
	}
	if _, err := newMetrics(registry); err == nil {
		t.Error("the metrics of two gateways in one registry are taken")
	}
}
