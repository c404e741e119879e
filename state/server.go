package state

import (
	"context"
	"fmt"

	"github.com/lapwing/lapwing/rules"
)

// server is what claims and lanes need of a key-value server. Its methods are
// safe for concurrent use and keep nothing of their arguments.
type server interface {
	// claim takes the fence record with this key: it sets the next epoch, the token
	// and n to 0, keeps the payload, and returns the new text and the old one ("":
	// none). It is sent once; after an error it may have been carried out.
	claim(ctx context.Context, fenceKey, token string) (now, before string, err error)

	// swap stores a value under a key where the value before stands ("": none), in
	// one step. It is sent once; after an error it may have been carried out.
	swap(ctx context.Context, key, before, after string) (bool, error)

	// read fills in the values of each read, "" for an absent key. Each read is
	// atomic, all of them together are not. After an error no value is used.
	read(ctx context.Context, reads []read) error

	// write applies the writes in order and fills in outcome or err of each.
	write(ctx context.Context, writes []write)
}

// read is one atomic read of several keys.
type read struct {
	keys   []string
	values []string // by position of the key
}

// write is one write of a lane in one shard: applied completely or not at all.
type write struct {
	shard   int
	keys    []string // the fence record's, then those of the users
	values  []string // of the users' records
	owner   string   // epoch and token of the claim, as text
	n       int64    // number of the write within the claim and shard, from 1 on
	payload string   // of the fence record after the write

	positions []int32 // of the users in the snapshot

	outcome outcome // the answer, if err is nil
	err     error
}

// store is what all stores have in common; a store embeds it.
type store struct {
	server    server
	keys      keyspace
	codec     Codec
	keysMax   int // user keys in one read or write
	windowMax int // full reads or writes sent before the answers are awaited
}

// nextWindow returns those of the next reads or writes that are sent together;
// keys gives the number of keys of one. They have no more keys than windowMax full
// ones: a lane with many shards has many small ones, and few at a time would cost
// it many round trips.
func nextWindow[T any](s *store, next []T, keys func(*T) int) []T {
	left := s.windowMax * (1 + s.keysMax)
	for i := range next {
		if left -= keys(&next[i]); left < 0 && i > 0 {
			return next[:i]
		}
	}
	return next
}

// newStore returns the common part of a store.
func newStore(s server, keys keyspace, types *rules.Types, keysMax, windowMax int) store {
	return store{server: s, keys: keys, codec: NewCodec(types), keysMax: keysMax, windowMax: windowMax}
}

// Claim implements Store.
func (s *store) Claim(ctx context.Context, number int32) (Lane, error) {
	if number < 0 {
		return nil, fmt.Errorf("lane %d: a lane is not negative", number)
	}
	shards := s.keys.shards()
	l := &lane{store: s, number: number, shards: make([]laneShard, shards)}
	checkpoints := make([]*Checkpoint, shards)
	for i := range l.shards {
		shard := &l.shards[i]
		shard.fenceKey = s.keys.fence(i, number)
		token := newToken()
		now, before, err := s.server.claim(ctx, shard.fenceKey, tokenText(token))
		if err != nil {
			return nil, fmt.Errorf("claim lane %d, shard %d: %w", number, i, err)
		}
		if checkpoints[i], err = shard.claimed(now, before, token); err != nil {
			return nil, fmt.Errorf("claim lane %d, key %s: %w", number, shard.fenceKey, err)
		}
	}
	l.previous, l.found = mergeCheckpoints(checkpoints)
	return l, nil
}

// Peek implements Store.
func (s *store) Peek(ctx context.Context, number int32) (Checkpoint, bool, error) {
	c, found, _, err := s.peek(ctx, number)
	return c, found, err
}

// Written implements Store.
func (s *store) Written(ctx context.Context, number int32) (Checkpoint, bool, error) {
	c, found, claimed, err := s.peek(ctx, number)
	return c, found && !claimed, err
}

// Lineage implements Store.
func (s *store) Lineage(ctx context.Context) (string, error) {
	text, err := s.get(ctx, s.keys.lineage)
	if err != nil {
		return "", fmt.Errorf("lineage, key %s: %w", s.keys.lineage, err)
	}
	return text, nil
}

// SwapLineage implements Store.
func (s *store) SwapLineage(ctx context.Context, before, after string) (bool, error) {
	done, err := s.server.swap(ctx, s.keys.lineage, before, after)
	if err != nil {
		return false, fmt.Errorf("change lineage, key %s: %w", s.keys.lineage, err)
	}
	return done, nil
}

// peek reads a checkpoint; claimed: in some shard the lane was claimed after it was
// written.
func (s *store) peek(ctx context.Context, number int32) (c Checkpoint, found, claimed bool, err error) {
	shards := s.keys.shards()
	checkpoints := make([]*Checkpoint, shards)
	for i := range shards {
		key := s.keys.fence(i, number)
		text, err := s.get(ctx, key)
		if err != nil {
			return Checkpoint{}, false, false, fmt.Errorf("peek at lane %d, shard %d: %w", number, i, err)
		}
		if text == "" {
			continue
		}
		f, err := parseFence(text)
		claimed = claimed || f.n == 0
		if err != nil {
			return Checkpoint{}, false, false, fmt.Errorf("peek at lane %d, key %s: %w", number, key, err)
		}
		if checkpoints[i], err = f.checkpoint(); err != nil {
			return Checkpoint{}, false, false, fmt.Errorf("peek at lane %d, key %s: %w", number, key, err)
		}
	}
	c, found = mergeCheckpoints(checkpoints)
	return c, found, claimed, nil
}

// Record reads the record of one user, of whatever lane and incarnation, without
// a claim: it is true as of its tag. It returns false where none is stored.
func (s *store) Record(ctx context.Context, user int64) (Record, bool, error) {
	key := s.keys.user(user)
	value, err := s.get(ctx, key)
	if err != nil || value == "" {
		return Record{}, false, err
	}
	r, err := DecodeRecord([]byte(value), s.codec.types)
	if err != nil {
		return Record{}, false, fmt.Errorf("user %d, key %s: %w", user, key, err)
	}
	return r, true, nil
}

// get reads one key.
func (s *store) get(ctx context.Context, key string) (string, error) {
	r := []read{{keys: []string{key}, values: make([]string, 1)}}
	if err := s.server.read(ctx, r); err != nil {
		return "", err
	}
	return r[0].values[0], nil
}

// checkpoint returns the checkpoint in a fence record, nil if it has none yet.
func (f fence) checkpoint() (*Checkpoint, error) {
	if f.payload == "" {
		return nil, nil
	}
	c, err := parseCheckpoint(f.payload)
	if err != nil {
		return nil, err
	}
	return &c, nil
}
