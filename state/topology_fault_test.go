package state_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/state"
	"github.com/lapwing/lapwing/state/storetest"
)

// skipSlow skips a test that waits for processes to miss each other.
func skipSlow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes more than 20 s; run without -short")
	}
}

// TestSentinelFailover kills a master that has acknowledged what its replica has not.
func TestSentinelFailover(t *testing.T) {
	skipSlow(t)
	for _, byLoad := range []bool{false, true} {
		t.Run(fmt.Sprintf("byLoad=%v", byLoad), func(t *testing.T) {
			s := consumertest.OwnRedisSentinels(t, 1, 1)
			w := newOwner(t, sentinelOptions(s), 40, 0)
			w.commit(100)
			s.AwaitReplicas()
			former := s.Current()
			former.CutReplicas()
			w.commit(50)
			if w.stored != 150 {
				t.Fatalf("M = %d, want what was acknowledged", w.stored)
			}
			former.Kill()
			next := s.AwaitFailover(former)

			// The next touch shows it, and leaves the new master as it is.
			var err error
			if byLoad {
				err = w.insist(func(ctx context.Context) error {
					return w.lane.Load(ctx, state.Takes{}, w.users, make([]state.Stored, len(w.users)))
				})
			} else {
				w.snapshot.Reset(3, state.DefaultRedisOptions().Types, state.Checkpoint{Offset: 150})
				err = w.insist(func(ctx context.Context) error { return w.lane.Flush(ctx, &w.snapshot) })
			}
			if !errors.Is(err, state.ErrFenced) || !strings.Contains(err.Error(), "went back in time") {
				t.Fatalf("after the failover: %v", err)
			}
			if fence := next.Client().Get(t.Context(), "lapwing:g:{0}:lane:3").Val(); !strings.Contains(fence, " offset=100 ") {
				t.Fatalf("the new master has %q, want the checkpoint from before the cut", fence)
			}
			c, found, err := w.store.Peek(w.ctx, 3)
			if err != nil || !found || c.Offset != 100 {
				t.Fatalf("peek: %+v, %v, %v; want 100", c, found, err)
			}

			// The next claim starts at the older M, finds states no newer than it, and goes on.
			w.claim()
			w.commit(30)
			s.StartReplica(former)
			w.commit(30)
			if len(w.fences) > 0 {
				t.Fatalf("fenced again: %v", w.fences)
			}
			w.verify(sentinelOptions(s))
		})
	}
}

// TestSentinelLosesClaim kills a master that alone has a claim: the past owner's fence record stands again, and the claim's
// owner finds that it owns nothing.
func TestSentinelLosesClaim(t *testing.T) {
	skipSlow(t)
	s := consumertest.OwnRedisSentinels(t, 1, 1)
	past := newOwner(t, sentinelOptions(s), 40, 0)
	past.commit(100)
	s.AwaitReplicas()
	former := s.Current()
	former.CutReplicas()
	next := newOwner(t, sentinelOptions(s), 40, past.committed)
	former.Kill()
	s.AwaitFailover(former)
	if err := next.insist(func(ctx context.Context) error {
		return next.lane.Load(ctx, state.Takes{}, next.users, make([]state.Stored, len(next.users)))
	}); !errors.Is(err, state.ErrFenced) || !strings.Contains(err.Error(), "went back in time: epoch") {
		t.Fatalf("load of an owner whose claim is lost: %v", err)
	}
	// It claims again, and the past owner is refused as before.
	next.claim()
	past.committed++
	if err := past.insist(func(ctx context.Context) error {
		storetest.Fill(t, &past.snapshot, 3, state.Checkpoint{Offset: past.committed}, past.users, func(u int64) int64 { return u })
		return past.lane.Flush(ctx, &past.snapshot)
	}); !errors.Is(err, state.ErrFenced) {
		t.Fatalf("flush of the past owner: %v", err)
	}
	next.commit(50)
	next.verify(sentinelOptions(s))
}

// TestSentinelDemotesMaster fails over while master and replica are healthy and a lane is at work: nothing that stands in the
// new master is wrong, and the former one gets nothing more.
func TestSentinelDemotesMaster(t *testing.T) {
	skipSlow(t)
	s := consumertest.OwnRedisSentinels(t, 2, 3)
	w := newOwner(t, sentinelOptions(s), 200, 0)
	w.during(func() {
		former := s.Current()
		for range 2 {
			s.Failover()
			next := s.AwaitFailover(former)
			former = next
			s.AwaitReplicas()
		}
	})
	w.verify(sentinelOptions(s))
	s.AwaitReplicas()
	for _, replica := range s.Replicas() {
		if replica.Client().Get(t.Context(), "lapwing:g:{0}:lane:3").Val() != s.Current().Client().Get(t.Context(), "lapwing:g:{0}:lane:3").Val() {
			t.Fatalf("the replica %s differs from the master", replica.Addr())
		}
	}
}

