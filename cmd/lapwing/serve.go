package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/lapwing/lapwing/consumer"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/gateway"
	"github.com/lapwing/lapwing/consumer/httpd"
	"github.com/lapwing/lapwing/consumer/trace"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// stopGrace is what a command may take beyond the drain timeout before it gives up on a clean stop.
const stopGrace = 1500 * time.Millisecond

// errNotClean ends a command whose drain did not end in time. Nothing is lost by it: the next start replays.
var errNotClean = errors.New("the drain did not end in time; the next start replays what was not flushed")

// service is one thing that a command runs until its context ends.
type service func(ctx context.Context) error

// serve runs services until the first fails or ctx ends, then waits for all, for at most the given time.
func serve(ctx context.Context, stopMax time.Duration, services ...service) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range services {
		group.Go(func() error { return s(ctx) })
	}
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(stopMax):
		return errNotClean
	}
}

// newRegistry returns a registry with the metrics of the process and of Go, and those of its HTTP servers.
func newRegistry() (*prometheus.Registry, *httpd.Metrics) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	servers, err := httpd.NewMetrics(registry)
	if err != nil {
		panic(err) // as MustRegister: two of a name in a registry of nobody else's
	}
	return registry, servers
}

// observer is how a command is seen: what it logs to, its metrics, and its traces.
type observer struct {
	log      *slog.Logger
	registry *prometheus.Registry
	servers  *httpd.Metrics
	tracer   *trace.Tracer // nil: none
}

// observer builds that of a configuration. The caller calls closeAll when everything that uses it has ended.
func (c *Config) observer(w io.Writer) (o observer, closeAll func(), err error) {
	log, closeLog := newLogger(w, c.Log)
	registry, servers := newRegistry()
	tracer, closeTracer, err := c.tracer(log, registry)
	if err != nil {
		closeLog()
		return observer{}, nil, err
	}
	return observer{log, registry, servers, tracer}, func() {
		closeTracer()
		closeLog()
	}, nil
}

// engine builds the engine of a configuration. The caller calls closeAll when it has ended.
func (c *Config) engine(log *slog.Logger, registry prometheus.Registerer, tracer *trace.Tracer) (e *consumer.Engine, closeAll func(), err error) {
	o, err := c.engineOptions()
	if err != nil {
		return nil, nil, err
	}
	o.Logger, o.Registerer, o.Tracer = log, registry, tracer
	wireOptions, err := c.WireOptions()
	if err != nil {
		return nil, nil, err
	}
	redisOptions, err := c.RedisOptions()
	if err != nil {
		return nil, nil, err
	}
	if o.Client, err = wire.New(wireOptions); err != nil {
		return nil, nil, err
	}
	store, err := state.NewRedis(redisOptions)
	if err != nil {
		o.Client.Close()
		return nil, nil, err
	}
	o.Store = store
	closeAll = func() {
		if err := store.Close(); err != nil {
			log.Warn("redis connections not closed", "err", err)
		}
		o.Client.Close()
	}
	if e, err = consumer.New(o); err != nil {
		closeAll()
		return nil, nil, err
	}
	return e, closeAll, nil
}

