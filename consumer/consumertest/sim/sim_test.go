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
	events, grown, stopped, repartitioned, several := 0, 0, 0, 0, 0
	var longest time.Duration
	RunAll(t.Context(), ciFirst, ciCount, 1, DefaultParallel, func(r Result) {
		if r.Err != nil {
			t.Errorf("seed %d: %v\n\trepeat: make sim ARGS=\"--seeds %d:1 --repeat 20\"", r.Seed, r.Err, r.Seed)
		}
		events += r.Events
		longest = max(longest, r.Took)
		for _, c := range []struct {
			had bool
			n   *int
		}{
			{r.settings.changes.grow > 0, &grown}, {r.settings.changes.stopped, &stopped},
			{r.settings.changes.repartition > 0, &repartitioned}, {len(r.settings.inputs) > 1, &several},
		} {
			if c.had {
				*c.n++
			}
		}
		for c, n := range r.fired {
			fired[c] += n
		}
		for _, h := range r.happenings {
			happened[h]++
		}
	})
	t.Logf("%d events, the longest run took %v", events, longest)
	if grown == 0 || stopped == 0 || repartitioned == 0 || several == 0 {
		t.Errorf("%d seeds grew, %d of them stopped, %d changed the partitioner, %d had several inputs", grown, stopped, repartitioned, several)
	}
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
