package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/lapwing/lapwing/consumer/contract"
)

// changes are those of the layout, each before a piece of the load; 0: never.
type changes struct {
	grow    int   // the inputs get more partitions
	by      int32 // how many
	again   int   // and one more
	stopped bool  // the first time while no member runs, from the piece before on: a backlog is left in the old partitions

	repartition int                     // all members are restarted, one by one, with another partitioner
	partitioner [2]contract.Partitioner // before and after
}

// drawChanges draws changes for about half of the seeds.
func drawChanges(rng *rand.Rand) changes {
	var c changes
	if rng.IntN(3) == 0 {
		c.grow, c.by, c.stopped = 2+rng.IntN(pieces-3), 1+rng.Int32N(3), rng.IntN(4) == 0
		if rng.IntN(4) == 0 {
			c.again = c.grow + 1 + rng.IntN(pieces-c.grow-1)
		}
	}
	if rng.IntN(5) == 0 {
		c.repartition = 1 + rng.IntN(pieces-1)
		c.partitioner = pick(rng, [2]contract.Partitioner{contract.Murmur2, contract.CRC32}, [2]contract.Partitioner{contract.FNV1a, contract.Murmur2},
			[2]contract.Partitioner{contract.Murmur2, contract.FNV1a})
	}
	return c
}

// any reports whether the layout changes.
func (c changes) any() bool { return c.grow > 0 || c.repartition > 0 }

// String gives them in a few words.
func (c changes) String() string {
	var parts []string
	if c.grow > 0 {
		parts = append(parts, fmt.Sprintf("grows by %d before piece %d (members stopped %t)", c.by, c.grow, c.stopped))
	}
	if c.again > 0 {
		parts = append(parts, "by 1 more before piece "+strconv.Itoa(c.again))
	}
	if c.repartition > 0 {
		parts = append(parts, fmt.Sprintf("%v becomes %v before piece %d", c.partitioner[0], c.partitioner[1], c.repartition))
	}
	if len(parts) == 0 {
		return "one layout"
	}
	return strings.Join(parts, ", ")
}

// spare takes out of the happenings what an engine cannot make good where the layout changes: a store that has lost the
// states of users who move, or the change itself. Their events are in the partitions of two layouts, and a lane that makes
// its states anew reads its own.
func (c changes) spare(happenings []happening) {
	if !c.any() {
		return
	}
	first := c.grow
	if c.repartition > 0 && (first == 0 || c.repartition < first) {
		first = c.repartition
	}
	for i := max(first-2, 0); i < len(happenings); i++ {
		if happenings[i] == storeEmpty || happenings[i] == storeOlder {
			happenings[i] = nothing
		}
	}
}

// grow gives the inputs more partitions.
func (r *run) grow(ctx context.Context, by int32) error {
	if r.begun(ctx) {
		if err := r.checker.Growing(ctx); err != nil {
			return fmt.Errorf("sim: the check itself: %w", err)
		}
	}
	r.log.Debug("the inputs grow", "by", by)
	responses, err := r.admin.CreatePartitions(ctx, int(by), r.settings.inputs...)
	if err == nil {
		err = responses.Error()
	}
	if err != nil {
		return fmt.Errorf("sim: more partitions: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lanes += by
	return nil
}

// begun reports whether the group judges under the layout of the partitions that there are now.
func (r *run) begun(ctx context.Context) bool {
	text, err := r.server.Lineage(ctx)
	present, _, _ := strings.Cut(text, `"former"`)
	return err == nil && strings.Contains(present, fmt.Sprintf(".%d.", r.lanesNow()))
}

func (r *run) lanesNow() int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lanes
}

// repartition restarts the members one by one with the other partitioner, as a rolling update does. Whoever starts
// meanwhile has it too.
func (r *run) repartition() {
	r.mu.Lock()
	r.partitioner = r.settings.changes.partitioner[1]
	r.mu.Unlock()
	for {
		r.mu.Lock()
		var former *member
		for _, m := range r.members {
			if m.partitioner != r.partitioner {
				former = m
				break
			}
		}
		r.mu.Unlock()
		if former == nil {
			return
		}
		if err := former.stop(); err != nil {
			r.fail(err)
		}
		if err := r.start(); err != nil {
			r.fail(err)
		}
	}
}

// stopAll stops all members cleanly, and returns how many there were.
func (r *run) stopAll() (stopped int) {
	r.mu.Lock()
	members := append([]*member{}, r.members...)
	r.mu.Unlock()
	for _, m := range members {
		if err := m.stop(); err != nil {
			r.fail(err)
		}
	}
	return len(members)
}
