package state

import (
	"context"
	"fmt"
	"sync/atomic"
)

// lane implements Lane over any server.
type lane struct {
	store    *store
	number   int32
	previous Checkpoint
	found    bool
	shards   []laneShard

	ended atomic.Pointer[fencedError] // set once: the lane is over

	loading  loadScratch // of the goroutine that calls Load
	flushing flush       // of the goroutine that calls Flush
}

// laneShard is a lane's ownership of one shard.
type laneShard struct {
	fenceKey string
	epoch    int64
	token    uint64
	owner    string       // epoch and token as they are stored
	payload  string       // stored now; only Flush uses it
	acked    atomic.Int64 // the last write that the server acknowledged
}

// claimed takes over what a claim with a token returned, and gives the checkpoint
// that stood there before.
func (s *laneShard) claimed(now, before string, token uint64) (*Checkpoint, error) {
	f, err := parseFence(now)
	if err != nil {
		return nil, err
	}
	if before != "" {
		old, err := parseFence(before)
		if err != nil {
			return nil, err
		}
		// A stored epoch at the end of the range cannot grow: the claim fenced nobody.
		if f.epoch <= old.epoch || f.payload != old.payload {
			return nil, fmt.Errorf("%w: the claim made %.200q of %.200q", ErrCorrupt, now, before)
		}
	}
	if f.n != 0 || f.token != token {
		return nil, fmt.Errorf("%w: fence record %.200q is claimed and has writes, or another token than %s", ErrCorrupt, now, tokenText(token))
	}
	s.epoch, s.token, s.owner, s.payload = f.epoch, f.token, f.owner(), f.payload
	return f.checkpoint()
}

// check compares a fence record that was read with what the lane knows of it.
// acked is the last acknowledged write from before the read was sent. It returns
// a detail for people if the lane is fenced.
func (s *laneShard) check(text string, acked int64) (detail string, err error) {
	if text == "" {
		return detailMissing, nil
	}
	f, err := parseFence(text)
	switch {
	case err != nil:
		return "", err
	case f.epoch > s.epoch:
		return fmt.Sprintf("a newer owner claimed it: epoch %d, ours is %d", f.epoch, s.epoch), nil
	case f.epoch < s.epoch:
		return fmt.Sprintf("the server went back in time: epoch %d stands there, ours is %d", f.epoch, s.epoch), nil
	case f.token != s.token:
		return fmt.Sprintf("another claim stands there: epoch and token %s, ours are %s", f.owner(), s.owner), nil
	case f.n < acked:
		return fmt.Sprintf("the server went back in time: write %d stands there, %d was acknowledged", f.n, acked), nil
	}
	return "", nil
}

// Details of a fenced lane.
const (
	detailMissing    = "its fence record is gone: the server was wiped or started empty"
	detailOtherEpoch = "another claim stands there: a newer owner made it, or the server went back in time"
	detailGap        = "the server went back in time: write %d is refused although %d was acknowledged"
)

// fencedError is why a lane is over. It wraps ErrFenced.
type fencedError struct {
	lane   int32
	shard  int
	detail string
}

// Error implements error.
func (e *fencedError) Error() string {
	return fmt.Sprintf("lane %d, shard %d: %v: %s", e.lane, e.shard, ErrFenced, e.detail)
}

// Unwrap makes errors.Is find ErrFenced.
func (e *fencedError) Unwrap() error { return ErrFenced }

// end ends the lane for good and returns the reason: the first that was found.
func (l *lane) end(shard int, detail string) error {
	l.ended.CompareAndSwap(nil, &fencedError{lane: l.number, shard: shard, detail: detail})
	return l.ended.Load()
}

// Previous implements Lane.
func (l *lane) Previous() (Checkpoint, bool) { return l.previous, l.found }

// Epoch implements Lane. Shards are claimed one by one, so each has an epoch of
// its own; the largest is returned.
func (l *lane) Epoch() int64 {
	var epoch int64
	for i := range l.shards {
		epoch = max(epoch, l.shards[i].epoch)
	}
	return epoch
}

// loadScratch is the memory that Load uses again.
type loadScratch struct {
	grouping grouping
	keyBytes []byte
	keyEnds  []int
	keys     []string
	values   []string
	reads    []read
	from     []loadRange // by read: whose keys it has
	record   []byte
}

