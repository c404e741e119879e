package storetest

import (
	"fmt"
	"reflect"
	"regexp"
	"sync"

	"github.com/lapwing/lapwing/state"
)

func firstClaimFindsNothing(f *fixture) {
	if c, found, err := f.Open(f.T).Peek(f.ctx, 3); found || err != nil {
		f.Fatalf("peek before a claim: %+v, %v, %v", c, found, err)
	}
	l := f.claim(3)
	if c, found := l.Previous(); found {
		f.Fatalf("previous checkpoint: %+v", c)
	}
	if _, found, err := f.Open(f.T).Peek(f.ctx, 3); found || err != nil {
		f.Fatalf("a claim alone made a checkpoint, or peek failed: %v", err)
	}
	f.wantAbsent(l, Users(0, 3))
	if err := l.Load(f.ctx, state.Takes{}, nil, nil); err != nil {
		f.Fatalf("load of nobody: %v", err)
	}
	if err := l.Load(f.ctx, state.Takes{}, Users(0, 3), make([]state.Stored, 2)); err == nil {
		f.Fatal("load of 3 users into 2 places succeeded")
	}
}

func flushedStatesAreVisible(f *fixture) {
	l := f.claim(3)
	users := Users(100, 3)
	f.flush(l, 3, cp(50), users, same)
	f.want(l, users, 50, same)
	f.wantAbsent(l, Users(103, 2))
	f.wantCheckpoint(3, cp(50))

	// A later flush replaces one user and leaves the others.
	f.flush(l, 3, cp(60), users[:1], func(int64) int64 { return 7 })
	f.want(l, users[:1], 60, func(int64) int64 { return 7 })
	f.want(l, users[1:], 50, same)
	f.wantCheckpoint(3, cp(60))

	// The largest user id, and absent users between stored ones.
	const largest = 1<<63 - 1
	f.flush(l, 3, cp(70), []int64{largest}, func(int64) int64 { return 1 })
	got := f.load(l, 0, []int64{1, largest, 2, 101})
	if got[0].Found || !got[1].Found || got[2].Found || !got[3].Found {
		f.Fatalf("found %v %v %v %v, want false true false true", got[0].Found, got[1].Found, got[2].Found, got[3].Found)
	}
}

func keysAreAsDocumented(f *fixture) {
	l := f.claim(3)
	f.flush(l, 3, cp(50), []int64{42}, same)
	record := f.Get(f.T, f.userKey(42))
	decoded, err := state.DecodeRecord([]byte(record), types)
	want := State(f, 42)
	if err != nil || decoded.Tag != 50 || decoded.Lane != 3 || decoded.Incarnation != 0 || !decoded.State.Equal(&want) {
		f.Fatalf("stored record: %+v, %v", decoded, err)
	}
	form := regexp.MustCompile(`^[1-9][0-9]{15}-[0-9a-f]{16}:1:v1 offset=50 layout=5f3a21 incarnation=0 owner=lapwing-0 horizon=60$`)
	for key, text := range f.fences(3) {
		if !form.MatchString(text) {
			f.Fatalf("fence record %s: %q", key, text)
		}
	}
}

func otherIncarnationsAreAbsent(f *fixture) {
	l := f.claim(3)
	users := Users(0, 2)
	f.flush(l, 3, cp(50), users, same)
	for _, got := range f.load(l, 1, users) {
		if got.Found {
			f.Fatalf("a record of incarnation 0 was found in 1: %+v", got)
		}
	}
	next := cp(60)
	next.Incarnation = 1
	f.flush(l, 3, next, users[:1], same)
	if got := f.load(l, 1, users); !got[0].Found || got[1].Found {
		f.Fatalf("in incarnation 1: %+v", got)
	}
	if got := f.load(l, 0, users); got[0].Found || !got[1].Found {
		f.Fatalf("in incarnation 0: %+v", got)
	}
	f.wantCheckpoint(3, next)

	// Bytes that belong to another incarnation are not even decoded.
	f.Set(f.T, f.userKey(1), "\x01\x00\x03\x05garbage")
	if got := f.load(l, 1, users); got[1].Found {
		f.Fatalf("in incarnation 1: %+v", got)
	}
}

