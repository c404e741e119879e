package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/lapwing/lapwing/consumer"
	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/contract"
)

const (
	input, furtherInput, output, dead = "in", "in-further", "out", "dead"

	group = "sim"
	rekey = group + ".rekey"
)

// Result is what came of one seed.
type Result struct {
	Seed   uint64
	Events int   // input records that were judged and checked
	Err    error // what is wrong; nil: nothing
	Took   time.Duration
	Report consumertest.Report
	Log    []byte // what was drawn, and the engines' logs

	fired      map[cell]int
	happenings []happening
	settings   settings
}

// Options of a run.
type Options struct {
	Seed uint64
	// plant makes a fault that the checker has to find.
	plant plant
}

// plant is a fault of the engine or of Kafka itself, to test the simulation by.
type plant struct {
	tamper tamper
	forget bool // the store loses states and keeps their checkpoints
	calm   bool // no other fault

	changes *changes // nil: those of the seed

	disinherit bool // states of former layouts are taken for absent
	unsettled  bool // lanes are taken for settled under the former layout before they are
}

// journal collects what the goroutines of a run write.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) bytes() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Clone(j.text.Bytes())
}

// run is one seed at work.
type run struct {
	settings settings
	plant    plant
	script   *script
	server   *server
	addrs    []string
	admin    *kadm.Client // beside the faults
	checker  *consumertest.Checker
	log      *slog.Logger
	rng      *rand.Rand // of the happenings

	links   sync.WaitGroup // connections
	late    sync.WaitGroup // requests on their way
	engines sync.WaitGroup
	errands sync.WaitGroup // happenings that take their time

	mu          sync.Mutex
	started     int
	lanes       int32                // partitions of each input now
	partitioner contract.Partitioner // of who starts now
	members     []*member
	closing     bool
	failures    []error
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, err)
}

// runTimeout bounds a whole run.
const runTimeout = 3 * time.Minute

// Run runs one seed. Its faults, happenings, settings and events depend on the seed alone; how the goroutines interleave
// does not, so that a failure may need some tries.
func Run(ctx context.Context, o Options) Result {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	s := drawSettings(o.Seed)
	faults := plan(o.Seed, s.guarantee == consumer.ExactlyOnce, s.firstProtocol)
	if o.plant.calm {
		faults = nil
		s.happenings = make([]happening, pieces)
	}
	if o.plant.changes != nil {
		s.changes = *o.plant.changes
	}
	logs := new(journal)
	r := &run{
		settings: s, plant: o.plant, script: newScript(faults), rng: rand.New(rand.NewPCG(o.Seed, 0x68617070)),
		log:   slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		lanes: s.lanes, partitioner: s.changes.partitioner[0],
	}
	r.server = newServer(r.script, s.memory())
	fmt.Fprintf(logs, "seed %d: %v\nhappenings %v\n%s\n", o.Seed, s, s.happenings, describe(faults))
	result := Result{Seed: o.Seed, happenings: s.happenings, settings: s}
	result.Report, result.Err = r.whole(ctx)
	result.Events = result.Report.Records
	r.mu.Lock()
	result.Err = errors.Join(append([]error{result.Err}, r.failures...)...)
	r.mu.Unlock()
	result.fired, _ = r.script.outcome()
	result.Log = logs.bytes()
	result.Took = time.Since(began)
	return result
}

// whole is the run from its cluster to its check.
func (r *run) whole(ctx context.Context) (consumertest.Report, error) {
	options := []kfake.Opt{
		kfake.NumBrokers(r.settings.brokers), kfake.GroupMinSessionTimeout(100 * time.Millisecond),
		kfake.SeedTopics(r.settings.lanes, r.settings.inputs...), kfake.SeedTopics(r.settings.outputs, output),
		kfake.SeedTopics(r.settings.dead, dead), kfake.SeedTopics(r.settings.lanes, rekey),
	}
	if r.settings.firstProtocol {
		options = append(options, kfake.MaxVersions(kversion.V3_9_0()))
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		return consumertest.Report{}, fmt.Errorf("sim: kfake: %w", err)
	}
	defer r.links.Wait() // they end with the cluster
	defer cluster.Close()
	defer r.late.Wait()
	r.addrs = cluster.ListenAddrs()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.addrs...))
	if err != nil {
		return consumertest.Report{}, fmt.Errorf("sim: client: %w", err)
	}
	defer client.Close()
	r.admin = kadm.NewClient(client)
	if r.checker, err = r.newChecker(ctx); err != nil {
		return consumertest.Report{}, err
	}
	defer r.checker.Close()
	defer r.engines.Wait()
	defer r.abandon()
	for range r.settings.members {
		if err := r.start(); err != nil {
			return consumertest.Report{}, err
		}
	}
	produced, err := r.load(ctx)
	if err != nil {
		return consumertest.Report{}, err
	}
	if err := r.settle(ctx); err != nil {
		return consumertest.Report{}, err
	}
	return r.check(ctx, produced)
}

