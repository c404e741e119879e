package consumertest

import (
	"context"
	"errors"
	"fmt"
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
	// Start, unless nil, is called once when it is known how much there is to read: it starts the group.
	Start func() error
	// Mark, unless nil, is called when a tenth is committed and when all is: the moments that the rate is taken between.
	Mark func(whole bool)
}

// sampleInterval is how often the committed offsets are asked for: the error of each of the two moments.
const sampleInterval = 20 * time.Millisecond

// MeasureThroughput watches the group's committed offsets until they reach the topic's end. The group starts after it, or
// by it.
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
	if o.Start != nil {
		if err := o.Start(); err != nil {
			return Throughput{}, err
		}
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
