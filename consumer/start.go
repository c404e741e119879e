package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// start starts the lane, and keeps the metric of stopped lanes true.
func (g *generation) start(ctx context.Context, lane int32) (*tenure, error) {
	t, err := g.begin(ctx, lane)
	var stop *stopError
	switch {
	case err == nil:
		g.engine.metrics.stop(lane, "")
	case errors.As(err, &stop):
		g.engine.metrics.stop(lane, stop.cause)
	}
	return t, err
}

// begin is the one recovery path for everything: assignment, crash, doubtful transaction, lost Redis data, and the change to
// another layout, for which it returns nil when the lane has to begin again under it. The order matters (DESIGN.md, The
// start of a lane): a zombie stops at 1 before it can fence anybody; 2 fences past owners' writes before any state is read;
// 3 decides every transaction of past owners before 4 reads the offset.
func (g *generation) begin(ctx context.Context, lane int32) (*tenure, error) {
	e, stage := g.engine, &g.watched[lane].start
	// 1. A heartbeat of this generation is answered.
	stage.at(stageHeartbeat)
	if err := e.call(ctx, func(ctx context.Context) error { return e.options.Client.Heartbeat(ctx, g.member) }); err != nil {
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	if err := e.checkLimits(ctx); err != nil {
		return nil, err
	}
	// 2. and 3.
	fence, err := g.claim(ctx, lane, stage)
	if err != nil {
		return nil, err
	}
	stage.at(stageLineage)
	c := claimedLane{number: lane, fence: fence, layout: e.layout}
	if c.lineage, err = g.lineage(ctx); err != nil {
		return nil, err
	}
	c.read(fence.Previous())
	var next settling // that the lane has to reach under the former layout
	if c.lineage.Present.Layout != e.layout.String() {
		if next, err = g.change(ctx, c, stage); err != nil || next == "" {
			return nil, err
		}
		c.layout, c.settles = c.lineage.Present.layout(), true
	} else if c.lineage.Present.step(c.checkpoint.Layout) != "" {
		// A change was given up. Whoever was about to make it finds another text.
		err := g.swapLineage(ctx, c.lineage, c.lineage.touched())
		if errors.Is(err, errLineage) { // another lane was faster, or the change
			var now *lineage
			if now, err = g.lineage(ctx); err == nil && now.Present.Number != c.lineage.Present.Number {
				return nil, nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
	// 4. The stable offset.
	stage.at(stageOffset)
	var committed []wire.Committed
	for _, s := range e.sources {
		at, err := g.stableOffset(ctx, s.topic, lane)
		if err != nil {
			return nil, err
		}
		committed = append(committed, at)
	}
	stage.at(stagePlan)
	p, err := g.plan(ctx, c, committed)
	if err != nil {
		return nil, err
	}
	stage.at(stageOpen)
	var ends []int64
	if next != "" {
		if ends, err = g.ends(ctx, lane); err != nil {
			return nil, err
		}
	}
	t, err := g.open(ctx, c, p)
	if err == nil && next != "" {
		t.leave(next, ends)
	}
	return t, err
}

// claim makes this process the lane's owner: past owners can neither write nor commit any more.
func (g *generation) claim(ctx context.Context, lane int32, stage *stageMark) (fence state.Lane, err error) {
	e := g.engine
	// 2. Claim the epoch.
	stage.at(stageClaim)
	if err := e.insist(ctx, "claim", func(ctx context.Context) (err error) {
		fence, err = e.options.Store.Claim(ctx, lane)
		return err
	}); err != nil {
		return nil, err
	}
	checkpoint, _ := fence.Previous()
	// 3. The producer id is the committer's; an owner that did not clear its own died or froze.
	stage.at(stageBarrier)
	if err := g.committer.barrier(ctx); err != nil {
		return nil, err
	}
	if owner := checkpoint.Owner; owner != "" && owner != e.owner && owner != ownerAtLeastOnce {
		stage.at(stageFence)
		e.log.Debug("fencing the former owner", "partition", lane, "transactional_id", owner)
		if err := e.call(ctx, func(ctx context.Context) error {
			return e.options.Client.FenceTransactionalID(ctx, owner, e.options.TransactionTimeout)
		}); err != nil {
			return nil, fmt.Errorf("fence transactional id %s: %w", owner, err)
		}
	}
	return fence, nil
}

// claimedLane is a lane that this process owns, and what the store says of it.
type claimedLane struct {
	number  int32
	fence   state.Lane
	lineage *lineage
	layout  layout // that it is judged under
	settles bool   // under the former layout, until it is settled

	checkpoint state.Checkpoint // under the present era's incarnation, and with its owner
	stored     bool             // the checkpoint counts
	anew       bool             // it does not since an input was made again
	era        *era             // whose sources its offsets are
}

// read fills in what stands in the store.
func (c *claimedLane) read(checkpoint state.Checkpoint, stored bool) {
	present := &c.lineage.Present
	c.checkpoint, c.stored = checkpoint, stored
	c.era = present
	switch {
	case !c.stored || present.step(c.checkpoint.Layout) != "" || c.checkpoint.Layout == present.Layout:
	case len(c.lineage.Former) > 0 && c.lineage.Former[0].step(c.checkpoint.Layout) == settled:
		// The lane has not been judged in the present era: what stands there is how it ended the one before.
		c.era = &c.lineage.Former[0]
		c.checkpoint.Incarnation = present.began(c.number)
	default: // of no era that is known
		c.checkpoint.Offset = -1
		c.stored = false
	}
	if step, of := settlingIn(c.checkpoint.Layout); step != "" && c.checkpoint.Offset < 0 {
		c.stored = false
		c.anew = of != present.Number && len(c.lineage.Former) == 0 // the change to this era kept nothing
	}
}

// text is the layout in the lane's checkpoints. A lane that is drained stays so, whatever becomes of its owner.
func (c *claimedLane) text() string {
	if c.settles && c.lineage.Present.step(c.checkpoint.Layout) == drained {
		return c.checkpoint.Layout
	}
	return c.layout.String()
}

// offset returns M of a source, -1: there is none, and whether the checkpoint knows the source at all.
func (c *claimedLane) offset(s source) (m int64, known bool) {
	if !c.stored || c.checkpoint.Offset < 0 {
		return -1, true
	}
	for i, of := range c.era.Sources {
		if of.Topic != s.topic || of.Rekey != s.rekey {
			continue
		}
		switch {
		case len(c.checkpoint.Sources) == 0 && i == 0:
			return c.checkpoint.Offset, true
		case i < len(c.checkpoint.Sources):
			return c.checkpoint.Sources[i], true
		}
		return 0, true // it was written before the source had anything
	}
	return -1, false
}

// plan finds out what the lane has to do.
func (g *generation) plan(ctx context.Context, c claimedLane, committed []wire.Committed) (lanePlan, error) {
	e, lane := g.engine, c.number
	if err := e.call(ctx, e.checkInput); err != nil {
		return lanePlan{}, err
	}
	var found []finding
	for i, s := range e.sources {
		f := finding{topic: s.topic, lane: lane, identity: s.identity(), rekey: s.rekey,
			committed: committed[i].Offset, metadata: committed[i].Metadata, checkpoint: c.checkpoint, stored: c.stored}
		f.checkpoint.Sources = nil
		var known bool
		if f.checkpoint.Offset, known = c.offset(s); !known {
			// The layout before did not have it. What the group has committed of it, earlier still, is in the states.
			mark, _ := parseCommitMetadata(f.metadata)
			switch {
			case f.committed >= 0 && mark.offset == f.committed:
				f.checkpoint.Offset = mark.at
			case f.committed >= 0:
				f.checkpoint.Offset = f.committed
			case s.rekey:
				f.checkpoint.Offset = 0
			default:
				f.stored = false
			}
		}
		err := e.call(ctx, func(ctx context.Context) (err error) {
			if f.logStart, err = e.options.Client.EarliestOffset(ctx, s.topic, lane); err != nil {
				return err
			}
			f.logEnd, err = e.options.Client.EndOffset(ctx, s.topic, lane, false)
			return err
		})
		if err != nil {
			return lanePlan{}, fmt.Errorf("bounds of %s/%d: %w", s.topic, lane, err)
		}
		found = append(found, f)
	}
	l, err := decideLane(found, e.options.OnReset, e.options.OnDataLoss)
	if err != nil {
		return lanePlan{}, err
	}
	began := c.lineage.Present.began(lane)
	switch {
	case !l.renew && c.stored:
		l.incarnation = max(c.checkpoint.Incarnation, 1)
	case !l.renew && began != 0:
		l.incarnation = began
	default:
		last, _ := c.fence.Previous()
		l.incarnation = newIncarnation(c.fence.Epoch(), max(last.Incarnation, began))
	}
	for i := range l.sources {
		if s := &l.sources[i]; s.fresh && !found[i].rekey {
			if err := g.startPosition(ctx, found[i], &s.plan); err != nil {
				return lanePlan{}, err
			}
			s.readFrom = s.replayFrom
			if c.anew && s.cause == "" { // the broker forgets the offsets of a topic that is deleted
				s.cause, s.note = causeRecreated, noteRecreated
				l.cause, l.note = cmp.Or(l.cause, s.cause), cmp.Or(l.note, s.note)
			}
		}
	}
	l.sum()
	for i := range l.sources {
		p, f := &l.sources[i].plan, &found[i]
		log := e.log.With("topic", f.topic, "partition", lane, "checkpoint", f.checkpoint.Offset, "committed", f.committed,
			"earliest", f.logStart, "replay_from", p.replayFrom, "judge_from", p.judgeFrom)
		switch {
		case p.cause == causeDataLoss:
			log.Error("the lane goes on without what is lost", "problem", p.note, "cause", p.cause,
				"lost_replay", p.lostReplay, "lost_unjudged", p.lostJudge, "lost_rebuild", p.lostRebuild)
		case p.cause != "":
			log.Warn("the lane goes on although something is gone or changed", "problem", p.note, "cause", p.cause, "lost_rebuild", p.lostRebuild)
		case p.fresh && !f.rekey:
			log.Info("no committed offset and no checkpoint: a first start")
		}
	}
	return l, nil
}

// open writes the first checkpoint and the offset where it is new, so that a crash from now on finds what this start
// has decided, and returns the tenure.
func (g *generation) open(ctx context.Context, c claimedLane, p lanePlan) (*tenure, error) {
	e, lane := g.engine, c.number
	commit := func() error {
		var offsets []wire.TopicOffsets
		for i, s := range e.sources {
			m := mark{layout: c.layout, topic: s.identity(), offset: max(p.sources[i].judgeFrom, p.sources[i].quiet), at: p.sources[i].judgeFrom}
			offsets = append(offsets, wire.TopicOffsets{Topic: s.topic, Partitions: map[int32]wire.OffsetMeta{
				lane: {Offset: m.offset, Metadata: m.String()}}})
		}
		return e.call(ctx, func(ctx context.Context) error { return e.options.Client.CommitOffsets(ctx, g.member, offsets...) })
	}
	if horizon := e.options.Rules.Horizon(); c.checkpoint.Horizon > 0 && horizon > c.checkpoint.Horizon {
		e.log.Warn("a rule looks further back than states were kept so far: it is whole after one horizon of events",
			"partition", lane, "kept_seconds", c.checkpoint.Horizon, "horizon_seconds", horizon)
	}
	base := state.Checkpoint{Layout: c.text(), Incarnation: p.incarnation, Owner: e.owner, Horizon: e.options.Rules.Horizon()}
	first := atOffsets(base, p.offsets(func(s *sourcePlan) int64 { return s.replayFrom }))
	write := func(checkpoint state.Checkpoint) error {
		snapshot := new(state.Snapshot)
		snapshot.Reset(lane, e.options.Rules.Types(), checkpoint)
		return e.insist(ctx, "first checkpoint", func(ctx context.Context) error { return c.fence.Flush(ctx, snapshot) })
	}
	if p.anyFresh() || p.resume || p.lostJudge > 0 {
		// A crash between the two must leave what goes on by itself. A checkpoint without an offset does if it has no owner;
		// an offset without a checkpoint would have the states made anew, and the lane would inherit none.
		if p.anyFresh() && !p.rebuild && p.lostJudge == 0 {
			unowned := first
			unowned.Owner = ""
			if err := write(unowned); err != nil {
				return nil, err
			}
		}
		if err := commit(); err != nil {
			return nil, fmt.Errorf("commit the first offset: %w", err)
		}
	}
	// Counted when it can no longer be found again: a start that fails on the way finds the same loss.
	e.metrics.lost.WithLabelValues(lostJudge).Add(float64(p.lostJudge))
	if err := write(first); err != nil {
		return nil, err
	}
	if p.rebuild {
		// After the checkpoint: otherwise a crash in between leaves Lapwing's mark on an offset that the old states do not fit.
		if err := commit(); err != nil {
			return nil, fmt.Errorf("mark the offset: %w", err)
		}
	}
	e.metrics.lost.WithLabelValues(lostReplay).Add(float64(p.lostReplay))
	e.metrics.lost.WithLabelValues(lostRebuild).Add(float64(p.lostRebuild))
	if p.cause != "" {
		e.metrics.recoveries.WithLabelValues(string(p.cause)).Inc()
	}
	return newTenure(e, c, g.committer.wake, p, base), nil
}

// hangingAfter is how many transaction timeouts an offset may stay unstable before it is called a hanging transaction.
const hangingAfter = 3

// stableOffset returns C. While a transaction is pending on it (error 88) it waits.
func (g *generation) stableOffset(ctx context.Context, topic string, lane int32) (wire.Committed, error) {
	e := g.engine
	delay := backoff.New(5*time.Millisecond, 100*time.Millisecond)
	for began := time.Now(); ; {
		var c wire.Committed
		err := e.call(ctx, func(ctx context.Context) error {
			all, err := e.options.Client.StableOffsets(ctx, g.member.Group, topic, []int32{lane})
			if err == nil {
				c = all[lane]
				err = c.Err
			}
			return err
		})
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil || wire.Classify(err) != wire.Retry {
			return c, fmt.Errorf("stable offset of %s/%d: %w", topic, lane, err)
		}
		e.health.note(laneSubject(lane)) // for the watch: the lane is refused, it does not hang
		if waited := time.Since(began); waited > hangingAfter*e.options.TransactionTimeout {
			problem := "hanging transaction: the committed offset stays unstable; find it with kafka-transactions find-hanging and end it with kafka-transactions abort"
			if e.health.set(laneSubject(lane), problem) {
				e.log.Error("the committed offset stays unstable", "problem", problem, "partition", lane, "waited_seconds", int(waited.Seconds()), "err", err)
			}
		}
		if err := delay.Wait(ctx); err != nil {
			return c, err
		}
	}
}

// startPosition fills in where a first start begins.
func (g *generation) startPosition(ctx context.Context, f finding, p *plan) error {
	e := g.engine
	o := &e.options
	at := func(when time.Time) (offset int64, err error) {
		err = e.call(ctx, func(ctx context.Context) error {
			offset, err = o.Client.OffsetAt(ctx, f.topic, f.lane, when)
			return err
		})
		return offset, err
	}
	p.judgeFrom, p.replayFrom = f.logStart, f.logStart
	if !o.Start.Latest && o.Start.Time.IsZero() {
		return nil
	}
	if grown, err := g.grown(ctx, f); err != nil || grown {
		return err // a partition that was added later: all that is in it is new
	}
	warmFrom := time.Now()
	var err error
	if o.Start.Latest {
		p.judgeFrom = f.logEnd
	} else {
		if p.judgeFrom, err = at(o.Start.Time); err != nil {
			return fmt.Errorf("offset at %v: %w", o.Start.Time, err)
		}
		warmFrom = o.Start.Time
	}
	p.replayFrom = p.judgeFrom
	if o.Warm > 0 {
		if p.replayFrom, err = at(warmFrom.Add(-o.Warm)); err != nil {
			return fmt.Errorf("offset %v before: %w", o.Warm, err)
		}
		p.replayFrom = min(p.replayFrom, p.judgeFrom)
	}
	return nil
}

// grown reports whether the group has judged the topic while it did not have this partition.
func (g *generation) grown(ctx context.Context, f finding) (bool, error) {
	offsets, err := g.offsetsOfAll(ctx, f.topic)
	if err != nil {
		return false, err
	}
	var unstable error
	for _, c := range offsets {
		if m, ours := parseCommitMetadata(c.Metadata); c.Err == nil && ours && m.topic == f.identity && m.layout.partitions <= f.lane {
			return true, nil
		}
		unstable = errors.Join(unstable, c.Err)
	}
	return false, unstable
}

// offsetsOfAll returns what the group has committed of a topic, by partition; each has its own error.
func (g *generation) offsetsOfAll(ctx context.Context, topic string) (offsets map[int32]wire.Committed, err error) {
	e := g.engine
	lanes := make([]int32, e.layout.partitions)
	for i := range lanes {
		lanes[i] = int32(i)
	}
	if err := e.call(ctx, func(ctx context.Context) (err error) {
		offsets, err = e.options.Client.StableOffsets(ctx, g.member.Group, topic, lanes)
		return err
	}); err != nil {
		return nil, fmt.Errorf("offsets of all lanes: %w", err)
	}
	return offsets, nil
}

// call runs one request with its deadline.
func (e *Engine) call(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, e.options.RequestTimeout)
	defer cancel()
	err := fn(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		return errors.Join(err, cause)
	}
	return err
}
