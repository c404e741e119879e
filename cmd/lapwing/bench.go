package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

type benchCmd struct {
	Config        string        `placeholder:"FILE" help:"The configuration of the engines; left out: the defaults and the environment."`
	JSON          bool          `name:"json" help:"Print one JSON document instead of lines."`
	Rate          int64         `default:"5000" help:"Events per second (${default}); 0: as many as can be written, up to --events."`
	For           time.Duration `default:"30s" help:"How long, after the warm-up (${default}); not used with --rate 0."`
	Warm          time.Duration `default:"3s" help:"How long before that events are written that the figures leave out (${default}); with --rate 0 the first tenth of --events."`
	Events        int64         `default:"1000000" help:"The most events that are written (${default}); each takes about 100 bytes of memory."`
	Users         int64         `default:"100000" help:"How many users they are of (${default})."`
	UserFirst     *int64        `placeholder:"ID" help:"The smallest user_id (1); has to be given with --into-used-topic: no user of yours should be among them."`
	Zipf          float64       `default:"0" help:"The exponent, above 1, of a Zipf distribution of users; 0: all come equally often."`
	Seed          uint64        `default:"1" help:"The same seed makes the same users, types and amounts (${default})."`
	Drain         time.Duration `default:"30s" help:"How long an acknowledgement, and the last results, are waited for (${default})."`
	Timeout       time.Duration `default:"15s" help:"How long each step before the load may take (${default})."`
	IntoUsedTopic bool          `help:"Write into a topic that has records."`
}

// Limits of the flags. They only keep a slip of the finger from being a load.
const (
	benchRateMax   = 10_000_000
	benchEventsMax = 1_000_000_000
	benchZipfMax   = 100
)

// Help is what --help prints beside the flags.
func (c *benchCmd) Help() string {
	return `For a cluster of your own: writes events to the first topic of kafka.input while your engines run, and reads what comes of
them. It prints throughput, the latency from an event's creation to when a read_committed reader sees its result, and
whether each event came out exactly once. Events have their times by a schedule that is fixed in advance, so a pause of
the cluster shows as latency. It starts no engine. It does not write into a topic that has records unless it is told to:
the events are real ones to everybody who reads the topics, and their users stay in Redis. Ctrl-C ends the load early;
what was written is still waited for. The exit code is 1 if an event is missing or came out otherwise than it should.`
}

