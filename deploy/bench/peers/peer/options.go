// Package peer is what the peers that judge events have in common: their flags, and judging by Lapwing's own decoder,
// rules and encoders. So what differs between them and Lapwing is how they read, keep states and write.
package peer

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Options are the flags that each peer takes.
type Options struct {
	Brokers              []string
	Redis                string
	Input, Output, Group string
}

// Main parses the flags, runs a peer until it ends or SIGTERM or an interrupt ends ctx, and exits: 1 if it failed.
func Main(name string, run func(ctx context.Context, o Options) error) {
	var o Options
	var brokers string
	flag.StringVar(&brokers, "brokers", "127.0.0.1:9092", "Kafka brokers, separated by commas")
	flag.StringVar(&o.Redis, "redis", "127.0.0.1:6379", "the Redis server, host:port")
	flag.StringVar(&o.Input, "input", "events", "input topic")
	flag.StringVar(&o.Output, "output", "alerts", "output topic, of as many partitions as the input")
	flag.StringVar(&o.Group, "group", name, "consumer group; it names the keys in Redis and the transactions too")
	flag.Parse()
	o.Brokers = strings.Split(brokers, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
