package consumertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestMeasureLatency answers each input record at once, but for every tenth, which is never answered.
func TestMeasureLatency(t *testing.T) {
	brokers := fakeKafka(t)
	f, err := newFollower(brokers, testInput)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	client, err := producerClient(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; {
			_, _ = f.poll(ctx, func(r *kgo.Record) {
				if n++; n%10 == 0 {
					return
				}
				client.Produce(ctx, &kgo.Record{Topic: testOutput, Headers: []kgo.RecordHeader{
					{Key: headerSource, Value: fmt.Appendf(nil, "%s/%d/%d", r.Topic, r.Partition, r.Offset)},
				}}, nil)
			})
		}
	})
	latency, err := MeasureLatency(testContext(t), LatencyOptions{
		Brokers: brokers, Input: testInput, Output: testOutput, PerSecond: 500, Duration: time.Second, Drain: time.Second,
	}, NewGenerator(EventOptions{}))
	stop()
	wg.Wait()
	if err != nil || latency.Counted != 450 || latency.Unseen != 50 || latency.P50 <= 0 || latency.P99 < latency.P50 ||
		latency.P999 < latency.P99 || latency.Max < latency.P999 {
		t.Errorf("%v, %v, want 450 counted and 50 not seen", latency, err)
	}
}

// TestMeasureLatencyBehind has nobody who answers.
func TestMeasureLatencyBehind(t *testing.T) {
	_, err := MeasureLatency(testContext(t), LatencyOptions{
		Brokers: fakeKafka(t), Input: testInput, Output: testOutput, PerSecond: 1000, Duration: time.Hour, BehindMax: 500,
	}, NewGenerator(EventOptions{}))
	if !errors.Is(err, ErrBehind) {
		t.Errorf("%v, want %v", err, ErrBehind)
	}
}

// TestSightings holds both ways of finding an event's result against times that are known.
func TestSightings(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(1_000_000 + ms)) }
	for _, byOrder := range []bool{false, true} {
		s := newSightings(LatencyOptions{Input: "in", ByOrder: byOrder})
		// Acknowledged in any order; the input of partition 1 begins at 70. The first event is before the measured time.
		for _, c := range []struct {
			partition int32
			offset    int64
			ms        int
		}{{1, 72, 20}, {0, 5, 3}, {1, 70, 0}, {1, 71, 10}, {0, 6, 4}} {
			s.create(c.partition, c.offset, at(c.ms))
		}
		see := func(partition int32, source string, ms int) {
			r := &kgo.Record{Topic: "out", Partition: partition}
			if !byOrder {
				r.Headers = []kgo.RecordHeader{{Key: headerSource, Value: []byte(source)}}
			}
			s.see(r, at(ms))
		}
		see(1, "in/1/70", 50)
		see(0, "in/0/5", 4)
		see(1, "in/1/71", 60)
		if n := s.behind(); n != 2 {
			t.Errorf("by order %v: %d are behind, want 2", byOrder, n)
		}
		see(1, "in/1/72", 60)
		want := Latency{Counted: 3, Unseen: 1, P50: 40 * time.Millisecond, P99: 50 * time.Millisecond, P999: 50 * time.Millisecond, Max: 50 * time.Millisecond}
		if got := s.latency(at(1)); got != want { // 1, 50 and 40 ms
			t.Errorf("by order %v: %v, want %v", byOrder, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	if quantile(hundred, 0.5) != 50 || quantile(hundred, 0.99) != 99 || quantile(hundred[:1], 0.99) != 1 {
		t.Errorf("quantiles %d %d %d", quantile(hundred, 0.5), quantile(hundred, 0.99), quantile(hundred[:1], 0.99))
	}
}
