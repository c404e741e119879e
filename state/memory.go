package state

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/lapwing/lapwing/rules"
)

// MemoryOptions configures a Memory store.
type MemoryOptions struct {
	Types             *rules.Types // the configured event types
	Shards            int          // as RedisOptions.Shards
	ChunkKeysMax      int          // as RedisOptions.ChunkKeysMax
	ChunksInFlightMax int          // as RedisOptions.ChunksInFlightMax

	// Before and After are called around each operation, nil: not at all. They make
	// faults for tests: an error of Before is a request that was lost, an error of
	// After the reply to one that was carried out. Either stands for the server's
	// error, and later operations that were sent along fail with it too.
	Before, After func(Op) error
}

// Op is an operation of a Memory store.
type Op struct {
	Kind OpKind
	Key  string // the fence record's, or the only key that is read
	N    int64  // the number of a write
}

// OpKind is what an operation does.
type OpKind int

// Kinds of operations.
const (
	OpClaim OpKind = iota + 1
	OpRead
	OpWrite
	OpSwap
)

// String names the kind.
func (k OpKind) String() string {
	switch k {
	case OpClaim:
		return "claim"
	case OpRead:
		return "read"
	case OpWrite:
		return "write"
	case OpSwap:
		return "swap"
	default:
		return "operation " + strconv.Itoa(int(k))
	}
}

// Memory is a Store in this process's memory, for tests. It keeps the same keys
// and values as Redis and follows the same rules. All users of one Memory see the
// same data.
type Memory struct {
	store
	data *memoryServer
}

var _ Store = (*Memory)(nil)

// DefaultMemoryOptions returns one shard, the default types and no faults.
func DefaultMemoryOptions() MemoryOptions {
	redis := DefaultRedisOptions()
	return MemoryOptions{
		Types: redis.Types, Shards: redis.Shards,
		ChunkKeysMax: redis.ChunkKeysMax, ChunksInFlightMax: redis.ChunksInFlightMax,
	}
}

// NewMemory returns an empty store with the default options.
func NewMemory() *Memory { return NewMemoryWith(DefaultMemoryOptions()) }

// NewMemoryWith returns an empty store.
func NewMemoryWith(o MemoryOptions) *Memory {
	m := &Memory{data: &memoryServer{before: o.Before, after: o.After, records: map[string]string{}}}
	m.store = newStore(m.data, newKeyspace("lapwing", "memory", o.Shards), o.Types, o.ChunkKeysMax, o.ChunksInFlightMax)
	return m
}

// Check implements Store.
func (m *Memory) Check(ctx context.Context) error { return ctx.Err() }

// Close implements Store. It does nothing: the data outlives those who use it.
func (m *Memory) Close() error { return nil }

// Image returns a copy of all that is stored.
func (m *Memory) Image() map[string]string {
	m.data.mu.Lock()
	defer m.data.mu.Unlock()
	return maps.Clone(m.data.records)
}

// Restore puts an image in place of all that is stored, as a server does that
// comes back with an older copy. nil: an empty one.
func (m *Memory) Restore(image map[string]string) {
	m.data.mu.Lock()
	defer m.data.mu.Unlock()
	m.data.records = maps.Clone(image)
	if m.data.records == nil {
		m.data.records = map[string]string{}
	}
}

// memoryServer is a server that follows the rules of claim.lua, swap.lua and flush.lua.
type memoryServer struct {
	before, after func(Op) error

	mu      sync.Mutex
	records map[string]string
}

var _ server = (*memoryServer)(nil)

// do carries out an operation between the faults.
func (s *memoryServer) do(ctx context.Context, op Op, carryOut func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.before != nil {
		if err := s.before(op); err != nil {
			return err
		}
	}
	s.mu.Lock()
	carryOut()
	s.mu.Unlock()
	if s.after != nil {
		return s.after(op)
	}
	return nil
}

// claim implements server.
func (s *memoryServer) claim(ctx context.Context, fenceKey, token string) (now, before string, err error) {
	err = s.do(ctx, Op{Kind: OpClaim, Key: fenceKey}, func() {
		before = s.records[fenceKey]
		next := fence{epoch: time.Now().UnixMicro()}
		next.token, _ = parseToken(token)
		if before != "" {
			old, err := parseFence(before)
			if err != nil {
				now = before
				return
			}
			next.epoch, next.payload = max(old.epoch+1, next.epoch), old.payload
		}
		now = next.String()
		s.records[fenceKey] = now
	})
	if err != nil {
		return "", "", err
	}
	return now, before, nil
}

// swap implements server.
func (s *memoryServer) swap(ctx context.Context, key, before, after string) (done bool, err error) {
	err = s.do(ctx, Op{Kind: OpSwap, Key: key}, func() {
		if done = s.records[key] == before; done {
			s.records[key] = after
		}
	})
	return done && err == nil, err
}

// read implements server.
func (s *memoryServer) read(ctx context.Context, reads []read) error {
	for i := range reads {
		r := &reads[i]
		err := s.do(ctx, Op{Kind: OpRead, Key: r.keys[0]}, func() {
			for j, key := range r.keys {
				r.values[j] = s.records[key]
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// write implements server.
func (s *memoryServer) write(ctx context.Context, writes []write) {
	var err error
	for i := range writes {
		w := &writes[i]
		if err == nil {
			err = s.do(ctx, Op{Kind: OpWrite, Key: w.keys[0], N: w.n}, func() { w.outcome = s.apply(w) })
		}
		w.err = err
	}
}

// apply applies one write, or not.
func (s *memoryServer) apply(w *write) outcome {
	stored, ok := s.records[w.keys[0]]
	if !ok {
		return outcomeMissing
	}
	f, err := parseFence(stored)
	switch {
	case err != nil, f.owner() != w.owner:
		return outcomeOtherEpoch
	case f.n >= w.n:
		return outcomeDone
	case f.n != w.n-1:
		return outcomeGap
	}
	for i, key := range w.keys[1:] {
		s.records[key] = w.values[i]
	}
	s.records[w.keys[0]] = fence{epoch: f.epoch, token: f.token, n: w.n, payload: w.payload}.String()
	return outcomeApplied
}
