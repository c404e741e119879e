package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/wire"
)

// generation is one membership of the consumer group: the lanes it was given, and their committer.
type generation struct {
	engine    *Engine
	member    wire.Member
	lanes     []int32
	watched   map[int32]*watched
	look      layoutLook
	committer *committer
	end       context.CancelCauseFunc // ends the generation from inside
}

// errGeneration is the cause when the group ends the generation: a rebalance, or the engine stops.
var errGeneration = errors.New("consumer: the generation has ended")

// run works until ctx ends or ownership is lost, hands the lanes over, and returns what nothing can mend, or nil.
func (g *generation) run(ctx context.Context) error {
	e := g.engine
	work, end := context.WithCancelCause(context.WithoutCancel(ctx))
	g.end = end
	defer context.AfterFunc(ctx, func() { end(errGeneration) })()
	defer end(nil)

	g.watched = make(map[int32]*watched, len(g.lanes))
	for _, lane := range g.lanes {
		g.watched[lane] = e.watch.add(work, lane)
	}
	g.committer = newCommitter(e, g.member, end)
	commits, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	stop := make(chan struct{})
	var committing, background, lanes sync.WaitGroup
	committing.Go(func() { g.committer.run(commits, stop) })
	background.Go(func() { g.watchLag(work) })
	background.Go(func() {
		if err := e.watchInput(work); err != nil {
			end(err)
		}
	})

	sound := make([]*tenure, len(g.lanes))
	for i, lane := range g.lanes {
		lanes.Go(func() { sound[i] = g.supervise(work, lane) })
	}
	lanes.Wait() // they end with work
	background.Wait()

	// The lanes have stopped judging. What they judged is committed under this generation, which the coordinator still
	// accepts while the group prepares the next one; then the states follow.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.options.DrainTimeout)
	defer cancel()
	defer context.AfterFunc(drain, abandon)()
	close(stop)
	committing.Wait()
	var handing sync.WaitGroup
	var unclean atomic.Bool
	for _, t := range sound {
		if t == nil {
			unclean.Store(true) // its start may have written our id
			continue
		}
		handing.Go(func() {
			if err := t.handOver(drain); err != nil {
				unclean.Store(true)
				e.log.Warn("lane not handed over clean: its next owner replays", "partition", t.lane, "err", err)
			}
		})
	}
	handing.Wait()
	if unclean.Load() {
		e.identify()
	}
	for _, lane := range g.lanes {
		e.metrics.forget(lane)
		e.health.clear(laneSubject(lane))
		e.watch.remove(lane)
	}
	if cause := context.Cause(work); classify(cause) == fatal || classify(cause) == relayout {
		return cause
	}
	return nil
}

// Subjects of health: a lane as a whole, and the reading of its partition.
func laneSubject(lane int32) string      { return "lane " + strconv.Itoa(int(lane)) }
func partitionSubject(lane int32) string { return "partition " + strconv.Itoa(int(lane)) }

// supervise starts the lane again and again until ctx ends. It returns the last tenure if that is sound, to be handed
// over, else nil.
func (g *generation) supervise(ctx context.Context, lane int32) *tenure {
	e := g.engine
	delay := backoff.New(50*time.Millisecond, 5*time.Second)
	e.health.set(laneSubject(lane), "starting")
	for {
		began := time.Now()
		t, err := g.live(ctx, lane)
		if ctx.Err() != nil {
			return t
		}
		e.metrics.laneStarts.WithLabelValues("failed").Inc()
		if classify(err) != again {
			g.end(err)
			return nil
		}
		if e.health.set(laneSubject(lane), err.Error()) {
			level := slog.LevelWarn
			if errors.As(err, new(*stopError)) {
				level = slog.LevelError // somebody has to do something
			}
			e.log.Log(ctx, level, "lane starts again", "partition", lane, "err", err)
		}
		if time.Since(began) > 10*time.Second {
			delay.Reset()
		}
		if delay.Wait(ctx) != nil {
			return nil
		}
	}
}

// live is one attempt under the eyes of the watch, which ends it when it stalls. A tenure is returned only if it is
// sound when ctx ends.
func (g *generation) live(ctx context.Context, lane int32) (*tenure, error) {
	watch, w := g.engine.watch, g.watched[lane]
	attempt, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch.begin(w, cancel)
	t, err := g.attempt(attempt, lane)
	if ctx.Err() != nil || attempt.Err() == nil {
		watch.over(w)
		return t, err
	}
	// It stalled. Whatever it said when it was ended came of that.
	if t != nil {
		g.committer.unregister(t)
	}
	watch.over(w)
	return nil, context.Cause(attempt)
}

// attempt is one tenure from its start to its end, and before it, where the layout has changed, what settles the lane under
// the former one. A tenure is returned only if it is sound when ctx ends.
func (g *generation) attempt(ctx context.Context, lane int32) (*tenure, error) {
	beginning := time.Now()
	for {
		t, err := g.start(ctx, lane)
		if err != nil {
			return nil, fmt.Errorf("consumer: start lane %d: %w", lane, err)
		}
		if t == nil {
			continue // the layout that the lane was to be judged under has begun only now
		}
		t.beginning = beginning
		if t, err = g.judge(ctx, t); !errors.Is(err, errSettled) {
			return t, err
		}
	}
}

// judge runs a tenure to its end.
func (g *generation) judge(ctx context.Context, t *tenure) (*tenure, error) {
	e, lane := g.engine, t.lane
	e.metrics.laneStarts.WithLabelValues("started").Inc()
	e.metrics.lanes.Inc()
	defer e.metrics.lanes.Dec()
	g.committer.register(t)
	e.watch.running(g.watched[lane], t)
	if err := t.run(ctx); err != nil {
		g.committer.unregister(t)
		if errors.Is(err, errSettled) {
			// Its states are whole and committed. Nobody takes the lane back from this step.
			if err := t.handOverAt(ctx); err != nil {
				return nil, err
			}
			return nil, errSettled
		}
		if stop := (*stopError)(nil); errors.As(err, &stop) {
			e.metrics.stop(lane, stop.cause)
		}
		return nil, err
	}
	return t, nil // still registered: the last transaction takes what it has judged
}
