package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lapwing/lapwing/consumer/trace"
	"github.com/lapwing/lapwing/consumer/trace/otlp"
)

// TracingConfig is the section tracing: where spans are sent, and of which events. Without an endpoint there are none.
type TracingConfig struct {
	// Endpoint is a URL; without a path it is that of OTLP's traces.
	Endpoint string `yaml:"endpoint"`
	// SampleRatio is the share of what comes without a traceparent.
	SampleRatio Ratio  `yaml:"sample_ratio"`
	ServiceName string `yaml:"service_name"`
	CAFile      File   `yaml:"ca_file"`
	CertFile    File   `yaml:"cert_file"`
	KeyFile     File   `yaml:"key_file"`
	// HeadersFile has a header of the requests on each line.
	HeadersFile File `yaml:"headers_file"`

	BatchEventsMax int           `yaml:"batch_events_max" min:"1" max:"100000"`
	QueueMax       int           `yaml:"queue_max" min:"1" max:"10000000"`
	ExportMax      int           `yaml:"export_max" min:"1" max:"100000"`
	ExportInterval time.Duration `yaml:"export_interval" min:"1ms" max:"10m"`
	RequestTimeout time.Duration `yaml:"request_timeout" min:"10ms" max:"5m"`
	RetryTimeout   time.Duration `yaml:"retry_timeout" min:"10ms" max:"1h"`
	DrainTimeout   time.Duration `yaml:"drain_timeout" min:"10ms" max:"5m"`
}

func newTracingConfig() TracingConfig {
	o := otlp.DefaultOptions()
	return TracingConfig{
		SampleRatio:    0.001,
		ServiceName:    "lapwing",
		BatchEventsMax: 100,
		QueueMax:       o.QueueMax, ExportMax: o.BatchMax, ExportInterval: o.Interval,
		RequestTimeout: o.RequestTimeout, RetryTimeout: o.RetryTimeout, DrainTimeout: o.DrainTimeout,
	}
}

// tracesPath is where collectors take spans, unless the endpoint says otherwise.
const tracesPath = "/v1/traces"

// url returns where spans are posted to.
func (t *TracingConfig) url() (*url.URL, error) {
	u, err := url.Parse(t.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("must be a URL like http://127.0.0.1:4318 or https://collector.example:4318/v1/traces, without a user and a query; " +
			"secrets go to tracing.headers_file")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = tracesPath
	}
	return u, nil
}

// tracer returns what takes spans, nil where there are none, and what sends the last of them.
func (c *Config) tracer(log *slog.Logger, registry prometheus.Registerer) (t *trace.Tracer, closeTracer func(), err error) {
	tr := &c.Tracing
	if tr.Endpoint == "" {
		otlp.NewMetrics(registry) // which stand at 0
		return nil, func() {}, nil
	}
	endpoint, err := tr.url()
	if err != nil {
		return nil, nil, fmt.Errorf("tracing.endpoint: %w", err)
	}
	o := otlp.DefaultOptions()
	o.Endpoint, o.Logger, o.Registerer = endpoint.String(), log, registry
	if o.Headers, err = readHeaders(tr.HeadersFile); err != nil {
		return nil, nil, fmt.Errorf("tracing.headers_file: %w", err)
	}
	tls := TLSConfig{Enabled: endpoint.Scheme == "https", CAFile: tr.CAFile, CertFile: tr.CertFile, KeyFile: tr.KeyFile}
	if o.TLS, err = tls.client(); err != nil {
		return nil, nil, fmt.Errorf("tracing: %w", err)
	}
	o.Resource = []trace.Attribute{trace.Text("service.name", tr.ServiceName), trace.Text("service.version", currentVersion())}
	o.QueueMax, o.BatchMax, o.Interval = tr.QueueMax, tr.ExportMax, tr.ExportInterval
	o.RequestTimeout, o.RetryTimeout, o.DrainTimeout = tr.RequestTimeout, tr.RetryTimeout, tr.DrainTimeout
	exporter, err := otlp.New(o)
	if err != nil {
		return nil, nil, err
	}
	return &trace.Tracer{Sink: exporter, Ratio: float64(tr.SampleRatio), BatchEventsMax: tr.BatchEventsMax}, exporter.Close, nil
}

// headersBytesMax bounds the file of headers.
const headersBytesMax = 64 << 10

// readHeaders reads a file of headers, "Name: value" a line; none if no file is named. The error does not repeat values,
// which may be secrets.
func readHeaders(file File) (http.Header, error) {
	if file == "" {
		return nil, nil
	}
	text, err := readBounded(string(file), headersBytesMax)
	if err != nil {
		return nil, err
	}
	headers := http.Header{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, headersBytesMax)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok || !isToken(name) || value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, fmt.Errorf("%s: line %d is no header like Authorization: Bearer TOKEN", file, n)
		}
		headers.Add(textproto.CanonicalMIMEHeaderKey(name), value)
	}
	return headers, lines.Err()
}

// isToken reports whether a text may name a header (RFC 9110, 5.6.2).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// checkTracing checks that spans can be sent where they are to be, and that nothing is set in vain.
func (l *loader) checkTracing() {
	const section = "tracing"
	t := &l.config.Tracing
	if t.Endpoint == "" {
		for _, key := range []string{"ca_file", "cert_file", "key_file", "headers_file"} {
			if path := section + "." + key; l.isSet(path) {
				l.relation("is not used without tracing.endpoint; set it, or leave this out", path, section+".endpoint")
			}
		}
		return
	}
	endpoint, err := t.url()
	if err != nil {
		if strings.Contains(t.Endpoint, "@") {
			l.relation(err.Error(), section+".endpoint") // without the value, in which a password may be
		} else {
			l.wrong(section+".endpoint", err.Error())
		}
		return
	}
	if t.ServiceName == "" {
		l.wrong(section+".service_name", "must not be empty")
	}
	if t.QueueMax < t.ExportMax {
		l.relation(fmt.Sprintf("%d must be at least tracing.export_max, %d", t.QueueMax, t.ExportMax), section+".queue_max", section+".export_max")
	}
	if _, err := readHeaders(t.HeadersFile); err != nil {
		l.wrong(section+".headers_file", "cannot be used: "+err.Error())
	}
	if endpoint.Scheme == "https" {
		l.checkTLS(section, &TLSConfig{Enabled: true, CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile})
		return
	}
	for _, key := range []string{"ca_file", "cert_file", "key_file"} {
		if path := section + "." + key; l.isSet(path) {
			l.relation("is not used, since tracing.endpoint is an http URL; make it https, or leave this out", path, section+".endpoint")
		}
	}
}
