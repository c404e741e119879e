package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// engine is a program that is measured, with its settings.
type engine struct {
	name, about string
	answers     consumertest.Answers
	full        bool // results in full detail, which the header of their source is needed to judge
	slow        bool // gets a smaller input
	lapwing     bool
	streams     bool
	exactlyOnce bool // of Kafka Streams
	// argv returns the command; it may write files into the job's folder.
	argv func(p programs, j job) ([]string, error)
}

// job is one run of an engine.
type job struct {
	brokers                    []string
	redis                      string
	input, output, dead, group string
	dir                        string // of its own
}

func (j job) brokerList() string { return strings.Join(j.brokers, ",") }

// programs are where the built programs are.
type programs struct {
	dir     string // of Go's
	streams string // folder of the Kafka Streams peer
	java    []string
}

const atLeastOnce = "at_least_once"

// Names of engines that others are compared with.
const (
	nameLapwing            = "lapwing"
	nameLapwingAtLeastOnce = "lapwing-at-least-once"
	nameLapwingFull        = "lapwing-full"
	nameLapwingRules       = "lapwing-100-rules"
	nameRelayTransactions  = "franz-relay-transactions"
)

// engines returns Lapwing and its peers, in the order of the table.
func engines() []engine {
	all := []engine{
		lapwing(nameLapwing, "Lapwing, exactly once, detail: minimal", lapwingSettings{}),
		lapwing(nameLapwingAtLeastOnce, "Lapwing, at least once, detail: minimal", lapwingSettings{guarantee: atLeastOnce}),
		relay("franz-relay", "empty relay, franz-go, at least once"),
		relay(nameRelayTransactions, "empty relay, franz-go, a transaction for each poll", "--transactional"),
		relay("franz-relay-100ms", "empty relay, franz-go, two clients, a transaction every 100 ms", "--transactional", "--clients=2", "--interval=100ms"),
	}
	for _, guarantee := range []string{"exactly_once_v2", atLeastOnce} {
		for _, store := range []string{"rocksdb", "memory"} {
			for _, interval := range []int{100, 10} {
				all = append(all, streams(guarantee, store, interval))
			}
		}
	}
	return append(all,
		peerEngine("kafkago-batched", "kafka-go and go-redis in batches of 500, at least once", false),
		peerEngine("kafkago-plain", "kafka-go and go-redis for each event, at least once", true),
	)
}

// ownEngines returns the variants of Lapwing that only its own scenarios have.
func ownEngines() []engine {
	return []engine{
		lapwing(nameLapwingFull, "Lapwing, exactly once, detail: full", lapwingSettings{full: true}),
		lapwing(nameLapwingRules, "Lapwing, exactly once, 100 rules", lapwingSettings{rules: hundredRules()}),
	}
}

// lapwingSettings are what differs from the default configuration.
type lapwingSettings struct {
	guarantee string // "": exactly_once
	full      bool
	rules     string // the text of a rule file; "": the rules that are built in
	jsonLog   bool
}

func lapwing(name, about string, s lapwingSettings) engine {
	return engine{name: name, about: about, full: s.full, lapwing: true, argv: func(p programs, j job) ([]string, error) {
		file := filepath.Join(j.dir, "lapwing.yaml")
		if s.rules != "" {
			if err := os.WriteFile(filepath.Join(j.dir, "rules.yaml"), []byte(s.rules), 0o600); err != nil {
				return nil, fmt.Errorf("write the rules: %w", err)
			}
		}
		if err := os.WriteFile(file, []byte(s.config(j)), 0o600); err != nil {
			return nil, fmt.Errorf("write the configuration: %w", err)
		}
		return []string{filepath.Join(p.dir, "lapwing"), "run", "--config", file}, nil
	}}
}

