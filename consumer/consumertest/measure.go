package consumertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Throughput is how fast a group went through a topic that was filled before.
type Throughput struct {
	Events   int64         // between the two moments
	Duration time.Duration // between a tenth and the whole
	Whole    time.Duration // from the first committed event on
}

// PerSecond is the rate between a tenth of the events and all of them.
func (t Throughput) PerSecond() float64 { return float64(t.Events) / t.Duration.Seconds() }

// ThroughputOptions says what MeasureThroughput watches. Brokers, Group and Topic are required.
type ThroughputOptions struct {
	Brokers      []string
	Group, Topic string
	// Copies is the topic of what is forwarded ("": nothing is): the end is when the group has judged that too.
	Copies string
	// Mark, unless nil, is called when a tenth is committed and when all is: the moments that the rate is taken between.
	Mark func(whole bool)
}

// sampleInterval is how often the committed offsets are asked for: the error of each of the two moments.
const sampleInterval = 20 * time.Millisecond

// MeasureThroughput watches the group's committed offsets until they reach the topic's end. The group starts after it.
func MeasureThroughput(ctx context.Context, o ThroughputOptions) (Throughput, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(o.Brokers...))
	if err != nil {
		return Throughput{}, fmt.Errorf("consumertest: client of %v: %w", o.Brokers, err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	first, err := lagOf(ctx, admin, admin.ListCommittedOffsets, o.Group, o.Topic)
	if err != nil {
		return Throughput{}, err
	}
	if first == 0 {
		return Throughput{}, fmt.Errorf("consumertest: group %s has nothing left to read in %s", o.Group, o.Topic)
	}
	var t Throughput
	var began, tenth time.Time
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return t, fmt.Errorf("consumertest: measure group %s: %w", o.Group, ctx.Err())
		case <-ticker.C:
		}
		lag, err := lagOf(ctx, admin, admin.ListCommittedOffsets, o.Group, o.Topic)
		if err != nil {
			return t, err
		}
		now := time.Now()
		if began.IsZero() && lag < first {
			began = now
		}
		if tenth.IsZero() && lag <= first-first/10 {
			tenth, t.Events = now, lag
			if o.Mark != nil {
				o.Mark(false)
			}
		}
		if lag == 0 && o.Copies != "" {
			if lag, err = lagOf(ctx, admin, admin.ListEndOffsets, o.Group, o.Copies); err != nil {
				return t, err
			}
			now = time.Now()
		}
		if lag == 0 {
			t.Duration, t.Whole = now.Sub(tenth), now.Sub(began)
			if o.Mark != nil {
				o.Mark(true)
			}
			return t, nil
		}
	}
}

// Lag returns how many offsets of topics a group has not committed yet. They are asked for in their order: where one's
// records come of the one before, 0 means that nothing is left. Of the first what is committed counts, of the others what is
// written: a transaction that is open may still be about to show what its offsets say is done.
func Lag(ctx context.Context, brokers []string, group string, topics ...string) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return 0, fmt.Errorf("consumertest: client of %v: %w", brokers, err)
	}
	defer client.Close()
	var sum int64
	for i, topic := range topics {
		admin := kadm.NewClient(client)
		ends := admin.ListCommittedOffsets
		if i > 0 {
			ends = admin.ListEndOffsets
		}
		lag, err := lagOf(ctx, admin, ends, group, topic)
		if err != nil {
			return 0, err
		}
		sum += lag
	}
	return sum, nil
}

// Committed returns the sum of the offsets that a group has committed for a topic.
func Committed(ctx context.Context, brokers []string, group, topic string) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return 0, fmt.Errorf("consumertest: client of %v: %w", brokers, err)
	}
	defer client.Close()
	offsets, err := committedOffsets(ctx, kadm.NewClient(client), group, topic)
	if err != nil {
		return 0, err
	}
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) { sum += max(o.At, 0) })
	return sum, nil
}

// committedOffsets asks for a group's offsets; a group that does not exist yet has none.
func committedOffsets(ctx context.Context, admin *kadm.Client, group, topic string) (kadm.OffsetResponses, error) {
	offsets, err := admin.FetchOffsetsForTopics(ctx, group, topic)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("consumertest: offsets of group %s: %w", group, err)
	}
	return offsets, nil
}

