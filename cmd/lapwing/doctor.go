package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lapwing/lapwing/consumer"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

type doctorCmd struct {
	Config  string        `placeholder:"FILE" help:"The configuration; left out: the defaults and the environment."`
	JSON    bool          `name:"json" help:"Print one JSON document instead of lines."`
	Timeout time.Duration `default:"15s" help:"How long each step may take (${default})."`
	Records int           `default:"10000" help:"How many of the newest records of each input topic are looked at (${default})."`
}

// Help is what --help prints beside the flags.
func (c *doctorCmd) Help() string {
	return `Connects as lapwing run would, and says in a line each what is right and what is wrong: brokers, permissions, topics,
the group, what its next start will do about its layout, Redis, clocks, and whether the newest records are what the
configuration says. It writes nothing. A line is ok, note (good to know), warn (works, but look at it) or fail (has to be
mended). The exit code is 1 if a line says fail.`
}

// Validate is called with the flags.
func (c *doctorCmd) Validate() error {
	if c.Timeout <= 0 {
		return fmt.Errorf("--timeout is %v, must be above 0", c.Timeout)
	}
	if c.Records < 0 {
		return fmt.Errorf("--records is %d, must be 0 or more", c.Records)
	}
	return nil
}

// Run looks at everything and prints what it found.
func (c *doctorCmd) Run(ctx context.Context, con *console) error {
	config, err := LoadConfig(c.Config, con.environ)
	d := &doctor{config: config, timeout: c.Timeout, recordsMax: int64(c.Records)}
	if err != nil {
		d.misconfigured(err)
	} else {
		d.examine(ctx, c.Config)
	}
	if err := d.write(con.stdout, c.JSON); err != nil {
		return fmt.Errorf("print what was found: %w", err)
	}
	if n := d.count(levelFail); n > 0 {
		return &unwellError{n}
	}
	return nil
}

// unwellError ends a doctor that found something to mend.
type unwellError struct{ fails int }

// Error says how much has to be mended.
func (e *unwellError) Error() string {
	if e.fails == 1 {
		return "1 thing has to be mended"
	}
	return fmt.Sprintf("%d things have to be mended", e.fails)
}

// doctor looks at what a configuration names. One goroutine uses it; those of a step have ended when the step returns.
type doctor struct {
	report
	config     *Config
	timeout    time.Duration // of each step
	recordsMax int64         // of each input topic

	rules       *rules.Set   // nil: they cannot be read
	client      *wire.Client // nil: no broker can be used
	cluster     *wire.Cluster
	topics      map[string]*topicFacts // those that are there
	inspection  *consumer.Inspection   // nil: the states could not be read, or not all inputs are there
	checkpoints map[int32]state.Checkpoint
	settled     []int32                             // lanes that wait for a change of the layout
	members     *wire.GroupDescription              // nil: nothing can be told of it
	committed   map[string]map[int32]wire.Committed // by topic, where it could be read
}

// parallelMax is how many requests of one kind are under way at the same time.
const parallelMax = 8

// examine looks at everything. What cannot be looked at is noted, and holds up nothing else.
func (d *doctor) examine(ctx context.Context, file string) {
	d.configuration(file)
	d.step(ctx, d.brokers)
	if d.client != nil {
		defer d.client.Close()
		d.step(ctx, d.metadata)
	}
	if d.cluster != nil {
		d.step(ctx, d.advertised)
		d.step(ctx, d.examineTopics)
		d.step(ctx, d.permissions)
	} else {
		d.note(checkTopic, "kafka", "topics, group and records were not looked at, since that needs a broker", "")
	}
	d.step(ctx, d.redis)
	if d.cluster != nil {
		for _, topic := range d.sources() {
			d.step(ctx, func(ctx context.Context) { d.bounds(ctx, topic) })
		}
		for _, input := range d.config.Kafka.Input {
			d.step(ctx, func(ctx context.Context) { d.records(ctx, input) })
		}
		d.partitioners()
		d.step(ctx, d.group)
		d.layout()
		d.step(ctx, d.clock)
	}
}

// step gives a part of the examination its deadline.
func (d *doctor) step(ctx context.Context, do func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	do(ctx)
}

// misconfigured reports a configuration that does not let run start, a problem each.
func (d *doctor) misconfigured(err error) {
	var listed problems
	if !errors.As(err, &listed) {
		d.fail(checkConfiguration, "configuration", err.Error(), "correct the file")
		return
	}
	for _, p := range listed {
		d.fail(checkConfiguration, "configuration", p.String(), "correct it")
	}
}

