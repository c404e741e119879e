package storetest

import (
	"fmt"
	"testing"

	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// State returns a valid state that depends on the seed alone: two types, a few
// buckets, a rising run.
func State(t testing.TB, seed int64) rules.UserState {
	t.Helper()
	amount := func(cents int64) rules.Amount {
		a, err := rules.ParseAmount(fmt.Appendf(nil, "%d.%02d", 1+cents/100, cents%100))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	at := rules.Time(1_700_000_000 + seed)
	return rules.UserState{
		RunType: rules.Type(seed & 1), RunLength: uint64(seed)%5 + 1,
		Types: []rules.TypeState{
			{
				Type: 0, Latest: at, Rising: 2, Last: []rules.Amount{amount(seed), amount(seed + 1)},
				Series: []rules.Series{{Resolution: 1, Buckets: []rules.Bucket{
					{Time: at - 7, Sum: amount(seed), Count: 1},
					{Time: at, Sum: amount(seed + 1), Count: 1},
				}}},
			},
			{
				Type: 1, Latest: at - 3, Rising: 1, Last: []rules.Amount{amount(3 * seed)},
				Series: []rules.Series{{Resolution: 1, Buckets: []rules.Bucket{{Time: at - 3, Sum: amount(9 * seed), Count: 3}}}},
			},
		},
	}
}

// Fill resets a snapshot and adds the user states that the seeds stand for, each
// with the checkpoint's offset as its tag.
func Fill(t testing.TB, s *state.Snapshot, lane int32, cp state.Checkpoint, users []int64, seed func(user int64) int64) {
	t.Helper()
	s.Reset(lane, types, cp)
	for _, user := range users {
		st := State(t, seed(user))
		s.Add(user, cp.Offset, &st)
	}
}

// Users returns the users from first to first+n-1.
func Users(first int64, n int) []int64 {
	users := make([]int64, n)
	for i := range users {
		users[i] = first + int64(i)
	}
	return users
}

// types is the table that the stores of the suite are configured with.
var types = rules.DefaultTypes()
