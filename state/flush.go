package state

import (
	"context"
	"fmt"
)

// flush is the progress of one snapshot. Each write gets its number once, when
// the snapshot is first given to Flush: were a number used for two different
// writes, a late copy of the first could stand for the second.
type flush struct {
	snapshot   *Snapshot // nil: none is under way
	generation uint64    // of the snapshot
	writes     []write
	next       int // the first write that is not acknowledged

	grouping grouping
	keyBytes []byte
	keyEnds  []int
	keys     []string
	values   []string
}

// Flush implements Lane.
func (l *lane) Flush(ctx context.Context, s *Snapshot) error {
	if ended := l.ended.Load(); ended != nil {
		return ended
	}
	f := &l.flushing
	if f.snapshot == nil {
		if err := l.beginFlush(s); err != nil {
			return err
		}
	} else if f.snapshot != s || f.generation != s.generation {
		return fmt.Errorf("lane %d: %w", l.number, ErrPending)
	}
	for f.next < len(f.writes) {
		window := nextWindow(l.store, f.writes[f.next:], func(w *write) int { return len(w.keys) })
		l.store.server.write(ctx, window)
		for i := range window {
			if err := l.wrote(&window[i]); err != nil {
				return err
			}
			f.next++
		}
	}
	f.release()
	return nil
}

// release ends a flush and lets go of its keys and values.
func (f *flush) release() {
	f.snapshot = nil
	clear(f.writes)
	clear(f.keys)
	clear(f.values)
}

// wrote takes the answer to a write, all earlier ones being acknowledged.
func (l *lane) wrote(w *write) error {
	shard := &l.shards[w.shard]
	if w.err != nil {
		return fmt.Errorf("lane %d, shard %d: flush, write %d: %w", l.number, w.shard, w.n, w.err)
	}
	switch w.outcome {
	case outcomeApplied, outcomeDone:
		shard.acked.Store(w.n)
		shard.payload = w.payload
		return nil
	case outcomeMissing:
		return l.end(w.shard, detailMissing)
	case outcomeOtherEpoch:
		return l.end(w.shard, detailOtherEpoch)
	case outcomeGap:
		// The write before this one was acknowledged, so the server had it and lost it.
		return l.end(w.shard, fmt.Sprintf(detailGap, w.n, w.n-1))
	}
	return fmt.Errorf("lane %d, shard %d: flush, write %d: %w: %v", l.number, w.shard, w.n, ErrCorrupt, w.outcome)
}

// beginFlush numbers the writes of a snapshot.
func (l *lane) beginFlush(s *Snapshot) error {
	if s.err != nil {
		return s.err
	}
	if s.lane != l.number {
		return fmt.Errorf("lane %d: flush of a snapshot of lane %d", l.number, s.lane)
	}
	f := &l.flushing
	f.prepare(l, s)
	f.snapshot, f.generation, f.next = s, s.generation, 0
	return nil
}

// prepare makes the writes of a snapshot: per shard, each with at most keysMax
// records, and the checkpoint with the last one. A shard without records gets one
// write with the checkpoint alone. Keys and values are parts of two strings that
// nobody changes, so a record costs no allocation and may be sent again later.
func (f *flush) prepare(l *lane, s *Snapshot) {
	keys := &l.store.keys
	f.grouping.group(keys, s.users)
	f.keyBytes, f.keyEnds = f.keyBytes[:0], f.keyEnds[:0]
	for shard := range l.shards {
		for _, at := range f.grouping.of(shard) {
			f.keyBytes = keys.appendUser(f.keyBytes, shard, s.users[at])
			f.keyEnds = append(f.keyEnds, len(f.keyBytes))
		}
	}
	keyText, valueText := string(f.keyBytes), string(s.arena)
	checkpoint := s.checkpoint.String()

	// The slices of a write alias these two, which must not move any more.
	writesMax := len(l.shards) + len(s.users)/l.store.keysMax
	f.keys = grow(f.keys, len(s.users)+writesMax)
	f.values = grow(f.values, len(s.users))
	f.writes = f.writes[:0]
	start, next := 0, 0
	for i := range l.shards {
		shard := &l.shards[i]
		n, positions := shard.acked.Load(), f.grouping.of(i)
		for last := false; !last; {
			chunk := positions[:min(len(positions), l.store.keysMax)]
			positions = positions[len(chunk):]
			last = len(positions) == 0
			keysFrom, valuesFrom := len(f.keys), len(f.values)
			f.keys = append(f.keys, shard.fenceKey)
			for _, at := range chunk {
				f.keys = append(f.keys, keyText[start:f.keyEnds[next]])
				start = f.keyEnds[next]
				next++
				f.values = append(f.values, valueText[s.start(at):s.ends[at]])
			}
			n++
			w := write{shard: i, owner: shard.owner, n: n, payload: shard.payload}
			w.keys, w.values = f.keys[keysFrom:], f.values[valuesFrom:]
			if last {
				w.payload = checkpoint
			}
			f.writes = append(f.writes, w)
		}
	}
}

// start returns where a record starts in the arena.
func (s *Snapshot) start(at int32) int {
	if at == 0 {
		return 0
	}
	return s.ends[at-1]
}

// grow returns an empty slice that takes n elements without moving.
func grow(s []string, n int) []string {
	if cap(s) < n {
		return make([]string, 0, n)
	}
	return s[:0]
}