// configuration reads the rules; the rest was checked when it was loaded.
func (d *doctor) configuration(file string) {
	if file == "" {
		file = "defaults and environment"
	}
	set, err := d.config.RuleSet()
	if err != nil {
		d.fail(checkConfiguration, "configuration", err.Error(), "correct the rules")
		return
	}
	d.rules = set
	d.ok(checkConfiguration, "configuration", fmt.Sprintf("%s, with %s", file, plural(int64(len(set.Rules())), "rule")))
}

// brokers probes the brokers of the configuration, and makes the client of those that can be used.
func (d *doctor) brokers(ctx context.Context) {
	o, err := d.config.WireOptions()
	if err != nil {
		d.fail(checkBroker, "kafka", err.Error(), "correct the section kafka of the configuration")
		return
	}
	o.Topics = nil // kafka-go need not look after any, least of all one that is missing
	prober, err := wire.New(o)
	if err != nil {
		d.fail(checkBroker, "kafka", err.Error(), "correct the section kafka of the configuration")
		return
	}
	defer prober.Close()
	probes := probeAll(ctx, prober, o.Brokers)
	usable := slices.DeleteFunc(slices.Clone(probes), func(p probed) bool { return p.err != nil })
	for _, p := range probes {
		level := levelFail
		// A broker that is away, or a name that is gone, does not stop a client that knows another one.
		if p.err != nil && len(usable) > 0 && (p.err.Stage == wire.StageDNS || p.err.Stage == wire.StageTCP) {
			level = levelWarn
		}
		d.probed(p, "broker "+p.addr, level, "")
	}
	if len(usable) == 0 {
		return
	}
	o.Brokers = nil
	for _, p := range usable {
		o.Brokers = append(o.Brokers, p.addr)
	}
	if d.client, err = wire.New(o); err != nil {
		d.fail(checkBroker, "kafka", err.Error(), "correct the section kafka of the configuration")
	}
}

// probed is what came of trying one broker.
type probed struct {
	addr string
	took time.Duration
	err  *wire.StageError
}

func probeAll(ctx context.Context, client *wire.Client, addrs []string) []probed {
	probes := make([]probed, len(addrs))
	var group errgroup.Group
	group.SetLimit(parallelMax)
	for i, addr := range addrs {
		group.Go(func() error {
			start := time.Now()
			err := client.ProbeBroker(ctx, addr)
			probes[i] = probed{addr, time.Since(start), err}
			return nil
		})
	}
	_ = group.Wait() // none fails
	return probes
}

// probed reports a broker that was tried; hint goes before the usual one.
func (d *doctor) probed(p probed, subject string, level level, hint string) {
	k := &d.config.Kafka
	if p.err != nil {
		if hint == "" {
			hint = p.err.Hint()
		}
		d.add(level, checkBroker, subject, fmt.Sprintf("%s: %v", p.err.Stage, p.err.Err), hint)
		return
	}
	stages := "DNS, TCP, "
	if k.TLS.Enabled {
		stages += "TLS, "
	}
	if k.SASL.Mechanism != "" {
		stages += "SASL " + k.SASL.Mechanism + ", "
	}
	d.ok(checkBroker, subject, fmt.Sprintf("%sprotocol in %s", stages, round(p.took)))
}

// metadata asks for the brokers and all topics at once.
func (d *doctor) metadata(ctx context.Context) {
	k := &d.config.Kafka
	names := append(slices.Clone(k.Input), k.Output, k.DeadLetters, d.rekeyTopic(), offsetsTopic, transactionsTopic)
	cluster, err := d.client.DescribeCluster(ctx, names...)
	if err != nil {
		d.fail(checkBroker, "kafka", err.Error(), "look at the brokers' logs; start lapwing doctor again if they were just starting")
		return
	}
	d.cluster = cluster
}

// advertised probes the brokers under the addresses that the cluster sends its clients to.
func (d *doctor) advertised(ctx context.Context) {
	var addrs, subjects []string
	for _, b := range d.cluster.Brokers {
		if !slices.Contains(d.config.Kafka.Brokers, b.Addr) {
			addrs = append(addrs, b.Addr)
			subjects = append(subjects, fmt.Sprintf("broker %d %s", b.ID, b.Addr))
		}
	}
	for i, p := range probeAll(ctx, d.client, addrs) {
		hint := ""
		if p.err != nil && (p.err.Stage == wire.StageDNS || p.err.Stage == wire.StageTCP) {
			hint = "the cluster sends clients to this address: set the broker's advertised.listeners to one that can be reached from here, or open the way to it"
		}
		d.probed(p, subjects[i], levelFail, hint)
	}
}
