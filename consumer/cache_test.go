package consumer

import (
	"maps"
	"math/rand/v2"
	"runtime"
	"testing"
	"weak"

	"github.com/lapwing/lapwing/rules"
)

// TestCacheModel drives the cache at random and compares it with plain maps: which users are dirty, what a snapshot
// holds, and that nothing leaves before the store has its last change.
func TestCacheModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		const limit = 8
		c := newCache(0)
		changed := map[int64]int64{} // user -> offset after its last change
		var offset, snapped, acked int64
		for range 500 {
			switch rng.IntN(6) {
			case 0, 1, 2, 3:
				user := rng.Int64N(30)
				e := c.get(user)
				if e == nil {
					if changed[user] > acked {
						t.Fatalf("seed %d: user %d left with a change at %d, acknowledged %d", seed, user, changed[user], acked)
					}
					e = c.insert(user, 0, rules.UserState{})
				}
				c.touch(e, offset)
				offset++
				changed[user] = offset
				c.evict(limit)
			case 4:
				want := map[int64]int64{}
				for user, at := range changed {
					if at > snapped {
						want[user] = at
					}
				}
				if c.dirty != len(want) {
					t.Fatalf("seed %d: %d dirty, want %d", seed, c.dirty, len(want))
				}
				got := map[int64]int64{}
				c.snapshot(offset, func(e *entry) { got[e.user] = e.tag })
				if !maps.Equal(got, want) {
					t.Fatalf("seed %d: snapshot %v, want %v", seed, got, want)
				}
				snapped = offset
			case 5:
				acked = snapped
				c.acknowledge(acked)
				c.evict(limit)
				clean := 0
				for _, at := range changed {
					if at > acked {
						clean++
					}
				}
				if c.len() > max(limit, clean) {
					t.Fatalf("seed %d: %d users in memory, limit %d, %d must stay", seed, c.len(), limit, clean)
				}
			}
		}
	}
}

// TestCacheLoadedOnly checks that a user who was loaded and not changed is neither dirty nor in the way.
func TestCacheLoadedOnly(t *testing.T) {
	c := newCache(10)
	c.insert(1, 50, rules.UserState{})
	c.touch(c.insert(2, 0, rules.UserState{}), 11)
	c.insert(3, 60, rules.UserState{})
	n := 0
	c.snapshot(12, func(e *entry) {
		if e.user != 2 {
			t.Errorf("user %d in the snapshot", e.user)
		}
		n++
	})
	if n != 1 {
		t.Fatalf("%d entries in the snapshot, want 1", n)
	}
	c.evict(1)
	if c.len() != 1 || c.get(2) == nil {
		t.Fatalf("the unflushed user must stay, the loaded ones leave: %d left", c.len())
	}
}

// TestEvictedEntriesAreFreed holds one entry that has left, as the unused room of a chunk may: no other entry stays in
// memory for its sake.
func TestEvictedEntriesAreFreed(t *testing.T) {
	c := newCache(0)
	const users, kept = 1000, 10
	held := c.insert(0, 0, rules.UserState{})
	c.touch(held, 0)
	var left []weak.Pointer[entry]
	for user := int64(1); user < users; user++ {
		e := c.insert(user, 0, rules.UserState{})
		c.touch(e, user)
		c.acknowledge(user + 1)
		c.evict(kept)
		if user < users-kept {
			left = append(left, weak.Make(e))
		}
	}
	if c.len() != kept || c.get(0) != nil {
		t.Fatalf("%d entries are in memory, want %d", c.len(), kept)
	}
	runtime.GC()
	stay := 0
	for _, p := range left {
		if p.Value() != nil {
			stay++
		}
	}
	if stay > 0 {
		t.Errorf("%d of %d entries that left stay in memory", stay, len(left))
	}
	runtime.KeepAlive(held)
}
