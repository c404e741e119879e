package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/wire"
)

// generation is one membership of the consumer group: the lanes it was given, and their committer.
type generation struct {
	engine    *Engine
	member    wire.Member
	lanes     []int32
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

	g.committer = newCommitter(e, g.member, end)
	commits, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	stop := make(chan struct{})
	var committing, background, lanes sync.WaitGroup
	committing.Go(func() { g.committer.run(commits, stop) })
	background.Go(func() { g.watchLag(work) })

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
	for _, t := range sound {
		if t == nil {
			continue
		}
		handing.Go(func() {
			if err := t.handOver(drain); err != nil {
				e.log.Warn("lane not handed over clean: its next owner replays", "partition", t.lane, "err", err)
			}
		})
	}
	handing.Wait()
	for _, lane := range g.lanes {
		e.metrics.forget(lane)
		e.health.clear(laneSubject(lane))
	}
	if cause := context.Cause(work); classify(cause) == fatal {
		return cause
	}
	return nil
}

func laneSubject(lane int32) string { return "lane " + strconv.Itoa(int(lane)) }

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

// live is one tenure from its start to its end. A tenure is returned only if it is sound when ctx ends.
func (g *generation) live(ctx context.Context, lane int32) (*tenure, error) {
	t, err := g.start(ctx, lane)
	if err != nil {
		return nil, fmt.Errorf("consumer: start lane %d: %w", lane, err)
	}
	e := g.engine
	e.metrics.laneStarts.WithLabelValues("started").Inc()
	e.metrics.lanes.Inc()
	defer e.metrics.lanes.Dec()
	g.committer.register(t)
	if err := t.run(ctx); err != nil {
		g.committer.unregister(t)
		return nil, err
	}
	return t, nil // still registered: the last transaction takes what it has judged
}

// lagEvery is how often the end of each lane's input is asked for; it goes on while a lane stands still.
const lagEvery = 2 * time.Second

// watchLag keeps the lag metric true until ctx ends, for lanes that start or are stopped too.
func (g *generation) watchLag(ctx context.Context) {
	ticker := time.NewTicker(lagEvery)
	defer ticker.Stop()
	for {
		for _, lane := range g.lanes {
			if records, err := g.lag(ctx, lane); err == nil { // the lane itself reports a broker that does not answer
				g.engine.metrics.lag.WithLabelValues(strconv.Itoa(int(lane))).Set(float64(records))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// lag returns the records between the lane's committed offset and the end of its input, or from the first kept one
// where nothing is committed.
func (g *generation) lag(ctx context.Context, lane int32) (records int64, err error) {
	o := &g.engine.options
	err = g.engine.call(ctx, func(ctx context.Context) error {
		committed, ok := g.committer.committedOffset(lane)
		if !ok {
			all, err := o.Client.StableOffsets(ctx, o.Group, o.Input, []int32{lane})
			if err = errors.Join(err, all[lane].Err); err != nil {
				return err
			}
			committed = all[lane].Offset
		}
		start, err := o.Client.EarliestOffset(ctx, o.Input, lane)
		if err != nil {
			return err
		}
		end, err := o.Client.EndOffset(ctx, o.Input, lane, true)
		records = max(0, end-max(committed, start))
		return err
	})
	return records, err
}
