package consumertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/rules/rulestest"
	"github.com/lapwing/lapwing/state"
)

const testOther = "other" // a second input

// forwardRig writes what an engine that forwards without faults writes.
type forwardRig struct {
	t           *testing.T
	brokers     []string
	inputs      []string
	partitioner contract.Partitioner
	random      *rand.Rand
	partitions  int32
	states      map[int64]*rules.UserState
	tags        map[int64]int64
	ends        map[int32]int64 // by partition of the first input
}

func newForwardRig(t *testing.T, p contract.Partitioner, inputs ...string) *forwardRig {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(testInputPartitions, inputs...),
		kfake.SeedTopics(testOutputPartitions, testOutput), kfake.SeedTopics(testDeadPartitions, testDead))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return &forwardRig{
		t: t, brokers: cluster.ListenAddrs(), inputs: inputs, partitioner: p, random: rand.New(rand.NewPCG(testSeed(t), 5)),
		partitions: testInputPartitions, states: map[int64]*rules.UserState{}, tags: map[int64]int64{}, ends: map[int32]int64{},
	}
}

// options are those of a check of what the rig writes.
func (f *forwardRig) options() CheckOptions {
	return CheckOptions{
		Brokers: f.brokers, Inputs: f.inputs, Output: testOutput, DeadLetters: testDead, Partitioner: f.partitioner.String(),
		Settle: 500 * time.Millisecond,
	}
}

// produce writes events to the inputs, a share of them to another partition than their users'; stays says whose events all
// lie in one input and in their user's partition.
func (f *forwardRig) produce(g *Generator, count int, foreign float64, stays func(user int64) bool) {
	f.t.Helper()
	var records []*kgo.Record
	for range count {
		in := g.Next()
		r := &kgo.Record{Topic: f.inputs[f.random.IntN(len(f.inputs))], Key: in.Key, Value: in.Value, Headers: in.Headers}
		var ev inputEvent
		if in.Kind != KindEvent {
			r.Partition = f.random.Int32N(f.partitions)
		} else if err := json.Unmarshal(in.Value, &ev); err != nil {
			f.t.Fatal(err)
		} else if r.Partition = f.partitioner.UserPartition(*ev.UserID, f.partitions); stays != nil && stays(*ev.UserID) {
			r.Topic = f.inputs[0]
		} else if f.random.Float64() < foreign {
			r.Partition = (r.Partition + 1 + f.random.Int32N(f.partitions-1)) % f.partitions
		}
		records = append(records, r)
	}
	publish(f.t, f.brokers, records)
}

// skewSeconds is how far sources may be apart, so that no event is later than the rules' lateness of 30 s: there the model
// that keeps everything, which write uses, does not say what an engine must.
const skewSeconds = 12

// forwardEvents are late by at most 8 s in their source.
var forwardEvents = func() EventOptions {
	o := everything
	o.LatenessMax = 8
	return o
}()

// eventTime returns the time of a source's next record; 0: of what is no event.
func eventTime(records []*kgo.Record) int64 {
	var ev inputEvent
	if _, planted := header(records[0], HeaderPlanted); planted || json.Unmarshal(records[0].Value, &ev) != nil {
		return 0
	}
	return *ev.Time
}

// next returns a source with records that is not too far before the others.
func (f *forwardRig) next(open []place, sources map[place][]*kgo.Record) (at place, ok bool) {
	var behind int64 = math.MaxInt64
	times := map[place]int64{}
	for _, at := range open {
		if len(sources[at]) > 0 {
			times[at] = eventTime(sources[at])
			behind = min(behind, times[at])
		}
	}
	for len(times) > 0 {
		at := open[f.random.IntN(len(open))]
		if t, ok := times[at]; ok && t <= behind+skewSeconds {
			return at, true
		}
	}
	return place{}, false
}

