package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/state"
)

// The layout changes when inputs grow, another partitioner or other inputs are configured, or other settings. Members of two
// layouts are never in the group together (see balancer), but a lane of the former layout may have died in the middle, or its
// owner may be frozen and come back. So the first lanes that start under the new layout settle those of the former one: each
// is claimed, judged under the former layout up to the end of what was there, where that is possible, and marked as drained.
// When all of them are, nothing is forwarded any more: each is judged up to the end of what was forwarded to it, and marked as
// settled. Who claims a marked lane does not take it back a step. When all of them are settled, one change of the lineage
// begins the new layout, and only then are lanes judged under it. No user is in two lanes at any time, a backlog comes before
// what the new partitions have, and no event overtakes an earlier one of its user that was forwarded.

// errSettled ends the tenure of a lane that was judged as far as it has to be under the former layout.
var errSettled = errors.New("consumer: the lane has made a step under the former layout")

// errLineage says that the lineage was changed by somebody else at the same time.
var errLineage = errors.New("consumer: the lineage was changed meanwhile")

// changing says what a change of the layout leaves of the former one.
type changing int

const (
	changeGoesOn   changing = iota // states and events stay: a lane can still be judged under the former layout
	changeSettings                 // states stay, but nobody here knows the former settings: nothing may be left to judge or replay
	changeAnew                     // an input was deleted and made again: nothing of the former layout means anything
)

// changingFrom says what kind of change it is to go from an era to the engine's layout.
func (e *Engine) changingFrom(of *era) changing {
	inputs := e.inputs()
	same := 0
	for _, former := range of.Sources {
		i := slices.IndexFunc(inputs, func(s source) bool { return s.topic == former.Topic })
		switch {
		case former.Rekey || i < 0:
		case inputs[i].identity() != former.Identity:
			return changeAnew
		default:
			same++
		}
	}
	if l := of.layout(); l.topics == e.layout.topics && l.settings == e.layout.settings && same == len(inputs) {
		return changeGoesOn
	}
	return changeSettings
}

// lineage reads the group's, and makes it where there is none.
func (g *generation) lineage(ctx context.Context) (*lineage, error) {
	e := g.engine
	for {
		var text string
		if err := e.insist(ctx, "read the lineage", func(ctx context.Context) (err error) {
			text, err = e.options.Store.Lineage(ctx)
			return err
		}); err != nil {
			return nil, err
		}
		if text != "" {
			lin, err := parseLineage(text)
			return &lin, err
		}
		began, err := g.lostLayout(ctx)
		if err != nil {
			return nil, err
		}
		first := lineage{}.restarted(newEra(began, e.sources))
		if err := g.swap(ctx, "", first.String()); err != nil && !errors.Is(err, errLineage) {
			return nil, err
		}
	}
}

func (g *generation) swapLineage(ctx context.Context, before *lineage, after lineage) error {
	return g.swap(ctx, before.stored, after.String())
}

// swap changes the lineage's text. After an answer that was lost it may have been changed already: then errLineage, and who
// reads it again sees so.
func (g *generation) swap(ctx context.Context, before, after string) error {
	e := g.engine
	var done bool
	if err := e.insist(ctx, "change the lineage", func(ctx context.Context) (err error) {
		done, err = e.options.Store.SwapLineage(ctx, before, after)
		return err
	}); err != nil {
		return err
	}
	if !done {
		return errLineage
	}
	return nil
}

