package sim

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Seeds of CI: two rows, so that each fault is planned four times, each time among others.
const (
	ciFirst = 0
	ciCount = 2 * spread
)

// TestSeeds runs the fixed seeds of CI. None may fail, and together they must have met every fault of the table and
// every happening.
func TestSeeds(t *testing.T) {
	if testing.Short() {
		t.Skip("runs eighty simulations; left out by -short")
	}
	fired := map[cell]int{}
	happened := map[happening]int{}
	events := 0
	var longest time.Duration
	RunAll(t.Context(), ciFirst, ciCount, 1, DefaultParallel, func(r Result) {
		if r.Err != nil {
			t.Errorf("seed %d: %v\n\trepeat: make sim ARGS=\"--seeds %d:1 --repeat 20\"", r.Seed, r.Err, r.Seed)
		}
		events += r.Events
		longest = max(longest, r.Took)
		for c, n := range r.fired {
			fired[c] += n
		}
		for _, h := range r.happenings {
			happened[h]++
		}
	})
	t.Logf("%d events, the longest run took %v", events, longest)
	for _, c := range table() {
		if fired[c] == 0 {
			t.Errorf("no seed met: %v", c)
		}
	}
	for h := range happeningsEnd {
		if happened[h] == 0 {
			t.Errorf("no seed had: %v", h)
		}
	}
}
