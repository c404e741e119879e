package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/httpd"
	"github.com/lapwing/lapwing/consumer/trace"
	"github.com/lapwing/lapwing/consumer/wire"
)

// Options configures a Gateway. Take DefaultOptions and set the Client, at least.
type Options struct {
	// Client reaches the cluster. Its wire.Options.Topics must name Input: events are written through its
	// Transport. It is the caller's, who closes it after Run.
	Client *wire.Client
	// Logger gets changes of state, never headers or bodies. Nil: discarded.
	Logger *slog.Logger
	// Registerer takes the metrics lapwing_gateway_*. Nil: none.
	Registerer prometheus.Registerer
	// Tracer takes the spans of requests. Nil: they are not traced, and their traceparent is passed on as it is.
	Tracer *trace.Tracer

	// Input is the topic that events are written to, Output the one that results are read from.
	Input, Output string
	// Decoder must be set as the engine's, or the gateway takes what the engine refuses.
	Decoder contract.DecoderOptions
	// Partitioner must be the engine's, too.
	Partitioner contract.Partitioner

	// HTTP is of the server: where it listens, who may ask, and what of it is bounded. Name, Logger and WriteTimeout are the
	// gateway's to set.
	HTTP httpd.Options

	// WriteTimeout bounds how long an event waits for its turn to be written, and again the write itself
	// with all its tries.
	WriteTimeout time.Duration
	// ResultTimeout bounds the time from there until the result is read.
	ResultTimeout time.Duration
	// BodyBytesMax is the size of the largest body that is read.
	BodyBytesMax int64
	// InFlightMax is how many requests are handled at a time; each may hold BodyBytesMax.
	InFlightMax int
	// RateMax is how many events are taken in a second, and at once after a pause; 0: no limit.
	RateMax int
	// BatchBytesMax bounds what is written to a partition at once. It should be below the input topic's
	// max.message.bytes: what the topic does not take is split and sent again.
	BatchBytesMax int

	// DrainTimeout is how long Run, when its context ends, lets the requests in flight go on. After it
	// they are answered at once, with what is known.
	DrainTimeout time.Duration

	// MetadataInterval is how often the topics are asked for their partitions.
	MetadataInterval time.Duration
	// FetchWaitMax is how long a broker holds back its answer while there is no new result.
	FetchWaitMax time.Duration
	// FetchBytesMax bounds the results of one answer, before decompression; a larger batch comes whole.
	FetchBytesMax int32
	// DecompressedBytesMax bounds a batch of results after decompression.
	DecompressedBytesMax int
	// RequestTimeout bounds each other call to the cluster, and a fetch after FetchWaitMax.
	RequestTimeout time.Duration
}

// DefaultOptions returns the defaults of everything but Client.
func DefaultOptions() Options {
	server := httpd.DefaultOptions()
	server.Listen = "127.0.0.1:5001"
	return Options{
		Input:  "events",
		Output: "alerts",
		HTTP:   server,

		WriteTimeout:  3 * time.Second,
		ResultTimeout: 5 * time.Second,
		BodyBytesMax:  64 << 10,
		InFlightMax:   1024,
		BatchBytesMax: 512 << 10,

		DrainTimeout: 3 * time.Second,

		MetadataInterval:     30 * time.Second,
		FetchWaitMax:         500 * time.Millisecond,
		FetchBytesMax:        1 << 20,
		DecompressedBytesMax: 64 << 20,
		RequestTimeout:       10 * time.Second,
	}
}

// validate returns all problems of the options, joined.
func (o *Options) validate() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("gateway: "+format, args...))
		}
	}
	require(o.Client != nil, "Client is missing")
	require(o.Input != "", "Input is empty")
	require(o.Output != "", "Output is empty")
	require(o.Input != o.Output || o.Input == "", "Input and Output are both %q, must be two topics", o.Input)
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"WriteTimeout", o.WriteTimeout},
		{"ResultTimeout", o.ResultTimeout},
		{"DrainTimeout", o.DrainTimeout},
		{"MetadataInterval", o.MetadataInterval},
		{"FetchWaitMax", o.FetchWaitMax},
		{"RequestTimeout", o.RequestTimeout},
	} {
		// Kafka counts in milliseconds, and a ticker of nothing panics.
		require(d.value >= time.Millisecond, "%s is %v, must be at least 1ms", d.name, d.value)
	}
	require(o.BodyBytesMax > 0, "BodyBytesMax is %d, must be above 0", o.BodyBytesMax)
	require(o.InFlightMax > 0, "InFlightMax is %d, must be above 0", o.InFlightMax)
	require(o.RateMax >= 0, "RateMax is %d, must be 0 or above", o.RateMax)
	require(o.BatchBytesMax > 0, "BatchBytesMax is %d, must be above 0", o.BatchBytesMax)
	require(o.FetchBytesMax > 0, "FetchBytesMax is %d, must be above 0", o.FetchBytesMax)
	require(o.DecompressedBytesMax > 0, "DecompressedBytesMax is %d, must be above 0", o.DecompressedBytesMax)
	return errors.Join(errs...)
}
