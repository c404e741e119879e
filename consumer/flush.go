package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// snapshotIfDue copies the changed states when an interval has passed or too many users are dirty, unless a snapshot
// is outstanding. The snapshot goes out when its offset is committed (release), so that only committed states are ever
// written: states judged after it change the entries, not the copy.
func (t *tenure) snapshotIfDue(now time.Time) {
	if t.outstanding || t.position == t.cache.flushing && len(t.cache.dirty) == 0 {
		return
	}
	if now.Sub(t.snapshotAt) < t.engine.options.FlushInterval && len(t.cache.dirty) < t.engine.dirtyMax {
		return
	}
	t.snapshotAt = now
	t.fillSnapshot(t.base.Owner)
	t.outstanding = true
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = t.position
	t.release()
}

// fillSnapshot copies the states changed since the last snapshot, as of the position.
func (t *tenure) fillSnapshot(owner string) {
	checkpoint := atOffsets(t.base, t.at)
	checkpoint.Owner = owner
	t.snapshot.Reset(t.lane, t.engine.options.Rules.Types(), checkpoint)
	t.cache.snapshot(t.position, func(e *entry, st *rules.UserState) { t.snapshot.Add(e.user, e.tag, st) })
}

// atOffsets returns the checkpoint at the offsets of all sources. As long as only the input has any it is written as that
// of a lane with one source.
func atOffsets(c state.Checkpoint, at []int64) state.Checkpoint {
	c.Offset, c.Sources = sum(at), nil
	if c.Offset != at[0] {
		c.Sources = slices.Clone(at)
	}
	return c
}

func (t *tenure) acknowledge(m int64) {
	t.outstanding = false
	t.cache.acknowledge(m)
}

// waitClean holds the judge while too many states wait for a store that does not take them.
func (t *tenure) waitClean(ctx context.Context) {
	for t.outstanding && len(t.cache.dirty) >= t.engine.dirtyMax {
		t.progress.judge.at(stageClean)
		select {
		case m := <-t.acks:
			t.acknowledge(m)
		case <-ctx.Done():
			return
		}
	}
}

// flush sends snapshots until ctx ends. Errors of Redis end nothing: the same chunks are sent again until they are
// taken. Only a refusal by the fence ends the tenure.
func (t *tenure) flush(ctx context.Context) error {
	for {
		t.progress.flushing.at(stageIdle)
		select {
		case <-ctx.Done():
			return nil
		case m := <-t.flushes:
			t.progress.flushing.at(stageFlush)
			start := time.Now()
			if err := t.send(ctx, "flush states"); err != nil {
				return err
			}
			t.engine.metrics.flushSeconds.Observe(time.Since(start).Seconds())
			t.engine.metrics.flushedUsers.Add(float64(t.snapshot.Len()))
			t.acks <- m
		}
	}
}

// handOver writes what is left, M = C and a cleared owner, after the generation's last transaction. The tenure's
// goroutines have ended. Without it the next owner replays; with it there is nothing to replay.
func (t *tenure) handOver(ctx context.Context) error {
	if c := t.committedOffset(); c != t.position {
		return fmt.Errorf("consumer: lane %d: judged up to %d, committed up to %d", t.lane, t.position, c)
	}
	select {
	case m := <-t.acks:
		t.acknowledge(m)
	default:
	}
	if t.outstanding {
		// Released or interrupted: its offset is committed, since the position is. The same snapshot goes on.
		if err := t.send(ctx, "flush states"); err != nil {
			return err
		}
	}
	t.fillSnapshot("")
	return t.send(ctx, "hand over")
}

// send writes the snapshot. After an error the same one may be sent again: it goes on where it was.
func (t *tenure) send(ctx context.Context, what string) error {
	return t.engine.insist(ctx, what, func(ctx context.Context) error { return t.fence.Flush(ctx, t.snapshot) })
}

// insist repeats a call to the store until it succeeds, the store refuses for good, or ctx ends.
func (e *Engine) insist(ctx context.Context, what string, call func(context.Context) error) error {
	delay := backoff.New(20*time.Millisecond, time.Second)
	for {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, e.options.RequestTimeout)
			defer cancel()
			return call(ctx)
		}()
		switch {
		case err == nil:
			e.health.clear("redis")
			return nil
		case errors.Is(err, state.ErrFenced), !state.Retriable(err):
			return fmt.Errorf("consumer: %s: %w", what, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("consumer: %s: %w", what, errors.Join(ctx.Err(), err))
		}
		e.metrics.flushRetries.Inc()
		if e.health.set("redis", err.Error()) {
			e.log.Warn("redis failed, trying again", "doing", what, "err", err)
		}
		if delay.Wait(ctx) != nil {
			return fmt.Errorf("consumer: %s: %w", what, errors.Join(ctx.Err(), err))
		}
	}
}
