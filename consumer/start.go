package consumer

import (
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

// begin is the one recovery path for everything: assignment, crash, doubtful transaction, lost Redis data. The order
// matters (DESIGN.md, The start of a lane): a zombie stops at 1 before it can fence anybody; 2 fences past owners'
// writes before any state is read; 3 decides every transaction of past owners before 4 reads the offset.
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
	// 2. Claim the epoch.
	stage.at(stageClaim)
	var fence state.Lane
	err := e.insist(ctx, "claim", func(ctx context.Context) (err error) {
		fence, err = e.options.Store.Claim(ctx, lane)
		return err
	})
	if err != nil {
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
	// 4. The stable offset.
	stage.at(stageOffset)
	var committed []wire.Committed
	for _, s := range e.sources {
		c, err := g.stableOffset(ctx, s.topic, lane)
		if err != nil {
			return nil, err
		}
		committed = append(committed, c)
	}
	stage.at(stagePlan)
	p, err := g.plan(ctx, lane, fence, committed)
	if err != nil {
		return nil, err
	}
	stage.at(stageOpen)
	return g.open(ctx, lane, fence, p, checkpoint)
}

// plan finds out what the lane has to do.
func (g *generation) plan(ctx context.Context, lane int32, fence state.Lane, committed []wire.Committed) (lanePlan, error) {
	e := g.engine
	if err := e.call(ctx, e.checkInput); err != nil {
		return lanePlan{}, err
	}
	checkpoint, stored := fence.Previous()
	var found []finding
	for i, s := range e.sources {
		f := finding{topic: s.topic, lane: lane, layout: e.layout, epoch: fence.Epoch(), committed: committed[i].Offset, metadata: committed[i].Metadata,
			checkpoint: ofSource(checkpoint, i), stored: stored}
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
		if i > 0 {
			continue
		}
		if err := g.checkLayout(ctx, f); err != nil {
			return lanePlan{}, err
		}
	}
	l, err := decideLane(found, e.options.OnReset, e.options.OnDataLoss)
	if err != nil {
		return lanePlan{}, err
	}
	if l.fresh {
		if err := g.startPosition(ctx, lane, found[0], &l.sources[0].plan); err != nil {
			return lanePlan{}, err
		}
		l.sources[0].readFrom = l.sources[0].replayFrom
		l.sum()
	}
	for i := range l.sources {
		p, f := &l.sources[i].plan, &found[i]
		attrs := []any{"topic", f.topic, "partition", lane, "checkpoint", f.checkpoint.Offset, "committed", f.committed,
			"earliest", f.logStart, "replay_from", p.replayFrom, "judge_from", p.judgeFrom}
		switch {
		case p.cause == causeDataLoss:
			e.log.Error(p.note, append(attrs, "cause", p.cause, "lost_replay", p.lostReplay, "lost_unjudged", p.lostJudge, "lost_rebuild", p.lostRebuild)...)
		case p.cause != "":
			e.log.Warn(p.note, append(attrs, "cause", p.cause, "lost_rebuild", p.lostRebuild)...)
		case p.fresh && i == 0:
			e.log.Info("no committed offset and no checkpoint: a first start", attrs...)
		}
	}
	return l, nil
}

// ofSource returns the checkpoint as that of a single source. One that names no others was written before they had
// anything.
func ofSource(c state.Checkpoint, source int) state.Checkpoint {
	switch {
	case source < len(c.Sources):
		c.Offset = c.Sources[source]
	case source > 0 && c.Offset >= 0:
		c.Offset = 0
	}
	c.Sources = nil
	return c
}

// open writes the first checkpoint and the offset where it is new, so that a crash from now on finds what this start
// has decided, and returns the tenure.
func (g *generation) open(ctx context.Context, lane int32, fence state.Lane, p lanePlan, checkpoint state.Checkpoint) (*tenure, error) {
	e := g.engine
	commit := func() error {
		var offsets []wire.TopicOffsets
		for i, s := range e.sources {
			m := mark{layout: e.layout, offset: max(p.sources[i].judgeFrom, p.sources[i].quiet), at: p.sources[i].judgeFrom}
			offsets = append(offsets, wire.TopicOffsets{Topic: s.topic, Partitions: map[int32]wire.OffsetMeta{
				lane: {Offset: m.offset, Metadata: m.String()}}})
		}
		return e.call(ctx, func(ctx context.Context) error { return e.options.Client.CommitOffsets(ctx, g.member, offsets...) })
	}
	if p.fresh || p.sources[len(p.sources)-1].fresh || p.resume || p.lostJudge > 0 {
		// Before the checkpoint: otherwise a crash in between leaves a checkpoint without an offset, which stops the lane.
		if err := commit(); err != nil {
			return nil, fmt.Errorf("commit the first offset: %w", err)
		}
	}
	// Counted when it can no longer be found again: a start that fails on the way finds the same loss.
	e.metrics.lost.WithLabelValues(lostJudge).Add(float64(p.lostJudge))
	if horizon := e.options.Rules.Horizon(); checkpoint.Horizon > 0 && horizon > checkpoint.Horizon {
		e.log.Warn("a rule looks further back than states were kept so far: it is whole after one horizon of events",
			"partition", lane, "kept_seconds", checkpoint.Horizon, "horizon_seconds", horizon)
	}
	base := state.Checkpoint{Layout: e.layout.String(), Incarnation: p.incarnation, Owner: e.owner, Horizon: e.options.Rules.Horizon()}
	first := atOffsets(base, p.offsets(func(s *sourcePlan) int64 { return s.replayFrom }))
	snapshot := new(state.Snapshot)
	snapshot.Reset(lane, e.options.Rules.Types(), first)
	if err := e.insist(ctx, "first checkpoint", func(ctx context.Context) error { return fence.Flush(ctx, snapshot) }); err != nil {
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
	return newTenure(e, lane, g.committer.wake, fence, p, base), nil
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
				e.log.Error(problem, "partition", lane, "waited_seconds", int(waited.Seconds()), "err", err)
			}
		}
		if err := delay.Wait(ctx); err != nil {
			return c, err
		}
	}
}