// config is the text of the configuration: the names of this run, no port that others may use, and the settings.
func (s lapwingSettings) config(j job) string {
	var b strings.Builder
	fmt.Fprintf(&b, "kafka:\n  brokers: [%s]\n  group: %s\n  input: [%s]\n  output: %s\n  dead_letters: %s\n", j.brokerList(), j.group, j.input, j.output, j.dead)
	if s.guarantee != "" {
		fmt.Fprintf(&b, "  guarantee: %s\n", s.guarantee)
	}
	fmt.Fprintf(&b, "redis:\n  addrs: [%s]\nhttp: 127.0.0.1:0\n", j.redis)
	if s.rules != "" {
		b.WriteString("rules: rules.yaml\n")
	}
	if !s.full {
		b.WriteString("detail: minimal\n")
	}
	if s.jsonLog {
		b.WriteString("log:\n  format: json\n  repeat_interval: 0s\n") // each lane's line is read
	}
	return b.String()
}

// hundredRules returns a rule file of the four built-in rules and 96 more of all kinds, which look at the same events
// and whose limits nobody reaches: so the results are those of the four, and can be judged by the same model.
func hundredRules() string {
	var b strings.Builder
	b.WriteString(`lateness: 30s
rules:
  - {code: 1100, kind: amount, types: [withdraw], over: "100"}
  - {code: 30, kind: streak, types: [withdraw], count: 3}
  - {code: 300, kind: rising, types: [deposit], count: 3}
  - {code: 123, kind: window_sum, types: [deposit], window: 30s, over: "200"}
`)
	kinds := []string{
		`kind: amount, types: [deposit, withdraw], over: "1000000"`,
		`kind: streak, types: [withdraw], count: 1000000`,
		`kind: rising, types: [deposit], count: 1000000`,
		`kind: window_sum, types: [deposit, withdraw], window: %ds, over: "1000000000000"`,
		`kind: window_sum, types: [deposit], window: %ds, over: "1000000000000"`,
		`kind: window_count, types: [deposit, withdraw], window: %ds, at_least: 1000000000`,
	}
	for i := range 96 {
		kind := strings.ReplaceAll(kinds[i%len(kinds)], "%d", fmt.Sprint(1+i%30))
		fmt.Fprintf(&b, "  - {code: %d, %s}\n", 2000+i, kind)
	}
	return b.String()
}

func relay(name, about string, flags ...string) engine {
	return engine{name: name, about: about, answers: consumertest.Copies, argv: func(p programs, j job) ([]string, error) {
		return append([]string{filepath.Join(p.dir, "franz-relay")}, append(flags, j.flags()...)...), nil
	}}
}

func peerEngine(name, about string, slow bool) engine {
	return engine{name: name, about: about, slow: slow, argv: func(p programs, j job) ([]string, error) {
		return append([]string{filepath.Join(p.dir, name)}, j.flags()...), nil
	}}
}

// flags are those that each Go peer takes.
func (j job) flags() []string {
	return []string{"--brokers", j.brokerList(), "--redis", j.redis, "--input", j.input, "--output", j.output, "--group", j.group}
}

func streams(guarantee, store string, intervalMillis int) engine {
	name := fmt.Sprintf("streams-%s-%s-%dms", strings.ReplaceAll(guarantee, "_", "-"), store, intervalMillis)
	about := fmt.Sprintf("Kafka Streams, %s, %s, commit.interval.ms %d", guarantee, store, intervalMillis)
	return engine{name: name, about: about, streams: true, exactlyOnce: guarantee == "exactly_once_v2", argv: func(p programs, j job) ([]string, error) {
		argv := append([]string{"java"}, p.java...)
		classes := filepath.Join(p.streams, "target", "classes") + string(os.PathListSeparator) + filepath.Join(p.streams, "target", "lib", "*")
		return append(argv, "-cp", classes, "lapwing.bench.StreamsPeer", "--brokers", j.brokerList(), "--input", j.input,
			"--output", j.output, "--application-id", j.group, "--store", store, "--guarantee", guarantee,
			"--commit-interval-ms", fmt.Sprint(intervalMillis), "--threads", "2", "--state-dir", filepath.Join(j.dir, "state"),
			"--replication", "1"), nil
	}}
}
