package consumertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// loadUsers is how many states are read at once.
const loadUsers = 1000

// CheckStates compares what a clean stop of all engines leaves in their store with the model: for each lane the checkpoint
// is at the end of the input and names no owner, and every user of the input has exactly the state, with the tag, that the
// lane's events make, or none where no event of the user counts; those of an ordered user in the order of the results. A
// state that nothing has touched since the layout changed is that of the lane before, if the store's lineage says so. It
// comes after Finish, needs a store of the default event types, and claims the lanes. listed are the users who have a record
// in the store ([RedisUsers]); one that is in no input is a fault; nil: nobody lists them. It returns the report of Finish
// with the states added, each time anew. An error says that the check itself failed.
func (c *Checker) CheckStates(ctx context.Context, store state.Store, listed iter.Seq2[int64, error]) (Report, error) {
	report := c.report
	if !c.finished {
		return report, errors.New("consumertest: states are checked after a Finish without an error")
	}
	report.Problems = slices.Clone(report.Problems)
	lineage, err := readEras(ctx, store)
	if err != nil {
		return report, err
	}
	if lineage != nil {
		partitioner := cmp.Or(c.o.Partitioner, "murmur2")
		if parts := strings.Split(lineage.Present.Layout, "."); lineage.Present.partitions != c.x.partitions() || parts[2] != partitioner {
			report.problem(&report.StatesWrong, "state: the group's layout is %s, and %s have %d partitions, by %s", lineage.Present.Layout, c.inputNames(), c.x.partitions(), partitioner)
		}
	}
	ordered := make([][]int64, c.x.partitions()) // by the users' partition
	for user := range c.ordered {
		p := c.x.partitionOf(user)
		ordered[p] = append(ordered[p], user)
	}
	known := map[int64]struct{}{}
	for p, users := range ordered {
		slices.Sort(users)
		if err := c.partitionStates(ctx, store, lineage, int32(p), users, known, &report); err != nil {
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
			report.problem(&report.StatesWrong, "state: user %d has a record, but no event in %s", user, c.inputNames())
		}
	}
	return report, nil
}

// partitionStates compares the states of the users of a partition, which may have events in that partition of each input;
// ordered are the ordered users. It adds them all to known.
func (c *Checker) partitionStates(ctx context.Context, store state.Store, lineage *eras, partition int32, ordered []int64, known map[int64]struct{}, report *Report) error {
	var lanes []*lane
	for _, topic := range c.o.Inputs {
		if l := c.x.lane(topic, partition); l.length > 0 {
			lanes = append(lanes, l)
		}
	}
	if len(lanes) == 0 && len(ordered) == 0 {
		return nil
	}
	owned, err := store.Claim(ctx, partition)
	if err != nil {
		return fmt.Errorf("consumertest: claim the lane of %s, partition %d: %w", c.inputNames(), partition, err)
	}
	checkpoint, found := owned.Previous()
	if what := c.checkpointDifference(lineage, checkpoint, found, partition, lanes); what != "" {
		report.problem(&report.StatesWrong, "state: %s", what)
	}
	o := newOwnedLane(owned, lineage, partition, checkpoint)
	for _, user := range ordered {
		known[user] = struct{}{}
	}
	for _, l := range lanes {
		users := l.users()
		for _, user := range users {
			known[user] = struct{}{}
		}
		if err := c.laneStates(ctx, o, l, users, report); err != nil {
			return err
		}
	}
	return c.orderedStates(ctx, o, ordered, report)
}

// ownedLane is a lane whose states are read.
type ownedLane struct {
	state.Lane
	takes     state.Takes
	exact     bool               // the tag of a state is the offset after its last event
	inherited map[int64]struct{} // users whose states are of a former layout
}

func newOwnedLane(owned state.Lane, lineage *eras, partition int32, checkpoint state.Checkpoint) *ownedLane {
	o := &ownedLane{Lane: owned, inherited: map[int64]struct{}{}}
	// The tag counts what the lane has judged of every source. Where that is the input alone it is the offset.
	o.exact = len(checkpoint.Sources) == 0
	o.takes.Incarnation = lineage.incarnation(partition, checkpoint)
	if lineage == nil {
		return o
	}
	o.takes.Inherits = func(user int64, lane int32, incarnation uint32) bool {
		if !lineage.inherited(partition, o.takes.Incarnation, strconv.AppendInt(nil, user, 10), lane, incarnation) {
			return false
		}
		o.inherited[user] = struct{}{}
		return true
	}
	return o
}

// tagged reports whether the user's tag can be compared.
func (o *ownedLane) tagged(user int64) bool {
	_, inherited := o.inherited[user]
	return o.exact && !inherited
}

