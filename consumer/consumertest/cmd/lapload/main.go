// Command lapload puts a load on engines, measures them and judges what they wrote. It is a tool for developers:
//
//	lapload topics  -input in -output out -dead dead -partitions 6
//	lapload produce -input in -n 2000000 -users 100000
//	lapload measure -input in -group lapwing -pids 123,456 ./lapwing run --config lapwing.yaml
//	lapload lag     -input in -group lapwing
//	lapload latency -input in -output out -rate 5000 -for 10s
//	lapload check   -input in -output out -dead dead
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

type options struct {
	brokers, input, output, dead, group, pids string
	partitions, n, rate                       int
	wait, duration, warm                      time.Duration
	transactional, minimal, alerts, repeats   bool
	events                                    consumertest.EventOptions
	args                                      []string // after the flags
}

var commands = map[string]func(context.Context, options) error{
	"topics": topics, "produce": produce, "measure": measure, "lag": lag, "latency": latency, "check": check,
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var o options
	flags := flag.NewFlagSet("lapload", flag.ContinueOnError)
	flags.StringVar(&o.brokers, "brokers", "127.0.0.1:9092", "Kafka brokers, separated by commas")
	flags.StringVar(&o.input, "input", "events", "input topic")
	flags.StringVar(&o.output, "output", "alerts", "output topic")
	flags.StringVar(&o.dead, "dead", "events.dead", "dead-letter topic")
	flags.StringVar(&o.group, "group", "lapwing", "consumer group")
	flags.StringVar(&o.pids, "pids", "", "processes whose CPU time is measured, separated by commas")
	flags.IntVar(&o.partitions, "partitions", 6, "of each topic that is created")
	flags.IntVar(&o.n, "n", 100_000, "records")
	flags.IntVar(&o.rate, "rate", 0, "records a second; 0: full speed (latency: 5000)")
	flags.DurationVar(&o.wait, "wait", 10*time.Minute, "give up after")
	flags.DurationVar(&o.duration, "for", 10*time.Second, "how long latency is measured")
	flags.DurationVar(&o.warm, "warm", 3*time.Second, "not counted before it")
	flags.BoolVar(&o.transactional, "transactional", false, "interleaved transactions, a third of them aborted")
	flags.BoolVar(&o.minimal, "minimal", false, "results have detail: minimal")
	flags.BoolVar(&o.alerts, "alerts", false, "results: alerts")
	flags.BoolVar(&o.repeats, "repeats", false, "guarantee: at_least_once")
	flags.Uint64Var(&o.events.Seed, "seed", 1, "of the generator")
	flags.IntVar(&o.events.Users, "users", 100_000, "distinct users")
	flags.Int64Var(&o.events.UserFirst, "user-first", 0, "first user id; take other users for each run on a topic, since event times begin anew")
	flags.Float64Var(&o.events.Zipf, "zipf", 0, "exponent of the distribution of users, above 1; 0: uniform")
	flags.Float64Var(&o.events.Bad, "bad", 0, "share of records that are no events")
	flags.Float64Var(&o.events.Tombstones, "tombstones", 0, "share of tombstones")
	flags.Float64Var(&o.events.Strays, "strays", 0, "share of events in another partition than their user's")
	flags.BoolVar(&o.events.Ordinary, "ordinary", false, "amounts of two decimals, no unknown members")
	flags.Int64Var(&o.events.LatenessMax, "lateness", 0, "seconds that a third of the events are late by, at most; 0: 30, negative: none is late")
	flags.Float64Var(&o.events.Headers, "headers", 0, "share of events with headers")
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprintln(os.Stderr, "usage: lapload topics|produce|measure|lag|latency|check [flags]; lapload check -h lists them")
		return 2
	}
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	o.args = flags.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.wait)
	defer cancel()
	if err := commands[args[0]](ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 1
	}
	return 0
}

func (o *options) brokerList() []string { return strings.Split(o.brokers, ",") }

