package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// errStalled ends an attempt of a lane that made no progress.
var errStalled = errors.New("no progress")

// watch finds lanes that stand still though they have something to do and nobody outside keeps them from it: a wait in
// this process that never ends. It ends such a lane's attempt, so that the lane starts again; if that does not help
// for as long again, the process is not alive (see Engine.Alive) until the lane makes progress.
//
// Progress is that C moves, or, while the lane starts or replays, that a step of the start is done or the replay's
// position moves. Being told no counts as well: whatever Kafka or Redis refuse, or do not answer in time, is an error
// that health notes, and every request has a deadline below the timeout (Options.validate). So a lane that waits for
// a service, or was stopped for the operator, is not ready and not stalled; killing the process would only lose its
// memory. A lane without lag has nothing to do.
//
// What is measured is time that the watch has seen pass, not the clock: for a process that was frozen no more has passed
// than between three looks.
//
// The watch reads atomics and its own fields only, and its log lines are written by another goroutine: nothing that
// hangs in a lane, nor a log that blocks, keeps it from its verdict. Safe for concurrent use; health.mu may be taken
// under mu, and a context canceled.
type watch struct {
	engine    *Engine
	timeout   time.Duration // 0: nothing is watched
	linger    time.Duration // how long an attempt may take to end
	handOver  time.Duration // how long the lanes may take to be handed over
	committer stageMark     // the present generation's
	offsets   stageMark     // its offset committer's

	// Of the goroutine that looks.
	every time.Duration // between two looks
	last  time.Time     // it looked; zero: never

	mu    sync.Mutex
	lanes map[int32]*watched
}

// watched is what the watch knows of a lane of the present generation.
type watched struct {
	lane       int32
	generation context.Context // ends with the generation's work

	start stageMark               // of a lane without a tenure
	end   atomic.Int64            // of what can be read, as watchLag has last seen it; -1: not yet
	known atomic.Pointer[[]int64] // C by source of a lane without a tenure, as its last tenure or watchLag has seen it; nil: not yet

	waiting []waiting // by source, of watchLag alone; nil: not yet

	// Guarded by watch.mu.
	cancel  context.CancelCauseFunc // of the present attempt; nil between two
	tenure  *tenure                 // nil while it starts
	ending  bool                    // the attempt has been canceled and has not ended
	left    time.Duration           // since then, or since the end of the generation's work
	last    sighting
	still   time.Duration // without progress
	since   time.Time     // of the last progress, for people
	strikes int           // stalls since C has moved
	stuck   int64         // C at the first of them
}

// sighting is what one look at a lane sees. Two that are equal: no progress.
type sighting struct {
	failures  uint64 // that health has noted for the lane and for what it depends on
	start     uint64
	judging   bool  // the start and the replay are over
	committed int64 // C; -1: not known
	position  int64 // of the replay; -1 otherwise
}

// progress is how far a tenure is and what its goroutines are at. Each field has one writer.
type progress struct {
	committed, position atomic.Int64
	readers             []stageMark // by source
	judge, flushing     stageMark
}

func newWatch(e *Engine) *watch {
	o := &e.options
	return &watch{
		engine: e, timeout: o.StallTimeout, linger: 2 * o.RequestTimeout, handOver: o.StallTimeout + o.DrainTimeout,
		every: min(o.StallTimeout/looksPerTimeout, lookEveryMax), lanes: make(map[int32]*watched),
	}
}

// looksPerTimeout is how often the watch looks within a timeout, at least; the verdict is late by one look at most.
const (
	looksPerTimeout = 10
	lookEveryMax    = time.Second
)

