package consumer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/wire"
)

// committer commits what the lanes of a generation have ready, one transaction after the other. It runs as one
// goroutine; register, unregister and barrier are for the lanes.
type committer struct {
	engine   *Engine
	producer *wire.Producer // nil where nothing needs a transaction
	member   wire.Member
	onLost   func(error) // the generation must end: ownership is lost, or nothing can mend the error

	ready   chan struct{} // something to commit
	offsets *offsetCommitter

	mu      sync.Mutex
	tenures []*tenure
	busy    chan struct{} // closed when the current transaction, and what mends a failed one, is over; nil: idle
}

func newCommitter(e *Engine, member wire.Member, onLost func(error)) *committer {
	c := &committer{engine: e, producer: e.producer, member: member, onLost: onLost, ready: make(chan struct{}, 1), busy: make(chan struct{})}
	c.offsets = newOffsetCommitter(c)
	return c
}

// wake says that a parcel has something.
func (c *committer) wake() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

func (c *committer) register(t *tenure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tenures = append(c.tenures, t)
}

func (c *committer) unregister(t *tenure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tenures = slices.DeleteFunc(c.tenures, func(o *tenure) bool { return o == t })
}

// committedOffsets returns C by source as the lane's tenure knows it, with what is quiet behind it; false: the lane has none.
func (c *committer) committedOffsets(lane int32) ([]int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tenures {
		if t.lane == lane {
			return t.reportedOffsets(), true
		}
	}
	return nil, false
}

// barrier waits until no transaction is under way or in doubt. A lane's start reads C after it: otherwise this could
// happen: the former tenure's parcel is taken; the lane starts again and reads C, which is stable, since the offsets
// are not in the transaction yet; the transaction commits; the lane judges the same events again. At least once the same
// goes for the former tenure's offsets: they must not arrive after those that the start itself commits.
func (c *committer) barrier(ctx context.Context) error {
	c.mu.Lock()
	busy := c.busy
	c.mu.Unlock()
	if busy != nil {
		select {
		case <-busy:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if c.engine.options.Guarantee == ExactlyOnce {
		return nil // offsets travel in transactions only
	}
	release, err := c.offsets.hold(ctx)
	if err == nil {
		release()
	}
	return err
}

// run commits until stop is closed and nothing is left. The producer id is taken first: it ends whatever transaction
// of a former generation is still open.
func (c *committer) run(ctx context.Context, stop <-chan struct{}) {
	drained := make(chan struct{})
	var offsets sync.WaitGroup
	offsets.Go(func() { c.offsets.run(ctx, drained) })
	defer offsets.Wait()
	defer close(drained)
	defer c.idle()
	if !c.mend(ctx) {
		return
	}
	c.idle()
	for {
		select {
		case <-c.ready:
		case <-stop:
			for c.once(ctx) {
			}
			return
		case <-ctx.Done():
			return
		}
		if d := c.pause(); c.once(ctx) && d > 0 {
			pause(ctx, stop, d)
			c.wake() // more may have come meanwhile
		}
	}
}

// pause returns the time between two transactions. What is written at least once has no markers that the broker writes
// meanwhile, so the next write need not wait as long.
func (c *committer) pause() time.Duration {
	d := c.engine.options.TransactionPause
	if c.engine.options.Guarantee == AtLeastOnce {
		d = min(d, atLeastOncePauseMax)
	}
	return d
}

const atLeastOncePauseMax = time.Millisecond

func pause(ctx context.Context, stop <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	case <-ctx.Done():
	}
}

// idle marks the end of a transaction.
func (c *committer) idle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy != nil {
		close(c.busy)
		c.busy = nil
	}
}

// load is a parcel in a transaction.
type load struct {
	tenure *tenure
	parcel *parcel
}

// once runs one transaction and reports whether it committed anything.
func (c *committer) once(ctx context.Context) bool {
	c.mu.Lock()
	var loads []load
	for _, t := range c.tenures {
		if p := t.take(); p != nil {
			loads = append(loads, load{t, p})
		}
	}
	lanes := len(c.tenures)
	if len(loads) > 0 {
		c.busy = make(chan struct{})
	}
	c.mu.Unlock()
	if len(loads) == 0 {
		return false
	}
	defer c.idle()
	lend(loads, lanes, c.engine.options.BatchRecordsMax)

	stage := &c.engine.watch.committer
	defer stage.at(stageIdle)
	stage.at(stageCommit)
	start := time.Now()
	if err := c.commit(ctx, loads, start); err != nil {
		c.fail(ctx, loads, err)
		return false
	}
	c.engine.metrics.transactionSeconds.Observe(time.Since(start).Seconds())
	return true
}