// load produces the events, piece by piece, with a happening before each.
func (r *run) load(ctx context.Context) (produced int, err error) {
	defer r.errands.Wait()
	generator := consumertest.NewGenerator(r.settings.events)
	stopped := 0 // members that wait for the inputs to grow
	changes := &r.settings.changes
	for i, h := range r.settings.happenings {
		if i == pieces/4 {
			r.server.keep()
		}
		if r.plant.forget && i == pieces/2 {
			if err := r.forget(ctx); err != nil {
				return produced, err
			}
		}
		if changes.stopped && i == changes.grow-1 {
			r.errands.Wait()
			stopped = r.stopAll()
		}
		if err := r.change(ctx, i); err != nil {
			return produced, err
		}
		if stopped > 0 {
			h = nothing
		}
		if err := r.happen(h); err != nil {
			return produced, err
		}
		n, err := consumertest.Produce(ctx, consumertest.ProduceOptions{
			Brokers: r.addrs, Topic: input, Further: r.settings.inputs[1:], Count: r.settings.records / pieces, PerSecond: 1500, Transactional: r.settings.transactionalInput,
		}, generator)
		if produced += n; err != nil {
			return produced, err
		}
		if stopped > 0 && i < changes.grow {
			continue
		}
		for ; stopped > 0; stopped-- {
			if err := r.start(); err != nil {
				return produced, err
			}
		}
		r.catchUp(ctx)
	}
	return produced, nil
}

// change makes the changes of the layout that are due before a piece of the load.
func (r *run) change(ctx context.Context, piece int) error {
	c := &r.settings.changes
	if c.repartition > 0 && piece == c.repartition {
		r.errands.Go(r.repartition)
	}
	switch {
	case c.grow > 0 && piece == c.grow:
		return r.grow(ctx, c.by)
	case c.again > 0 && piece == c.again:
		return r.grow(ctx, 1)
	}
	return nil
}

// catchUp lets the members judge what there is before more comes, so that a run has many transactions, but does not wait
// for long: they may have lost their lanes.
func (r *run) catchUp(ctx context.Context) {
	for deadline := time.Now().Add(pieceMax); time.Now().Before(deadline); time.Sleep(pollEvery) {
		if _, left, err := r.progress(ctx); err == nil && left == 0 {
			return
		}
	}
}

// pieceMax is how long a piece of the load waits for being judged.
const pieceMax = 600 * time.Millisecond

// happen does one happening; what takes its time goes on beside the load.
func (r *run) happen(h happening) error {
	r.mu.Lock()
	var m *member
	if n := len(r.members); n > 0 {
		m = r.members[r.rng.IntN(n)]
	}
	alone := len(r.members) < 2
	r.mu.Unlock()
	r.log.Debug("happening", "what", h.String())
	aside := func(fn func()) { r.errands.Go(fn) }
	stop := func() {
		if err := m.stop(); err != nil {
			r.fail(err)
		}
	}
	longer := sessionTimeout + 300*time.Millisecond
	switch {
	case h == join:
		return r.start()
	case h == storeAway:
		r.server.setAway(true)
		aside(func() { time.Sleep(300 * time.Millisecond); r.server.setAway(false) })
	case h == storeEmpty:
		r.server.Restore(nil)
	case h == storeOlder:
		r.server.back()
	case m == nil: // it has just ended by itself
	case h == restart:
		aside(stop)
		return r.start()
	case h == leave && !alone:
		aside(stop)
	case h == crash:
		m.crash()
		return r.start()
	case h == isolate:
		m.network.cut()
		aside(func() { time.Sleep(longer); m.network.mend() })
	case h == freeze:
		m.network.freeze()
		m.gate.freeze()
		aside(func() { time.Sleep(longer); m.gate.thaw(); m.network.thaw() })
	}
	return nil
}

// stuckAfter is how long nothing may move, once all faults have ended. The longest pauses of an engine are 5 s, of a lane
// that failed often; beside them a rebalance that waits for members that are gone.
const stuckAfter = 25 * time.Second