func claimKeepsTheCheckpoint(f *fixture) {
	f.flush(f.claim(3), 3, cp(50), Users(0, 5), same)
	for range 2 {
		l := f.claim(3)
		if c, found := l.Previous(); !found || !reflect.DeepEqual(c, cp(50)) {
			f.Fatalf("previous: %+v, %v", c, found)
		}
		f.want(l, Users(0, 5), 50, same)
		f.wantCheckpoint(3, cp(50))
	}
}

func epochsGrow(f *fixture) {
	var last int64
	for range 20 {
		epoch := f.claim(3).Epoch()
		if epoch <= last {
			f.Fatalf("epoch %d after %d", epoch, last)
		}
		last = epoch
	}
	// A stored epoch ahead of the clock is counted up, not gone behind.
	const ahead = "8000000000000000-0123456789abcdef"
	for key := range f.fences(3) {
		f.Set(f.T, key, ahead+":5:"+cp(9).String())
	}
	l := f.claim(3)
	if c, found := l.Previous(); l.Epoch() != 8000000000000001 || !found || !reflect.DeepEqual(c, cp(9)) {
		f.Fatalf("epoch %d, previous %+v %v", l.Epoch(), c, found)
	}
	f.flush(l, 3, cp(10), Users(0, 1), same)
}

func emptySnapshotMovesTheCheckpoint(f *fixture) {
	l := f.claim(3)
	f.flush(l, 3, cp(50), Users(0, 2), same)
	clean := cp(80)
	clean.Owner = ""
	f.flush(l, 3, clean, nil, same)
	f.wantCheckpoint(3, clean)
	f.want(l, Users(0, 2), 50, same)

	// Texts that could be taken for a part of the record.
	odd := state.Checkpoint{Offset: -1, Layout: "a b:c=d%", Incarnation: 4_294_967_295, Owner: "x owner=y horizon=1", Horizon: 0}
	f.flush(l, 3, odd, nil, same)
	f.wantCheckpoint(3, odd)
	if c, found := f.claim(3).Previous(); !found || !reflect.DeepEqual(c, odd) {
		f.Fatalf("previous: %+v, %v", c, found)
	}
}

func manyUsers(f *fixture) {
	l := f.claim(3)
	users := Users(1000, 25*ChunkKeysMax+1)
	f.flush(l, 3, cp(50), users, same)
	f.want(l, users, 50, same)
	f.wantCheckpoint(3, cp(50))

	// Exactly full writes, and a user who is asked for twice.
	exact := users[:3*ChunkKeysMax]
	f.flush(l, 3, cp(51), exact, func(u int64) int64 { return u + 1 })
	f.want(l, append(exact[:len(exact):len(exact)], exact[0]), 51, func(u int64) int64 { return u + 1 })
	f.want(l, users[len(exact):], 50, same)
}

func lanesAreApart(f *fixture) {
	three, four := f.claim(3), f.claim(4)
	f.flush(three, 3, cp(50), Users(0, 3), same)
	f.flush(four, 4, cp(90), Users(10, 3), same)
	f.want(three, Users(0, 3), 50, same)
	f.want(four, Users(10, 3), 90, same)
	f.wantCheckpoint(3, cp(50))
	f.wantCheckpoint(4, cp(90))
	var s state.Snapshot
	Fill(f, &s, 4, cp(51), Users(0, 1), same)
	if err := three.Flush(f.ctx, &s); err == nil {
		f.Fatal("lane 3 took a snapshot of lane 4")
	}
	f.want(three, Users(0, 1), 50, same)
	// A user belongs to one lane; the record of another one is no answer.
	f.wantCorrupt(four.Load(f.ctx, state.Takes{}, Users(0, 1), make([]state.Stored, 1)), "lane 3")
}

