package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/state"
)

// ChunkKeysMax is the number of users in one write that the stores of the suite
// are configured with, so that a few users make several.
const ChunkKeysMax = 10

// Backend is a place where stores keep their data. It is empty at first.
type Backend struct {
	// Open returns a further store on the same data, configured with the default
	// types and ChunkKeysMax. The backend closes it at the end of the test.
	Open func(t *testing.T) state.Store

	// Keys is "<prefix>:<group>", and Shards the number of shards of the stores.
	Keys   string
	Shards int

	// Get and Set look at the stored keys from outside; "" is an absent key.
	Get func(t *testing.T, key string) string
	Set func(t *testing.T, key, value string)

	// LoseReplies makes the backend carry out what it is told and lose the replies.
	LoseReplies func(on bool)

	// CutWrites lets only so many further writes reach the backend, and fails what
	// comes after them. -1: no limit.
	CutWrites func(after int)
}

// Run runs the suite. Each test gets a backend of its own.
func Run(t *testing.T, open func(t *testing.T) Backend) {
	for _, test := range []struct {
		name string
		run  func(f *fixture)
	}{
		{"FirstClaimFindsNothing", firstClaimFindsNothing},
		{"FlushedStatesAreVisible", flushedStatesAreVisible},
		{"KeysAreAsDocumented", keysAreAsDocumented},
		{"OtherIncarnationsAreAbsent", otherIncarnationsAreAbsent},
		{"InheritedRecordsAreFound", inheritedRecordsAreFound},
		{"LineageIsSwapped", lineageIsSwapped},
		{"WrittenUntilClaimed", writtenUntilClaimed},
		{"ClaimKeepsTheCheckpoint", claimKeepsTheCheckpoint},
		{"EpochsGrow", epochsGrow},
		{"EmptySnapshotMovesTheCheckpoint", emptySnapshotMovesTheCheckpoint},
		{"ManyUsers", manyUsers},
		{"LanesAreApart", lanesAreApart},
		{"LoadAndFlushTogether", loadAndFlushTogether},
		{"NewerClaimFencesFlush", newerClaimFencesFlush},
		{"NewerClaimFencesLoad", newerClaimFencesLoad},
		{"WipeFencesFlush", wipeFencesFlush},
		{"WipeFencesLoad", wipeFencesLoad},
		{"OlderCopyFencesFlush", olderCopyFencesFlush},
		{"OlderCopyFencesLoad", olderCopyFencesLoad},
		{"OlderEpochFences", olderEpochFences},
		{"SameEpochTwiceFencesFlush", sameEpochTwiceFencesFlush},
		{"SameEpochTwiceFencesLoad", sameEpochTwiceFencesLoad},
		{"LostRepliesApplyOnce", lostRepliesApplyOnce},
		{"CheckpointComesLast", checkpointComesLast},
		{"OneSnapshotAtATime", oneSnapshotAtATime},
		{"InvalidStateIsNotWritten", invalidStateIsNotWritten},
		{"CorruptRecord", corruptRecord},
		{"CorruptFence", corruptFence},
		{"LostShard", lostShard},
		{"Check", check},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			test.run(&fixture{T: t, Backend: open(t), ctx: ctx})
		})
	}
}

// fixture is what a test of the suite works with.
type fixture struct {
	*testing.T
	Backend
	ctx context.Context
}

// claim claims a lane by a store of its own, as another process does.
func (f *fixture) claim(number int32) state.Lane {
	f.Helper()
	l, err := f.Open(f.T).Claim(f.ctx, number)
	if err != nil {
		f.Fatalf("claim lane %d: %v", number, err)
	}
	return l
}

// cp returns a checkpoint of the first incarnation.
func cp(offset int64) state.Checkpoint {
	return state.Checkpoint{Offset: offset, Layout: "5f3a21", Owner: "lapwing-0", Horizon: 60}
}

// same is the seed function of users whose states are told apart by id alone.
func same(user int64) int64 { return user }

