package state

import (
	"context"
	"fmt"
	"strings"
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
	key      []byte
	keys     []string // of the writes that are sent together
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
		window := nextWindow(l.store, f.writes[f.next:], func(w *write) int { return 1 + len(w.positions) })
		f.fill(l, window)
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
// write with the checkpoint alone.
func (f *flush) prepare(l *lane, s *Snapshot) {
	f.grouping.group(&l.store.keys, s.users)
	checkpoint := s.checkpoint.String()
	f.writes = f.writes[:0]
	for i := range l.shards {
		shard := &l.shards[i]
		n, positions := shard.acked.Load(), f.grouping.of(i)
		for last := false; !last; {
			chunk := positions[:min(len(positions), l.store.keysMax)]
			positions = positions[len(chunk):]
			last = len(positions) == 0
			n++
			w := write{shard: i, owner: shard.owner, n: n, payload: shard.payload, positions: chunk}
			if last {
				w.payload = checkpoint
			}
			f.writes = append(f.writes, w)
		}
	}
}

// fill gives the writes of a window their keys and values, and takes them from the
// window before, so that a flush needs the memory of a window and not of all. They
// are parts of two strings that nobody changes, so a record costs no allocation. The
// server is done with the former ones: write reads nothing after it has returned.
func (f *flush) fill(l *lane, window []write) {
	s, keys := f.snapshot, &l.store.keys
	clear(f.keys)
	clear(f.values)
	users, valueBytes, keyBytes := 0, 0, 0
	for i := range window {
		w := &window[i]
		users += len(w.positions)
		keyBytes += len(w.positions) * (len(keys.users[w.shard]) + userIDBytesMax)
		for _, at := range w.positions {
			valueBytes += s.ends[at] - s.start(at)
		}
	}
	var keyText, valueText strings.Builder
	keyText.Grow(keyBytes)
	valueText.Grow(valueBytes)
	// The slices of a write are parts of these two, which must not move any more.
	f.keys, f.values = grow(f.keys, users+len(window)), grow(f.values, users)
	for i := range window {
		w := &window[i]
		keysFrom, valuesFrom := len(f.keys), len(f.values)
		f.keys = append(f.keys, l.shards[w.shard].fenceKey)
		for _, at := range w.positions {
			from := keyText.Len()
			f.key = keys.appendUser(f.key[:0], w.shard, s.users[at])
			keyText.Write(f.key)
			f.keys = append(f.keys, keyText.String()[from:])
			from = valueText.Len()
			valueText.Write(s.arena[s.start(at):s.ends[at]])
			f.values = append(f.values, valueText.String()[from:])
		}
		w.keys, w.values = f.keys[keysFrom:], f.values[valuesFrom:]
	}
}

// userIDBytesMax is the length of the longest user id.
const userIDBytesMax = 19

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
