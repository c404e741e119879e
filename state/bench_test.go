package state_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
	"github.com/lapwing/lapwing/state/storetest"
)

// benchLane claims a lane for a benchmark, in a group of its own that is deleted
// afterwards, and fills a snapshot with n users.
func benchLane(b *testing.B, n int) (state.Lane, []int64, *state.Snapshot) {
	o := redisOptions(sharedRedis(b))
	o.Prefix, o.Group = "lapwing-test", fmt.Sprintf("b%016x", rand.Uint64())
	l, err := openRedis(b, o).Claim(b.Context(), 3)
	if err != nil {
		b.Fatal(err)
	}
	outside := redis.NewClient(&redis.Options{Addr: o.Addrs[0]})
	b.Cleanup(func() {
		deleteKeys(b, outside, o.Prefix+":"+o.Group+":*")
		_ = outside.Close()
	})
	users := storetest.Users(1, n)
	states := make([]rules.UserState, n)
	s := new(state.Snapshot)
	s.Reset(3, o.Types, state.Checkpoint{Offset: 1_000_000})
	for i, user := range users {
		states[i] = storetest.State(b, user)
		s.Add(user, 1_000_000, &states[i])
	}
	return l, users, s
}

// sizes are numbers of users in one call.
var sizes = []int{1, 1000, 20_000}

// perSecond reports how many keys went through in a second.
func perSecond(b *testing.B, keys int) {
	b.ReportMetric(float64(keys)*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
}

func BenchmarkFlush(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("users=%d", n), func(b *testing.B) {
			l, _, s := benchLane(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Flush(b.Context(), s); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, n)
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("users=%d", n), func(b *testing.B) {
			l, users, s := benchLane(b, n)
			if err := l.Flush(b.Context(), s); err != nil {
				b.Fatal(err)
			}
			out := make([]state.Stored, n)
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Load(b.Context(), state.Takes{}, users, out); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, n)
		})
	}
}