// lend allows the lanes that have filled several parcels in a row up to twice as much the next time, as long as all
// together hold less than half of what they may: a lane with a hot user would else commit as often as it is full, though
// the process has memory for all lanes. Lanes that catch up at a start are full for a moment only.
func lend(loads []load, lanes, recordsMax int) {
	rest, full := lanes*recordsMax/2, 0
	for _, l := range loads {
		n := l.parcel.records()
		rest -= n
		if n < recordsMax {
			l.tenure.filled = 0
		} else if l.tenure.filled++; l.tenure.filled >= lendAfter {
			full++
		}
	}
	for _, l := range loads {
		most := recordsMax
		if l.tenure.filled >= lendAfter {
			most += max(0, min(recordsMax, rest/full))
		}
		l.tenure.allow(most)
	}
}

// lendAfter is how many parcels in a row a lane has to fill.
const lendAfter = 4

// commit writes what the loads have, with their offsets: as one transaction, or, at least once, the offsets later.
func (c *committer) commit(ctx context.Context, loads []load, start time.Time) error {
	batches := c.gather(loads)
	forwards := slices.ContainsFunc(loads, func(l load) bool { return len(l.parcel.copies) > 0 })
	if c.engine.options.Guarantee == AtLeastOnce && !forwards {
		if err := c.engine.options.Client.Produce(ctx, c.engine.options.Compression, batches); err != nil {
			return err
		}
		c.done(loads, start, (*tenure).settlePublished)
		c.offsets.wake()
		return nil
	}
	release, err := c.offsets.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	var moves offsetMoves
	for _, l := range loads {
		moves.add(l.tenure, l.parcel.reach())
	}
	if err := c.producer.Commit(ctx, &wire.Transaction{Batches: batches, Member: c.member, Offsets: moves.topics}); err != nil {
		return err
	}
	c.done(loads, start, (*tenure).settle)
	return nil
}

// done counts what the loads have and settles it.
func (c *committer) done(loads []load, start time.Time, settle func(*tenure)) {
	c.engine.traceCommit(loads, start) // before the parcels are used again
	m := c.engine.metrics
	m.transactions.WithLabelValues("committed").Inc()
	events := 0
	for _, l := range loads {
		events += l.parcel.counts.events
		c.engine.count(&l.parcel.counts)
		settle(l.tenure)
	}
	m.transactionEvents.Observe(float64(events))
}

// gather joins the batches that go to the same partition, as far as one record batch may hold them.
func (c *committer) gather(loads []load) []*wire.Batch {
	type destination struct {
		topic     string
		partition int32
	}
	last := make(map[destination]*wire.Batch)
	var batches []*wire.Batch
	for _, l := range loads {
		for _, b := range l.parcel.batches {
			if b.Count() == 0 {
				continue
			}
			d := destination{b.Topic(), b.Partition()}
			if first := last[d]; first != nil && first.MergedLenMax(b) <= c.engine.limits.of(d.topic).several() {
				first.Merge(b)
				continue
			}
			last[d] = b
			batches = append(batches, b)
		}
	}
	return batches
}

// fail ends the tenures of a failed transaction: each starts again and finds out by the stable offset what came of it.
func (c *committer) fail(ctx context.Context, loads []load, err error) {
	e := c.engine
	e.metrics.transactions.WithLabelValues("failed").Inc()
	e.log.Warn("transaction failed", "lanes", len(loads), "err", err)
	if wire.Classify(err) == wire.TooLarge {
		e.shrink(ctx, err)
	}
	for _, l := range loads {
		l.tenure.fail(fmt.Errorf("consumer: transaction of %d lanes: %w", len(loads), err))
	}
	if classify(err) != again {
		c.onLost(err)
		return
	}
	c.mend(ctx)
}

// mend takes a new producer epoch, which ends a transaction in doubt one way or the other, and reports success. What
// time mends is tried until ctx ends.
func (c *committer) mend(ctx context.Context) bool {
	if c.producer == nil {
		return true
	}
	delay := backoff.New(20*time.Millisecond, time.Second)
	stage := &c.engine.watch.committer
	defer stage.at(stageIdle)
	for {
		stage.at(stageMend)
		err := c.producer.Init(ctx)
		if err == nil {
			c.engine.health.clear("transactions")
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if classify(err) == fatal {
			c.onLost(fmt.Errorf("consumer: transactional id %s: %w", c.engine.transactionalID, err))
			return false
		}
		if c.engine.health.set("transactions", err.Error()) {
			c.engine.log.Warn("no producer id yet, trying again", "transactional_id", c.engine.transactionalID, "err", err)
		}
		stage.at(stagePause)
		if delay.Wait(ctx) != nil {
			return false
		}
	}
}

// count adds a committed parcel to the metrics.
func (e *Engine) count(c *parcelCounts) {
	m := e.metrics
	m.events.Add(float64(c.events))
	m.results.Add(float64(c.results))
	m.tombstones.Add(float64(c.tombstones))
	m.forwarded.Add(float64(c.forwarded))
	m.lateEvents.Add(float64(c.late))
	m.beyondEvents.Add(float64(c.beyond))
	for code, n := range c.alerts {
		m.alerts.WithLabelValues(strconv.Itoa(code)).Add(float64(n))
	}
	for reason, n := range c.dead {
		m.deadLetters.WithLabelValues(string(reason)).Add(float64(n))
	}
}