// write judges the whole input, its sources in any order that keeps each one's own, and returns results and dead letters.
func (f *forwardRig) write() []*kgo.Record {
	f.t.Helper()
	reader, err := newFollower(f.brokers, f.inputs...)
	if err != nil {
		f.t.Fatal(err)
	}
	defer reader.close()
	sources := map[place][]*kgo.Record{}
	if _, err := reader.readAll(testContext(f.t), func(r *kgo.Record) {
		at := place{r.Topic, r.Partition}
		sources[at] = append(sources[at], r)
		if r.Topic == f.inputs[0] {
			f.ends[r.Partition] = r.Offset + 1
		}
	}); err != nil {
		f.t.Fatal(err)
	}
	var open []place
	for at := range sources {
		open = append(open, at)
	}
	slices.SortFunc(open, func(a, b place) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for p := range f.partitions {
		open = append(open, place{testGroup + ".rekey", p})
	}
	model, byKey := rulestest.NewModel(), newKeyPartitioner()
	var out []*kgo.Record
	for at, ok := f.next(open, sources); ok; at, ok = f.next(open, sources) {
		r := sources[at][0]
		sources[at] = sources[at][1:]
		source := kgo.RecordHeader{Key: headerSource, Value: fmt.Appendf(nil, "%s/%d/%d", r.Topic, r.Partition, r.Offset)}
		if r.Value == nil {
			continue
		}
		if reason, planted := header(r, HeaderPlanted); planted {
			out = append(out, deadRecord(r, reason, source))
			continue
		}
		var ev inputEvent
		if err := json.Unmarshal(r.Value, &ev); err != nil {
			f.t.Fatal(err)
		}
		if lane := f.partitioner.UserPartition(*ev.UserID, f.partitions); at.topic == r.Topic && lane != r.Partition {
			copies := place{testGroup + ".rekey", lane}
			sources[copies] = append(sources[copies], r)
			continue
		}
		v := model.Explain(rulestest.Event{Type: *ev.Type, Amount: *ev.Amount, UserID: *ev.UserID, Time: *ev.Time})
		out = append(out, resultRecord(r, &ev, v, source, false, byKey))
		f.apply(&ev, r.Offset)
	}
	return out
}

func deadRecord(r *kgo.Record, reason []byte, source kgo.RecordHeader) *kgo.Record {
	return &kgo.Record{
		Topic: testDead, Partition: r.Partition % testDeadPartitions, Key: r.Key, Value: r.Value,
		Headers: append(slices.Clone(r.Headers), kgo.RecordHeader{Key: headerReason, Value: reason}, kgo.RecordHeader{Key: headerDetail},
			source, kgo.RecordHeader{Key: headerTimestamp, Value: strconv.AppendInt(nil, r.Timestamp.UnixMilli(), 10)}),
	}
}

// apply keeps the user's state as an engine does.
func (f *forwardRig) apply(ev *inputEvent, offset int64) {
	amount, err := rules.ParseAmount([]byte(*ev.Amount))
	if err != nil {
		f.t.Fatal(err)
	}
	if f.states[*ev.UserID] == nil {
		f.states[*ev.UserID] = new(rules.UserState)
	}
	rules.Builtin().Apply(f.states[*ev.UserID], &rules.Event{
		Type: rules.Type(slices.Index(typeNames[:], *ev.Type)), UserID: *ev.UserID, Time: rules.Time(*ev.Time), Amount: amount,
	})
	f.tags[*ev.UserID] = offset + 1
}

// store puts the states into a store as a clean stop leaves them; change, unless nil, may change each before.
func (f *forwardRig) store(change func(user int64, s *state.Stored)) state.Store {
	f.t.Helper()
	store := state.NewMemory()
	for lane := range f.partitions {
		owned, err := store.Claim(f.t.Context(), lane)
		if err != nil {
			f.t.Fatal(err)
		}
		var snapshot state.Snapshot
		snapshot.Reset(lane, rules.DefaultTypes(), state.Checkpoint{Offset: 1 << 30})
		for user, st := range f.states {
			if f.partitioner.UserPartition(user, f.partitions) != lane {
				continue
			}
			stored := state.Stored{Found: true, Tag: f.tags[user], State: *st}
			if change != nil {
				change(user, &stored)
			}
			if stored.Found {
				snapshot.Add(user, stored.Tag, &stored.State)
			}
		}
		if err := owned.Flush(f.t.Context(), &snapshot); err != nil {
			f.t.Fatal(err)
		}
	}
	return store
}

// foreign says whether a result's source lies in another partition than its user's.
func (f *forwardRig) foreign(r *kgo.Record) bool {
	if r.Topic != testOutput {
		return false
	}
	at := strings.Split(sourceOf(r), "/")
	return at[1] != fmt.Sprint(f.partitioner.Partition(r.Key, f.partitions))
}

func sourceOf(r *kgo.Record) string {
	source, _ := header(r, headerSource)
	return string(source)
}

// TestCheckForwarded accepts any interleaving of direct and forwarded events.
func TestCheckForwarded(t *testing.T) {
	even := func(user int64) bool { return user%2 == 0 }
	for name, tc := range map[string]struct {
		partitioner contract.Partitioner
		inputs      []string
		foreign     float64
		stays       func(int64) bool
		o           CheckOptions
	}{
		"none":              {contract.Murmur2, []string{testInput}, 0, nil, CheckOptions{}},
		"half":              {contract.Murmur2, []string{testInput}, 0.5, nil, CheckOptions{}},
		"all":               {contract.Murmur2, []string{testInput}, 1, nil, CheckOptions{}},
		"half of some":      {contract.Murmur2, []string{testInput}, 0.5, even, CheckOptions{}},
		"crc32":             {contract.CRC32, []string{testInput}, 0.3, even, CheckOptions{}},
		"fnv1a":             {contract.FNV1a, []string{testInput}, 0.3, even, CheckOptions{}},
		"two inputs":        {contract.Murmur2, []string{testInput, testOther}, 0, even, CheckOptions{}},
		"two inputs, half":  {contract.CRC32, []string{testInput, testOther}, 0.5, even, CheckOptions{}},
		"repeats, with one": {contract.Murmur2, []string{testInput}, 0.5, nil, CheckOptions{Repeats: true}},
	} {
		t.Run(name, func(t *testing.T) {
			rig := newForwardRig(t, tc.partitioner, tc.inputs...)
			rig.produce(NewGenerator(forwardEvents), 1200, tc.foreign, tc.stays)
			written, repeated := rig.write(), 0
			if tc.o.Repeats {
				again := *written[len(written)/2]
				written = append(written, &again)
				repeated = 1
			}
			publish(t, rig.brokers, written)
			o := rig.options()
			o.Repeats = tc.o.Repeats
			c, err := NewChecker(testContext(t), o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			report, err := c.Finish(testContext(t))
			if err != nil || report.Err() != nil {
				t.Fatal(err, report.Err())
			}
			if report.Records != 1200 || report.Results+report.Dead+report.Tombstones != 1200 || report.Repeated != repeated {
				t.Errorf("records do not add up: %s", report)
			}
			forwarded, codes := 0, 0
			for _, r := range written[:len(written)-repeated] {
				if rig.foreign(r) {
					forwarded++
				}
				if _, list, ok := strings.Cut(string(r.Value), `"alert_codes":[`); ok && r.Topic == testOutput && list[0] != ']' {
					codes += 1 + strings.Count(list[:strings.IndexByte(list, ']')], ",")
				}
			}
			if (forwarded > 90) != (tc.foreign > 0) || report.Alerts != codes || report.Dead == 0 || report.Tombstones == 0 {
				t.Errorf("%d forwarded, %d codes: %s", forwarded, codes, report)
			}
			listed := func(yield func(int64, error) bool) {
				for user := range rig.states {
					if !yield(user, nil) {
						return
					}
				}
			}
			report, err = c.CheckStates(testContext(t), rig.store(nil), listed)
			if err != nil || report.Err() != nil || report.States != everything.Users {
				t.Error(err, report, report.Err())
			}
		})
	}
}

// TestCheckGrownInput follows an input that gets more partitions, so that users move to others.
func TestCheckGrownInput(t *testing.T) {
	for name, used := range map[string]bool{"new partitions have records": true, "nobody writes to them": false} {
		t.Run(name, func(t *testing.T) { testGrownInput(t, used) })
	}
}

func testGrownInput(t *testing.T, used bool) {
	rig := newForwardRig(t, contract.Murmur2, testInput)
	g := NewGenerator(forwardEvents)
	c, err := NewChecker(testContext(t), rig.options())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rig.produce(g, 600, 0.2, nil)
	client, err := kgo.NewClient(kgo.SeedBrokers(rig.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if responses, err := kadm.NewClient(client).CreatePartitions(testContext(t), 4, testInput); err != nil || responses.Error() != nil {
		t.Fatal(err, responses.Error())
	}
	if used {
		rig.partitions = 8
	}
	rig.produce(g, 600, 0.2, nil)
	rig.partitions = 8
	publish(t, rig.brokers, rig.write())
	report, err := c.Finish(testContext(t))
	if err != nil || report.Err() != nil || report.Records != 1200 {
		t.Fatal(err, report, report.Err())
	}
	if report, err = c.CheckStates(testContext(t), rig.store(nil), nil); err != nil || report.Err() != nil || report.States != everything.Users {
		t.Error(err, report, report.Err())
	}
}

// TestCheckFindsForwardingFaults plants one fault each.
func TestCheckFindsForwardingFaults(t *testing.T) {
	setSource := func(r *kgo.Record, source string) {
		r.Headers = slices.Clone(r.Headers)
		i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == headerSource })
		r.Headers[i].Value = []byte(source)
	}
	replace := func(r *kgo.Record, from, to string) {
		r.Value = []byte(strings.Replace(string(r.Value), from, to, 1))
	}
	// last returns the last result of a forwarded event that fits, and is the last of its user: nothing follows from a fault there.
	last := func(rig *forwardRig, rs []*kgo.Record, fits func(*kgo.Record) bool) int {
		seen := map[string]bool{}
		for i := len(rs) - 1; i >= 0; i-- {
			if rs[i].Topic != testOutput || seen[string(rs[i].Key)] {
				continue
			}
			seen[string(rs[i].Key)] = true
			if rig.foreign(rs[i]) && fits(rs[i]) {
				return i
			}
		}
		return -1
	}
	whichever := func(*kgo.Record) bool { return true }
	isAlert := func(r *kgo.Record) bool { return strings.HasPrefix(string(r.Value), `{"alert":true`) }
	for name, tc := range map[string]struct {
		// plant returns the records and those that a problem must name with source and user; none: it found nowhere to plant.
		plant func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record)
		want  Report
		more  bool // other results of the user may be wrong, too
		says  []string
	}{
		"loss": {func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record) {
			if i := last(rig, rs, whichever); i >= 0 {
				named = append(named, rs[i])
				rs = slices.Delete(rs, i, i+1)
			}
			return rs, named
		}, Report{Lost: 1}, false, []string{"lost: the result of ", ", who belongs to partition "}},
		"loss in the middle": {func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record) {
			i := len(rs)/3 + slices.IndexFunc(rs[len(rs)/3:], rig.foreign)
			named = append(named, rs[i])
			return slices.Delete(rs, i, i+1), named
		}, Report{Lost: 1}, true, []string{"lost: the result of "}},
		"original and copy both judged": {func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record) {
			i := last(rig, rs, whichever)
			if i < 0 {
				return rs, nil
			}
			again := *rs[i]
			again.Value = append(slices.Clone(again.Value), ' ') // the second has another past
			return append(rs, &again), []*kgo.Record{&again}
		}, Report{Twice: 1}, false, []string{"twice: "}},
		"wrong code": {func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record) {
			i := last(rig, rs, isAlert)
			if i < 0 {
				return rs, nil
			}
			replace(rs[i], `"alert_codes":[`, `"alert_codes":[7,`)
			return rs, rs[i : i+1]
		}, Report{Wrong: 1}, false, []string{"alert_codes is [7,", "if it is judged after "}},
		"wrong code in the middle": {func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record) {
			i := len(rs)/3 + slices.IndexFunc(rs[len(rs)/3:], func(r *kgo.Record) bool { return rig.foreign(r) && isAlert(r) })
			replace(rs[i], `"alert_codes":[`, `"alert_codes":[7,`)
			return rs, rs[i : i+1]
		}, Report{Wrong: 1}, false, []string{"alert_codes is [7,"}},
		"swap of one source partition": {func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record) {
			for i := range rs {
				if !rig.foreign(rs[i]) {
					continue
				}
				for j := i + 1; j < len(rs); j++ {
					if rig.foreign(rs[j]) && string(rs[i].Key) == string(rs[j].Key) && sameLane(rs[i], rs[j]) {
						rs[i], rs[j] = rs[j], rs[i]
						return rs, rs[j : j+1]
					}
				}
			}
			return rs, nil
		}, Report{Disorder: 1}, true, []string{"disorder: "}},
		"swap of two ways": {func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record) {
			for i := range rs {
				for j := i + 1; rig.foreign(rs[i]) && j < len(rs); j++ {
					if rs[j].Topic != testOutput || string(rs[i].Key) != string(rs[j].Key) {
						continue
					}
					// The direct one, judged first, would have a shorter streak.
					if !rig.foreign(rs[j]) && strings.Contains(string(rs[j].Value), `"kind":"streak"`) {
						moved, early := rs[i], rs[j]
						return slices.Insert(slices.Delete(rs, i, i+1), j, moved), []*kgo.Record{early}
					}
					break
				}
			}
			return rs, nil
		}, Report{Wrong: 1}, true, []string{"evidence"}},
		"swap of two users' direct events": {func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record) {
			for i := range rs {
				if rs[i].Topic != testOutput || rig.foreign(rs[i]) {
					continue
				}
				for j := i + 1; j < len(rs); j++ {
					if string(rs[j].Key) == string(rs[i].Key) {
						break
					}
					if !rig.foreign(rs[j]) && sameLane(rs[i], rs[j]) {
						if slices.ContainsFunc(rs[i:j], func(r *kgo.Record) bool {
							return string(r.Key) == string(rs[j].Key) || r != rs[i] && sameLane(r, rs[i])
						}) {
							break
						}
						rs[i], rs[j] = rs[j], rs[i]
						return rs, rs[j : j+1]
					}
				}
			}
			return rs, nil
		}, Report{Disorder: 1}, false, []string{"disorder: "}},
		"the copy is named by the header": {func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record) {
			i := last(rig, rs, whichever)
			if i < 0 {
				return rs, nil
			}
			original := *rs[i]
			setSource(rs[i], testGroup+".rekey/1/5")
			return rs, []*kgo.Record{&original}
		}, Report{Wrong: 1, Lost: 1}, false, []string{`header lapwing-source is "group.rekey/1/5", not in/partition/offset`, "lost: the result of "}},
		"the copy is named by the event": {func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record) {
			i := last(rig, rs, whichever)
			if i < 0 {
				return rs, nil
			}
			replace(rs[i], `"topic":"in"`, `"topic":"group.rekey"`)
			return rs, rs[i : i+1]
		}, Report{Wrong: 1}, false, []string{`event.topic is "group.rekey", not "in"`}},
		"a dead letter instead": {func(rig *forwardRig, rs []*kgo.Record) (all, named []*kgo.Record) {
			i := last(rig, rs, whichever)
			if i < 0 {
				return rs, nil
			}
			dead := *rs[i]
			dead.Topic, dead.Partition = testDead, 0
			rs[i] = &dead
			return rs, rs[i : i+1]
		}, Report{Wrong: 1, Lost: 1}, false, []string{"nothing of its kind is due", "lost: the result of "}},
	} {
		t.Run(name, func(t *testing.T) {
			rig := newForwardRig(t, contract.Murmur2, testInput)
			rig.produce(NewGenerator(forwardEvents), 400, 0.5, nil)
			records, named := tc.plant(rig, rig.write())
			if len(named) == 0 {
				t.Fatal("there was nowhere to plant it")
			}
			publish(t, rig.brokers, records)
			report, err := Check(testContext(t), rig.options())
			if err != nil {
				t.Fatal(err)
			}
			got := Report{Lost: report.Lost, Twice: report.Twice, Wrong: report.Wrong, Disorder: report.Disorder}
			if tc.more {
				got.Wrong = min(got.Wrong, tc.want.Wrong)
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("%v\n%v", report, report.Err())
			}
			all := strings.Join(report.Problems, "\n")
			for _, says := range append(tc.says, fmt.Sprintf("%s, user %s", sourceOf(named[0]), named[0].Key)) {
				if !strings.Contains(all, says) {
					t.Errorf("the problems do not say %q:\n%s", says, all)
				}
			}
			if users := map[string]bool{}; true { // of one user at most one wrong result is described
				for _, p := range report.Problems {
					if rest, ok := strings.CutPrefix(p, "wrong: "); ok && strings.Contains(rest, "if it is judged after") {
						user, _, _ := strings.Cut(rest[strings.Index(rest, ", user ")+7:], ":")
						if users[user] {
							t.Errorf("user %s is described again:\n%s", user, all)
						}
						users[user] = true
					}
				}
			}
		})
	}
}

