package consumer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// Engine judges the events of the lanes that its consumer group gives it. Create it by New, run it once.
type Engine struct {
	options     Options
	log         *slog.Logger
	metrics     *metrics
	health      *health
	watch       *watch
	fetches     *wire.FetchPool // of the lanes that are not behind
	rulesHeader wire.Header
	// resultHeaders are those of most results, with rulesHeader.
	resultHeaders resultHeaders

	// Set by identify, before a generation starts.
	transactionalID string
	producer        *wire.Producer // nil where nothing needs a transaction
	owner           string         // stands in the checkpoint of each lane that this engine holds

	// Set by prepare, while no generation runs.
	topics    topicFacts
	sources   []source // of each lane
	layout    layout
	inputSeen inputSeen
	limits    *limits
	fit       fit

	// Set at the start of a generation, before its lanes start: each lane's share.
	dirtyMax, cacheMax int
}

// ownerAtLeastOnce stands for an owner without a transactional id: there is nothing to fence.
const ownerAtLeastOnce = "at_least_once"

// New validates the options and starts nothing. Errors name the option and its value.
func New(o Options) (*Engine, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Decoder.Types == nil {
		o.Decoder.Types = o.Rules.Types()
	}
	e := &Engine{
		options: o, log: o.Logger, metrics: newMetrics(o.Registerer), health: newHealth(), limits: newLimits(&o),
		inputSeen:   inputSeen{ask: make(chan struct{}, 1), look: make(chan struct{}, 1)},
		owner:       ownerAtLeastOnce,
		rulesHeader: wire.Header{Key: contract.HeaderRules, Value: []byte(o.Rules.Hash())},
	}
	e.resultHeaders = newResultHeaders(e.rulesHeader)
	e.identify()
	e.watch = newWatch(e)
	e.fetches = o.Client.NewFetchPool(wire.FetchPoolOptions{
		BytesMax: min(o.FetchBytesMax, pooledBytesMax), WaitMax: o.FetchWaitMax, Pause: o.FetchPause, Committed: true,
	})
	e.health.set("group", "not joined yet")
	registerReady(o.Registerer, e.Ready)
	return e, nil
}

// identify gives the engine a new transactional id, and with it a producer. It is called while no generation runs: when
// the engine is made, and after a generation that left a lane with our id in its checkpoint. The lane's next owner fences
// that id, as that of one who died; were it still in use, this would end the transaction under way, and with it a
// generation that nothing else is wrong with.
func (e *Engine) identify() {
	o := &e.options
	if o.Guarantee != ExactlyOnce && len(e.sources) < 2 {
		return // what is forwarded needs a transaction in both modes, and there is nothing to forward
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	// An id of its own for each process: shared ones fence their twin. The group is the prefix, so that one prefixed ACL
	// fits all members.
	e.transactionalID = o.Group + "-" + hex.EncodeToString(id[:])
	e.owner = e.transactionalID
	e.producer = o.Client.NewProducer(wire.ProducerOptions{
		TransactionalID: e.transactionalID, TransactionTimeout: o.TransactionTimeout, Compression: o.Compression, Group: o.Group,
	})
}

// sourceTopics are the topics that the group is subscribed to. The broker lets the offsets of others expire.
func (e *Engine) sourceTopics() []string {
	return topicsOf(e.sources)
}

func topicsOf(sources []source) (names []string) {
	for _, s := range sources {
		names = append(names, s.topic)
	}
	return names
}

// inputs are the sources but for the rekey topic, which is the last.
func (e *Engine) inputs() []source {
	n := len(e.sources)
	if n > 0 && e.sources[n-1].rekey {
		n--
	}
	return e.sources[:n:n]
}

// Ready reports whether the engine works, and otherwise, a line each, what it waits for. Safe for concurrent use.
func (e *Engine) Ready() (bool, string) { return e.health.ready() }

// Alive reports whether the process works or waits for what is outside of it. Otherwise something in it hangs (see
// watch): a line for each lane, and only a new process helps. Safe for concurrent use.
func (e *Engine) Alive() (bool, string) { return e.health.alive() }

// joinBackoff is the pause after a failed join (kafka-go: 5 s by default, too long on a cold cluster).
const joinBackoff = 500 * time.Millisecond

// Run works until ctx ends; then it finishes the transaction, flushes, leaves the group and returns nil. Before, it
// returns only what neither time nor a new membership can mend. It is called once.
func (e *Engine) Run(ctx context.Context) error {
	defer e.fetches.Close()
	for {
		if err := e.prepare(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		err := e.serveLayout(ctx)
		if classify(err) != relayout {
			return err
		}
		e.log.Warn("the layout changes: joining again", "group", e.options.Group, "former", e.layout.String(), "err", err)
	}
}

// serveLayout is a member of the group under the layout that prepare has found, until ctx ends (nil), the layout changes or
// something fails for good.
func (e *Engine) serveLayout(ctx context.Context) error {
	o := &e.options
	lanes := newBalancer(e.layout)
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: o.Group, Brokers: o.Brokers, Dialer: o.Client.Dialer(), Topics: e.sourceTopics(),
		GroupBalancers:    []kafka.GroupBalancer{lanes},
		HeartbeatInterval: o.HeartbeatInterval, SessionTimeout: o.SessionTimeout, RebalanceTimeout: o.RebalanceTimeout,
		JoinGroupBackoff: joinBackoff, Timeout: o.RequestTimeout, StartOffset: kafka.FirstOffset,
	})
	if err != nil {
		return fmt.Errorf("consumer: group %s: %w", o.Group, err)
	}
	e.log.Info("engine starts", "group", o.Group, "layout", e.layout.String(), "guarantee", o.Guarantee.String(),
		"transactional_id", e.transactionalID, "rules", o.Rules.Hash())
	looking, stopLooking := context.WithCancel(context.WithoutCancel(ctx)) // to the end of the last generation
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stopLooking()
	watching.Go(func() { e.watch.run(looking) })
	err = e.remedied(e.join(ctx, group, lanes))
	// Close ends the generation, which waits for its lanes to be handed over, and leaves the group.
	if closeErr := group.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("consumer: leave group %s: %w", o.Group, closeErr))
	}
	e.health.set("group", "left")
	return err
}

