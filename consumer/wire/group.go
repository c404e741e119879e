package wire

import (
	"context"
	"fmt"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"
)

// Member is one membership of a consumer group. The coordinator refuses what
// an older generation sends; a Member without id and generation it does not.
type Member struct {
	Group      string
	Generation int32
	ID         string
}

// OffsetMeta is an offset to commit, with a text of at most 4096 characters
// that is kept beside it.
type OffsetMeta struct {
	Offset   int64
	Metadata string
}

// Committed is what a group has committed for a partition.
type Committed struct {
	Offset   int64 // -1: nothing.
	Metadata string
	// Err is a *PartitionError around the broker's code. 88
	// (UNSTABLE_OFFSET_COMMIT): a transaction with offsets of this partition has
	// not ended yet.
	Err error
}

// heartbeatVersion is the newest without flexible fields (Kafka 2.3).
const heartbeatVersion = 3

// Heartbeat tells the coordinator that the member lives, and returns the
// coordinator's refusal (Class Rejoin) if it does not belong to the generation
// any more.
//
// It has its own bytes because kafka-go v0.4.51 reads the answer's fields in
// the wrong order (protocol/heartbeat), so that every answer is a success.
func (c *Client) Heartbeat(ctx context.Context, m Member) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	err := c.coordinated(ctx, groupKey(m.Group), func(ctx context.Context, broker int32) error {
		x := c.request(nil, protocol.Heartbeat, heartbeatVersion, false)
		b := appendString(x.frame, m.Group)
		b = appendInt32(b, m.Generation)
		b = appendString(b, m.ID)
		x.frame = appendInt16(b, -1) // No static member.
		body, err := c.askRaw(ctx, broker, x)
		if err != nil {
			return err
		}
		d := decoder{rest: body}
		d.int32() // Throttle time.
		if code := d.int16(); code != 0 {
			return kafka.Error(code)
		}
		return d.err("heartbeat")
	})
	if err != nil {
		return fmt.Errorf("heartbeat of member %q, generation %d, to group %q: %w", m.ID, m.Generation, m.Group, err)
	}
	return nil
}

// CommitOffsets commits offsets outside of a transaction. The error names the
// first partition that was refused.
//
// A lost request is not sent again (ErrOffsetsLate, Class Rejoin): its first
// copy may arrive after the offsets of later transactions, and would set them
// back. Within a generation nothing tells the two apart, so the caller must
// join again.
func (c *Client) CommitOffsets(ctx context.Context, m Member, offsets ...TopicOffsets) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	request := &offsetcommit.Request{GroupID: m.Group, GenerationID: m.Generation, MemberID: m.ID, RetentionTimeMs: -1}
	committing := make(map[string]map[int32]OffsetMeta, len(offsets))
	for _, o := range offsets {
		if len(o.Partitions) == 0 {
			continue
		}
		t := offsetcommit.RequestTopic{Name: o.Topic}
		for p, o := range o.Partitions {
			t.Partitions = append(t.Partitions, offsetcommit.RequestPartition{
				PartitionIndex: p, CommittedOffset: o.Offset, CommittedLeaderEpoch: -1, CommittedMetadata: o.Metadata,
			})
		}
		committing[o.Topic] = o.Partitions
		request.Topics = append(request.Topics, t)
	}
	if len(request.Topics) == 0 {
		return nil
	}
	err := c.coordinated(ctx, groupKey(m.Group), func(ctx context.Context, broker int32) error {
		r, err := c.ask(ctx, broker, request)
		switch {
		case err != nil && unsent(err):
			return err
		case err != nil:
			return fmt.Errorf("%w: %w", ErrOffsetsLate, err)
		}
		for _, t := range r.(*offsetcommit.Response).Topics {
			for _, p := range t.Partitions {
				err := codeError("commit offset of", t.Name, p.PartitionIndex, committing[t.Name][p.PartitionIndex].Offset, p.ErrorCode)
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("group %q: %w", m.Group, err)
	}
	return nil
}

// offsetFetchVersion is the first with require_stable (KIP-447), Kafka 2.5.
// kafka-go knows only 5, which right after a commit returned the offset before
// it in one of seven tries: EndTxn answers before the markers are written.
const offsetFetchVersion = 7

// StableOffsets returns what a group has committed, for each of the
// partitions. It never returns an offset that an unfinished transaction is
// about to change: that partition's Err has code 88 then, and the caller
// decides how long to ask again.
//
// A transaction that was open when its producer died stays so until somebody
// calls InitProducerID with its transactional id, or until its timeout.
func (c *Client) StableOffsets(ctx context.Context, group, topic string, partitions []int32) (map[int32]Committed, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	var committed map[int32]Committed
	err := c.coordinated(ctx, groupKey(group), func(ctx context.Context, broker int32) error {
		x := c.offsetFetchRequest(group, topic, partitions)
		body, err := c.askRaw(ctx, broker, x)
		if err != nil {
			return err
		}
		committed, err = decodeOffsetFetch(body, topic)
		if err != nil {
			return err
		}
		for _, p := range partitions {
			o, ok := committed[p]
			if !ok {
				return partitionError("fetch offset of", topic, p, -1, fmt.Errorf("%w: the answer leaves it out", ErrMalformed))
			}
			if o.Err != nil && movedCoordinator(o.Err) {
				return o.Err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("group %q, offsets of topic %q: %w", group, topic, err)
	}
	return committed, nil
}

func (c *Client) offsetFetchRequest(group, topic string, partitions []int32) *rawExchange {
	x := c.request(nil, protocol.OffsetFetch, offsetFetchVersion, true)
	b := appendCompactString(x.frame, group)
	b = appendCompactCount(b, 1)
	b = appendCompactString(b, topic)
	b = appendCompactCount(b, len(partitions))
	for _, p := range partitions {
		b = appendInt32(b, p)
	}
	x.frame = append(b,
		0, // No tagged fields of the topic.
		1, // Require stable.
		0) // No tagged fields.
	return x
}

// decodeOffsetFetch reads an OffsetFetch answer of version 7 about one topic.
func decodeOffsetFetch(body []byte, topic string) (map[int32]Committed, error) {
	d := decoder{rest: body}
	d.tags()
	d.int32() // Throttle time.
	committed := make(map[int32]Committed)
	for n := d.compactCount(3); n > 0 && !d.bad; n-- {
		name := d.compactString()
		if !d.bad && string(name) != topic {
			return nil, fmt.Errorf("%w: offset fetch answer is about topic %q, expected %q", ErrMalformed, name, topic)
		}
		for m := d.compactCount(20); m > 0 && !d.bad; m-- {
			partition := d.int32()
			o := Committed{Offset: d.int64()}
			d.int32() // Leader epoch.
			o.Metadata = string(d.compactString())
			o.Err = codeError("fetch offset of", topic, partition, -1, d.int16())
			d.tags()
			committed[partition] = o
		}
		d.tags()
	}
	code := d.int16()
	d.tags()
	if err := d.err("offset fetch"); err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, kafka.Error(code)
	}
	return committed, nil
}