// TestCheckFindsWrongStatesOfForwarded changes what a clean stop left of a user whose events come by several ways.
func TestCheckFindsWrongStatesOfForwarded(t *testing.T) {
	const moved, direct = 7, 8 // users
	rig := newForwardRig(t, contract.Murmur2, testInput)
	rig.produce(NewGenerator(forwardEvents), 800, 0.5, func(user int64) bool { return user == direct })
	publish(t, rig.brokers, rig.write())
	c, err := NewChecker(testContext(t), rig.options())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if report, err := c.Finish(testContext(t)); err != nil || report.Err() != nil {
		t.Fatal(err, report.Err())
	}
	for name, tc := range map[string]struct {
		user   int64
		change func(*state.Stored)
		says   string // "": no fault
	}{
		"nothing":         {moved, func(*state.Stored) {}, ""},
		"run":             {moved, func(s *state.Stored) { s.State.RunLength++ }, "a run of"},
		"latest":          {moved, func(s *state.Stored) { s.State.Types[0].Latest++ }, "latest time"},
		"missing":         {moved, func(s *state.Stored) { s.Found = false }, "it has no state"},
		"tag":             {moved, func(s *state.Stored) { s.Tag++ }, ""},
		"tag, direct":     {direct, func(s *state.Stored) { s.Tag++ }, "tag "},
		"missing, direct": {direct, func(s *state.Stored) { s.Found = false }, "it has no state, want one with tag "},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := c.CheckStates(testContext(t), rig.store(func(user int64, s *state.Stored) {
				if user == tc.user {
					s.State.Types = slices.Clone(s.State.Types)
					tc.change(s)
				}
			}), nil)
			if err != nil {
				t.Fatal(err)
			}
			if tc.says == "" {
				if report.Err() != nil {
					t.Error(report.Err())
				}
				return
			}
			if report.StatesWrong != 1 || len(report.Problems) != 1 || !strings.HasPrefix(report.Problems[0], fmt.Sprintf("state: user %d", tc.user)) ||
				!strings.Contains(report.Problems[0], tc.says) {
				t.Errorf("%v\n%v\nwant one problem of user %d that says %s", report, report.Err(), tc.user, tc.says)
			}
		})
	}
}

