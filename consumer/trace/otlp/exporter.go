// Package otlp sends spans to a collector of OpenTelemetry: OTLP over HTTP, in protobuf.
//
// It uses the generated types of OTLP and net/http alone. OpenTelemetry's own exporters, that for HTTP too, bring gRPC
// with them, which would make the program a fifth larger.
package otlp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lapwing/lapwing/consumer/trace"
)

// Options configures an Exporter. Take DefaultOptions and set the Endpoint, at least.
type Options struct {
	// Endpoint is the URL that spans are posted to, like http://127.0.0.1:4318/v1/traces.
	Endpoint string
	// Headers are sent with each request, for example Authorization.
	Headers http.Header
	// TLS is how an https endpoint is reached; nil: with the system's certificates.
	TLS *tls.Config
	// Resource is what the spans have in common, service.name first of all.
	Resource []trace.Attribute

	// QueueMax is how many spans may wait; what comes beyond is dropped, and counted.
	QueueMax int
	// BatchMax is how many spans are sent in a request.
	BatchMax int
	// Interval is how long spans wait for more.
	Interval time.Duration
	// RequestTimeout bounds a request.
	RequestTimeout time.Duration
	// RetryTimeout bounds all tries of a request that a collector may take later; its spans are dropped after it.
	RetryTimeout time.Duration
	// DrainTimeout bounds what Close may take to send what waits.
	DrainTimeout time.Duration

	Logger     *slog.Logger          // discards when nil
	Registerer prometheus.Registerer // none when nil
}

// DefaultOptions returns the defaults of everything but Endpoint.
func DefaultOptions() Options {
	return Options{
		QueueMax: 16_384, BatchMax: 1024, Interval: time.Second,
		RequestTimeout: 5 * time.Second, RetryTimeout: 30 * time.Second, DrainTimeout: 500 * time.Millisecond,
	}
}

func (o *Options) validate() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("otlp: "+format, args...))
		}
	}
	require(o.Endpoint != "", "Endpoint is empty")
	require(o.BatchMax > 0, "BatchMax %d is not above 0", o.BatchMax)
	require(o.QueueMax >= o.BatchMax, "QueueMax %d is below BatchMax %d", o.QueueMax, o.BatchMax)
	require(o.Interval > 0, "Interval %v is not above 0", o.Interval)
	require(o.RequestTimeout > 0, "RequestTimeout %v is not above 0", o.RequestTimeout)
	require(o.RetryTimeout > 0, "RetryTimeout %v is not above 0", o.RetryTimeout)
	require(o.DrainTimeout > 0, "DrainTimeout %v is not above 0", o.DrainTimeout)
	return errors.Join(errs...)
}

// Exporter is a trace.Sink that sends spans in the background. Make one with New, and Close it when nobody takes spans to
// it any more. Its methods are safe for concurrent use.
type Exporter struct {
	options Options
	client  *client
	log     *slog.Logger
	metrics *Metrics

	mu    sync.Mutex
	queue []trace.Span

	full    chan struct{}   // the queue has a whole batch; with room for one
	closing context.Context // ends with Close
	drain   context.CancelFunc
	abandon context.CancelFunc // ends what is under way
	ended   chan struct{}      // closed when the goroutine has ended
}

// New starts an Exporter. It connects to nothing yet.
func New(o Options) (*Exporter, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := newClient(&o)
	if err != nil {
		return nil, err
	}
	e := &Exporter{
		options: o, client: c, log: o.Logger.With("component", "tracing"), metrics: NewMetrics(o.Registerer),
		full: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	e.closing, e.drain = context.WithCancel(context.Background())
	ctx, abandon := context.WithCancel(context.Background())
	e.abandon = abandon
	go func() {
		defer close(e.ended)
		e.run(ctx)
	}()
	return e, nil
}

// Take queues spans as far as there is room, and drops the rest.
func (e *Exporter) Take(spans []trace.Span) {
	e.mu.Lock()
	n := min(len(spans), e.options.QueueMax-len(e.queue))
	e.queue = append(e.queue, spans[:n]...)
	full := len(e.queue) >= e.options.BatchMax
	e.mu.Unlock()
	e.metrics.drop(dropQueue, len(spans)-n)
	if full {
		select {
		case e.full <- struct{}{}:
		default:
		}
	}
}

// Drop counts spans that were not made.
func (e *Exporter) Drop(spans int) { e.metrics.drop(dropBatch, spans) }

// Close sends what waits, for at most DrainTimeout, and ends the Exporter.
func (e *Exporter) Close() {
	e.drain()
	timer := time.AfterFunc(e.options.DrainTimeout, e.abandon)
	defer timer.Stop()
	<-e.ended
	e.abandon()
	e.client.close()
}

// run sends a batch when one is full, and each interval, until Close; then all that waits, as long as ctx lasts.
func (e *Exporter) run(ctx context.Context) {
	ticker := time.NewTicker(e.options.Interval)
	defer ticker.Stop()
	for closing := false; !closing; {
		least := 1
		select {
		case <-e.full:
			least = e.options.BatchMax
		case <-ticker.C:
		case <-e.closing.Done():
			closing = true
		}
		for {
			spans := e.next(least)
			if len(spans) == 0 {
				break
			}
			e.send(ctx, spans)
		}
	}
}

// next takes a batch from the queue, or nothing if less than so many spans wait.
func (e *Exporter) next(least int) []trace.Span {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) < least {
		return nil
	}
	n := min(len(e.queue), e.options.BatchMax)
	batch := e.queue[:n:n]
	if e.queue = e.queue[n:]; len(e.queue) == 0 {
		e.queue = nil // or what is sent would be kept until the queue moves to other memory
	}
	return batch
}

// send sends a batch, again and again while the collector may take it later. What it does not take is dropped.
func (e *Exporter) send(ctx context.Context, spans []trace.Span) {
	rejected, err := e.client.upload(ctx, e.closing, spans)
	if err != nil {
		e.metrics.drop(dropExport, len(spans))
		e.log.Warn("spans were not taken by the collector, and are dropped", "endpoint", e.options.Endpoint, "spans", len(spans), "err", err)
		return
	}
	lost := int(min(max(rejected.spans, 0), int64(len(spans))))
	e.metrics.exported.Add(float64(len(spans) - lost))
	e.metrics.drop(dropRejected, lost)
	if lost > 0 || rejected.message != "" {
		e.log.Warn("the collector has not taken all spans", "endpoint", e.options.Endpoint, "spans", lost,
			"problem", cmp.Or(rejected.message, "it does not say why"))
	}
}