// join serves one generation after the other, until ctx ends (nil) or something fails for good.
func (e *Engine) join(ctx context.Context, group *kafka.ConsumerGroup, lanes *balancer) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for {
		gen, err := group.Next(ctx)
		if ctx.Err() != nil {
			if cause := context.Cause(ctx); classify(cause) == fatal || classify(cause) == relayout {
				return cause
			}
			return nil
		}
		if err != nil {
			if err := e.joinFailed(ctx, err); err != nil {
				return err
			}
			continue
		}
		e.metrics.generations.Inc()
		g := &generation{engine: e, member: wire.Member{Group: gen.GroupID, Generation: gen.ID, ID: gen.MemberID}}
		for _, a := range gen.Assignments[e.sources[0].topic] {
			g.lanes = append(g.lanes, int32(a.ID))
		}
		for _, lane := range g.lanes {
			e.health.set(laneSubject(lane), "starting")
		}
		e.health.clear("group") // after it: in between nothing would stand against being ready
		lanes.remember(gen.ID, g.lanes)
		e.log.Info("generation", "generation", gen.ID, "lanes", len(g.lanes), "assigned", g.lanes, "transactional_id", e.transactionalID)
		gen.Start(func(ctx context.Context) {
			if err := e.serve(ctx, g); err != nil {
				stop(err)
			}
			e.health.set("group", "between two generations")
		})
	}
}

func (e *Engine) serve(ctx context.Context, g *generation) error {
	if len(g.lanes) == 0 {
		return e.watchInput(ctx) // more members than lanes: this one stands by
	}
	e.cacheMax = max(e.options.CacheMax/len(g.lanes), 1)
	e.dirtyMax = max(e.options.DirtyMax/len(g.lanes), 1)
	return g.run(ctx)
}

// joinFailed logs why the group could not be joined, once for each reason, and returns what waiting cannot mend.
func (e *Engine) joinFailed(ctx context.Context, err error) error {
	err = wire.Deny(err, e.options.Group, "")
	problem := err.Error()
	if errors.Is(err, kafka.InconsistentGroupProtocol) {
		// The others may have seen before this one that the inputs have grown.
		if err := e.sameInput(ctx, time.Now()); errors.Is(err, errGrown) || errors.Is(err, errRecreated) {
			return err
		}
		problem = fmt.Sprintf("another member of group %s runs with other settings or topics (its layout is not %s), or is no Lapwing: this one waits until it is stopped", e.options.Group, e.layout)
	} else if classify(err) == fatal {
		return fmt.Errorf("consumer: join group %s: %w", e.options.Group, err)
	}
	if e.health.set("group", problem) {
		e.log.Warn("group not joined, trying again", "group", e.options.Group, "problem", problem, "err", err)
	}
	return nil
}