// lostLayout returns the layout that a store without a lineage begins with. Such a store is a new one or was wiped: the
// states are then made anew from what is kept. That is done under other settings than the results were judged with only if
// somebody wants it. And if all that was judged was judged under one former layout of the same inputs, it is done under that:
// the lanes are then led from there to the engine's, as if the store had kept the lineage. A lane that made its states anew
// under the engine's layout would read its own partition, and miss what its users had in others.
func (g *generation) lostLayout(ctx context.Context) (layout, error) {
	e := g.engine
	var former layout              // the one of most partitions
	begun, several := false, false // the engine's own; more than one with these partitions
	for _, s := range e.sources {
		offsets, err := g.offsetsOfAll(ctx, s.topic)
		if err != nil {
			return layout{}, err
		}
		for lane, c := range offsets {
			m, ours := parseCommitMetadata(c.Metadata)
			switch {
			case commitMarkNewer(c.Metadata) && e.options.OnReset != OffsetResetRebuild:
				return layout{}, newerCommitError(finding{topic: s.topic, lane: lane, committed: c.Offset, metadata: c.Metadata})
			case !ours || m.topic != s.identity():
			case m.layout.settings != e.layout.settings && e.options.OnReset != OffsetResetRebuild:
				return layout{}, &stopError{
					cause:  causeSettings,
					what:   fmt.Sprintf("this Redis has no states of the group, and %s/%d was judged with other settings (event decoding, kind of Redis; layout %s, now %s)", s.topic, lane, m.layout, e.layout),
					remedy: "use the former settings and Redis; if this is another Redis, on_offset_reset: rebuild makes the states anew from what the topic has kept",
				}
			case m.layout == e.layout:
				begun = true
			case m.layout.settings != e.layout.settings || m.layout.topics != e.layout.topics:
			case m.layout.partitions > former.partitions:
				former, several = m.layout, false
			case m.layout.partitions == former.partitions && m.layout != former:
				several = true // the partitioner was changed back and forth: which one came last?
			}
		}
	}
	if begun || several || former.partitions == 0 {
		return e.layout, nil
	}
	e.log.Warn("this Redis has no states of the group: they are made anew under the layout before", "former", former.String(), "layout", e.layout.String())
	return former, nil
}

// change takes a claimed lane from the present era towards the engine's layout. It returns the step that the lane has first to
// be judged to under the former layout; "": the new layout has begun, and the lane starts again.
func (g *generation) change(ctx context.Context, c claimedLane, stage *stageMark) (next settling, err error) {
	e, present := g.engine, &c.lineage.Present
	former, kind := present.layout(), e.changingFrom(present)
	if c.number < former.partitions {
		switch step := present.step(c.checkpoint.Layout); {
		case kind != changeGoesOn || step == settled:
		case step == "":
			return drained, nil
		case step == drained:
			if err := g.remark(ctx, c); err != nil {
				return "", err
			}
			if begun, err := g.await(ctx, c, kind, drained, stage); err != nil || begun {
				return "", err
			}
			return settled, nil
		}
		if err := g.settle(ctx, c, kind); err != nil {
			return "", err
		}
	}
	// Lanes that the new layout does not have are nobody's.
	for lane := c.number + e.layout.partitions; lane < former.partitions; lane += e.layout.partitions {
		other := claimedLane{number: lane, lineage: c.lineage}
		if other.fence, err = g.claim(ctx, lane, stage); err != nil {
			return "", err
		}
		other.read(other.fence.Previous())
		if err := g.settle(ctx, other, kind); err != nil {
			return "", err
		}
	}
	_, err = g.await(ctx, c, kind, settled, stage)
	return "", err
}

// remark writes the checkpoint of a marked lane again: now by this claim.
func (g *generation) remark(ctx context.Context, c claimedLane) error {
	mark, _ := c.fence.Previous()
	return g.write(ctx, c, mark)
}

func (g *generation) write(ctx context.Context, c claimedLane, mark state.Checkpoint) error {
	snapshot := new(state.Snapshot)
	snapshot.Reset(c.number, g.engine.options.Rules.Types(), mark)
	return g.engine.insist(ctx, "settle the lane", func(ctx context.Context) error { return c.fence.Flush(ctx, snapshot) })
}

