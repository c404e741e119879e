package consumer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// tenure is a lane from one start to its end: what it holds in memory belongs to it, and dies with it. Its goroutines
// are the reader (fetch and decode), the judge and the flusher; the committer of the generation takes its parcels.
type tenure struct {
	engine  *Engine
	lane    int32
	layout  layout // that the lane is judged under
	under   string // the layout's text
	marks   []mark // by source, of each offset commit, but for the offsets
	era     *era
	takes   state.Takes
	leaves  settling // that it has to reach under a former layout, judged up to until
	until   []int64  // by source; nil: for ever
	wake    func()   // tells the committer that a parcel has something
	fence   state.Lane
	plan    lanePlan
	base    state.Checkpoint // of every checkpoint this tenure writes, but for the offset
	readers []*reader        // by source
	arrived chan struct{}
	// beginning is when the lane was assigned, or began to start again.
	beginning time.Time

	progress progress // what the watch sees

	// The judge's own.
	cache    *cache
	position int64   // every record before this place is judged or replayed: the sum of at
	at       []int64 // by source
	reached  []int64 // by source: at, and beyond it boundaries and markers of the rekey topic
	pending  []*chunk
	turn     int // the source that is looked at first
	tick     <-chan time.Time
	order    chan boundary
	verdict  rules.Verdict
	encoder  *contract.ResultEncoder
	scratch  scratch
	touched  int64 // see touch
	missing  []int64
	stored   []state.Stored
	replayed int
	snapshot *state.Snapshot // not touched while outstanding
	// outstanding: a snapshot waits for its commit or its acknowledgement.
	outstanding bool
	snapshotAt  time.Time

	filled int // the committer's: the parcels in a row that were full

	flushes chan int64 // the checkpoint of the snapshot to send; at most one is outstanding
	acks    chan int64

	mu        sync.Mutex
	room      sync.Cond // open was taken, or the tenure ends
	open      *parcel
	openMax   int     // records
	taken     *parcel // in the current transaction
	spare     []*parcel
	published reach // at least once: what is written, its offsets perhaps not yet committed
	committed reach // C
	// lastSource is that of the last segment that was taken; -1: not known.
	lastSource int
	judgeFroms []int64 // by source
	waiting    int64   // the checkpoint of the outstanding snapshot until committed reaches it; -1: none

	cancel context.CancelCauseFunc
}

// reach is how far a lane has come.
type reach struct {
	to    int64   // the place in the order of judging: the sum of ends
	ends  []int64 // by source
	quiet int64   // see parcel
}

// reportable returns to with what is quiet behind it: what is left to the end is lag.
func (r *reach) reportable() int64 { return r.to + max(0, r.quiet-r.ends[len(r.ends)-1]) }

// beyond reports whether there is anything in r that o has not.
func (r *reach) beyond(o *reach) bool { return r.to > o.to || r.quiet > o.quiet }

// scratch are the buffers of one result.
type scratch struct {
	key, value, source []byte
	text               []byte // of the amount: part of a chunk
	headers            []wire.Header
}

func newTenure(e *Engine, c claimedLane, wake func(), p lanePlan, base state.Checkpoint) *tenure {
	t := &tenure{
		engine: e, lane: c.number, layout: c.layout, under: c.layout.String(), era: &c.lineage.Present, wake: wake, fence: c.fence, plan: p, base: base,
		takes:   state.Takes{Incarnation: base.Incarnation, Inherits: c.lineage.inherits(c.number, base.Incarnation)},
		arrived: make(chan struct{}, 1), order: make(chan boundary, 64), pending: make([]*chunk, len(e.sources)),
		cache: newCache(e.options.Rules, p.replayFrom), position: p.replayFrom,
		encoder: contract.NewResultEncoder(e.options.Rules.Types(), e.options.Detail), snapshot: &state.Snapshot{Version: byte(e.options.RecordVersion)},
		flushes: make(chan int64, 1), acks: make(chan int64, 1),
		open: newParcel(), openMax: e.options.BatchRecordsMax, waiting: -1, cancel: func(error) {},
	}
	t.room.L = &t.mu
	t.progress.readers = make([]stageMark, len(p.sources))
	for i, s := range p.sources {
		r := newReader(e, c.layout, c.number, i, t.arrived)
		r.stage = &t.progress.readers[i]
		t.marks = append(t.marks, mark{layout: c.layout, topic: r.source.identity()})
		t.readers = append(t.readers, r)
		t.at = append(t.at, s.replayFrom)
		t.judgeFroms = append(t.judgeFroms, s.judgeFrom)
	}
	t.reached = slices.Clone(t.at)
	t.committed = reach{to: p.judgeFrom, ends: slices.Clone(t.judgeFroms)}
	if n := len(p.sources); n > 1 {
		t.committed.quiet = p.sources[n-1].quiet
		if n > 2 || t.judgeFroms[n-1] > 0 {
			t.lastSource = -1
		}
	}
	t.progress.position.Store(p.replayFrom)
	t.open.reset(t.judgeFroms...)
	t.open.quiet = t.committed.quiet
	t.published = t.committed
	t.progress.committed.Store(t.committed.reportable())
	return t
}