// settle lets the faults end, waits until everything is judged, stops all members and lets a new one settle what is left.
func (r *run) settle(ctx context.Context) error {
	r.script.end()
	r.server.setAway(false)
	r.late.Wait()
	if err := r.drained(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	r.closing = true
	members := append([]*member{}, r.members...)
	r.mu.Unlock()
	var stopping sync.WaitGroup
	for _, m := range members {
		stopping.Go(func() {
			if err := m.stop(); err != nil {
				r.fail(err)
			}
		})
	}
	stopping.Wait()
	// A member that was stopped while it started a lane leaves its name at it, as it should. So does one whose drain was
	// too slow. One more start puts everything in order.
	if err := r.start(); err != nil {
		return err
	}
	if err := r.owned(ctx); err != nil {
		return err
	}
	if err := r.drained(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	last := r.members[0]
	r.mu.Unlock()
	if err := last.stop(); err != nil {
		return err
	}
	var errs []error
	for _, topic := range r.topics() {
		errs = append(errs, consumertest.CheckCheckpoints(ctx, r.addrs, group, topic, r.server, true))
	}
	return errors.Join(errs...)
}

// topics are those that the lanes read, the topic of copies last.
func (r *run) topics() []string {
	if len(r.settings.inputs) == 1 && r.lanesNow() == 1 {
		return r.settings.inputs // nothing can be in another partition
	}
	return append(slices.Clone(r.settings.inputs), rekey)
}

// drained waits until nothing of the input is left to judge, as long as something moves.
func (r *run) drained(ctx context.Context) error {
	before := int64(-1)
	return r.until(ctx, func() (moved, done bool, err error) {
		committed, left, err := r.progress(ctx)
		if err != nil {
			return false, false, err
		}
		moved, before = committed != before, committed
		return moved, left == 0, nil
	})
}

// progress returns the sum of the committed offsets, and how much of the input is beyond them.
func (r *run) progress(ctx context.Context) (committed, left int64, err error) {
	for _, topic := range r.topics() { // in this order: the last is fed from the others
		list := r.admin.ListCommittedOffsets
		if topic == rekey {
			list = r.admin.ListEndOffsets // see consumertest.Lag
		}
		ends, err := list(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			return 0, 0, err
		}
		offsets, err := r.admin.FetchOffsetsForTopics(ctx, group, topic)
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return 0, 0, err
		}
		ends.Each(func(end kadm.ListedOffset) {
			at, _ := offsets.Lookup(topic, end.Partition)
			committed += max(at.At, 0)
			left += end.Offset - max(at.At, 0)
		})
	}
	return committed, left, nil
}

// pollEvery is the pause between two looks at something that is waited for.
const pollEvery = 40 * time.Millisecond

// owned waits until each lane has an owner.
func (r *run) owned(ctx context.Context) error {
	return r.until(ctx, func() (moved, done bool, err error) {
		for lane := range r.lanesNow() {
			c, ok, err := r.server.Peek(ctx, lane)
			if err != nil || !ok || c.Owner == "" {
				return false, false, err
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.members) == 0 {
			return false, false, errors.New("no member is left")
		}
		ready, _ := r.members[0].engine.Ready()
		return false, ready, nil
	})
}

// until waits for something, and gives up when nothing has moved for a while.
func (r *run) until(ctx context.Context, look func() (moved, done bool, err error)) error {
	for since := time.Now(); ; {
		moved, done, err := look()
		if err == nil && done {
			return nil
		}
		if moved {
			since = time.Now()
		}
		if time.Since(since) > stuckAfter || ctx.Err() != nil {
			return fmt.Errorf("%w: nothing has moved for %v: %w\n%s", errNotDrained, time.Since(since), errors.Join(err, ctx.Err()), r.problems())
		}
		time.Sleep(pollEvery)
	}
}

// problems says what keeps each member from being ready.
func (r *run) problems() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for i, m := range r.members {
		ready, problems := m.engine.Ready()
		fmt.Fprintf(&b, "member %d, ready %t: %s\n", i, ready, problems)
	}
	for lane := range r.lanes {
		c, ok, err := r.server.Peek(context.Background(), lane)
		fmt.Fprintf(&b, "lane %d: checkpoint %+v %t %v\n", lane, c, ok, err)
	}
	return b.String()
}

// newChecker begins to follow the inputs, before they change.
func (r *run) newChecker(ctx context.Context) (*consumertest.Checker, error) {
	o := consumertest.CheckOptions{
		Brokers: r.addrs, Inputs: r.settings.inputs, Output: output, DeadLetters: dead, Minimal: r.settings.minimal,
		AlertsOnly: r.settings.alertsOnly, Repeats: r.settings.guarantee == consumer.AtLeastOnce, Settle: 3 * time.Second,
	}
	if r.settings.changes.repartition > 0 {
		o.Former = []string{r.settings.changes.partitioner[0].String()}
		o.Partitioner = r.settings.changes.partitioner[1].String()
	}
	c, err := consumertest.NewChecker(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("sim: the check itself: %w", err)
	}
	return c, nil
}

// check compares results, dead letters and states with the model.
func (r *run) check(ctx context.Context, produced int) (consumertest.Report, error) {
	report, err := r.checker.Finish(ctx)
	if err == nil {
		report, err = r.checker.CheckStates(ctx, r.server, nil)
	}
	if err != nil {
		return report, fmt.Errorf("sim: the check itself: %w", err)
	}
	err = report.Err()
	if report.Records != produced {
		err = errors.Join(err, fmt.Errorf("sim: %d records were checked, %d were produced", report.Records, produced))
	}
	return report, err
}

// abandon ends what is still alive after a failure.
func (r *run) abandon() {
	r.mu.Lock()
	r.closing = true
	members := append([]*member{}, r.members...)
	r.mu.Unlock()
	for _, m := range members {
		m.crash()
	}
}

// forget is a planted fault: while nobody works the store loses all states, but no fence and no checkpoint.
func (r *run) forget(ctx context.Context) error {
	if err := r.drained(ctx); err != nil {
		return err
	}
	r.stopAll()
	image := r.server.Image()
	for key := range image {
		if strings.Contains(key, ":u:") {
			delete(image, key)
		}
	}
	r.server.Restore(image)
	return r.start()
}
