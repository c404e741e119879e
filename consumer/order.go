package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/wire"
)

// errOrder is the assertion that guards the replay: between two boundaries one source alone was judged.
var errOrder = errors.New("consumer: the order of judging cannot be told")

// readOrder reads the boundaries of what is to be replayed, in their order, and closes t.order after the last one. They
// stand from the replay's place in the rekey topic on: a parcel is written after what it has judged was read.
func (t *tenure) readOrder(ctx context.Context) error {
	defer close(t.order)
	last := len(t.readers) - 1
	offset := t.plan.sources[last].readFrom
	end := t.plan.rekeyEnd // of what was written, and not only committed: others' open transactions may hide ours
	if t.plan.replayFrom >= t.plan.judgeFrom || last == 0 {
		return nil
	}
	fetcher := t.readers[last].newFetcher()
	delay := backoff.New(50*time.Millisecond, 2*time.Second)
	var found []boundary
	for offset < end {
		found = found[:0]
		call, cancel := context.WithTimeout(ctx, t.engine.options.FetchWaitMax+t.engine.options.RequestTimeout)
		next, err := fetcher.Fetch(call, offset, func(rec *wire.Record) error {
			if b, under, ok := asBoundary(rec); ok && under == t.under && len(b.from) == len(t.readers) {
				found = append(found, b)
			}
			return nil
		})
		cancel()
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && next == offset {
			if wire.Classify(err) != wire.Retry {
				return fmt.Errorf("consumer: read boundaries of %s/%d at %d: %w", t.readers[last].source.topic, t.lane, offset, err)
			}
			t.engine.metrics.fetchRetries.Inc()
			t.engine.health.note(laneSubject(t.lane))
			if err := delay.Wait(ctx); err != nil {
				return err
			}
			continue
		}
		delay.Reset()
		offset = next
		for _, b := range found {
			select {
			case t.order <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// asBoundary returns the boundary that a record of the rekey topic is, and the layout of its sources.
func asBoundary(rec *wire.Record) (b boundary, layout string, ok bool) {
	if rec.HeaderCount() != 1 || rec.Key != nil {
		return boundary{}, "", false
	}
	under, ok := rec.Header(headerBoundary)
	if !ok {
		return boundary{}, "", false
	}
	b, err := parseBoundary(string(rec.Value))
	return b, string(under), err == nil
}

// replayAll replays up to where judging begins, source by source in the order in which they were judged. It returns
// early, with no error, when ctx ends.
func (t *tenure) replayAll(ctx context.Context) error {
	for t.position < t.plan.judgeFrom {
		b, more := t.nextBoundary(ctx)
		if ctx.Err() != nil {
			return nil
		}
		to := b.from
		if !more {
			to = t.judgeFroms
		}
		moving := 0
		for s := range t.at {
			if min(to[s], t.judgeFroms[s]) > t.at[s] {
				moving++
			}
		}
		if moving > 1 && t.plan.cause == "" && !t.plan.fresh {
			return fmt.Errorf("%w: lane %d goes from %d to %d in one step; if Redis was restored to a copy from before the inputs grew or the partitioner was changed, delete the group's keys: the states are made anew from what is kept",
				errOrder, t.lane, t.at, to)
		}
		for s := range t.at {
			if err := t.replayTo(ctx, s, to[s]); err != nil || ctx.Err() != nil {
				return err
			}
		}
		for _, g := range b.segments {
			if err := t.replayTo(ctx, g.source, g.to); err != nil || ctx.Err() != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tenure) nextBoundary(ctx context.Context) (boundary, bool) {
	for {
		select {
		case b, more := <-t.order:
			return b, more
		case m := <-t.acks:
			t.acknowledge(m)
		case <-ctx.Done():
			return boundary{}, false
		}
	}
}

// replayTo replays one source up to an offset, or to where judging begins.
func (t *tenure) replayTo(ctx context.Context, s int, to int64) error {
	to = min(to, t.judgeFroms[s])
	for t.at[s] < to {
		c := t.await(ctx, s)
		if c == nil {
			return nil
		}
		if c.end != nil {
			return t.finish(ctx, c.end)
		}
		if err := t.consume(ctx, c, to); err != nil || ctx.Err() != nil {
			return err
		}
		if t.at[s] < min(to, c.next) && (c.done == len(c.records) || c.records[c.done].offset >= to) {
			t.moveTo(s, min(to, c.next)) // only boundaries and markers were left below it
		}
		t.give(c)
	}
	return nil
}
