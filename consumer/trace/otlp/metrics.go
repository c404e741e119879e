package otlp

import "github.com/prometheus/client_golang/prometheus"

// Metrics count what becomes of spans.
type Metrics struct {
	exported prometheus.Counter
	dropped  *prometheus.CounterVec
}

// Reasons why spans are dropped.
const (
	dropBatch    = "batch"    // more events of a lane in one transaction than are traced
	dropQueue    = "queue"    // the collector is slower than spans come, or away
	dropExport   = "export"   // the collector did not take them in time, or refused the request
	dropRejected = "rejected" // the collector took the request without them
)

// NewMetrics registers the metrics, unless r is nil. New does it by itself.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		exported: prometheus.NewCounter(prometheus.CounterOpts{Name: "lapwing_trace_spans_exported_total", Help: "Spans that the collector took."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lapwing_trace_spans_dropped_total", Help: "Spans that were not sent, by reason: batch, queue, export or rejected.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{dropBatch, dropQueue, dropExport, dropRejected} {
		m.dropped.WithLabelValues(reason)
	}
	if r != nil {
		r.MustRegister(m.exported, m.dropped)
	}
	return m
}

func (m *Metrics) drop(reason string, spans int) {
	if spans > 0 {
		m.dropped.WithLabelValues(reason).Add(float64(spans))
	}
}