// settle marks a lane in which nothing is left to be judged or replayed under the former layout, or stops.
func (g *generation) settle(ctx context.Context, c claimedLane, kind changing) error {
	e := g.engine
	mark := state.Checkpoint{Layout: settled.in(&c.lineage.Present), Offset: -1, Horizon: c.checkpoint.Horizon}
	switch {
	case c.lineage.Present.step(c.checkpoint.Layout) == settled:
		return g.remark(ctx, c)
	case kind == changeAnew: // incarnation 0: there is nothing to inherit
	default:
		rest, err := g.unsettled(ctx, c)
		if err != nil {
			return err
		}
		void := rest != "" && !c.stored && e.options.OnReset == OffsetResetRebuild
		if rest != "" && !void {
			stop := &stopError{
				cause:  causeSettings,
				what:   fmt.Sprintf("the inputs or settings (event decoding, kind of Redis) differ from those that lane %d was judged with (layout %s, now %s), and it has events to replay (%s)", c.number, c.lineage.Present.Layout, e.layout, rest),
				remedy: "start once with the former settings and stop cleanly, then change them",
			}
			if !c.stored {
				stop.remedy += "; if this is another Redis, on_offset_reset: rebuild makes the states anew from what the topic has kept"
			}
			return stop
		}
		switch {
		case void:
		case c.stored:
			mark.Incarnation, mark.Offset, mark.Sources = c.checkpoint.Incarnation, c.checkpoint.Offset, c.checkpoint.Sources
			if c.era != &c.lineage.Present { // never judged in the present era: of the former one's sources
				mark.Sources = c.presentOffsets()
				mark.Offset = sum(mark.Sources)
				if len(mark.Sources) == 1 {
					mark.Sources = nil
				}
			}
		default: // never started
			mark.Incarnation = c.lineage.Present.began(c.number)
		}
	}
	return g.write(ctx, c, mark)
}

// presentOffsets returns the offsets of a checkpoint of the former era by the present one's sources. One that was not judged
// before has none yet.
func (c *claimedLane) presentOffsets() []int64 {
	var offsets []int64
	for _, s := range c.lineage.Present.Sources {
		m, _ := c.offset(source{topic: s.Topic, rekey: s.Rekey})
		offsets = append(offsets, max(m, 0))
	}
	return offsets
}

// unsettled says what is left to replay under the present era, "" when nothing is.
func (g *generation) unsettled(ctx context.Context, c claimedLane) (string, error) {
	for _, s := range c.lineage.Present.Sources {
		at, err := g.stableOffset(ctx, s.Topic, c.number)
		if err != nil {
			return "", err
		}
		committed := at.Offset
		if m, ours := parseCommitMetadata(at.Metadata); ours && m.offset == committed {
			committed = m.at
		}
		m, known := c.offset(source{topic: s.Topic, rekey: s.Rekey})
		switch {
		case m == committed, committed < 0 && c.checkpoint.Owner == "", !known && c.stored, s.Rekey && committed < 0 && m == 0:
		default:
			return fmt.Sprintf("%s/%d: checkpoint %d, committed %d", s.Topic, c.number, m, committed), nil
		}
	}
	return "", nil
}