func lagOf(ctx context.Context, admin *kadm.Client, list func(context.Context, ...string) (kadm.ListedOffsets, error), group, topic string) (int64, error) {
	ends, err := list(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("consumertest: ends of %s: %w", topic, err)
	}
	committed, err := committedOffsets(ctx, admin, group, topic)
	if err != nil {
		return 0, err
	}
	var lag int64
	ends.Each(func(end kadm.ListedOffset) {
		at := int64(0)
		if o, ok := committed.Lookup(topic, end.Partition); ok && o.At > 0 {
			at = o.At
		}
		lag += max(end.Offset-at, 0)
	})
	return lag, nil
}

// Latency is how long events took from their creation by a producer to a read_committed consumer of the results.
type Latency struct {
	Counted       int
	P50, P99, Max time.Duration
	Unseen        int // events whose result did not come in time
}

// String gives the figures in one line.
func (l Latency) String() string {
	return fmt.Sprintf("%d results: p50 %v, p99 %v, max %v; %d not seen", l.Counted,
		l.P50.Round(100*time.Microsecond), l.P99.Round(100*time.Microsecond), l.Max.Round(100*time.Microsecond), l.Unseen)
}

// LatencyOptions says what MeasureLatency does. Brokers, Input, Output, PerSecond and Duration are required.
type LatencyOptions struct {
	Brokers       []string
	Input, Output string
	PerSecond     int
	Duration      time.Duration // counted
	Warm          time.Duration // before it, not counted
	Drain         time.Duration // how long the last results are waited for; 0: 10 s
}

const latencyDrainDefault = 10 * time.Second

// MeasureLatency produces the generator's events at a rate, while engines run, and watches the results.
func MeasureLatency(ctx context.Context, o LatencyOptions, g *Generator) (Latency, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(o.Brokers...), kgo.ConsumeTopics(o.Output), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(fetchWait))
	if err != nil {
		return Latency{}, fmt.Errorf("consumertest: client of %v: %w", o.Brokers, err)
	}
	defer client.Close()
	seen := map[string]time.Time{}
	read := func(wait time.Duration) {
		poll, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		fetches := client.PollFetches(poll)
		now := time.Now()
		fetches.EachRecord(func(r *kgo.Record) {
			if source, ok := header(r, headerSource); ok {
				seen[string(source)] = now
			}
		})
	}
	read(time.Second) // from here on the consumer stands at the ends

	produced := make(chan error, 1)
	var mu sync.Mutex
	created := map[string]time.Time{}
	start := time.Now()
	go func() { // ends with its count, and produced is always received
		_, err := Produce(ctx, ProduceOptions{
			Brokers: o.Brokers, Topic: o.Input, PerSecond: o.PerSecond, Count: int((o.Warm + o.Duration).Seconds() * float64(o.PerSecond)),
			Acked: func(partition int32, offset int64, at time.Time) {
				mu.Lock()
				defer mu.Unlock()
				created[fmt.Sprintf("%s/%d/%d", o.Input, partition, offset)] = at
			},
		}, g)
		produced <- err
	}()
	var produceErr error
	var drain time.Time
	for running := true; running || len(seen) < len(created) && time.Now().Before(drain); {
		read(100 * time.Millisecond)
		select {
		case produceErr = <-produced:
			running, drain = false, time.Now().Add(cmp.Or(o.Drain, latencyDrainDefault))
		default:
		}
	}
	if err := errors.Join(produceErr, ctx.Err()); err != nil {
		return Latency{}, err
	}
	return latencies(created, seen, start.Add(o.Warm)), nil
}

func latencies(created, seen map[string]time.Time, from time.Time) Latency {
	var l Latency
	var all []time.Duration
	for source, at := range created {
		if at.Before(from) {
			continue
		}
		if result, ok := seen[source]; ok {
			all = append(all, result.Sub(at))
		} else {
			l.Unseen++
		}
	}
	slices.Sort(all)
	l.Counted = len(all)
	if l.Counted > 0 {
		l.P50, l.P99, l.Max = quantile(all, 0.5), quantile(all, 0.99), all[len(all)-1]
	}
	return l
}

// quantile is the smallest value that is not below the share q of the sorted values.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}