func loadAndFlushTogether(f *fixture) {
	l := f.claim(3)
	users := Users(0, 5*ChunkKeysMax)
	f.flush(l, 3, cp(1), users, same)
	var wg sync.WaitGroup
	wg.Go(func() {
		var s state.Snapshot
		for i := range int64(20) {
			Fill(f, &s, 3, cp(2+i), users, same)
			if err := l.Flush(f.ctx, &s); err != nil {
				f.Errorf("flush: %v", err)
				return
			}
		}
	})
	for range 20 {
		for i, got := range f.load(l, 0, users) {
			if want := State(f, users[i]); !got.Found || !got.State.Equal(&want) {
				f.Fatalf("user %d: %+v", users[i], got)
			}
		}
	}
	wg.Wait()
	f.want(l, users, 21, same)
}

func check(f *fixture) {
	if err := f.Open(f.T).Check(f.ctx); err != nil {
		f.Fatal(err)
	}
}

// inheritedRecordsAreFound checks that a record of another lane and incarnation counts where the reader says so, before
// all that the reader judges.
func inheritedRecordsAreFound(f *fixture) {
	users := Users(0, 3)
	f.flush(f.claim(3), 3, cp(50), users, same)
	l := f.claim(5)
	own := cp(20)
	own.Incarnation = 8
	f.flush(l, 5, own, users[2:], func(int64) int64 { return 99 })
	asked := map[int64]string{}
	out := make([]state.Stored, len(users))
	err := l.Load(f.ctx, state.Takes{Incarnation: 8, Inherits: func(user int64, lane int32, incarnation uint32) bool {
		asked[user] = fmt.Sprint(lane, " ", incarnation)
		return user == users[0]
	}}, users, out)
	if err != nil {
		f.Fatal(err)
	}
	if want := map[int64]string{users[0]: "3 0", users[1]: "3 0"}; !reflect.DeepEqual(asked, want) {
		f.Fatalf("asked for %v, want %v", asked, want)
	}
	first, last := State(f, users[0]), State(f, 99)
	if !out[0].Found || out[0].Tag != 0 || !out[0].State.Equal(&first) || out[1].Found || !out[2].Found || out[2].Tag != 20 || !out[2].State.Equal(&last) {
		f.Fatalf("got %+v", out)
	}
}

// lineageIsSwapped checks that of two who change it from the same text one succeeds.
func lineageIsSwapped(f *fixture) {
	store, other := f.Open(f.T), f.Open(f.T)
	want := func(text string) {
		f.Helper()
		if got, err := other.Lineage(f.ctx); err != nil || got != text {
			f.Fatalf("lineage %q, %v, want %q", got, err, text)
		}
	}
	want("")
	for _, step := range []struct {
		before, after string
		done          bool
	}{{"x", "a", false}, {"", "a", true}, {"", "b", false}, {"a", "b 2", true}, {"a", "c", false}, {"b 2", "{}", true}} {
		if done, err := store.SwapLineage(f.ctx, step.before, step.after); err != nil || done != step.done {
			f.Fatalf("%q to %q: %v, %v", step.before, step.after, done, err)
		}
	}
	want("{}")
	if text := f.Get(f.T, f.Keys+":{0}:lineage"); text != "{}" {
		f.Fatalf("stored as %q", text)
	}
	f.LoseReplies(true)
	_, err := store.SwapLineage(f.ctx, "{}", "unheard")
	f.LoseReplies(false)
	if err == nil || !state.Retriable(err) {
		f.Fatalf("without an answer: %v", err)
	}
	want("unheard") // carried out once: to ask again is the caller's
}

// writtenUntilClaimed checks that a checkpoint is told from one whose lane was claimed since.
func writtenUntilClaimed(f *fixture) {
	store := f.Open(f.T)
	want := func(written bool) {
		f.Helper()
		if c, ok, err := store.Written(f.ctx, 3); err != nil || ok != written || written && !reflect.DeepEqual(c, cp(50)) {
			f.Fatalf("%+v, %v, %v, want %v", c, ok, err, written)
		}
	}
	want(false)
	l := f.claim(3)
	want(false)
	f.flush(l, 3, cp(50), nil, same)
	want(true)
	l = f.claim(3)
	want(false)
	f.flush(l, 3, cp(50), nil, same)
	want(true)
}
