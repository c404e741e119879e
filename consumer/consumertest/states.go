package consumertest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// loadUsers is how many states are read at once.
const loadUsers = 1000

// CheckStates compares what a clean stop of all engines leaves in their store with the model: for each lane the checkpoint
// is at the end of the input and names no owner, and every user of the input has exactly the state, with the tag, that the
// lane's events make, or none where no event of the user counts. It comes after Finish, needs a store of the default event
// types, and claims the lanes. listed are the users who have a record in the store ([RedisUsers]); one that is in no input
// is a fault; nil: nobody lists them. It returns the report of Finish with the states added, each time anew. An error says
// that the check itself failed.
func (c *Checker) CheckStates(ctx context.Context, store state.Store, listed iter.Seq2[int64, error]) (Report, error) {
	report := c.report
	if !c.finished {
		return report, errors.New("consumertest: states are checked after a Finish without an error")
	}
	report.Problems = slices.Clone(report.Problems)
	known := map[int64]struct{}{}
	for i, l := range c.x.lanes {
		if l.length == 0 {
			continue
		}
		users := l.users()
		if listed != nil {
			for _, user := range users {
				known[user] = struct{}{}
			}
		}
		if err := c.laneStates(ctx, store, l, c.left[i], users, &report); err != nil {
			return report, err
		}
	}
	if listed == nil {
		return report, nil
	}
	for user, err := range listed {
		if err != nil {
			return report, err
		}
		if _, ok := known[user]; !ok {
			report.problem(&report.StatesWrong, "state: user %d has a record, but no event in %s", user, c.o.Input)
		}
	}
	return report, nil
}

// laneStates compares the states of a lane.
func (c *Checker) laneStates(ctx context.Context, store state.Store, l *lane, left candidates, users []int64, report *Report) error {
	owned, err := store.Claim(ctx, l.partition)
	if err != nil {
		return fmt.Errorf("consumertest: claim the lane of %s/%d: %w", c.o.Input, l.partition, err)
	}
	checkpoint, found := owned.Previous()
	if !found || checkpoint.Offset < l.end() || checkpoint.Owner != "" {
		report.problem(&report.StatesWrong, "state: %s/%d: its checkpoint is %v %+v, the last record is at %d and nobody should own it",
			c.o.Input, l.partition, found, checkpoint, l.end()-1)
	}
	w := c.x.walk(l)
	if err := w.to(l.end(), func(int64, *expected, []judged) {}); err != nil {
		return err
	}
	// Of several candidates the one that fits best is the true one.
	var faults [candidatesMax]stateFaults
	for chunk := range slices.Chunk(users, loadUsers) {
		stored, errs, err := load(ctx, owned, checkpoint.Incarnation, chunk)
		if err != nil {
			return fmt.Errorf("consumertest: states of %s/%d: %w", c.o.Input, l.partition, err)
		}
		for i, user := range chunk {
			for bit := range candidatesMax {
				if left&(1<<bit) == 0 {
					continue
				}
				if what := stateDifference(&stored[i], errs[i], w.of(user, 1<<bit)); what != "" {
					faults[bit].add(fmt.Sprintf("state: user %d of %s/%d: %s", user, c.o.Input, l.partition, what))
				}
			}
		}
	}
	report.States += len(users)
	best := -1
	for bit := range candidatesMax {
		if left&(1<<bit) != 0 && (best < 0 || faults[bit].count < faults[best].count) {
			best = bit
		}
	}
	for _, text := range faults[best].texts {
		report.problem(&report.StatesWrong, "%s", text)
	}
	report.StatesWrong += faults[best].count - len(faults[best].texts)
	return nil
}

// stateFaults counts faults and keeps the texts of the first.
type stateFaults struct {
	count int
	texts []string
}

func (f *stateFaults) add(text string) {
	f.count++
	if len(f.texts) < problemsMax {
		f.texts = append(f.texts, text)
	}
}

// load reads the states of users. A record that cannot be understood is an error of its user alone.
func load(ctx context.Context, owned state.Lane, incarnation uint32, users []int64) ([]state.Stored, []error, error) {
	stored, errs := make([]state.Stored, len(users)), make([]error, len(users))
	err := owned.Load(ctx, incarnation, users, stored)
	if !errors.Is(err, state.ErrCorrupt) {
		return stored, errs, err
	}
	for i := range users {
		if errs[i] = owned.Load(ctx, incarnation, users[i:i+1], stored[i:i+1]); errs[i] != nil && !errors.Is(errs[i], state.ErrCorrupt) {
			return nil, nil, errs[i]
		}
	}
	return stored, errs, nil
}

// stateDifference says in what a stored state is not the model's; "": in nothing. A nil past: there must be none.
func stateDifference(stored *state.Stored, err error, want *history) string {
	switch {
	case err != nil:
		return err.Error()
	case want == nil && stored.Found:
		return fmt.Sprintf("it has a state with tag %d, but no event that counts", stored.Tag)
	case want == nil:
		return ""
	case !stored.Found:
		return fmt.Sprintf("it has no state, want one with tag %d", want.tag)
	case stored.Tag != want.tag:
		return fmt.Sprintf("tag %d, not %d", stored.Tag, want.tag)
	}
	st := &stored.State
	if st.RunLength != want.run || int(st.RunType) != want.runType {
		return fmt.Sprintf("tag %d: a run of %d of type %d, not %d of type %d", stored.Tag, st.RunLength, st.RunType, want.run, want.runType)
	}
	types := st.Types
	for typ := range want.types {
		t := &want.types[typ]
		if t.rising == 0 {
			continue
		}
		if len(types) == 0 || int(types[0].Type) != typ {
			return fmt.Sprintf("tag %d: nothing of type %s", stored.Tag, typeNames[typ])
		}
		if what := typeDifference(&types[0], t); what != "" {
			return fmt.Sprintf("tag %d: %s: %s", stored.Tag, typeNames[typ], what)
		}
		types = types[1:]
	}
	if len(types) > 0 {
		return fmt.Sprintf("tag %d: something of type %d, which the user never had", stored.Tag, types[0].Type)
	}
	return ""
}

func typeDifference(got *rules.TypeState, want *typeHistory) string {
	switch {
	case int64(got.Latest) != want.latest:
		return fmt.Sprintf("latest time %d, not %d", got.Latest, want.latest)
	case got.Rising != want.rising:
		return fmt.Sprintf("a rising run of %d, not %d", got.Rising, want.rising)
	case !slices.EqualFunc(got.Last, want.last, equalAmount):
		return fmt.Sprintf("last amounts %v, not %v", got.Last, want.last)
	case len(got.Series) != 1 || got.Series[0].Resolution != 1:
		return fmt.Sprintf("series %v, not one of resolution 1", got.Series)
	}
	buckets := got.Series[0].Buckets
	for i := range max(len(buckets), len(want.seconds)) {
		switch {
		case i >= len(want.seconds):
			return fmt.Sprintf("a bucket %v, which is over", buckets[i])
		case i >= len(buckets):
			return fmt.Sprintf("no bucket %v", want.seconds[i])
		case int64(buckets[i].Time) != want.seconds[i].time || buckets[i].Count != want.seconds[i].count || !equalAmount(buckets[i].Sum, want.seconds[i].sum):
			return fmt.Sprintf("bucket (time, sum, count) %v, not %v", buckets[i], want.seconds[i])
		}
	}
	return ""
}

// equalAmount compares by the canonical text, so that the engine's arithmetic has no part in it.
func equalAmount(got rules.Amount, want money) bool { return got.String() == want.String() }