// loadRange is the users of one read.
type loadRange struct {
	shard     int
	positions []int32 // in the caller's list
}

// Load implements Lane.
func (l *lane) Load(ctx context.Context, takes Takes, users []int64, out []Stored) error {
	if len(out) != len(users) {
		return fmt.Errorf("lane %d: load of %d users into %d places", l.number, len(users), len(out))
	}
	if ended := l.ended.Load(); ended != nil {
		return ended
	}
	p := &l.loading
	p.prepare(l, users)
	acked := make([]int64, len(l.shards))
	for from := 0; from < len(p.reads); {
		window := nextWindow(l.store, p.reads[from:], func(r *read) int { return len(r.keys) })
		for i := range l.shards {
			acked[i] = l.shards[i].acked.Load()
		}
		if err := l.store.server.read(ctx, window); err != nil {
			return fmt.Errorf("lane %d: load: %w", l.number, err)
		}
		for i := range window {
			if err := l.loaded(takes, &window[i], p.from[from+i], users, out, acked); err != nil {
				return err
			}
		}
		from += len(window)
	}
	return nil
}

// prepare makes the reads for a list of users: per shard, each with the fence
// record's key first and at most keysMax users. All keys are parts of one string,
// so a user costs no allocation.
func (p *loadScratch) prepare(l *lane, users []int64) {
	keys := &l.store.keys
	p.grouping.group(keys, users)
	p.keyBytes, p.keyEnds = p.keyBytes[:0], p.keyEnds[:0]
	p.from = p.from[:0]
	for shard := range l.shards {
		positions := p.grouping.of(shard)
		for len(positions) > 0 {
			n := min(len(positions), l.store.keysMax)
			p.from = append(p.from, loadRange{shard, positions[:n]})
			for _, at := range positions[:n] {
				p.keyBytes = keys.appendUser(p.keyBytes, shard, users[at])
				p.keyEnds = append(p.keyEnds, len(p.keyBytes))
			}
			positions = positions[n:]
		}
	}
	text, start, next := string(p.keyBytes), 0, 0
	p.keys = p.keys[:0]
	for _, r := range p.from {
		p.keys = append(p.keys, l.shards[r.shard].fenceKey)
		for range r.positions {
			p.keys = append(p.keys, text[start:p.keyEnds[next]])
			start = p.keyEnds[next]
			next++
		}
	}
	p.values = append(p.values[:0], make([]string, len(p.keys))...)
	p.reads = p.reads[:0]
	at := 0
	for _, r := range p.from {
		end := at + 1 + len(r.positions)
		p.reads = append(p.reads, read{keys: p.keys[at:end], values: p.values[at:end]})
		at = end
	}
}

// loaded checks the fence record of one read and decodes its records.
func (l *lane) loaded(takes Takes, r *read, from loadRange, users []int64, out []Stored, acked []int64) error {
	shard := &l.shards[from.shard]
	detail, err := shard.check(r.values[0], acked[from.shard])
	if err != nil {
		return fmt.Errorf("lane %d, key %s: %w", l.number, shard.fenceKey, err)
	}
	if detail != "" {
		return l.end(from.shard, detail)
	}
	for i, at := range from.positions {
		if err = l.decode(takes, users[at], r.values[1+i], &out[at]); err != nil {
			return fmt.Errorf("lane %d, user %d, key %s: %w", l.number, users[at], r.keys[1+i], err)
		}
	}
	return nil
}

// decode decodes the record of a user, if it is there and the lane takes it.
func (l *lane) decode(takes Takes, user int64, value string, out *Stored) error {
	out.Found, out.Tag = false, 0
	if value == "" {
		return nil
	}
	p := &l.loading
	p.record = append(p.record[:0], value...)
	head, rest, err := l.store.codec.decodeHead(p.record)
	if err != nil {
		return err
	}
	switch {
	case head.Incarnation != takes.Incarnation:
		if takes.Inherits == nil || !takes.Inherits(user, head.Lane, head.Incarnation) {
			return nil
		}
	case head.Lane != l.number:
		return fmt.Errorf("%w: the record is of lane %d", ErrCorrupt, head.Lane)
	default:
		out.Tag = head.Tag
	}
	out.Found = true
	return l.store.codec.decodeState(p.record[0], rest, &out.State)
}