// run works until ctx ends (nil: the tenure is sound and may be handed over) or the tenure fails.
func (t *tenure) run(ctx context.Context) error {
	owner := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.mu.Lock()
	t.cancel = cancel
	t.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.room.Broadcast()
	})
	defer stop()

	var group sync.WaitGroup
	work := func(what string, fn func(context.Context) error) {
		group.Go(func() {
			if err := fn(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("consumer: lane %d: %s: %w", t.lane, what, err))
			}
		})
	}
	for i, r := range t.readers {
		work("read "+r.source.topic, func(ctx context.Context) error { return r.run(ctx, t.plan.sources[i].readFrom) })
	}
	work("order", t.readOrder)
	work("judge", t.judge)
	work("flush", t.flush)
	group.Wait()
	if owner.Err() != nil && context.Cause(ctx) == context.Cause(owner) {
		return nil
	}
	return context.Cause(ctx)
}

// fail ends the tenure from outside.
func (t *tenure) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel(err)
}

// take closes the open parcel and returns it for a transaction, or nil when there is nothing to commit.
func (t *tenure) take() *parcel {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken != nil || t.open.empty() {
		return nil
	}
	p := t.open
	t.addBoundary(p)
	t.taken = p
	if n := len(t.spare); n > 0 {
		t.open, t.spare = t.spare[n-1], t.spare[:n-1]
	} else {
		t.open = newParcel()
	}
	t.open.reset(p.ends...)
	t.open.quiet = p.quiet
	t.room.Broadcast()
	return p
}

// allow sets how many records the open parcel may have.
func (t *tenure) allow(records int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if records > t.openMax {
		t.room.Broadcast()
	}
	t.openMax = records
}

// settle notes that the taken parcel is written and its offsets are committed.
func (t *tenure) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recycle()
	t.commit(t.published)
}

// settlePublished notes that the taken parcel is written. Its offsets follow.
func (t *tenure) settlePublished() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recycle()
}

// recycle takes back the parcel that is written. The caller holds mu.
func (t *tenure) recycle() {
	t.published = t.taken.reach()
	t.spare = append(t.spare, t.taken)
	t.taken = nil
}

// uncommitted returns how far the lane is published, and whether that is beyond C.
func (t *tenure) uncommitted() (reach, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.published, t.published.beyond(&t.committed)
}

// settleOffsets notes that the offsets of what was published up to r are committed.
func (t *tenure) settleOffsets(r reach) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.commit(r)
}

// commit moves C. The caller holds mu.
func (t *tenure) commit(r reach) {
	t.committed = r
	t.progress.committed.Store(r.reportable())
	t.release()
}

// release hands the outstanding snapshot to the flusher once its offset is committed. The caller holds mu.
func (t *tenure) release() {
	if t.waiting >= 0 && t.waiting <= t.committed.to {
		t.flushes <- t.waiting // has room: one snapshot is outstanding at most
		t.waiting = -1
	}
}

// committedReach returns C by source.
func (t *tenure) committedReach() reach {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.committed
}

// committedOffset returns C as this tenure knows it.
func (t *tenure) committedOffset() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.committed.to
}

// reportedOffsets returns C by source, with what is quiet behind it.
func (t *tenure) reportedOffsets() []int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	offsets := slices.Clone(t.committed.ends)
	last := len(offsets) - 1
	offsets[last] = max(offsets[last], t.committed.quiet)
	return offsets
}