// ends returns where the lane's sources end now; the rekey topic at what is written, and not only committed: an open
// transaction of somebody who died may hide what others have forwarded.
func (g *generation) ends(ctx context.Context, lane int32) ([]int64, error) {
	var ends []int64
	for _, s := range g.engine.sources {
		err := g.engine.call(ctx, func(ctx context.Context) error {
			end, err := g.engine.options.Client.EndOffset(ctx, s.topic, lane, !s.rekey)
			ends = append(ends, end)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("end of %s/%d: %w", s.topic, lane, err)
		}
	}
	return ends, nil
}

// leave has the tenure judge up to a step out of its era: to the ends of the inputs, or when no input is judged any more, to
// that of the rekey topic.
func (t *tenure) leave(next settling, ends []int64) {
	t.leaves, t.until = next, ends
	for s := range t.until {
		if t.readers[s].source.rekey != (next == settled) {
			t.until[s] = t.judgeFroms[s]
		}
	}
}

// handOverAt hands the lane over, marked with the step that it was judged to.
func (t *tenure) handOverAt(ctx context.Context) error {
	t.base.Layout = t.leaves.in(t.era)
	return t.handOver(ctx)
}

// layoutLook lets the waiting lanes of a generation look one at a time, and not all at once.
type layoutLook struct {
	mu   sync.Mutex
	last time.Time
	all  settling // what was seen then
}

// layoutLookEvery is the pause between two looks at whether all lanes of the former layout are settled.
const layoutLookEvery = 200 * time.Millisecond

// await waits until all lanes of the former layout have made a step, and reports whether the engine's layout has begun, which is
// when all of them are settled.
func (g *generation) await(ctx context.Context, c claimedLane, kind changing, step settling, stage *stageMark) (begun bool, err error) {
	e := g.engine
	delay := backoff.New(layoutLookEvery/4, 2*layoutLookEvery)
	for {
		stage.at(stageLayout)
		all, begun, err := g.lookAround(ctx, kind)
		if err != nil || begun || step == drained && all != "" {
			return begun, err
		}
		e.health.note(laneSubject(c.number)) // for the watch: it waits for others, it does not hang
		if err := delay.Wait(ctx); err != nil {
			return false, err
		}
	}
}

// lookAround returns the step that all lanes of the former layout have made. When they are settled it begins the engine's, and
// it reports whether that has begun.
func (g *generation) lookAround(ctx context.Context, kind changing) (all settling, begun bool, err error) {
	e := g.engine
	g.look.mu.Lock()
	defer g.look.mu.Unlock()
	lin, err := g.lineage(ctx)
	if err != nil || lin.Present.Layout == e.layout.String() {
		return settled, err == nil, err
	}
	if time.Since(g.look.last) < layoutLookEvery {
		return g.look.all, false, nil
	}
	defer func() { g.look.last, g.look.all = time.Now(), all }()
	former := lin.Present.layout()
	ended := make([]uint32, former.partitions)
	var judged, forwarded []int32 // lanes that are, or whose copies are, to be judged yet
	for lane := range former.partitions {
		var mark state.Checkpoint
		var written bool
		if err := e.insist(ctx, "look at a lane", func(ctx context.Context) (err error) {
			mark, written, err = e.options.Store.Written(ctx, lane)
			return err
		}); err != nil {
			return "", false, err
		}
		switch step := lin.Present.step(mark.Layout); {
		case step == settled && written:
			ended[lane] = mark.Incarnation
		case step == drained || step == settled: // while it is claimed it may be judged, but not back to before it was drained
			forwarded = append(forwarded, lane)
		default:
			judged = append(judged, lane)
		}
	}
	if waiting := slices.Sorted(slices.Values(slices.Concat(judged, forwarded))); len(waiting) > 0 {
		problem := fmt.Sprintf("the layout changes from %s to %s: waits until lanes %v are settled under the former one", former, e.layout, waiting)
		for _, lane := range g.lanes {
			if !slices.Contains(judged, lane) {
				e.health.set(laneSubject(lane), problem)
			}
		}
		if len(judged) > 0 {
			return "", false, nil
		}
		return drained, false, nil
	}
	next := newEra(e.layout, e.sources)
	after := lin.restarted(next)
	if kind != changeAnew {
		next.draw(ended)
		after = lin.next(next, ended)
	}
	switch err := g.swapLineage(ctx, lin, after); {
	case errors.Is(err, errLineage):
		return settled, false, nil
	case err != nil:
		return "", false, err
	}
	e.log.Warn("the layout has changed: every lane was settled", "former", former.String(), "layout", e.layout.String(), "states_kept", kind != changeAnew)
	return settled, true, nil
}