// flush writes users with the states of seed, and must succeed.
func (f *fixture) flush(l state.Lane, number int32, c state.Checkpoint, users []int64, seed func(int64) int64) {
	f.Helper()
	var s state.Snapshot
	Fill(f, &s, number, c, users, seed)
	if err := l.Flush(f.ctx, &s); err != nil {
		f.Fatalf("flush: %v", err)
	}
}

// load reads users and must succeed.
func (f *fixture) load(l state.Lane, incarnation uint32, users []int64) []state.Stored {
	f.Helper()
	out := make([]state.Stored, len(users))
	if err := l.Load(f.ctx, state.Takes{Incarnation: incarnation}, users, out); err != nil {
		f.Fatalf("load: %v", err)
	}
	return out
}

// want checks that users are stored with this tag and the states of seed.
func (f *fixture) want(l state.Lane, users []int64, tag int64, seed func(int64) int64) {
	f.Helper()
	for i, got := range f.load(l, 0, users) {
		expected := State(f, seed(users[i]))
		if !got.Found || got.Tag != tag || !got.State.Equal(&expected) {
			f.Fatalf("user %d: got %+v, want tag %d and %+v", users[i], got, tag, expected)
		}
	}
}

// wantAbsent checks that users are not stored.
func (f *fixture) wantAbsent(l state.Lane, users []int64) {
	f.Helper()
	for i, got := range f.load(l, 0, users) {
		if got.Found || len(got.State.Types) > 0 {
			f.Fatalf("user %d: got %+v, want nothing", users[i], got)
		}
	}
}

// wantCheckpoint checks what Peek finds.
func (f *fixture) wantCheckpoint(number int32, want state.Checkpoint) {
	f.Helper()
	got, found, err := f.Open(f.T).Peek(f.ctx, number)
	if err != nil || !found || !reflect.DeepEqual(got, want) {
		f.Fatalf("peek at lane %d: %+v, %v, %v; want %+v", number, got, found, err, want)
	}
}

// wantFenced checks that an error ends the lane and names it.
func (f *fixture) wantFenced(err error, detail string) {
	f.Helper()
	if !errors.Is(err, state.ErrFenced) || state.Retriable(err) {
		f.Fatalf("got %v, want ErrFenced", err)
	}
	if !strings.Contains(err.Error(), detail) || !strings.Contains(err.Error(), "lane 3") {
		f.Fatalf("%q does not say %q and lane 3", err, detail)
	}
}

// wantCorrupt checks for ErrCorrupt with a text.
func (f *fixture) wantCorrupt(err error, detail string) {
	f.Helper()
	if !errors.Is(err, state.ErrCorrupt) || state.Retriable(err) || !strings.Contains(err.Error(), detail) {
		f.Fatalf("got %v, want ErrCorrupt with %q", err, detail)
	}
}

// fenceKey returns the key of a lane's fence record.
func (f *fixture) fenceKey(shard int, lane int32) string {
	return fmt.Sprintf("%s:{%d}:lane:%d", f.Keys, shard, lane)
}

// userKey finds the key of a stored user: it is in exactly one shard.
func (f *fixture) userKey(user int64) string {
	f.Helper()
	var keys []string
	for shard := range f.Shards {
		if key := fmt.Sprintf("%s:{%d}:u:%d", f.Keys, shard, user); f.Get(f.T, key) != "" {
			keys = append(keys, key)
		}
	}
	if len(keys) != 1 {
		f.Fatalf("user %d is stored as %q, want one key", user, keys)
	}
	return keys[0]
}

// fences returns the fence records of a lane.
func (f *fixture) fences(lane int32) map[string]string {
	f.Helper()
	fences := map[string]string{}
	for shard := range f.Shards {
		key := f.fenceKey(shard, lane)
		fences[key] = f.Get(f.T, key)
	}
	return fences
}

// restore puts keys back to earlier values, as an older copy of the data does.
func (f *fixture) restore(values map[string]string) {
	f.Helper()
	for key, value := range values {
		f.Set(f.T, key, value)
	}
}
