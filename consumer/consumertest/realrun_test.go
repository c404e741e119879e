package consumertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

const testGroup = "group"

// realRun is an engine on kfake with its states in memory.
type realRun struct {
	t       *testing.T
	brokers []string
	store   state.Store
	lost    atomic.Bool // the store takes no more writes
}

func newRealRun(t *testing.T) *realRun {
	t.Helper()
	run := &realRun{t: t, brokers: fakeKafka(t)}
	o := state.DefaultMemoryOptions()
	o.Before = func(op state.Op) error {
		if op.Kind == state.OpWrite && run.lost.Load() {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	run.store = state.NewMemoryWith(o)
	return run
}

// start starts an engine; stop ends it and waits for it.
func (r *realRun) start() (stop func()) {
	r.t.Helper()
	client, err := wire.New(wire.Options{Brokers: r.brokers, ClientID: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	o := consumer.DefaultOptions()
	o.Client, o.Store, o.Rules, o.Brokers = client, r.store, rules.Builtin(), r.brokers
	o.Group, o.Inputs, o.Output, o.DeadLetters = testGroup, []string{testInput}, testOutput, testDead
	o.OnDataLoss, o.FlushInterval, o.DrainTimeout = true, 20*time.Millisecond, time.Second
	o.Logger = slog.New(slog.DiscardHandler)
	e, err := consumer.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }() // ends with stop
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && !r.lost.Load() {
			r.t.Error(err)
		}
		client.Close()
	}
	r.t.Cleanup(stop)
	return stop
}

// drain waits until everything is judged.
func (r *realRun) drain() {
	r.t.Helper()
	ctx := testContext(r.t)
	for {
		lag, err := Lag(ctx, r.brokers, testGroup, testInput)
		if err != nil {
			r.t.Fatal(err)
		}
		if lag == 0 {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("the group lags %d behind", lag)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// flushed waits until the checkpoint of each lane is the committed offset.
func (r *realRun) flushed() {
	r.t.Helper()
	ctx := testContext(r.t)
	for CheckCheckpoints(ctx, r.brokers, testGroup, testInput, unowned{r.store}, true) != nil {
		select {
		case <-ctx.Done():
			r.t.Fatal("the states are not flushed")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// unowned hides who owns a lane.
type unowned struct{ Checkpoints }

func (u unowned) Peek(ctx context.Context, lane int32) (state.Checkpoint, bool, error) {
	c, found, err := u.Checkpoints.Peek(ctx, lane)
	c.Owner = ""
	return c, found, err
}

func (r *realRun) checker() *Checker {
	r.t.Helper()
	c, err := NewChecker(testContext(r.t), CheckOptions{
		Brokers: r.brokers, Inputs: []string{testInput}, Output: testOutput, DeadLetters: testDead, Settle: time.Second,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// finish checks the whole run.
func (r *realRun) finish(c *Checker) Report {
	r.t.Helper()
	report, err := c.Finish(testContext(r.t))
	if err == nil {
		err = report.Err()
	}
	if err == nil {
		report, err = c.CheckStates(testContext(r.t), r.store, nil)
	}
	if err == nil {
		err = report.Err()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

// TestCheckFindsOneFaultInARealRun copies what an engine wrote, with one fault.
func TestCheckFindsOneFaultInARealRun(t *testing.T) {
	run := newRealRun(t)
	produceInput(t, run.brokers, ProduceOptions{Count: 1500}, everything)
	stop := run.start()
	run.drain()
	stop()
	if report := run.finish(run.checker()); report.Results == 0 || report.Dead == 0 || report.States != everything.Users {
		t.Fatal(report)
	}
	var written []*kgo.Record
	f, err := newFollower(run.brokers, testOutput)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if _, err := f.readAll(testContext(t), func(r *kgo.Record) { written = append(written, r) }); err != nil {
		t.Fatal(err)
	}
	middle := len(written) / 2
	summed := middle + slices.IndexFunc(written[middle:], func(r *kgo.Record) bool { return strings.Contains(string(r.Value), `"sum":"2`) })
	neighbour := middle + 1 + slices.IndexFunc(written[middle+1:], func(r *kgo.Record) bool { return sameLane(r, written[middle]) })
	change := func(from, to string) func([]*kgo.Record) []*kgo.Record {
		return func(rs []*kgo.Record) []*kgo.Record {
			r := *rs[summed]
			r.Value = []byte(strings.Replace(string(r.Value), from, to, 1))
			rs[summed] = &r
			return rs
		}
	}
	for _, tc := range []struct {
		name    string
		plant   func([]*kgo.Record) []*kgo.Record
		at      int // where it is, in written
		want    Report
		problem string // begins with
	}{
		{"nothing", func(rs []*kgo.Record) []*kgo.Record { return rs }, middle, Report{}, ""},
		{"loss", func(rs []*kgo.Record) []*kgo.Record { return slices.Delete(rs, middle, middle+1) }, middle, Report{Lost: 1}, "lost: the result of"},
		{"duplicate", func(rs []*kgo.Record) []*kgo.Record { return append(rs, rs[middle]) }, middle, Report{Twice: 1}, "twice: "},
		{"wrong code", change("123]", "124]"), summed, Report{Wrong: 1}, "wrong: "},
		{"wrong number", change(`"sum":"2`, `"sum":"3`), summed, Report{Wrong: 1}, "wrong: "},
		{"swap", func(rs []*kgo.Record) []*kgo.Record {
			rs[middle], rs[neighbour] = rs[neighbour], rs[middle]
			return rs
		}, middle, Report{Disorder: 1}, "disorder: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			topic := Topic(t, "copy")
			if err := CreateTopics(testContext(t), run.brokers, TopicSpec{Name: topic, Partitions: testOutputPartitions}); err != nil {
				t.Fatal(err)
			}
			var copies []*kgo.Record
			for _, r := range tc.plant(slices.Clone(written)) {
				copies = append(copies, &kgo.Record{Topic: topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers})
			}
			publish(t, run.brokers, copies)
			report, err := Check(testContext(t), CheckOptions{
				Brokers: run.brokers, Inputs: []string{testInput}, Output: topic, DeadLetters: testDead, Settle: time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			got := Report{Lost: report.Lost, Twice: report.Twice, Wrong: report.Wrong, Disorder: report.Disorder}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Fatalf("%v\n%v", report, report.Err())
			}
			if tc.problem == "" {
				return
			}
			source, _ := header(written[tc.at], headerSource)
			names := fmt.Sprintf("of %s, user %s", source, written[tc.at].Key)
			if len(report.Problems) != 1 || !strings.HasPrefix(report.Problems[0], tc.problem) || !strings.Contains(report.Problems[0], names) {
				t.Errorf("problems %q, want one that begins with %q and says %q", report.Problems, tc.problem, names)
			}
		})
	}
}

// TestCheckFindsWrongStates changes one thing in the states that a real run left.
func TestCheckFindsWrongStates(t *testing.T) {
	run := newRealRun(t)
	produceInput(t, run.brokers, ProduceOptions{Count: 1500}, everything)
	stop := run.start()
	run.drain()
	stop()
	c := run.checker()
	run.finish(c)
	const user = 7
	lane := partitionOf(newKeyPartitioner(), fmt.Append(nil, user), testInputPartitions)
	checkpoint, _, err := run.store.Peek(t.Context(), lane)
	if err != nil {
		t.Fatal(err)
	}
	types := rules.DefaultTypes()
	one, err := rules.ParseAmount([]byte("0.000000000000000001"))
	if err != nil {
		t.Fatal(err)
	}
	// write puts a state of the user, if there is one, and the checkpoint into the store.
	write := func(t *testing.T, cp state.Checkpoint, s *state.Stored) {
		t.Helper()
		owned, err := run.store.Claim(t.Context(), lane)
		if err != nil {
			t.Fatal(err)
		}
		var snapshot state.Snapshot
		snapshot.Reset(lane, types, cp)
		if s != nil {
			snapshot.Add(user, s.Tag, &s.State)
		}
		if err := owned.Flush(t.Context(), &snapshot); err != nil {
			t.Fatal(err)
		}
	}
	// absent makes the record one of another incarnation.
	absent := func(t *testing.T, s *state.Stored) {
		other := checkpoint
		other.Incarnation++
		write(t, other, s)
	}
	for name, tc := range map[string]struct {
		change func(s *state.Stored, cp *state.Checkpoint)
		says   string
	}{
		"run length":     {func(s *state.Stored, _ *state.Checkpoint) { s.State.RunLength++ }, "a run of"},
		"run type":       {func(s *state.Stored, _ *state.Checkpoint) { s.State.RunType = 1 - s.State.RunType }, "a run of"},
		"tag":            {func(s *state.Stored, _ *state.Checkpoint) { s.Tag-- }, "tag "},
		"bucket sum":     {func(s *state.Stored, _ *state.Checkpoint) { b := bucket(s); b.Sum = b.Sum.Add(one) }, "bucket (time, sum, count)"},
		"bucket count":   {func(s *state.Stored, _ *state.Checkpoint) { bucket(s).Count++ }, "bucket (time, sum, count)"},
		"bucket time":    {func(s *state.Stored, _ *state.Checkpoint) { bucket(s).Time-- }, "bucket (time, sum, count)"},
		"bucket missing": {func(s *state.Stored, _ *state.Checkpoint) { b := series(s); b.Buckets = b.Buckets[1:] }, "bucket"},
		"bucket too many": {func(s *state.Stored, _ *state.Checkpoint) {
			b := series(s)
			b.Buckets = slices.Insert(b.Buckets, 0, rules.Bucket{Time: b.Buckets[0].Time - 60, Sum: one, Count: 1})
		}, "bucket"},
		"latest": {func(s *state.Stored, _ *state.Checkpoint) { s.State.Types[0].Latest++ }, "latest time"},
		"rising": {func(s *state.Stored, _ *state.Checkpoint) {
			ts := &s.State.Types[0]
			ts.Rising, ts.Last = 9, slices.Repeat(ts.Last[:1], 8)
			rise(ts.Last)
		}, "a rising run of 9"},
		"last amount": {func(s *state.Stored, _ *state.Checkpoint) {
			ts := &s.State.Types[0]
			ts.Last[len(ts.Last)-1] = ts.Last[len(ts.Last)-1].Add(one)
		}, "last amounts"},
		"type missing": {func(s *state.Stored, _ *state.Checkpoint) { s.State.Types = s.State.Types[:1] }, "nothing of type withdraw"},
		"missing":      {func(s *state.Stored, _ *state.Checkpoint) { s.Found = false }, "it has no state"},
		"checkpoint":   {func(_ *state.Stored, cp *state.Checkpoint) { cp.Offset = -2 }, "its checkpoint is"},
		"owner":        {func(_ *state.Stored, cp *state.Checkpoint) { cp.Owner = "somebody" }, "its checkpoint is"},
	} {
		t.Run(name, func(t *testing.T) {
			owned, err := run.store.Claim(t.Context(), lane)
			if err != nil {
				t.Fatal(err)
			}
			stored, whole := make([]state.Stored, 1), make([]state.Stored, 1)
			if err := errors.Join(owned.Load(t.Context(), state.Takes{Incarnation: checkpoint.Incarnation}, []int64{user}, stored),
				owned.Load(t.Context(), state.Takes{Incarnation: checkpoint.Incarnation}, []int64{user}, whole)); err != nil {
				t.Fatal(err)
			}
			changed := checkpoint
			tc.change(&stored[0], &changed)
			if !stored[0].Found {
				absent(t, &stored[0])
				write(t, changed, nil)
			} else if changed.Offset < -1 { // behind the lane's last record; a tag cannot be above it
				changed.Offset = checkpoint.Offset - 1
				write(t, changed, nil)
			} else {
				write(t, changed, &stored[0])
			}
			report, err := c.CheckStates(testContext(t), run.store, nil)
			if err != nil {
				t.Fatal(err)
			}
			names := fmt.Sprintf("state: user %d of %s/%d: ", user, testInput, lane)
			if !reflect.DeepEqual(changed, checkpoint) {
				names = fmt.Sprintf("state: %s/%d: ", testInput, lane)
			}
			if report.StatesWrong != 1 || len(report.Problems) != 1 || !strings.HasPrefix(report.Problems[0], names) || !strings.Contains(report.Problems[0], tc.says) {
				t.Errorf("%v\n%v\nwant one problem %s... %s", report, report.Err(), names, tc.says)
			}
			write(t, checkpoint, &whole[0])
			if report, err := c.CheckStates(testContext(t), run.store, nil); err != nil || report.Err() != nil {
				t.Fatal(err, report.Err())
			}
		})
	}
}

func series(s *state.Stored) *rules.Series { return &s.State.Types[0].Series[0] }

func bucket(s *state.Stored) *rules.Bucket {
	buckets := series(s).Buckets
	return &buckets[0]
}

// rise makes amounts strictly increase.
func rise(amounts []rules.Amount) {
	for i := 1; i < len(amounts); i++ {
		amounts[i] = amounts[i-1].Add(amounts[0])
	}
}

// TestCheckListsUsers finds a record of somebody who is in no input.
func TestCheckListsUsers(t *testing.T) {
	run := newRealRun(t)
	produceInput(t, run.brokers, ProduceOptions{Count: 200}, EventOptions{Users: 3})
	stop := run.start()
	run.drain()
	stop()
	c := run.checker()
	run.finish(c)
	for _, tc := range []struct {
		users []int64
		want  string
	}{{[]int64{0, 2, 1, 2}, ""}, {[]int64{0, 4711}, "state: user 4711 has a record, but no event in in"}} {
		report, err := c.CheckStates(testContext(t), run.store, func(yield func(int64, error) bool) {
			for _, user := range tc.users {
				if !yield(user, nil) {
					return
				}
			}
		})
		if err != nil || strings.Join(report.Problems, "\n") != tc.want || (tc.want != "") != (report.StatesWrong == 1) {
			t.Errorf("%v: %v, %v %q", tc.users, err, report, report.Problems)
		}
	}
}

// TestRealHoles stops an engine, deletes input below or beyond what its states and its group need, and starts it again.
func TestRealHoles(t *testing.T) {
	for name, tc := range map[string]struct {
		crash bool // the last states are not in the store when the engine stops
		start func(checkpoint, committed int64) int64
		fresh bool // what follows begins there
	}{
		"after a clean stop, below the checkpoint": {start: func(m, _ int64) int64 { return m - 1 }},
		"after a clean stop, beyond the offset":    {start: func(_, c int64) int64 { return c + 7 }, fresh: true},
		"after a crash, below the checkpoint":      {crash: true, start: func(m, _ int64) int64 { return m }},
		"after a crash, in the replay":             {crash: true, start: func(m, c int64) int64 { return (m + c) / 2 }, fresh: true},
		"after a crash, beyond the offset":         {crash: true, start: func(_, c int64) int64 { return c + 7 }, fresh: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testRealHole(t, tc.crash, tc.start, tc.fresh)
		})
	}
}

func testRealHole(t *testing.T, crash bool, start func(m, c int64) int64, fresh bool) {
	run := newRealRun(t)
	c := run.checker()
	g := NewGenerator(EventOptions{Seed: 5, Users: 40, Bad: 0.05, Tombstones: 0.05})
	send := func(n int) {
		t.Helper()
		if _, err := Produce(testContext(t), ProduceOptions{Brokers: run.brokers, Topic: testInput, Count: n}, g); err != nil {
			t.Fatal(err)
		}
	}
	send(1000)
	stop := run.start()
	run.drain()
	if crash {
		run.flushed()
		run.lost.Store(true)
		send(100)
		run.drain()
	}
	stop()
	run.lost.Store(false)
	send(600)
	client, err := kgo.NewClient(kgo.SeedBrokers(run.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	committed, err := committedOffsets(testContext(t), admin, testGroup, testInput)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ReadInput(testContext(t), nil); err != nil {
		t.Fatal(err)
	}
	unjudged := 0
	for lane := range int32(testInputPartitions) {
		m, found, err := run.store.Peek(t.Context(), lane)
		at, ok := committed.Lookup(testInput, lane)
		if err != nil || !found || !ok || (m.Offset < at.At) != crash {
			t.Fatalf("lane %d: checkpoint %+v, committed %d: %v", lane, m, at.At, err)
		}
		from := start(m.Offset, at.At)
		offsets := kadm.Offsets{}
		offsets.AddOffset(testInput, lane, from, -1)
		if _, err := admin.DeleteRecords(testContext(t), offsets); err != nil {
			t.Fatal(err)
		}
		if err := c.Hole(lane, at.At, from); err != nil {
			t.Fatal(err)
		}
		unjudged += int(max(0, from-at.At))
	}
	stop = run.start()
	run.drain()
	send(400)
	run.drain()
	stop()
	report := run.finish(c)
	if report.Deleted != unjudged || report.Results == 0 {
		t.Errorf("%d deleted, want %d: %v", report.Deleted, unjudged, report)
	}
	for lane, l := range c.x.lanes {
		if want := map[bool]candidates{false: 1, true: 2}[fresh]; l.left != want && len(l.users()) > 0 {
			t.Errorf("lane %d: candidates %b, want %b", lane, l.left, want)
		}
	}
}
