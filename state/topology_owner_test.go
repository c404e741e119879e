package state_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lapwing/lapwing/state"
	"github.com/lapwing/lapwing/state/storetest"
)

// owner is the owner of lane 3 as an engine is one: it flushes what it has committed, repeats what fails, and claims anew and
// replays when it is fenced. The event at offset o is of user o modulo their number, and makes the state that o+1 stands for,
// so that what has to be stored follows from the offsets alone.
type owner struct {
	t     *testing.T
	ctx   context.Context
	store *state.Redis
	lane  state.Lane
	users []int64

	committed int64 // C
	stored    int64 // M, as acknowledged
	snapshot  state.Snapshot
	retries   int
	fences    []error
}

// newOwner claims the lane, of which so many events are committed.
func newOwner(t *testing.T, o state.RedisOptions, users int, committed int64) *owner {
	t.Helper()
	o.ChunkKeysMax = storetest.ChunkKeysMax
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	w := &owner{t: t, ctx: ctx, store: openRedis(t, o), users: storetest.Users(0, users), committed: committed}
	w.claim()
	return w
}

// tag returns the tag of a user as of an offset: 0 where none of its events is below it.
func (w *owner) tag(user, offset int64) int64 {
	n := int64(len(w.users))
	if offset <= user {
		return 0
	}
	return (offset-1-user)/n*n + user + 1
}

// insist repeats what fails in passing, and returns any other error.
func (w *owner) insist(call func(ctx context.Context) error) error {
	w.t.Helper()
	for {
		err := call(w.ctx)
		if !state.Retriable(err) {
			return err
		}
		if w.ctx.Err() != nil {
			w.t.Fatalf("does not pass: %v", err)
		}
		w.retries++
		time.Sleep(20 * time.Millisecond) // as an engine waits before the next try
	}
}

// claim claims the lane, checks that what is stored is true and complete as of the checkpoint, and replays.
func (w *owner) claim() {
	w.t.Helper()
	if err := w.insist(func(ctx context.Context) (err error) {
		w.lane, err = w.store.Claim(ctx, 3)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	previous, _ := w.lane.Previous()
	w.stored = max(previous.Offset, 0)
	if w.stored > w.committed {
		w.t.Fatalf("the checkpoint %d is ahead of what was committed, %d", w.stored, w.committed)
	}
	if err := w.load(w.stored); err != nil {
		w.fenced(err)
		return
	}
	w.flush()
}

// load reads all users: each has a committed state, true as of its tag, which covers every event below an offset.
func (w *owner) load(covered int64) error {
	w.t.Helper()
	out := make([]state.Stored, len(w.users))
	if err := w.insist(func(ctx context.Context) error {
		clear(out)
		return w.lane.Load(ctx, state.Takes{}, w.users, out)
	}); err != nil {
		return err
	}
	for i, got := range out {
		user := w.users[i]
		least := w.tag(user, covered)
		if !got.Found && least == 0 {
			continue
		}
		want := storetest.State(w.t, got.Tag)
		if got.Tag < least || got.Tag > w.tag(user, w.committed) || !got.State.Equal(&want) {
			w.t.Fatalf("user %d: tag %d, found %v, want from %d to %d and the state of its tag", user, got.Tag, got.Found, least, w.tag(user, w.committed))
		}
	}
	return nil
}

// commit commits so many further events, writes their states, and reads all.
func (w *owner) commit(events int64) {
	w.t.Helper()
	w.committed += events
	w.flush()
	if err := w.load(w.stored); err != nil {
		w.fenced(err)
	}
}

// flush writes the states that the events from M to C have changed.
func (w *owner) flush() {
	w.t.Helper()
	w.snapshot.Reset(3, state.DefaultRedisOptions().Types, state.Checkpoint{Offset: w.committed, Layout: "f", Owner: "o"})
	for _, user := range w.users {
		if tag := w.tag(user, w.committed); tag > w.stored {
			st := storetest.State(w.t, tag)
			w.snapshot.Add(user, tag, &st)
		}
	}
	if err := w.insist(func(ctx context.Context) error { return w.lane.Flush(ctx, &w.snapshot) }); err != nil {
		w.fenced(err)
		return
	}
	w.stored = w.committed
}

// fenced takes the end of the lane, and of nothing else, and claims it anew.
func (w *owner) fenced(err error) {
	w.t.Helper()
	if !errors.Is(err, state.ErrFenced) {
		w.t.Fatal(err)
	}
	w.fences = append(w.fences, err)
	w.claim()
}

// verify checks by another store that all that was committed is stored.
func (w *owner) verify(o state.RedisOptions) {
	w.t.Helper()
	store := openRedis(w.t, o)
	c, found, err := store.Peek(w.ctx, 3)
	if err != nil || !found || c.Offset != w.committed {
		w.t.Fatalf("checkpoint %+v, %v, %v; want %d", c, found, err, w.committed)
	}
	for _, user := range w.users {
		got, _, err := store.Record(w.ctx, user)
		want := storetest.State(w.t, got.Tag)
		if err != nil || got.Tag != w.tag(user, w.committed) || !got.State.Equal(&want) {
			w.t.Fatalf("user %d: %+v, %v; want tag %d", user, got, err, w.tag(user, w.committed))
		}
	}
}

// during commits events until something is over, and some more.
func (w *owner) during(do func()) {
	w.t.Helper()
	over := make(chan struct{})
	go func() {
		defer close(over) // also if do fails the test, which ends its goroutine only
		do()
	}()
	rounds := 0
	for {
		w.commit(int64(len(w.users)/3 + 1))
		rounds++
		select {
		case <-over:
			for range 5 {
				w.commit(7)
			}
			w.t.Logf("%d flushes and loads meanwhile, %d sent again, fenced %d times", rounds, w.retries, len(w.fences))
			return
		default:
		}
	}
}