// TestSlotMoves moves one slot after the other while a lane flushes and loads, with the fence record first, last, and between
// the users. While it is on another node than they, the lane waits.
func TestSlotMoves(t *testing.T) {
	skipSlow(t)
	c := consumertest.OwnRedisCluster(t, 3, 0)
	o := clusterOptions(c, 4)
	w := newOwner(t, o, 400, 0)
	w.commit(1000)
	w.during(func() {
		for shard, place := range []string{"first", "last", "between", "whole"} {
			fence := fmt.Sprintf("lapwing:g:{%d}:lane:3", shard)
			from := c.Owner(fence)
			to := c.Nodes()[(slices.Index(c.Nodes(), from)+1)%3]
			m := c.BeginMove(fence, from, to)
			keys := slices.DeleteFunc(m.Keys(1000), func(key string) bool { return key == fence })
			at := map[string]int{"first": 0, "last": len(keys), "between": len(keys) / 2}
			if i, ok := at[place]; ok {
				keys = slices.Insert(keys, i, fence)
				for part := range slices.Chunk(keys, len(keys)/5) {
					m.Move(part...)
					time.Sleep(50 * time.Millisecond) // several tries of the lane
				}
			}
			m.End()
		}
	})
	if len(w.fences) > 0 {
		t.Fatalf("a move is no loss: %v", w.fences)
	}
	if w.retries == 0 {
		t.Fatal("the lane met no slot that was on the move")
	}
	w.verify(o)
}

// TestReshard gives a fourth master its share while a lane flushes and loads.
func TestReshard(t *testing.T) {
	skipSlow(t)
	c := consumertest.OwnRedisCluster(t, 3, 0)
	o := clusterOptions(c, state.ClusterShards)
	w := newOwner(t, o, 2000, 0)
	w.commit(4000)
	fourth := c.AddMaster()
	w.during(func() { c.Reshard(fourth, 4096) })
	if len(w.fences) > 0 {
		t.Fatalf("a reshard is no loss: %v", w.fences)
	}
	w.verify(o)
	if n := fourth.Client().DBSize(t.Context()).Val(); n == 0 {
		t.Fatal("the fourth master has nothing of the lane")
	}
}

// TestClusterFailover kills a master of three that has acknowledged what its replica has not. The lane has lost a part of its
// shards; what the others have is newer than M.
func TestClusterFailover(t *testing.T) {
	skipSlow(t)
	c := consumertest.OwnRedisCluster(t, 3, 1)
	o := clusterOptions(c, state.ClusterShards)
	o.Addrs = c.Addrs()
	w := newOwner(t, o, 500, 0)
	w.commit(1000)
	c.AwaitReplicas()
	former, replica := c.Nodes()[0], c.Nodes()[3]
	former.CutReplicas()
	w.commit(700)
	former.Kill()
	c.AwaitPromotion(replica, 3)
	err := w.insist(func(ctx context.Context) error {
		return w.lane.Load(ctx, state.Takes{}, w.users, make([]state.Stored, len(w.users)))
	})
	if !errors.Is(err, state.ErrFenced) || !strings.Contains(err.Error(), "went back in time") {
		t.Fatalf("after the failover: %v", err)
	}
	if m, found, err := w.store.Peek(w.ctx, 3); err != nil || !found || m.Offset != 1000 {
		t.Fatalf("peek: %+v, %v, %v; want 1000", m, found, err)
	}
	older, newer := 0, 0
	for _, user := range w.users {
		r, found, err := w.store.Record(w.ctx, user)
		if err != nil || !found {
			t.Fatalf("user %d: %v, %v", user, found, err)
		}
		switch r.Tag {
		case w.tag(user, 1700):
			newer++
		case w.tag(user, 1000):
			older++
		default:
			t.Fatalf("user %d has tag %d", user, r.Tag)
		}
	}
	if older < 100 || newer < 250 {
		t.Fatalf("%d users are as of the lost writes' past, %d as of the last flush; want about a third and the rest", older, newer)
	}
	w.claim()
	w.commit(300)
	w.during(func() {
		former.Start()
		c.AwaitServing(3)
	})
	if len(w.fences) > 0 {
		t.Fatalf("fenced again: %v", w.fences)
	}
	w.verify(o)
}