// startPosition fills in where a first start begins.
func (g *generation) startPosition(ctx context.Context, lane int32, f finding, p *plan) error {
	e := g.engine
	o := &e.options
	at := func(when time.Time) (offset int64, err error) {
		err = e.call(ctx, func(ctx context.Context) error {
			offset, err = o.Client.OffsetAt(ctx, o.Input, lane, when)
			return err
		})
		return offset, err
	}
	warmFrom := time.Now()
	var err error
	switch {
	case o.Start.Latest:
		p.judgeFrom = f.logEnd
	case !o.Start.Time.IsZero():
		if p.judgeFrom, err = at(o.Start.Time); err != nil {
			return fmt.Errorf("offset at %v: %w", o.Start.Time, err)
		}
		warmFrom = o.Start.Time
	default:
		p.judgeFrom, p.replayFrom = f.logStart, f.logStart
		return nil
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

// checkLayout lets a member with other settings start only when nothing is left to replay under the former ones: every
// lane has M = C; or, where the operator wants the states made anew, no M, as with another Redis.
func (g *generation) checkLayout(ctx context.Context, f finding) error {
	e := g.engine
	former, differs := formerLayout(f)
	if !differs {
		return nil
	}
	if former.partitions != e.layout.partitions {
		return grownError(e.options.Input, former.partitions, e.layout.partitions)
	}
	lanes := make([]int32, e.layout.partitions)
	for i := range lanes {
		lanes[i] = int32(i)
	}
	var offsets map[int32]wire.Committed
	if err := e.call(ctx, func(ctx context.Context) (err error) {
		offsets, err = e.options.Client.StableOffsets(ctx, g.member.Group, e.options.Input, lanes)
		return err
	}); err != nil {
		return fmt.Errorf("offsets of all lanes: %w", err)
	}
	for _, lane := range lanes {
		var c state.Checkpoint
		var found bool
		g.watched[lane].start.at(stagePlan) // one step of many
		if err := e.insist(ctx, "read a checkpoint", func(ctx context.Context) (err error) {
			c, found, err = e.options.Store.Peek(ctx, lane)
			return err
		}); err != nil {
			return err
		}
		if err := offsets[lane].Err; err != nil {
			return fmt.Errorf("stable offset of lane %d: %w", lane, err)
		}
		committed := offsets[lane].Offset
		c = ofSource(c, 0)
		missing := !found || c.Offset < 0
		if found && c.Layout == e.layout.String() || found && c.Offset == committed || missing && committed < 0 ||
			missing && e.options.OnReset == OffsetResetRebuild {
			continue
		}
		stop := &stopError{
			cause:  causeSettings,
			what:   fmt.Sprintf("the settings (partitioner, event decoding, kind of Redis) differ from those that lane %d was judged with (layout %s, now %s), and it has events to replay (checkpoint %d, committed %d)", lane, former, e.layout, c.Offset, committed),
			remedy: "start once with the former settings and stop cleanly, then change them",
		}
		if missing {
			stop.remedy += "; if this is another Redis, on_offset_reset: rebuild makes the states anew from what the topic has kept"
		}
		return stop
	}
	e.log.Warn("settings changed: every lane is settled, going on under the new layout", "former", former.String(), "layout", e.layout.String())
	return nil
}

// formerLayout returns the layout that the lane was judged under if it is another one of the same topics.
func formerLayout(f finding) (layout, bool) {
	var texts []string
	if f.stored && f.checkpoint.Offset >= 0 {
		texts = append(texts, f.checkpoint.Layout)
	}
	if m, ours := parseCommitMetadata(f.metadata); ours && f.committed >= 0 {
		texts = append(texts, m.layout.String())
	}
	for _, text := range texts {
		if l, err := parseLayout(text); err == nil && l.topics == f.layout.topics && l != f.layout {
			return l, true
		}
	}
	return layout{}, false
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