func topics(ctx context.Context, o options) error {
	n := int32(o.partitions)
	return consumertest.CreateTopics(ctx, o.brokerList(), consumertest.TopicSpec{Name: o.input, Partitions: n},
		consumertest.TopicSpec{Name: o.output, Partitions: n}, consumertest.TopicSpec{Name: o.dead, Partitions: n},
		consumertest.TopicSpec{Name: o.group + ".rekey", Partitions: n})
}

func produce(ctx context.Context, o options) error {
	start := time.Now()
	n, err := consumertest.Produce(ctx, consumertest.ProduceOptions{
		Brokers: o.brokerList(), Topic: o.input, Count: o.n, PerSecond: o.rate, Transactional: o.transactional,
	}, consumertest.NewGenerator(o.events))
	took := time.Since(start)
	fmt.Printf("%d records in %v, %.0f/s\n", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
	return err
}

var errEngineEnded = errors.New("exit status 0")

// measure runs an engine, the command after the flags, on a topic that was filled before.
func measure(ctx context.Context, o options) error {
	processes, err := newProcesses(o.pids)
	if err != nil {
		return err
	}
	if len(o.args) > 0 {
		engine := exec.CommandContext(ctx, o.args[0], o.args[1:]...)
		engine.Stdout, engine.Stderr = os.Stdout, os.Stderr
		engine.Cancel = func() error { return engine.Process.Signal(syscall.SIGTERM) }
		engine.WaitDelay = 10 * time.Second
		if err := engine.Start(); err != nil {
			return fmt.Errorf("start the engine: %w", err)
		}
		processes.pids["engine"] = engine.Process.Pid
		measuring, over := context.WithCancelCause(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			over(fmt.Errorf("the engine has ended before all was judged: %w", cmp.Or(engine.Wait(), errEngineEnded)))
		}()
		defer func() { _ = engine.Cancel(); <-ended }()
		ctx = measuring
	}
	var cpu [2]map[string]time.Duration
	t, err := consumertest.MeasureThroughput(ctx, consumertest.ThroughputOptions{
		Brokers: o.brokerList(), Group: o.group, Topic: o.input, Copies: o.group + ".rekey",
		Mark: func(whole bool) {
			if whole {
				cpu[1] = processes.cpu()
			} else {
				cpu[0] = processes.cpu()
			}
		},
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	if err != nil {
		return err
	}
	fmt.Printf("%d events in %v: %.0f events/s (from a tenth to the end; whole run %v)\n", t.Events, t.Duration.Round(time.Millisecond),
		t.PerSecond(), t.Whole.Round(time.Millisecond))
	for _, name := range processes.names() {
		used := cpu[1][name] - cpu[0][name]
		fmt.Printf("%s: %.2f CPU seconds, %.2f per million events\n", name, used.Seconds(), used.Seconds()*1e6/float64(t.Events))
	}
	return nil
}

func lag(ctx context.Context, o options) error {
	n, err := consumertest.Lag(ctx, o.brokerList(), o.group, o.input, o.group+".rekey")
	if err == nil {
		fmt.Println(n)
	}
	return err
}

func latency(ctx context.Context, o options) error {
	if o.rate == 0 {
		o.rate = 5000
	}
	l, err := consumertest.MeasureLatency(ctx, consumertest.LatencyOptions{
		Brokers: o.brokerList(), Input: o.input, Output: o.output, PerSecond: o.rate, Duration: o.duration, Warm: o.warm,
	}, consumertest.NewGenerator(o.events))
	if err == nil {
		fmt.Printf("%d events/s: %v\n", o.rate, l)
	}
	return err
}

func check(ctx context.Context, o options) error {
	start := time.Now()
	report, err := consumertest.Check(ctx, consumertest.CheckOptions{
		Brokers: o.brokerList(), Inputs: []string{o.input}, Output: o.output, DeadLetters: o.dead,
		Minimal: o.minimal, AlertsOnly: o.alerts, Repeats: o.repeats,
	})
	if err != nil {
		return err
	}
	fmt.Printf("%s (%v)\n", report, time.Since(start).Round(time.Millisecond))
	return report.Err()
}
