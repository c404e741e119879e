package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// options are the flags.
type options struct {
	events, users, partitions int
	seed                      uint64
	zipf                      float64
	distributions             []string

	only        []string
	repeat      int
	scenarios   bool
	fewUsers    int
	manyUsers   int
	starts      int
	rates       []int
	latencyFor  time.Duration
	warm        time.Duration
	skipLatency bool
	timeout     time.Duration

	brokers             []string
	redis               string
	brokerPID, redisPID int
	streamsDir          string
	java                []string
	out                 string
	list                bool
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	var distributions, only, rates, brokers, java string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.events, "events", 2_000_000, "events of an input; engines that are slow get a hundredth, at least 20000")
	flags.IntVar(&o.users, "users", 100_000, "distinct users")
	flags.IntVar(&o.partitions, "partitions", 6, "of each topic")
	flags.Uint64Var(&o.seed, "seed", 1, "of the generator")
	flags.Float64Var(&o.zipf, "zipf", 1.1, "exponent of the zipf distribution, above 1")
	flags.StringVar(&distributions, "distributions", "uniform,zipf", "of users: uniform, zipf or both")
	flags.StringVar(&only, "only", "", "engines, or patterns of their names, like lapwing*,streams-*; empty: all (-list)")
	flags.IntVar(&o.repeat, "repeat", 1, "rounds through all engines; the median is reported")
	flags.BoolVar(&o.scenarios, "scenarios", false, "Lapwing's own scenarios instead of the peers")
	flags.IntVar(&o.fewUsers, "few-users", 10_000, "of the scenario with few users")
	flags.IntVar(&o.manyUsers, "many-users", 10_000_000, "of the scenario with many users")
	flags.IntVar(&o.starts, "starts", 20, "of the engine, for the scenario of starting lanes; 0: without it")
	flags.StringVar(&rates, "rates", "5000,20000", "events a second that latency is measured at")
	flags.DurationVar(&o.latencyFor, "latency-for", 10*time.Second, "how long latency is measured")
	flags.DurationVar(&o.warm, "warm", 3*time.Second, "at the rate before it, not counted")
	flags.BoolVar(&o.skipLatency, "skip-latency", false, "measure no latency")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Minute, "of one run of one engine: it has failed then")
	flags.StringVar(&brokers, "brokers", "", "Kafka that is used, host:port with commas; empty: one is started, with a Redis")
	flags.StringVar(&o.redis, "redis", "", "Redis that is used, with -brokers; it must be empty, and is emptied before each run")
	flags.IntVar(&o.brokerPID, "broker-pid", 0, "with -brokers: the process whose CPU is measured")
	flags.IntVar(&o.redisPID, "redis-pid", 0, "with -redis: the process whose CPU is measured")
	flags.StringVar(&o.streamsDir, "streams-dir", "streams", "the Kafka Streams peer's folder; built with Maven where it is not yet")
	flags.StringVar(&java, "java-options", "-Xms1g -Xmx1g", "of the JVM of the Kafka Streams peer")
	flags.StringVar(&o.out, "out", "", "a file for the report, beside standard output")
	flags.BoolVar(&o.list, "list", false, "list the engines and end")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	o.distributions, o.only, o.brokers = split(distributions), split(only), split(brokers)
	o.java = strings.Fields(java)
	for _, text := range split(rates) {
		rate, err := strconv.Atoi(text)
		if err != nil || rate <= 0 {
			return o, fmt.Errorf("-rates: %q is no number of events a second", text)
		}
		o.rates = append(o.rates, rate)
	}
	slices.Sort(o.rates)
	return o, o.check()
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func (o *options) check() error {
	for _, d := range o.distributions {
		if d != uniform && d != zipf {
			return fmt.Errorf("-distributions: %q is neither %s nor %s", d, uniform, zipf)
		}
	}
	for _, pattern := range o.only {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("-only: %q: %w", pattern, err)
		}
	}
	switch {
	case o.events < 1000:
		return errors.New("-events must be at least 1000")
	case o.users < 1 || o.fewUsers < 1 || o.manyUsers < 1 || o.partitions < 1 || o.repeat < 1 || o.starts < 0:
		return errors.New("-users, -few-users, -many-users, -partitions and -repeat must be at least 1, -starts at least 0")
	case o.zipf <= 1:
		return errors.New("-zipf must be above 1")
	case len(o.distributions) == 0:
		return errors.New("-distributions names none")
	case (len(o.brokers) == 0) != (o.redis == ""):
		return errors.New("-brokers and -redis go together")
	}
	return nil
}

// selected says whether an engine is to be measured.
func (o *options) selected(name string) bool {
	return len(o.only) == 0 || slices.ContainsFunc(o.only, func(pattern string) bool {
		ok, _ := path.Match(pattern, name) // checked
		return ok
	})
}

// eventOptions returns the generator's options of the uniform input; the others differ in a few.
func (o *options) eventOptions() consumertest.EventOptions {
	return consumertest.EventOptions{Seed: o.seed, Users: o.users, Ordinary: true, LatenessMax: 2}
}

// environment returns a variable, or what it is by default.
func environment(name, byDefault string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return byDefault
}