// Validate is called with the flags.
func (c *benchCmd) Validate() error {
	for _, n := range []struct {
		flag             string
		value, min, most int64
	}{
		{"--rate", c.Rate, 0, benchRateMax},
		{"--events", c.Events, 1, benchEventsMax},
		{"--users", c.Users, 1, math.MaxInt64},
		{"--user-first", c.userFirst(), 0, math.MaxInt64},
	} {
		if n.value < n.min {
			return fmt.Errorf("%s is %d, must be %d or more", n.flag, n.value, n.min)
		}
		if n.value > n.most {
			return fmt.Errorf("%s is %d, must be %d or less", n.flag, n.value, n.most)
		}
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{{"--for", c.For}, {"--drain", c.Drain}, {"--timeout", c.Timeout}} {
		if d.value <= 0 {
			return fmt.Errorf("%s is %v, must be above 0", d.flag, d.value)
		}
	}
	switch {
	case c.Warm < 0:
		return fmt.Errorf("--warm is %v, must be 0 or more", c.Warm)
	case c.Zipf != 0 && !(c.Zipf > 1 && c.Zipf <= benchZipfMax):
		return fmt.Errorf("--zipf is %v, must be 0 (no Zipf distribution) or above 1, at most %d", c.Zipf, benchZipfMax)
	case c.userFirst() > math.MaxInt64-(c.Users-1):
		return fmt.Errorf("--user-first %d and --users %d go beyond the largest user_id, %d", c.userFirst(), c.Users, int64(math.MaxInt64))
	case c.IntoUsedTopic && c.UserFirst == nil:
		return errors.New("--into-used-topic needs --user-first: where no user of yours is, or the load gets mixed with that one's events")
	}
	return c.validatePlan()
}

// validatePlan checks how many events there are.
func (c *benchCmd) validatePlan() error {
	if c.Rate == 0 {
		return nil
	}
	switch n := (c.Warm + c.For).Seconds() * float64(c.Rate); {
	case n < 1 || c.plan().warm == c.plan().events:
		return fmt.Errorf("--rate %d makes no event in --for %s", c.Rate, shortDuration(c.For))
	case n > float64(c.Events):
		return fmt.Errorf("--rate %d for %s (--warm and --for) is %.0f events, and --events is %d; raise it, or lower the others", c.Rate, shortDuration(c.Warm+c.For), n, c.Events)
	}
	return nil
}

func (c *benchCmd) userFirst() int64 {
	if c.UserFirst == nil {
		return 1
	}
	return *c.UserFirst
}

// plan returns how many events are made when.
func (c *benchCmd) plan() benchPlan {
	if c.Rate == 0 {
		return benchPlan{events: c.Events, warm: c.Events / 10}
	}
	in := func(d time.Duration) int64 { return int64(d.Seconds() * float64(c.Rate)) }
	return benchPlan{perSecond: c.Rate, events: in(c.Warm + c.For), warm: in(c.Warm)}
}

// Run puts the load on the cluster and prints what came of it.
func (c *benchCmd) Run(ctx context.Context, con *console) error {
	config, err := LoadConfig(c.Config, con.environ)
	if err != nil {
		return err
	}
	b, err := c.bench(config, con)
	if err != nil {
		return err
	}
	ctx, stop := drainOnSignal(ctx, con.stderr)
	defer stop()
	outcome, err := b.run(ctx)
	if err != nil {
		return err
	}
	if err := outcome.write(con.stdout, c.JSON); err != nil {
		return fmt.Errorf("print what came of the load: %w", err)
	}
	if n := outcome.faults(); n > 0 {
		return &unwellError{n}
	}
	return nil
}

// bench is one load on one target.
type bench struct {
	target        *benchTarget
	con           *console
	plan          benchPlan
	users         benchUsers
	types         []string
	partitioner   contract.Partitioner
	compression   wire.Compression
	drain         time.Duration
	intoUsedTopic bool

	ledger  *benchLedger
	readers []*benchReader
	began   time.Time
}

func (c *benchCmd) bench(config *Config, con *console) (*bench, error) {
	types, err := config.EventTypes()
	if err != nil {
		return nil, err
	}
	partitioner, err := contract.ParsePartitioner(config.Kafka.Partitioner)
	if err != nil {
		return nil, err
	}
	compression, err := wire.ParseCompression(config.Kafka.Compression)
	if err != nil {
		return nil, err
	}
	return &bench{
		target: &benchTarget{doctor: &doctor{config: config, timeout: c.Timeout}},
		con:    con,
		plan:   c.plan(), users: benchUsers{count: c.Users, first: c.userFirst(), zipf: c.Zipf, seed: c.Seed}, types: types.Names(),
		partitioner: partitioner, compression: compression, drain: c.Drain, intoUsedTopic: c.IntoUsedTopic,
	}, nil
}

// run looks at the target, puts the load on it and returns what came of it.
func (b *bench) run(ctx context.Context) (*benchOutcome, error) {
	t := b.target
	defer func() {
		if t.client != nil {
			t.client.Close()
		}
	}()
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	writers, err := b.writers(ctx)
	if err != nil {
		return nil, err
	}
	b.introduce()

	b.began = time.Now()
	load := benchLoad{
		plan: b.plan, events: newBenchEvents(b.users, b.types, t.config.Events.TimeUnit == "ms"),
		partitioner: b.partitioner, writers: writers, began: b.began,
	}
	// The readers are ended by stopReading, never by a signal: what was begun is finished.
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReading()
	group, groupCtx := errgroup.WithContext(reading)
	b.readers = b.newReaders()
	for _, r := range b.readers {
		group.Go(func() error { return r.run(groupCtx) })
	}
	loading, stopLoading := context.WithCancel(ctx)
	defer stopLoading()
	defer context.AfterFunc(groupCtx, stopLoading)() // without readers a load measures nothing

	outcome := &benchOutcome{bench: b, loaded: load.run(loading)}
	outcome.took = time.Since(b.began)
	outcome.loaded.interrupted = ctx.Err() != nil
	b.ledger.close()
	if outcome.loaded.interrupted {
		ctx = context.WithoutCancel(ctx) // once more ends the process
	}
	ctx, cancel := context.WithTimeout(ctx, b.drain)
	defer cancel()
	defer context.AfterFunc(groupCtx, cancel)()
	outcome.drained = b.await(ctx)
	stopReading()
	if err := group.Wait(); err != nil {
		return nil, err
	}
	outcome.balance = b.ledger.balance(t.input.Name, outcome.drained.judged)
	return outcome, nil
}

// prepare finds the target and refuses one that is in use.
func (b *bench) prepare(ctx context.Context) error {
	t := b.target
	if err := t.connect(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	used, err := t.used(ctx)
	if err != nil {
		return fmt.Errorf("see whether the topic %s has records: %w", t.input.Name, err)
	}
	if used > 0 && !b.intoUsedTopic {
		return fmt.Errorf("topic %s has %s already, and a load among them cannot be taken out again; name an empty topic in kafka.input, or give --into-used-topic with --user-first",
			t.input.Name, plural(used, "record"))
	}
	if err := t.markEnds(ctx); err != nil {
		return fmt.Errorf("see where the results end: %w", err)
	}
	engines, err := t.engines(ctx)
	if err != nil {
		return fmt.Errorf("see whether an engine runs: %w", err)
	}
	if engines == 0 {
		fmt.Fprintf(b.con.stderr, "note: the group %s has no member: no engine runs\n", t.config.Kafka.Group)
	}
	b.ledger = newBenchLedger(t.input.Partitions)
	return nil
}

// writers returns the writer of each partition, one for those that a broker leads now.
func (b *bench) writers(ctx context.Context) ([]*benchWriter, error) {
	ctx, cancel := context.WithTimeout(ctx, b.target.timeout)
	defer cancel()
	writers := make([]*benchWriter, b.target.input.Partitions)
	byLeader := map[int32]*benchWriter{}
	for p, place := range b.target.input.Placement {
		w := byLeader[place.Leader]
		if w == nil {
			producer, err := b.target.client.NewIdempotentProducer(ctx, b.compression)
			if err != nil {
				return nil, err
			}
			w = newBenchWriter(producer, b.ledger, b.target.input.Name, int(b.target.config.Kafka.BatchBytesMax), b.drain)
			byLeader[place.Leader] = w
		}
		writers[p] = w
	}
	return writers, nil
}

// newReaders returns a reader of each partition of output and dead letters.
func (b *bench) newReaders() []*benchReader {
	k := &b.target.config.Kafka
	var readers []*benchReader
	for _, topic := range []*wire.TopicDescription{b.target.output, b.target.dead} {
		for p, end := range b.target.ends[topic.Name] {
			r := &benchReader{
				client: b.target.client, topic: topic.Name, partition: int32(p), letters: topic == b.target.dead, input: b.target.input.Name,
				options: wire.FetchOptions{
					TopicID: topic.ID, BytesMax: int32(k.FetchBytesMax), WaitMax: k.FetchWaitMax, Committed: true, DecompressedBytesMax: int(k.DecompressedBytesMax),
				},
				ledger: b.ledger, began: b.began,
			}
			r.position.Store(end)
			readers = append(readers, r)
		}
	}
	return readers
}

// introduce says what is about to happen.
func (b *bench) introduce() {
	how := "as fast as they can be written"
	if b.plan.perSecond > 0 {
		how = fmt.Sprintf("%s per second", grouped(b.plan.perSecond))
	}
	fmt.Fprintf(b.con.stderr, "writing %s to topic %s (%s), %s, the first %s as warm-up; Ctrl-C ends it early\n",
		plural(b.plan.events, "event"), b.target.input.Name, plural(int64(b.target.input.Partitions), "partition"), how, grouped(b.plan.warm))
}