// TestNotCheckable refuses to judge what nobody can tell.
func TestNotCheckable(t *testing.T) {
	for name, tc := range map[string]struct {
		inputs  []string
		foreign float64
		change  func(*CheckOptions)
		before  func(*Checker) error
	}{
		"silent events, forwarded":  {[]string{testInput}, 0.1, func(o *CheckOptions) { o.AlertsOnly = true }, nil},
		"silent events, two inputs": {[]string{testInput, testOther}, 0, func(o *CheckOptions) { o.AlertsOnly = true }, nil},
		"a hole, forwarded":         {[]string{testInput}, 0.1, nil, func(c *Checker) error { return c.Hole(0, 10, 20) }},
		"a hole, two inputs":        {[]string{testInput, testOther}, 0, nil, func(c *Checker) error { return c.Hole(0, 10, 20) }},
	} {
		t.Run(name, func(t *testing.T) {
			rig := newForwardRig(t, contract.Murmur2, tc.inputs...)
			rig.produce(NewGenerator(forwardEvents), 300, tc.foreign, nil)
			o := rig.options()
			if tc.change != nil {
				tc.change(&o)
			}
			c, err := NewChecker(testContext(t), o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if tc.before != nil {
				err = tc.before(c)
			}
			if err == nil {
				_, err = c.Finish(testContext(t))
			}
			if !errors.Is(err, ErrNotCheckable) {
				t.Errorf("%v, want %v", err, ErrNotCheckable)
			}
		})
	}
	t.Run("other partition counts", func(t *testing.T) {
		rig := newForwardRig(t, contract.Murmur2, testInput)
		o := rig.options()
		o.Inputs = []string{testInput, testOutput}
		if _, err := NewChecker(testContext(t), o); err == nil || !strings.Contains(err.Error(), "in has 4 partitions, out has 3") {
			t.Error(err)
		}
	})
	t.Run("unknown partitioner", func(t *testing.T) {
		rig := newForwardRig(t, contract.Murmur2, testInput)
		o := rig.options()
		o.Partitioner = "murmur3"
		if _, err := NewChecker(context.Background(), o); err == nil || !strings.Contains(err.Error(), `"murmur3"`) {
			t.Error(err)
		}
	})
}

// TestPartitioners holds the checker's partitioners against the engine's, which are its own.
func TestPartitioners(t *testing.T) {
	for _, p := range []contract.Partitioner{contract.Murmur2, contract.CRC32, contract.FNV1a} {
		for _, n := range []int32{1, 2, 3, 6, 12, 100} {
			own, err := newPartitioner(p.String(), n)
			if err != nil {
				t.Fatal(err)
			}
			for user := range int64(2000) {
				if got, want := own(strconv.AppendInt(nil, user*user, 10)), p.UserPartition(user*user, n); got != want {
					t.Fatalf("%s, user %d of %d: %d, the engine's is %d", p, user*user, n, got, want)
				}
			}
		}
	}
}