// engineOptions maps the configuration to the engine's options, without the dependencies that must be closed.
func (c *Config) engineOptions() (consumer.Options, error) {
	k, r := &c.Kafka, &c.Redis
	o := consumer.DefaultOptions()
	var err error
	if o.Rules, err = c.RuleSet(); err != nil {
		return o, err
	}
	if o.Decoder, err = c.DecoderOptions(); err != nil {
		return o, err
	}
	if o.Partitioner, err = contract.ParsePartitioner(k.Partitioner); err != nil {
		return o, err
	}
	if o.Compression, err = wire.ParseCompression(k.Compression); err != nil {
		return o, err
	}
	if k.Guarantee == "at_least_once" {
		o.Guarantee = consumer.AtLeastOnce
	}
	switch k.OnOffsetReset {
	case "rebuild":
		o.OnReset = consumer.OffsetResetRebuild
	case "resume":
		o.OnReset = consumer.OffsetResetResume
	}
	o.Brokers, o.Group, o.Inputs, o.Output, o.DeadLetters = k.Brokers, k.Group, k.Input, k.Output, k.DeadLetters
	o.CreateTopics, o.Partitions, o.Replication = k.CreateTopics, k.Partitions, k.Replication
	o.Start, o.Warm = consumer.StartPosition(k.Start), k.Warm
	o.OnDataLoss = k.OnDataLoss == "continue"
	o.Detail, o.AlertsOnly = c.ResultDetail(), c.Results == "alerts"
	o.SessionTimeout, o.RebalanceTimeout, o.HeartbeatInterval = k.SessionTimeout, k.RebalanceTimeout, k.HeartbeatInterval
	o.TransactionTimeout, o.TransactionPause, o.OffsetCommitInterval = k.TransactionTimeout, k.TransactionPause, k.OffsetCommitInterval
	o.RequestTimeout, o.DrainTimeout, o.StallTimeout = k.RequestTimeout, k.DrainTimeout, k.StallTimeout
	o.FetchBytesMax, o.FetchWaitMax, o.FetchPause, o.DecompressedBytesMax = int32(k.FetchBytesMax), k.FetchWaitMax, k.FetchPause, int(k.DecompressedBytesMax)
	o.BatchRecordsMax, o.BatchBytesMax, o.LaneBytesMax = k.BatchRecordsMax, int(k.BatchBytesMax), int(k.LaneBytesMax)
	o.FlushInterval, o.DirtyMax, o.CacheMax, o.Shards = r.FlushInterval, r.DirtyMax, r.CacheMax, r.shards()
	o.RecordVersion = r.RecordVersion
	return o, nil
}

// gateway builds the gateway of a configuration; the listener may be nil. The caller calls closeAll when it has ended.
func (c *Config) gateway(log *slog.Logger, registry prometheus.Registerer, servers *httpd.Metrics, tracer *trace.Tracer, listener net.Listener) (g *gateway.Gateway, closeAll func(), err error) {
	k, w := &c.Kafka, &c.Gateway
	o := gateway.DefaultOptions()
	o.Logger, o.Registerer, o.Tracer, o.HTTP = log, registry, tracer, c.gatewayServer()
	o.HTTP.Listener, o.HTTP.Metrics = listener, servers
	o.Input, o.Output = k.Input[0], k.Output // any input would do: the engine reads all
	if o.Decoder, err = c.DecoderOptions(); err != nil {
		return nil, nil, err
	}
	if o.Partitioner, err = contract.ParsePartitioner(k.Partitioner); err != nil {
		return nil, nil, err
	}
	o.WriteTimeout, o.ResultTimeout, o.DrainTimeout = w.WriteTimeout, w.Timeout, w.DrainTimeout
	o.BodyBytesMax, o.InFlightMax, o.RateMax = int64(w.BodyBytesMax), w.InFlightMax, w.RateMax
	o.FetchWaitMax, o.FetchBytesMax = k.FetchWaitMax, int32(k.FetchBytesMax)
	o.DecompressedBytesMax, o.RequestTimeout = int(k.DecompressedBytesMax), k.RequestTimeout
	wireOptions, err := c.WireOptions()
	if err != nil {
		return nil, nil, err
	}
	if o.Client, err = wire.New(wireOptions); err != nil {
		return nil, nil, err
	}
	if g, err = gateway.New(o); err != nil {
		o.Client.Close()
		return nil, nil, err
	}
	return g, o.Client.Close, nil
}

// admin returns a service for /metrics, /healthz and /readyz; it listens before it returns.
func (c *Config) admin(log *slog.Logger, registry *prometheus.Registry, servers *httpd.Metrics, alive, ready func() (bool, string)) (service, error) {
	if c.HTTP == "" {
		return func(ctx context.Context) error { <-ctx.Done(); return nil }, nil
	}
	o := c.adminServer()
	o.Logger, o.Metrics = log, servers
	server, err := httpd.New(o)
	if err != nil {
		return nil, err
	}
	addr, err := server.Listen(context.Background())
	if err != nil {
		return nil, fmt.Errorf("http: %s cannot be listened on: %w; choose another address with the key http, or empty for none", c.HTTP, err)
	}
	log.Info("admin endpoints", "address", addr.String())
	return func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = server.Stop(0) }) // nothing here is worth a wait
		defer stop()
		return server.Serve(consumer.OpsHandler(alive, ready, registry, c.Pprof))
	}, nil
}
