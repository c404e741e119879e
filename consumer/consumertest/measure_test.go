package consumertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/state"
)

// commit sets a group's offsets of the input topic.
func commit(t *testing.T, brokers []string, group string, offsets map[int32]int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var set kadm.Offsets
	for partition, at := range offsets {
		set.Add(kadm.Offset{Topic: testInput, Partition: partition, At: at, LeaderEpoch: -1})
	}
	if err := kadm.NewClient(client).CommitAllOffsets(testContext(t), group, set); err != nil {
		t.Fatal(err)
	}
}

// inputEnds returns how many records each partition of the input has.
func inputEnds(t *testing.T, brokers []string) map[int32]int64 {
	t.Helper()
	f, err := newFollower(brokers, testInput)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	ends, err := f.ends(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	byPartition := map[int32]int64{}
	for at, end := range ends {
		byPartition[at.partition] = end
	}
	return byPartition
}

func TestMeasureThroughput(t *testing.T) {
	brokers := fakeKafka(t)
	produceInput(t, brokers, ProduceOptions{Count: 1000}, EventOptions{Seed: 1})
	ends := inputEnds(t, brokers)
	lag := func() int64 {
		n, err := Lag(testContext(t), brokers, "g", testInput)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if got := lag(); got != 1000 {
		t.Errorf("Lag of a new group = %d, want 1000", got)
	}
	var marks []bool
	var measured Throughput
	var measureErr error
	started, tenth := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		measured, measureErr = MeasureThroughput(testContext(t), ThroughputOptions{
			Brokers: brokers, Group: "g", Topic: testInput, Start: func() error { close(started); return nil }, Mark: func(whole bool) {
				if marks = append(marks, whole); !whole {
					close(tenth)
				}
			},
		})
	})
	<-started // the whole lag is known. One partition of four is more than a tenth
	commit(t, brokers, "g", map[int32]int64{0: ends[0]})
	<-tenth
	commit(t, brokers, "g", ends)
	wg.Wait()
	if measureErr != nil || measured.Events != 1000-ends[0] || measured.Duration <= 0 || !slices.Equal(marks, []bool{false, true}) {
		t.Errorf("measured %+v, %v, marks %v, want %d events", measured, measureErr, marks, 1000-ends[0])
	}
	cannot := errors.New("no such program")
	if _, err := MeasureThroughput(testContext(t), ThroughputOptions{
		Brokers: brokers, Group: "h", Topic: testInput, Start: func() error { return cannot },
	}); !errors.Is(err, cannot) {
		t.Errorf("a group that does not start: %v", err)
	}
	if got := lag(); got != 0 {
		t.Errorf("Lag at the end = %d", got)
	}
	if n, err := Committed(testContext(t), brokers, "g", testInput); n != 1000 || err != nil {
		t.Errorf("Committed = %d, %v, want 1000", n, err)
	}
}

// fakeCheckpoints are checkpoints by lane.
type fakeCheckpoints map[int32]state.Checkpoint

func (f fakeCheckpoints) Peek(_ context.Context, lane int32) (state.Checkpoint, bool, error) {
	c, ok := f[lane]
	return c, ok, nil
}

func (fakeCheckpoints) Lineage(context.Context) (string, error) { return "", nil }

func TestCheckCheckpoints(t *testing.T) {
	brokers := fakeKafka(t)
	produceInput(t, brokers, ProduceOptions{Count: 1000}, EventOptions{Seed: 1})
	ends := inputEnds(t, brokers)
	right := fakeCheckpoints{}
	for lane, end := range ends {
		right[lane] = state.Checkpoint{Offset: end}
	}
	commit(t, brokers, "g", ends)
	with := func(lane int32, c state.Checkpoint) fakeCheckpoints {
		changed := fakeCheckpoints{}
		for l := range right {
			changed[l] = right[l]
		}
		changed[lane] = c
		return changed
	}
	behind := map[int32]int64{}
	for lane, end := range ends {
		behind[lane] = end - 1
	}
	commit(t, brokers, "behind", behind)
	for name, tc := range map[string]struct {
		store fakeCheckpoints
		group string
		toEnd bool
		ok    bool
	}{
		"right":          {right, "g", true, true},
		"M below C":      {with(1, state.Checkpoint{Offset: ends[1] - 1}), "g", true, false},
		"owner":          {with(1, state.Checkpoint{Offset: ends[1], Owner: "x"}), "g", true, false},
		"no checkpoint":  {fakeCheckpoints{}, "g", true, false},
		"not to the end": {with(1, state.Checkpoint{Offset: ends[1]}), "behind", true, false},
		"no group":       {right, "nobody", false, false},
	} {
		if err := CheckCheckpoints(testContext(t), brokers, tc.group, testInput, tc.store, tc.toEnd); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	store := fakeCheckpoints{}
	for lane, at := range behind {
		store[lane] = state.Checkpoint{Offset: at}
	}
	if err := CheckCheckpoints(testContext(t), brokers, "behind", testInput, store, false); err != nil {
		t.Errorf("in the middle of the input: %v", err)
	}
}

func TestTopics(t *testing.T) {
	brokers := []string{Kfake(t)}
	spec := TopicSpec{Name: "new", Partitions: 3, Configs: map[string]string{"max.message.bytes": "20000"}}
	if err := CreateTopics(testContext(t), brokers, spec); err != nil {
		t.Fatal(err)
	}
	if n, err := partitionCount(testContext(t), brokers, "new"); n != 3 || err != nil {
		t.Errorf("partitions = %d, %v, want 3", n, err)
	}
	for range 2 { // deleting what is not there is no error
		if err := DeleteTopics(testContext(t), brokers, "new"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := partitionCount(testContext(t), brokers, "new"); err == nil {
		t.Error("the topic is still there")
	}
}

func TestProduceEndsWithItsContext(t *testing.T) {
	brokers := fakeKafka(t)
	for _, transactional := range []bool{false, true} {
		ctx, cancel := context.WithCancel(testContext(t))
		g := NewGenerator(EventOptions{Seed: 1})
		acked := 0
		var mu sync.Mutex
		o := ProduceOptions{Brokers: brokers, Topic: testInput, PerSecond: 2000, Transactional: transactional, Acked: func(int32, int64, time.Time) {
			mu.Lock()
			defer mu.Unlock()
			if acked++; acked == 100 {
				cancel()
			}
		}}
		if transactional {
			time.AfterFunc(100*time.Millisecond, cancel)
		}
		n, err := Produce(ctx, o, g)
		if err != nil || n == 0 {
			t.Errorf("transactional %v: %d, %v", transactional, n, err)
		}
		o.Count = 1 << 30
		if _, err := Produce(ctx, o, g); !errors.Is(err, context.Canceled) {
			t.Errorf("transactional %v, fewer than asked for: %v", transactional, err)
		}
		cancel()
	}
}
