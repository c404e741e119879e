package consumertest

import (
	"slices"
	"testing"

	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// TestRedisUsers lists the users that a store has written, and those of no other group, nor a lane's fence record.
func TestRedisUsers(t *testing.T) {
	addr := Redis(t)
	group := Topic(t, "group*[?") // what means something to a pattern is a part of the name
	for _, g := range []string{group, Topic(t, "group-other")} {
		o := state.DefaultRedisOptions()
		o.Addrs, o.Group = []string{addr}, g
		store, err := state.NewRedis(o)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		owned, err := store.Claim(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		users := []int64{0, 17, 1<<63 - 1}
		if g != group {
			users = []int64{18}
		}
		var snapshot state.Snapshot
		snapshot.Reset(3, o.Types, state.Checkpoint{Offset: 9, Incarnation: 1})
		for _, user := range users {
			snapshot.Add(user, 5, new(rules.UserState))
		}
		if err := owned.Flush(t.Context(), &snapshot); err != nil {
			t.Fatal(err)
		}
	}
	var got []int64
	for user, err := range RedisUsers(t.Context(), addr, "lapwing", group) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, user)
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, []int64{0, 17, 1<<63 - 1}) {
		t.Errorf("users %v", got)
	}
	for _, err := range RedisUsers(t.Context(), "127.0.0.1:1", "lapwing", group) {
		if err == nil {
			t.Error("no Redis, no error")
		}
	}
}
