package state_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
	"github.com/lapwing/lapwing/state/storetest"
)

// The tests of this file run a lane against a Redis of their own, through a
// proxy, and compare all that is in it with what they worked out themselves.

// fenceWorld is a Redis, a proxy and what has to be stored.
type fenceWorld struct {
	*testing.T
	redis *redisServer
	proxy *proxy
	ctx   context.Context

	users map[int64]stored // what has to be stored
	m     int64            // the checkpoint that has to be stored
	snap  state.Snapshot
}

// stored is the tag and the state of a user; the seed stands for the state.
type stored struct{ tag, seed int64 }

// newFenceWorld starts a Redis and a proxy.
func newFenceWorld(t *testing.T) *fenceWorld {
	redis := startRedis(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return &fenceWorld{T: t, redis: redis, proxy: newProxy(t, redis.addr()), ctx: ctx, users: map[int64]stored{}}
}

// options are those of a store that goes through the proxy.
func (w *fenceWorld) options() state.RedisOptions {
	o := state.DefaultRedisOptions()
	o.Addrs, o.Group, o.ChunkKeysMax = []string{w.proxy.addr()}, "g", storetest.ChunkKeysMax
	return o
}

// claim claims lane 3 by a store of its own, through the proxy.
func (w *fenceWorld) claim(readTimeout time.Duration) state.Lane {
	w.Helper()
	o := w.options()
	o.ReadTimeout = readTimeout
	l, err := openRedis(w.T, o).Claim(w.ctx, 3)
	if err != nil {
		w.Fatal(err)
	}
	return l
}

// fill makes the snapshot at M of users with states of seed, and returns what is
// stored once it is applied.
func (w *fenceWorld) fill(m int64, users []int64, seed int64) *state.Snapshot {
	w.Helper()
	storetest.Fill(w, &w.snap, 3, state.Checkpoint{Offset: m, Layout: "f"}, users, func(u int64) int64 { return u + seed })
	return &w.snap
}

// applied notes that a snapshot is stored.
func (w *fenceWorld) applied(m int64, users []int64, seed int64) {
	for _, u := range users {
		w.users[u] = stored{m, u + seed}
	}
	w.m = m
}

// flush writes a snapshot, which must succeed.
func (w *fenceWorld) flush(l state.Lane, m int64, users []int64, seed int64) {
	w.Helper()
	if err := l.Flush(w.ctx, w.fill(m, users, seed)); err != nil {
		w.Fatal(err)
	}
	w.applied(m, users, seed)
}

// verify compares all that is in Redis with what has to be there.
func (w *fenceWorld) verify() {
	w.Helper()
	keys, err := w.redis.client.Keys(w.ctx, "*").Result()
	if err != nil {
		w.Fatal(err)
	}
	if len(keys) != len(w.users)+1 {
		w.Fatalf("Redis has %d keys, want %d users and the fence record", len(keys), len(w.users))
	}
	for user, want := range w.users {
		value, err := w.redis.client.Get(w.ctx, fmt.Sprintf("lapwing:g:{0}:u:%d", user)).Bytes()
		if err != nil {
			w.Fatalf("user %d: %v", user, err)
		}
		got, err := state.DecodeRecord(value, rules.DefaultTypes())
		if expected := storetest.State(w, want.seed); err != nil || got.Tag != want.tag || got.Lane != 3 || !got.State.Equal(&expected) {
			w.Fatalf("user %d: %+v, %v; want tag %d and seed %d", user, got, err, want.tag, want.seed)
		}
	}
	if m := fmt.Sprintf(":v1 offset=%d ", w.m); !strings.Contains(w.fence(), m) {
		w.Fatalf("fence record %q, want %q", w.fence(), m)
	}
}

// fence returns the fence record.
func (w *fenceWorld) fence() string {
	w.Helper()
	text, err := w.redis.client.Get(w.ctx, "lapwing:g:{0}:lane:3").Result()
	if err != nil {
		w.Fatal(err)
	}
	return text
}

// wantFenced expects the next touch to end the lane, and the ones after it.
func (w *fenceWorld) wantFenced(l state.Lane, byLoad bool, detail string) {
	w.Helper()
	load := func() error { return l.Load(w.ctx, state.Takes{}, storetest.Users(0, 3), make([]state.Stored, 3)) }
	flush := func() error { return l.Flush(w.ctx, w.fill(w.m+1, storetest.Users(0, 3), 1000)) }
	touches := []func() error{flush, load, flush}
	if byLoad {
		touches = touches[1:]
	}
	for _, touch := range touches {
		if err := w.untilAnswered(touch); !errors.Is(err, state.ErrFenced) || !strings.Contains(err.Error(), detail) {
			w.Fatalf("got %v, want ErrFenced with %q", err, detail)
		}
	}
}

// untilAnswered repeats what fails because the server is away, as an engine does.
func (w *fenceWorld) untilAnswered(touch func() error) error {
	w.Helper()
	for {
		err := touch()
		if !state.Retriable(err) || w.ctx.Err() != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestLateWriteDoesNothing(t *testing.T) {
	w := newFenceWorld(t)
	l := w.claim(300 * time.Millisecond)
	w.flush(l, 10, storetest.Users(0, 30), 0)

	// The first copy of this flush is stuck on a slow connection; the client gives
	// up and sends it again on another one.
	slow := w.proxy.hold()
	w.flush(l, 20, storetest.Users(0, 30), 100)
	<-slow.arrived
	w.verify()

	// A newer flush is acknowledged, then the old copy arrives.
	w.flush(l, 30, storetest.Users(5, 10), 200)
	w.verify()
	before := w.fence()
	close(slow.release)
	if reply := <-slow.reply; !strings.HasPrefix(reply, ":0\r\n") {
		t.Fatalf("the late write was answered %q, want 0: done before", reply)
	}
	w.verify()
	if now := w.fence(); now != before {
		t.Fatalf("the late write changed %q to %q", before, now)
	}
	w.flush(l, 40, storetest.Users(0, 30), 300)
	w.verify()
}

func TestChunkInTheMiddleFails(t *testing.T) {
	w := newFenceWorld(t)
	l := w.claim(3 * time.Second)
	users := storetest.Users(0, 6*storetest.ChunkKeysMax)
	w.flush(l, 10, users, 0)

	// The third write of the next flush becomes a command that Redis refuses; those
	// after it, sent along, arrive.
	first := w.proxy.written()
	w.proxy.changeCommands(func(command [][]byte) [][]byte {
		if bytes.Equal(command[0], writeCommand) && w.proxy.writes == first+3 {
			return [][]byte{[]byte("get")}
		}
		return command
	})
	err := l.Flush(w.ctx, w.fill(20, users, 100))
	if err == nil || errors.Is(err, state.ErrFenced) || !strings.Contains(err.Error(), "write 9") {
		t.Fatalf("flush with a refused write: %v", err)
	}
	if n := w.proxy.written() - first; n != 4 {
		t.Fatalf("%d writes arrived, want 4: one after the refused one", n)
	}
	// Two writes of users were applied, and no checkpoint with them.
	w.applied(20, users[:2*storetest.ChunkKeysMax], 100)
	w.m = 10
	w.verify()

	// The same snapshot again completes it.
	w.proxy.changeCommands(nil)
	if err := l.Flush(w.ctx, &w.snap); err != nil {
		t.Fatal(err)
	}
	w.applied(20, users, 100)
	w.verify()
	if n := strings.Split(w.fence(), ":")[1]; n != "12" {
		t.Fatalf("fence record %q, want write 12", w.fence())
	}
}

func TestRedisGoesBackInTime(t *testing.T) {
	for _, byLoad := range []bool{false, true} {
		t.Run(fmt.Sprintf("byLoad=%v", byLoad), func(t *testing.T) {
			w := newFenceWorld(t)
			l := w.claim(3 * time.Second)
			w.flush(l, 10, storetest.Users(0, 30), 0)
			older, usersThen := w.redis.dump(), maps.Clone(w.users)
			w.flush(l, 20, storetest.Users(0, 40), 100)
			w.verify()

			w.redis.swap(older)
			w.users, w.m = usersThen, 10
			w.wantFenced(l, byLoad, "went back in time")
			w.verify()

			// The next claim starts where the copy is.
			next := w.claim(3 * time.Second)
			if c, found := next.Previous(); !found || c.Offset != 10 {
				t.Fatalf("previous: %+v, %v", c, found)
			}
			w.flush(next, 20, storetest.Users(0, 40), 100)
			w.verify()
		})
	}
}

func TestRedisIsEmptied(t *testing.T) {
	for _, byLoad := range []bool{false, true} {
		for name, empty := range map[string]func(w *fenceWorld){
			"FLUSHALL": func(w *fenceWorld) {
				if err := w.redis.client.FlushAll(w.ctx).Err(); err != nil {
					w.Fatal(err)
				}
			},
			"restart": func(w *fenceWorld) { w.redis.swap(nil) },
		} {
			t.Run(fmt.Sprintf("%s/byLoad=%v", name, byLoad), func(t *testing.T) {
				w := newFenceWorld(t)
				l := w.claim(3 * time.Second)
				w.flush(l, 10, storetest.Users(0, 30), 0)
				empty(w)
				w.wantFenced(l, byLoad, "gone")
				if n := w.redis.client.DBSize(w.ctx).Val(); n != 0 {
					t.Fatalf("the fenced lane left %d keys", n)
				}
				next := w.claim(3 * time.Second)
				if c, found := next.Previous(); found {
					t.Fatalf("previous: %+v", c)
				}
				clear(w.users)
				w.flush(next, 5, storetest.Users(0, 3), 7)
				w.verify()
			})
		}
	}
}

func TestPastOwnerThaws(t *testing.T) {
	w := newFenceWorld(t)
	old := w.claim(30 * time.Second)
	w.flush(old, 10, storetest.Users(0, 30), 0)

	// The old owner freezes in the middle of a flush; another one takes over.
	frozen := w.proxy.hold()
	var late state.Snapshot
	storetest.Fill(t, &late, 3, state.Checkpoint{Offset: 20}, storetest.Users(0, 30), func(u int64) int64 { return u + 500 })
	result := make(chan error, 1)
	go func() { result <- old.Flush(w.ctx, &late) }()
	<-frozen.arrived
	next := w.claim(3 * time.Second)
	if c, _ := next.Previous(); c.Offset != 10 {
		t.Fatalf("previous: %+v", c)
	}
	w.flush(next, 15, storetest.Users(20, 20), 100)
	w.verify()

	close(frozen.release)
	if err := <-result; !errors.Is(err, state.ErrFenced) || !strings.Contains(err.Error(), "newer owner") {
		t.Fatalf("flush of the past owner: %v", err)
	}
	w.verify()
	if err := old.Load(w.ctx, state.Takes{}, storetest.Users(0, 1), make([]state.Stored, 1)); !errors.Is(err, state.ErrFenced) {
		t.Fatalf("load of the past owner: %v", err)
	}
	w.flush(next, 25, storetest.Users(0, 40), 200)
	w.verify()
}

func TestRepliesAreLost(t *testing.T) {
	// One lost reply is mended inside go-redis, which sends the writes again; more
	// are errors, after which the caller sends them again.
	for _, lost := range []int{1, 2, 5} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			w := newFenceWorld(t)
			l := w.claim(3 * time.Second)
			w.flush(l, 10, storetest.Users(0, 30), 0)
			seen := w.proxy.written()
			w.proxy.loseReplies(lost)
			s := w.fill(20, storetest.Users(0, 30), 100)
			calls := 0
			err := w.untilAnswered(func() error { calls++; return l.Flush(w.ctx, s) })
			if err != nil {
				t.Fatal(err)
			}
			if want := 1 + lost/2; calls != want {
				t.Errorf("%d calls, want %d", calls, want)
			}
			if again := w.proxy.written() - seen; again < 3+lost {
				t.Errorf("%d writes were sent, want 3 and more for each lost reply", again)
			}
			w.applied(20, storetest.Users(0, 30), 100)
			w.verify()
			if n := strings.Split(w.fence(), ":")[1]; n != "6" {
				t.Fatalf("fence record %q, want write 6", w.fence())
			}
		})
	}
}

func TestScriptsAreForgotten(t *testing.T) {
	for name, forget := range map[string]func(w *fenceWorld){
		"restart":      func(w *fenceWorld) { w.redis.swap(w.redis.dump()) },
		"SCRIPT FLUSH": func(w *fenceWorld) { w.redis.client.ScriptFlush(w.ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newFenceWorld(t)
			l := w.claim(3 * time.Second)
			w.flush(l, 10, storetest.Users(0, 30), 0)
			forget(w)
			s := w.fill(20, storetest.Users(0, 60), 100)
			if err := w.untilAnswered(func() error { return l.Flush(w.ctx, s) }); err != nil {
				t.Fatal(err)
			}
			w.applied(20, storetest.Users(0, 60), 100)
			w.verify()
			forget(w)
			next := l
			if err := w.untilAnswered(func() (err error) { next, err = openRedis(t, w.options()).Claim(w.ctx, 3); return err }); err != nil {
				t.Fatal(err)
			}
			w.flush(next, 30, storetest.Users(0, 10), 200)
			w.verify()
		})
	}
}
