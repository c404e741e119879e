package consumer

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// TestOffsetsBesidePublishing publishes at least once while offsets are committed once in an interval: no result waits
// for them, states follow them, and a stop commits them all.
func TestOffsetsBesidePublishing(t *testing.T) {
	const interval, records = 700 * time.Millisecond, 20
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := newBench(t, cluster.ListenAddrs()[0], 1)
	e, stop := b.engine(state.NewMemory(), func(o *Options) { o.Guarantee, o.OffsetCommitInterval = AtLeastOnce, interval })
	waitReady(t, e)
	var commits atomic.Int64
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		commits.Add(1)
		return nil, nil, false
	})
	b.send(withdrawIn(0, 1)) // its offset is committed at once: then the interval begins
	b.read(b.output, 1)
	start := time.Now()
	for range records {
		b.send(withdrawIn(0, 1))
		time.Sleep(5 * time.Millisecond)
	}
	b.read(b.output, 1+records)
	took := time.Since(start)
	if n, most := commits.Load(), int64(took/interval)+2; n < 1 || n > most {
		t.Errorf("%d offset commits in %v, want 1 to %d", n, took, most)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	awaitCommitted(t, b, 1+records)
}

// TestOffsetCommitRefused has the group refuse offsets once: what was published without them is judged again, on the
// states as of C, and published once more with the same bytes.
func TestOffsetCommitRefused(t *testing.T) {
	const records = 5
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := newBench(t, cluster.ListenAddrs()[0], 1)
	e, stop := b.engine(state.NewMemory(), func(o *Options) { o.Guarantee, o.OffsetCommitInterval = AtLeastOnce, 100*time.Millisecond })
	waitReady(t, e)
	b.send(withdrawIn(0, 1))
	b.read(b.output, 1)
	awaitCommitted(t, b, 1)
	refused := make(chan struct{})
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		defer close(refused)
		asked := req.(*kmsg.OffsetCommitRequest)
		r := kmsg.NewPtrOffsetCommitResponse()
		r.SetVersion(asked.Version)
		for _, topic := range asked.Topics {
			one := kmsg.NewOffsetCommitResponseTopic()
			one.Topic = topic.Topic
			for _, p := range topic.Partitions {
				answer := kmsg.NewOffsetCommitResponseTopicPartition()
				answer.Partition, answer.ErrorCode = p.Partition, 22
				one.Partitions = append(one.Partitions, answer)
			}
			r.Topics = append(r.Topics, one)
		}
		return r, nil, true
	})
	for range records {
		b.send(withdrawIn(0, 1))
	}
	<-refused
	awaitCommitted(t, b, 1+records)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	results := make(map[string][]string) // by source
	client := newWire(t, b)
	end, err := client.EndOffset(t.Context(), b.output, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	fetcher := client.NewFetcher(b.output, 0, wire.FetchOptions{})
	for next := int64(0); next < end; {
		if next, err = fetcher.Fetch(t.Context(), next, func(r *wire.Record) error {
			source, _ := r.Header("lapwing-source")
			results[string(source)] = append(results[string(source)], string(r.Value))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	repeats := 0
	for offset := range 1 + records {
		values := results[fmt.Sprintf("%s/0/%d", b.input, offset)]
		if repeats += len(values) - 1; len(values) == 0 || len(slices.Compact(values)) != 1 {
			t.Errorf("the event at %d has the results %q, want one or the same again", offset, values)
		}
	}
	if first := results[b.input+"/0/0"]; repeats < 1 || len(first) != 1 {
		t.Errorf("%d results are repeated, want some; %d of the event before C, want 1", repeats, len(first))
	}
}

// newWire returns a client of the test's own: stop closes that of the engine.
func newWire(t *testing.T, b *bench) *wire.Client {
	t.Helper()
	client, err := wire.New(wire.Options{Brokers: []string{b.broker}, ClientID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// awaitCommitted waits until C of lane 0 is at an offset.
func awaitCommitted(t *testing.T, b *bench, want int64) {
	t.Helper()
	client := newWire(t, b)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		at, err := client.StableOffsets(t.Context(), b.group, b.input, []int32{0})
		if err == nil && at[0].Offset == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d is committed (%v), want %d", at[0].Offset, err, want)
		}
	}
}

// TestForwardAfterOffsets forwards an event while offsets are on their way to the broker: the transaction, which has
// offsets too, waits for them, or they could arrive after it and move C back.
func TestForwardAfterOffsets(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := newBench(t, cluster.ListenAddrs()[0], 2)
	e, stop := b.engine(state.NewMemory(), func(o *Options) { o.Guarantee, o.OffsetCommitInterval = AtLeastOnce, 10*time.Millisecond })
	waitReady(t, e)
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	var once sync.Once
	arrived, gate := make(chan struct{}), make(chan struct{})
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		once.Do(func() { close(arrived) })
		cluster.SleepControl(func() { <-gate })
		note("offsets")
		return nil, nil, false
	})
	cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		note("transaction")
		return nil, nil, false
	})
	b.send(withdrawIn(0, 2))
	<-arrived
	manual, err := kgo.NewClient(kgo.SeedBrokers(b.broker), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer manual.Close()
	stray := &kgo.Record{Topic: b.input, Partition: 0, Value: []byte(withdrawIn(1, 2))}
	if err := manual.ProduceSync(t.Context(), stray).FirstErr(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	close(gate)
	b.read(b.output, 2)
	mu.Lock()
	defer mu.Unlock()
	if len(order) < 2 || order[0] != "offsets" || order[1] != "transaction" {
		t.Errorf("the broker got %v, want the offsets first", order)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	awaitCommitted(t, b, 2)
}
