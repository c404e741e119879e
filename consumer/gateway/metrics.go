package gateway

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are all of the gateway's. Labels are bounded: status codes, fixed reasons, fates.
type metrics struct {
	requests      *prometheus.CounterVec
	requestTime   *prometheus.HistogramVec
	inFlight      prometheus.Gauge
	writeTime     prometheus.Histogram
	writeEvents   prometheus.Histogram
	writeRetries  prometheus.Counter
	results       [fateCount]prometheus.Counter
	readers       prometheus.Gauge
	fetchFailures prometheus.Counter
}

// newMetrics registers with r unless it is nil; ready is asked at each scrape.
func newMetrics(r prometheus.Registerer, ready func() error) (*metrics, error) {
	seconds := prometheus.ExponentialBuckets(0.001, 2, 14)
	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lapwing_gateway_results_total",
		Help: "Results read from the output topic: delivered to a request, late for it, or foreign (of no request here).",
	}, []string{"fate"})
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lapwing_gateway_requests_total",
			Help: "Requests by status code (499: the client left) and reason (ok: answered with a result).",
		}, []string{"code", "reason"}),
		requestTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lapwing_gateway_request_duration_seconds",
			Help: "From the request's header to its answer, by status code.", Buckets: seconds,
		}, []string{"code"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lapwing_gateway_in_flight_requests", Help: "Events that are being read, written or waited for.",
		}),
		writeTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lapwing_gateway_write_duration_seconds",
			Help: "Duration of one produce request, successful or not.", Buckets: seconds,
		}),
		writeEvents: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lapwing_gateway_write_events",
			Help: "Events in one produce request.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		writeRetries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lapwing_gateway_write_retries_total", Help: "Produce requests that certainly wrote nothing and were sent again.",
		}),
		readers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lapwing_gateway_readers", Help: "Partitions of the output topic that are read.",
		}),
		fetchFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lapwing_gateway_fetch_failures_total", Help: "Reads of results that failed and are tried again.",
		}),
	}
	for f := range fateCount {
		m.results[f] = results.WithLabelValues(f.String())
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.requestTime, m.inFlight, m.writeTime, m.writeEvents, m.writeRetries, results, m.readers, m.fetchFailures, readyGauge(ready),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("gateway: register metrics: %w", err)
		}
	}
	return m, nil
}

// readyGauge is what /readyz says.
func readyGauge(ready func() error) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lapwing_gateway_ready", Help: "1 while /readyz of the gateway answers 200, else 0.",
	}, func() float64 {
		if ready() == nil {
			return 1
		}
		return 0
	})
}

// answered counts a request.
func (m *metrics) answered(a answer, took time.Duration) {
	code := strconv.Itoa(a.status)
	m.requests.WithLabelValues(code, string(a.reason)).Inc()
	m.requestTime.WithLabelValues(code).Observe(took.Seconds())
}