// checkpointDifference says in what the checkpoint of a partition with these lanes is not the one that a clean stop leaves;
// "": in nothing.
func (c *Checker) checkpointDifference(lineage *eras, got state.Checkpoint, found bool, partition int32, lanes []*lane) string {
	if !found || got.Owner != "" {
		return fmt.Sprintf("%s/%d: its checkpoint is %v %+v, and nobody should own it", c.inputNames(), partition, found, got)
	}
	for _, l := range lanes {
		if lineage == nil && len(c.o.Inputs) > 1 {
			continue // nothing says which of its offsets is whose
		}
		if at, known := lineage.offset(got, l.topic); !known || at < l.end() {
			return fmt.Sprintf("%s/%d: its checkpoint is %v %+v, the last record is at %d", l.topic, l.partition, found, got, l.end()-1)
		}
	}
	return ""
}

// laneStates compares the states of a lane's users, who have events in this lane alone.
func (c *Checker) laneStates(ctx context.Context, owned *ownedLane, l *lane, users []int64, report *Report) error {
	w := c.x.walk(l)
	if err := w.to(l.end(), func(int64, *expected, []judged) {}); err != nil {
		return err
	}
	// Of several candidates the one that fits best is the true one.
	var faults [candidatesMax]stateFaults
	if err := eachState(ctx, owned, users, func(user int64, stored *state.Stored, err error) {
		for bit := range candidatesMax {
			if l.left&(1<<bit) == 0 {
				continue
			}
			if what := stateDifference(stored, err, w.of(user, 1<<bit), owned.tagged(user)); what != "" {
				faults[bit].add(fmt.Sprintf("state: user %d of %s/%d: %s", user, l.topic, l.partition, what))
			}
		}
	}); err != nil {
		return fmt.Errorf("consumertest: states of %s/%d: %w", l.topic, l.partition, err)
	}
	report.States += len(users)
	best := -1
	for bit := range candidatesMax {
		if l.left&(1<<bit) != 0 && (best < 0 || faults[bit].count < faults[best].count) {
			best = bit
		}
	}
	for _, text := range faults[best].texts {
		report.problem(&report.StatesWrong, "%s", text)
	}
	report.StatesWrong += faults[best].count - len(faults[best].texts)
	return nil
}

// orderedStates compares the states of ordered users.
func (c *Checker) orderedStates(ctx context.Context, owned *ownedLane, users []int64, report *Report) error {
	if err := eachState(ctx, owned, users, func(user int64, stored *state.Stored, err error) {
		u := c.ordered[user]
		want := &u.past
		if u.latest.from == nil { // no result of the user was found
			want = nil
		}
		if what := stateDifference(stored, err, want, false); what != "" {
			report.problem(&report.StatesWrong, "state: user %d, whose last result is that of %s: %s", user, u.latest, what)
		}
	}); err != nil {
		return fmt.Errorf("consumertest: states of %s: %w", c.inputNames(), err)
	}
	report.States += len(users)
	return nil
}

// eachState calls compare with the state of each user, or why it cannot be understood.
func eachState(ctx context.Context, owned *ownedLane, users []int64, compare func(user int64, stored *state.Stored, err error)) error {
	for chunk := range slices.Chunk(users, loadUsers) {
		stored, errs, err := load(ctx, owned, chunk)
		if err != nil {
			return err
		}
		for i, user := range chunk {
			compare(user, &stored[i], errs[i])
		}
	}
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
func load(ctx context.Context, owned *ownedLane, users []int64) ([]state.Stored, []error, error) {
	stored, errs := make([]state.Stored, len(users)), make([]error, len(users))
	err := owned.Load(ctx, owned.takes, users, stored)
	if !errors.Is(err, state.ErrCorrupt) {
		return stored, errs, err
	}
	for i := range users {
		if errs[i] = owned.Load(ctx, owned.takes, users[i:i+1], stored[i:i+1]); errs[i] != nil && !errors.Is(errs[i], state.ErrCorrupt) {
			return nil, nil, errs[i]
		}
	}
	return stored, errs, nil
}

// stateDifference says in what a stored state is not the model's; "": in nothing. A nil past: there must be none. direct: all
// events of the user come by one way.
func stateDifference(stored *state.Stored, err error, want *history, direct bool) string {
	switch {
	case err != nil:
		return err.Error()
	case want == nil && stored.Found:
		return fmt.Sprintf("it has a state with tag %d, but no event that counts", stored.Tag)
	case want == nil:
		return ""
	case !stored.Found && direct:
		return fmt.Sprintf("it has no state, want one with tag %d", want.tag)
	case !stored.Found:
		return "it has no state"
	}
	if what := tagDifference(stored, want, direct); what != "" {
		return what
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

// tagDifference says in what the tag of a stored state is not the one that the last event gives; "": in nothing. The model
// has one offset, which says all of a user whose events come by one way in a lane of one source (direct); the tag of
// another user, a sum over the sources, is not compared.
func tagDifference(stored *state.Stored, want *history, direct bool) string {
	if direct && stored.Tag != want.tag {
		return fmt.Sprintf("tag %d, not %d", stored.Tag, want.tag)
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
