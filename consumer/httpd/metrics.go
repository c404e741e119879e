package httpd

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Reasons of refusals, a label of metrics.
const (
	refusedConnections = "connections" // beyond ConnectionsMax
	refusedHandshake   = "handshake"   // no TLS, or a client certificate of another authority
	refusedCertificate = "certificate" // a request without a client certificate
	refusedToken       = "token"       // a request without a token that is taken
)

// Metrics are those of all servers of a process, told apart by the label listener.
type Metrics struct {
	refusals                                *prometheus.CounterVec
	connections, certificateEnd, staleFiles *prometheus.GaugeVec
}

// NewMetrics registers with r unless it is nil.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"listener"})
	}
	m := &Metrics{
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lapwing_http_refusals_total",
			Help: "Connections (reason connections, handshake) and requests (certificate, token) that were refused before anything was done.",
		}, []string{"listener", "reason"}),
		connections:    gauge("lapwing_http_connections", "Open connections."),
		certificateEnd: gauge("lapwing_http_certificate_end_timestamp_seconds", "When the server's certificate ends; 0 without TLS."),
		staleFiles: gauge("lapwing_http_stale_files",
			"1 while a file of certificates or tokens cannot be used, and its former content is; else 0."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.refusals, m.connections, m.certificateEnd, m.staleFiles} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("httpd: register metrics: %w", err)
		}
	}
	return m, nil
}

// serverMetrics are those of one server.
type serverMetrics struct {
	refusals                                map[string]prometheus.Counter // by reason
	connections, certificateEnd, staleFiles prometheus.Gauge
}

// of returns the metrics of a server, all of them 0.
func (m *Metrics) of(name string) *serverMetrics {
	s := &serverMetrics{
		refusals:       map[string]prometheus.Counter{},
		connections:    m.connections.WithLabelValues(name),
		certificateEnd: m.certificateEnd.WithLabelValues(name),
		staleFiles:     m.staleFiles.WithLabelValues(name),
	}
	for _, reason := range []string{refusedConnections, refusedHandshake, refusedCertificate, refusedToken} {
		s.refusals[reason] = m.refusals.WithLabelValues(name, reason)
	}
	return s
}

func (s *serverMetrics) refused(reason string) { s.refusals[reason].Inc() }
