package wire

import (
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go/protocol/listoffsets"
)

// Timestamps that ListOffsets takes for the ends of the log.
const (
	timestampLatest   = -1
	timestampEarliest = -2
)

// EarliestOffset returns the first offset that the partition still keeps.
func (c *Client) EarliestOffset(ctx context.Context, topic string, partition int32) (int64, error) {
	return c.listOffset(ctx, topic, partition, timestampEarliest, false)
}

// EndOffset returns the offset after the partition's last record. With
// committed it is the last stable offset: what a read_committed reader can
// reach now.
func (c *Client) EndOffset(ctx context.Context, topic string, partition int32, committed bool) (int64, error) {
	return c.listOffset(ctx, topic, partition, timestampLatest, committed)
}

// OffsetAt returns the offset of the first record whose timestamp is at or
// after t, or the end of the partition if there is none.
func (c *Client) OffsetAt(ctx context.Context, topic string, partition int32, t time.Time) (int64, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	// The end is asked for first: a record that arrives in between is not lost.
	end, err := c.EndOffset(ctx, topic, partition, false)
	if err != nil {
		return -1, err
	}
	offset, err := c.listOffset(ctx, topic, partition, max(t.UnixMilli(), 0), false)
	if err != nil || offset >= 0 {
		return offset, err
	}
	return end, nil
}

// listOffset asks the partition's leader once.
func (c *Client) listOffset(ctx context.Context, topic string, partition int32, timestamp int64, committed bool) (int64, error) {
	const op = "list offsets of"
	ctx, cancel := c.bound(ctx)
	defer cancel()
	request := &listoffsets.Request{
		ReplicaID: -1,
		Topics: []listoffsets.RequestTopic{{
			Topic: topic,
			Partitions: []listoffsets.RequestPartition{{
				Partition: partition, CurrentLeaderEpoch: -1, Timestamp: timestamp,
			}},
		}},
	}
	if committed {
		request.IsolationLevel = 1
	}
	offset := int64(-1)
	err := c.askLeader(ctx, topic, partition, func(ctx context.Context, broker int32) error {
		m, err := c.ask(ctx, broker, request)
		if err != nil {
			return partitionError(op, topic, partition, -1, err)
		}
		r := m.(*listoffsets.Response)
		if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
			return partitionError(op, topic, partition, -1, fmt.Errorf("%w: the answer is about other partitions", ErrMalformed))
		}
		p := r.Topics[0].Partitions[0]
		offset = p.Offset
		return codeError(op, topic, partition, -1, p.ErrorCode)
	})
	if err != nil {
		return -1, err
	}
	return offset, nil
}
