package consumertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// place names a partition.
type place struct {
	topic     string
	partition int32
}

// follower reads topics from their beginnings as a read_committed consumer does. It is used by one goroutine.
type follower struct {
	client *kgo.Client
	admin  *kadm.Client
	topics []string
	// next is the offset after the last record seen. Control records are seen too: without them nobody could tell a
	// partition that ends with a marker from one that is not read to its end.
	next map[place]int64
}

const (
	fetchWait   = 200 * time.Millisecond
	callTimeout = 30 * time.Second
)

func newFollower(brokers []string, topics ...string) (*follower, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(fetchWait),
		// kfake leaves the aborted transactions out of an answer that the request's own limit cuts short.
		kgo.FetchMaxPartitionBytes(4<<20), kgo.FetchMaxBytes(64<<20), kgo.MetadataMinAge(100*time.Millisecond),
	)
	if err != nil {
		return nil, fmt.Errorf("consumertest: reader of %v: %w", brokers, err)
	}
	return &follower{client: client, admin: kadm.NewClient(client), topics: topics, next: map[place]int64{}}, nil
}

func (f *follower) close() { f.client.Close() }

// poll hands what has arrived, waiting a moment for it, to fn, and returns how many records that were. A record is fn's to
// keep for as long as it likes.
func (f *follower) poll(ctx context.Context, fn func(*kgo.Record)) (int, error) {
	wait, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	fetches := f.client.PollFetches(wait)
	count := 0
	var deleted error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		at := place{p.Topic, p.Partition}
		if next, begun := f.next[at]; begun && len(p.Records) > 0 && next < min(p.LogStartOffset, p.Records[0].Offset) && deleted == nil {
			deleted = fmt.Errorf("consumertest: %s/%d: [%d, %d) was deleted before it was read here", p.Topic, p.Partition, next, p.LogStartOffset)
		}
		for _, r := range p.Records {
			f.next[at] = r.Offset + 1
			if r.Attrs.IsControl() {
				continue
			}
			count++
			fn(r)
		}
	})
	if deleted != nil {
		return count, deleted
	}
	if ctx.Err() != nil {
		return count, fmt.Errorf("consumertest: read %v: %w", f.topics, ctx.Err())
	}
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.DeadlineExceeded) {
			continue
		}
		var lost *kgo.ErrDataLoss
		if errors.As(e.Err, &lost) {
			return count, fmt.Errorf("consumertest: read %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
	}
	return count, nil
}

// ends returns the offset after the last record that a read_committed consumer can reach, for each partition; 0 where
// nothing is kept. It may run beside the other methods.
func (f *follower) ends(ctx context.Context) (map[place]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	listed, err := f.admin.ListCommittedOffsets(ctx, f.topics...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("consumertest: ends of %v: %w", f.topics, err)
	}
	starts, err := f.admin.ListStartOffsets(ctx, f.topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("consumertest: beginnings of %v: %w", f.topics, err)
	}
	ends := map[place]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		ends[place{o.Topic, o.Partition}] = o.Offset
		if start, ok := starts.Lookup(o.Topic, o.Partition); ok && start.Offset >= o.Offset {
			ends[place{o.Topic, o.Partition}] = 0
		}
	})
	return ends, nil
}

// reached says whether everything before the ends was read.
func (f *follower) reached(ends map[place]int64) bool {
	for at, end := range ends {
		if f.next[at] < end {
			return false
		}
	}
	return true
}

// readAll reads the topics up to the ends that they have now, and returns these.
func (f *follower) readAll(ctx context.Context, fn func(*kgo.Record)) (map[place]int64, error) {
	ends, err := f.ends(ctx)
	if err != nil {
		return nil, err
	}
	for !f.reached(ends) {
		if _, err := f.poll(ctx, fn); err != nil {
			return nil, err
		}
	}
	return ends, nil
}
