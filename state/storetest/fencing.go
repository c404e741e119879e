package storetest

import (
	"errors"
	"maps"
	"reflect"
	"strings"

	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// wantOver checks that a lane stays fenced, whatever is stored.
func (f *fixture) wantOver(l state.Lane) {
	f.Helper()
	var s state.Snapshot
	Fill(f, &s, 3, cp(99), nil, same)
	f.wantFenced(l.Flush(f.ctx, &s), "")
	f.wantFenced(l.Load(f.ctx, state.Takes{}, Users(0, 1), make([]state.Stored, 1)), "")
}

func newerClaimFencesFlush(f *fixture) {
	old := f.claim(3)
	f.flush(old, 3, cp(50), Users(0, 5), same)
	l := f.claim(3)
	before := f.fences(3)
	var s state.Snapshot
	Fill(f, &s, 3, cp(60), Users(0, 30), func(u int64) int64 { return u + 1 })
	f.wantFenced(old.Flush(f.ctx, &s), "a newer owner")
	f.wantOver(old)
	f.want(l, Users(0, 5), 50, same)
	f.wantAbsent(l, Users(5, 25))
	if now := f.fences(3); !maps.Equal(now, before) {
		f.Fatalf("the fenced flush changed %v to %v", before, now)
	}
	f.flush(l, 3, cp(60), Users(0, 5), same)
}

func newerClaimFencesLoad(f *fixture) {
	old := f.claim(3)
	f.flush(old, 3, cp(50), Users(0, 5), same)
	l := f.claim(3)
	f.wantFenced(old.Load(f.ctx, state.Takes{}, Users(0, 5), make([]state.Stored, 5)), "a newer owner")
	f.wantOver(old)
	f.want(l, Users(0, 5), 50, same)
}

// wiped returns a lane whose data is gone.
func (f *fixture) wiped() state.Lane {
	f.Helper()
	l := f.claim(3)
	f.flush(l, 3, cp(50), Users(0, 1), same)
	f.Set(f.T, f.userKey(0), "")
	for key := range f.fences(3) {
		f.Set(f.T, key, "")
	}
	return l
}

func wipeFencesFlush(f *fixture) {
	l := f.wiped()
	var s state.Snapshot
	Fill(f, &s, 3, cp(60), Users(0, 5), same)
	f.wantFenced(l.Flush(f.ctx, &s), "gone")
	f.wantOver(l)
	f.wantAbsent(f.claim(3), Users(0, 5))
}

func wipeFencesLoad(f *fixture) {
	l := f.wiped()
	f.wantFenced(l.Load(f.ctx, state.Takes{}, Users(0, 5), make([]state.Stored, 5)), "gone")
	f.wantOver(l)
}

// wentBack returns a lane whose data is that of its first flush, although a
// second one was acknowledged. The epoch is still its own.
func (f *fixture) wentBack() state.Lane {
	f.Helper()
	l := f.claim(3)
	f.flush(l, 3, cp(50), Users(0, 1), same)
	copied := f.fences(3)
	copied[f.userKey(0)] = f.Get(f.T, f.userKey(0))
	f.flush(l, 3, cp(60), Users(0, 1), func(int64) int64 { return 9 })
	f.restore(copied)
	return l
}

func olderCopyFencesFlush(f *fixture) {
	l := f.wentBack()
	var s state.Snapshot
	Fill(f, &s, 3, cp(70), Users(0, 5), func(int64) int64 { return 11 })
	f.wantFenced(l.Flush(f.ctx, &s), "went back in time")
	f.wantOver(l)
	f.wantCheckpoint(3, cp(50))
	f.want(f.claim(3), Users(0, 1), 50, same)
}

func olderCopyFencesLoad(f *fixture) {
	l := f.wentBack()
	f.wantFenced(l.Load(f.ctx, state.Takes{}, Users(0, 1), make([]state.Stored, 1)), "went back in time: write 1 stands there, 2")
	f.wantOver(l)
}

func olderEpochFences(f *fixture) {
	f.flush(f.claim(3), 3, cp(50), nil, same)
	copied := f.fences(3)
	reader, writer := f.claim(3), f.claim(3)
	f.restore(copied)
	f.wantFenced(reader.Load(f.ctx, state.Takes{}, Users(0, 1), make([]state.Stored, 1)), "went back in time")
	var s state.Snapshot
	Fill(f, &s, 3, cp(60), nil, same)
	f.wantFenced(writer.Flush(f.ctx, &s), "went back in time")
	f.wantCheckpoint(3, cp(50))
}

// twins returns two lanes that were claimed one after the other with the same epoch:
// the server lost the first claim, and gave its number again. Each has made one
// write; the record that stands is the second's.
func (f *fixture) twins() (first, second state.Lane) {
	f.Helper()
	// Ahead of every clock, so that the epoch is the stored one plus one.
	for key := range f.fences(3) {
		f.Set(f.T, key, "8000000000000000-0123456789abcdef:5:"+cp(9).String())
	}
	before := f.fences(3)
	first = f.claim(3)
	f.flush(first, 3, cp(10), Users(0, 3), same)
	f.restore(before)
	second = f.claim(3)
	if first.Epoch() != second.Epoch() {
		f.Fatalf("epochs %d and %d: the test wants them to be the same", first.Epoch(), second.Epoch())
	}
	f.flush(second, 3, cp(20), Users(0, 3), func(u int64) int64 { return u + 1 })
	return first, second
}

func sameEpochTwiceFencesFlush(f *fixture) {
	first, second := f.twins()
	before := f.fences(3)
	var s state.Snapshot
	Fill(f, &s, 3, cp(15), Users(0, 3), func(u int64) int64 { return u + 2 })
	f.wantFenced(first.Flush(f.ctx, &s), "another")
	f.wantOver(first)
	if now := f.fences(3); !maps.Equal(now, before) {
		f.Fatalf("the fenced flush changed %v to %v", before, now)
	}
	f.want(second, Users(0, 3), 20, func(u int64) int64 { return u + 1 })
	f.flush(second, 3, cp(30), Users(0, 3), same)
	f.want(second, Users(0, 3), 30, same)
}

func sameEpochTwiceFencesLoad(f *fixture) {
	first, second := f.twins()
	f.wantFenced(first.Load(f.ctx, state.Takes{}, Users(0, 3), make([]state.Stored, 3)), "another claim")
	f.wantOver(first)
	f.want(second, Users(0, 3), 20, func(u int64) int64 { return u + 1 })
}

func lostRepliesApplyOnce(f *fixture) {
	l := f.claim(3)
	users := Users(0, 3*ChunkKeysMax)
	f.flush(l, 3, cp(50), users, same)
	var s state.Snapshot
	Fill(f, &s, 3, cp(60), users, func(u int64) int64 { return u + 1 })
	f.LoseReplies(true)
	for range 2 {
		if err := l.Flush(f.ctx, &s); !state.Retriable(err) {
			f.Fatalf("flush without replies: %v", err)
		}
	}
	f.LoseReplies(false)
	if err := l.Flush(f.ctx, &s); err != nil {
		f.Fatal(err)
	}
	writes := f.fences(3)
	f.want(l, users, 60, func(u int64) int64 { return u + 1 })
	f.wantCheckpoint(3, cp(60))
	// The numbers are those of two flushes without any fault.
	other := f.claim(4)
	f.flush(other, 4, cp(50), Users(0, len(users)), same)
	f.flush(other, 4, cp(60), Users(0, len(users)), same)
	for shard := range f.Shards {
		got, want := writes[f.fenceKey(shard, 3)], f.Get(f.T, f.fenceKey(shard, 4))
		if strings.Split(got, ":")[1] != strings.Split(want, ":")[1] {
			f.Fatalf("shard %d: fence record %q, want the number of %q", shard, got, want)
		}
	}
}

func checkpointComesLast(f *fixture) {
	l := f.claim(3)
	users := Users(0, 5*ChunkKeysMax*f.Shards)
	f.flush(l, 3, cp(50), users, same)
	changed := func(u int64) int64 { return u + 1 }
	var s state.Snapshot
	Fill(f, &s, 3, cp(60), users, changed)
	f.CutWrites(2)
	if err := l.Flush(f.ctx, &s); !state.Retriable(err) {
		f.Fatalf("flush with a cut: %v", err)
	}
	// Exactly two writes arrived, in the order of the snapshot; M did not move.
	newer := 0
	for i, got := range f.load(l, 0, users) {
		seed := users[i]
		if got.Tag == 60 {
			newer++
			seed = changed(users[i])
		}
		if want := State(f, seed); !got.Found || got.Tag != 50 && got.Tag != 60 || !got.State.Equal(&want) {
			f.Fatalf("user %d: %+v", users[i], got)
		}
	}
	if newer != 2*ChunkKeysMax {
		f.Fatalf("%d users are written, want %d", newer, 2*ChunkKeysMax)
	}
	f.wantCheckpoint(3, cp(50))
	f.CutWrites(-1)
	if err := l.Flush(f.ctx, &s); err != nil {
		f.Fatal(err)
	}
	f.want(l, users, 60, changed)
	f.wantCheckpoint(3, cp(60))
}

func oneSnapshotAtATime(f *fixture) {
	l := f.claim(3)
	users := Users(0, 3*ChunkKeysMax)
	var s, other state.Snapshot
	Fill(f, &s, 3, cp(50), users, same)
	Fill(f, &other, 3, cp(50), users, same)
	f.CutWrites(1)
	if err := l.Flush(f.ctx, &s); !state.Retriable(err) {
		f.Fatalf("flush with a cut: %v", err)
	}
	f.CutWrites(-1)
	if err := l.Flush(f.ctx, &other); !errors.Is(err, state.ErrPending) {
		f.Fatalf("flush of another snapshot: %v", err)
	}
	if err := l.Flush(f.ctx, &s); err != nil {
		f.Fatal(err)
	}
	f.want(l, users, 50, same)

	Fill(f, &s, 3, cp(60), users, same)
	f.CutWrites(1)
	if err := l.Flush(f.ctx, &s); !state.Retriable(err) {
		f.Fatalf("flush with a cut: %v", err)
	}
	f.CutWrites(-1)
	Fill(f, &s, 3, cp(60), users, same)
	if err := l.Flush(f.ctx, &s); !errors.Is(err, state.ErrPending) {
		f.Fatalf("flush of a snapshot that was filled anew: %v", err)
	}
	// A new claim is the way out, and may use the snapshot.
	l = f.claim(3)
	if err := l.Flush(f.ctx, &s); err != nil {
		f.Fatal(err)
	}
	f.want(l, users, 60, same)
}

func invalidStateIsNotWritten(f *fixture) {
	l := f.claim(3)
	f.flush(l, 3, cp(50), Users(0, 2), same)
	before := f.fences(3)
	invalid := State(f, 1)
	invalid.Types[0].Series[0].Buckets[1].Time = invalid.Types[0].Series[0].Buckets[0].Time
	valid := State(f, 1)
	for name, add := range map[string]func(s *state.Snapshot){
		"buckets":   func(s *state.Snapshot) { s.Add(1, 60, &invalid) },
		"tag 61":    func(s *state.Snapshot) { s.Add(1, 61, &valid) },
		"tag -1":    func(s *state.Snapshot) { s.Add(1, -1, &valid) },
		"8 amounts": func(s *state.Snapshot) { s.Add(1, 60, &rules.UserState{Types: []rules.TypeState{{Rising: 8}}}) },
	} {
		var s state.Snapshot
		s.Reset(3, types, cp(60))
		s.Add(0, 60, &valid)
		add(&s)
		if err := l.Flush(f.ctx, &s); !errors.Is(err, state.ErrCorrupt) || !strings.Contains(err.Error(), "user 1") {
			f.Fatalf("%s: flush: %v", name, err)
		}
	}
	var s state.Snapshot
	s.Reset(3, types, state.Checkpoint{Offset: -2})
	f.wantCorrupt(l.Flush(f.ctx, &s), "-2")
	if now := f.fences(3); !maps.Equal(now, before) {
		f.Fatalf("fence records changed from %v to %v", before, now)
	}
	f.want(l, Users(0, 2), 50, same)
	// The lane is not spent by it.
	f.flush(l, 3, cp(60), Users(0, 2), same)
}

func corruptRecord(f *fixture) {
	l := f.claim(3)
	f.flush(l, 3, cp(50), Users(0, 2), same)
	key := f.userKey(1)
	good := f.Get(f.T, key)
	for name, bytes := range map[string]string{
		"version": "\xff" + good[1:],
		"cut":     good[:len(good)-1],
		"longer":  good + "\x00",
		"text":    "hello",
	} {
		f.Set(f.T, key, bytes)
		err := l.Load(f.ctx, state.Takes{}, Users(0, 2), make([]state.Stored, 2))
		if !errors.Is(err, state.ErrCorrupt) || !strings.Contains(err.Error(), "user 1") {
			f.Fatalf("%s: load: %v", name, err)
		}
	}
	f.Set(f.T, key, good)
	f.want(l, Users(0, 2), 50, same)
}

func corruptFence(f *fixture) {
	l := f.claim(3)
	f.flush(l, 3, cp(50), Users(0, 1), same)
	good := f.Get(f.T, f.fenceKey(0, 3))
	const token = "-0123456789abcdef"
	const owner = "12" + token
	for _, text := range []string{
		"hello", "12", "12:1:", owner, owner + ":", owner + ":x:", ":1:", "0" + token + ":1:", "-4" + token + ":1:", "9007199254740993" + token + ":1:",
		"12-:1:", "12-0123456789abcde:1:", "12-0123456789ABCDEF:1:", "12-0123456789abcdefg:1:",
		owner + ":1:hello", owner + ":1:v2" + strings.SplitN(good, ":v1", 2)[1], good + " ", strings.Replace(good, "horizon=60", "horizon=060", 1),
	} {
		f.Set(f.T, f.fenceKey(0, 3), text)
		_, _, err := f.Open(f.T).Peek(f.ctx, 3)
		f.wantCorrupt(err, f.fenceKey(0, 3))
		_, err = f.Open(f.T).Claim(f.ctx, 3)
		f.wantCorrupt(err, f.fenceKey(0, 3))
	}
	if _, err := f.Open(f.T).Claim(f.ctx, -1); err == nil {
		f.Fatal("lane -1 was claimed")
	}
}

func lostShard(f *fixture) {
	l := f.claim(3)
	f.flush(l, 3, cp(50), Users(0, 100), same)
	f.Set(f.T, f.fenceKey(f.Shards-1, 3), "")
	if f.Shards == 1 {
		if c, found := f.claim(3).Previous(); found {
			f.Fatalf("previous: %+v", c)
		}
		return
	}
	// A part of the states may be lost: the rest of the checkpoint stays known.
	want := cp(50)
	want.Offset = -1
	f.wantCheckpoint(3, want)
	next := f.claim(3)
	if c, found := next.Previous(); !found || !reflect.DeepEqual(c, want) {
		f.Fatalf("previous: %+v, %v; want %+v", c, found, want)
	}
	f.wantOver(l)
	f.flush(next, 3, cp(60), nil, same)
	f.wantCheckpoint(3, cp(60))
}