// run looks until ctx ends.
func (w *watch) run(ctx context.Context) {
	if w.timeout == 0 {
		return
	}
	reports := make(chan stall, 64) // what does not fit is left out: the log does not move
	var logging sync.WaitGroup
	defer logging.Wait()
	logging.Go(func() {
		for s := range reports {
			s.log(w.engine)
		}
	})
	defer close(reports)
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	for {
		for _, s := range w.look(time.Now()) {
			select {
			case reports <- s:
			default:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look sees to all lanes and returns the stalls that it has found.
func (w *watch) look(now time.Time) (stalls []stall) {
	w.mu.Lock()
	defer w.mu.Unlock()
	passed := min(now.Sub(w.last), 2*w.every)
	if w.last.IsZero() {
		passed = 0
	}
	w.last = now
	for _, lane := range slices.Sorted(maps.Keys(w.lanes)) {
		l := w.lanes[lane]
		limit := w.linger
		if l.generation.Err() != nil {
			limit = w.handOver
		} else if !l.ending {
			if s, found := w.lookAt(l, passed, now); found {
				stalls = append(stalls, s)
			}
			continue
		}
		if l.left += passed; l.left-passed < limit && l.left >= limit {
			s := w.stalled(l, "was told to end and does not: something in this process hangs", l.left)
			if !l.ending {
				w.engine.metrics.stalls.WithLabelValues(strconv.Itoa(int(lane))).Inc()
			}
			w.engine.health.condemn(laneSubject(lane), s.String())
			stalls = append(stalls, s)
		}
	}
	return stalls
}

// lookAt sees to a lane that should make progress. The caller holds mu.
func (w *watch) lookAt(l *watched, passed time.Duration, now time.Time) (stall, bool) {
	s := w.sight(l)
	idle := s.judging && l.end.Load() <= s.committed
	if idle || s.committed > l.stuck {
		l.strikes, l.stuck = 0, s.committed
		w.engine.health.absolve(laneSubject(l.lane))
	}
	if idle || s != l.last || l.since.IsZero() {
		l.still, l.since, l.last = 0, now, s
		return stall{}, false
	}
	if l.still += passed; l.still < w.timeout {
		return stall{}, false
	}
	l.strikes++
	found := w.stalled(l, "has something to do and makes no progress", l.still)
	w.engine.metrics.stalls.WithLabelValues(strconv.Itoa(int(l.lane))).Inc()
	if l.strikes > 1 {
		w.engine.health.condemn(laneSubject(l.lane), found.String())
	}
	l.still = 0
	if l.cancel != nil {
		l.ending = true
		l.cancel(fmt.Errorf("consumer: lane %d: %w for %v", l.lane, errStalled, w.timeout))
	}
	return found, true
}

// sight looks at a lane. The caller holds mu.
func (w *watch) sight(l *watched) sighting {
	s := sighting{failures: w.engine.health.failuresOf(l.lane), start: l.start.n.Load(), committed: l.last.committed, position: -1}
	if l.since.IsZero() {
		s.committed = -1
	}
	if t := l.tenure; t != nil {
		s.committed = t.progress.committed.Load()
		position := t.progress.position.Load()
		if s.judging = position >= t.plan.judgeFrom; !s.judging {
			s.position = position
		}
	}
	return s
}

// A stall is a lane that stands still, in words and figures.
type stall struct {
	lane           int32
	what, doing    string
	since          time.Time
	still          time.Duration
	committed, lag int64 // -1: not known
	position       int64 // judged or replayed up to; -1 while the lane starts
	strikes        int
	alive          bool // the process, still
}

// stalled describes the lane as it is. The caller holds mu.
func (w *watch) stalled(l *watched, what string, still time.Duration) stall {
	s := stall{
		lane: l.lane, what: what, since: l.since, still: still, committed: -1, lag: -1, position: -1,
		strikes: l.strikes, alive: l.strikes < 2 && !l.ending && l.generation.Err() == nil,
	}
	if known := l.known.Load(); known != nil {
		s.committed = sum(*known)
	}
	switch t := l.tenure; {
	case t != nil:
		p := &t.progress
		s.committed, s.position = p.committed.Load(), p.position.Load()
		for i, r := range t.readers {
			s.doing += fmt.Sprintf("reader of %s: %s; ", r.source.topic, p.readers[i].stage())
		}
		s.doing += fmt.Sprintf("judge: %s; flusher: %s; ", p.judge.stage(), p.flushing.stage())
	case l.cancel == nil && l.generation.Err() != nil:
		s.doing = "is handed over, or waits for the other lanes; "
	default:
		s.doing = fmt.Sprintf("start: %s; ", l.start.stage())
	}
	s.doing += fmt.Sprintf("committer: %s", w.committer.stage())
	if w.engine.options.Guarantee == AtLeastOnce {
		s.doing += fmt.Sprintf("; offsets: %s", w.offsets.stage())
	}
	if end := l.end.Load(); end >= 0 && s.committed >= 0 {
		s.lag = max(0, end-s.committed)
	}
	return s
}

// String is for the one who asks why the process is not alive.
func (s stall) String() string {
	return fmt.Sprintf("%s for %v (committed %d, lag %d, position %d; %s)", s.what, s.still.Round(time.Second), s.committed, s.lag, s.position, s.doing)
}

func (s stall) log(e *Engine) {
	e.log.Error("lane stalled", "problem", s.what, "partition", s.lane, "lag_records", s.lag, "committed", s.committed, "position", s.position,
		"still_seconds", int(s.still.Seconds()), "since", s.since, "doing", s.doing, "stalls", s.strikes, "process_alive", s.alive)
}

// add begins to watch a lane of a generation, whose work ends with ctx; its owner calls remove.
func (w *watch) add(ctx context.Context, lane int32) *watched {
	l := &watched{lane: lane, generation: ctx, stuck: -1}
	l.end.Store(-1)
	w.engine.metrics.stalls.WithLabelValues(strconv.Itoa(int(lane))) // stands at 0 from here on
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lanes[lane] = l
	return l
}

// remove ends the watch over a lane, which another member may own by now.
func (w *watch) remove(lane int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.lanes, lane)
	w.engine.health.absolve(laneSubject(lane))
}

// begin notes that an attempt of the lane starts, and how it is ended.
func (w *watch) begin(l *watched, cancel context.CancelCauseFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.cancel = cancel
}

// running notes that the attempt has a tenure.
func (w *watch) running(l *watched, t *tenure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.tenure = t
}

// over notes that the attempt has ended: its goroutines are gone. The lane waits to start again.
func (w *watch) over(l *watched) {
	l.start.at(stagePause)
	w.mu.Lock()
	t := l.tenure
	l.cancel, l.tenure, l.ending, l.left = nil, nil, false, 0
	w.mu.Unlock()
	if t != nil {
		l.setKnown(t.reportedOffsets()) // not under mu: it takes the tenure's
	}
}

// setKnown notes C by source of a lane without a tenure; nil: nothing is committed.
func (l *watched) setKnown(offsets []int64) {
	if offsets == nil {
		l.known.Store(nil)
		return
	}
	l.known.Store(&offsets)
}

// stage is what a goroutine is at, for people.
type stage uint8

const (
	stageIdle stage = iota
	stagePause
	stageHeartbeat
	stageClaim
	stageBarrier
	stageFence
	stageOffset
	stageLineage
	stageLayout
	stagePlan
	stageOpen
	stageFetch
	stageChunk
	stageLoad
	stageJudge
	stageRoom
	stageClean
	stageFlush
	stageCommit
	stageOffsets
	stageMend
)

var stageNames = [...]string{
	stageIdle:      "waits for something to do",
	stagePause:     "waits to try again",
	stageHeartbeat: "sends a heartbeat",
	stageClaim:     "claims its epoch in Redis",
	stageBarrier:   "waits for the transaction under way to be decided",
	stageFence:     "fences the former owner",
	stageOffset:    "reads the committed offset",
	stageLineage:   "reads under which layout the group judges",
	stageLayout:    "waits until all lanes are settled under the former layout",
	stagePlan:      "finds out what to replay",
	stageOpen:      "writes its first checkpoint",
	stageFetch:     "fetches",
	stageChunk:     "waits for the judge",
	stageLoad:      "loads states",
	stageJudge:     "judges or replays",
	stageRoom:      "waits for the commit of what is judged",
	stageClean:     "waits for a flush, with too many changed users",
	stageFlush:     "flushes",
	stageCommit:    "commits a transaction",
	stageOffsets:   "commits offsets",
	stageMend:      "takes a new producer epoch",
}

// String returns words for people.
func (s stage) String() string { return stageNames[s] }

// stageMark is where a goroutine notes its stage: one writer, any readers.
type stageMark struct {
	n atomic.Uint64 // how often at was called, then eight bits of the stage
}

// at notes the stage; noting the same one again is a step too.
func (m *stageMark) at(s stage) { m.n.Store((m.n.Load()>>8+1)<<8 | uint64(s)) }

func (m *stageMark) stage() stage { return stage(m.n.Load() & 0xff) }
