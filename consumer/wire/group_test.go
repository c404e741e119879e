package wire

import (
	"errors"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// TestStableOffsets shows the trap that OffsetFetch v7 avoids: while a
// transaction with offsets is open, kafka-go's OffsetFetch returns the offset
// before it without a word.
func TestStableOffsets(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		topic := b.topic(t, c, 3)
		group := unique("group")
		member := b.join(t, c, group, topic)
		p := b.ready(t, c, ProducerOptions{})
		commit := func(offset int64) *Transaction {
			return &Transaction{Member: member, Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {offset, ""}}}}}
		}
		if err := p.Commit(ctx, commit(1)); err != nil {
			t.Fatal(err)
		}
		stableOffsets(t, c, group, topic, 0)
		if err := p.write(ctx, nil, commit(2)); err != nil {
			t.Fatal(err)
		}
		plain := &kafka.Client{Addr: c.Addr(), Transport: c.Transport()}
		stale, err := plain.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
		if err != nil || stale.Topics[topic][0].CommittedOffset != 1 || stale.Topics[topic][0].Error != nil {
			t.Fatalf("kafka-go: %+v, %v", stale, err)
		}
		got, err := c.StableOffsets(ctx, group, topic, []int32{2, 0, 1})
		if err != nil || len(got) != 3 {
			t.Fatalf("%+v, %v", got, err)
		}
		var where *PartitionError
		if !errors.Is(got[0].Err, kafka.UnstableOffsetCommit) || !errors.As(got[0].Err, &where) || where.Topic != topic || Classify(got[0].Err) != Retry {
			t.Fatalf("%+v", got[0])
		}
		for _, partition := range []int32{1, 2} {
			if b.fake != nil {
				break // kfake calls all of the group's offsets unstable then.
			}
			if got[partition] != (Committed{Offset: -1}) {
				t.Fatalf("partition %d: %+v", partition, got[partition])
			}
		}
		if err := p.end(ctx, true); err != nil {
			t.Fatal(err)
		}
		if got := stableOffsets(t, c, group, topic, 0)[0]; got != (Committed{Offset: 2}) {
			t.Fatalf("%+v", got)
		}
	})
}

func TestHeartbeat(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		topic := b.topic(t, c, 1)
		member := b.join(t, c, unique("group"), topic)
		for name, x := range map[string]struct {
			change func(m *Member)
			want   kafka.Error
		}{
			"good":             {func(*Member) {}, 0},
			"older generation": {func(m *Member) { m.Generation-- }, kafka.IllegalGeneration},
			"unknown member":   {func(m *Member) { m.ID = "nobody" }, kafka.UnknownMemberId},
			"unknown group":    {func(m *Member) { m.Group = unique("group") }, kafka.UnknownMemberId},
		} {
			if b.fake != nil && name == "unknown group" {
				continue // kfake does not answer.
			}
			m := member
			x.change(&m)
			err := c.Heartbeat(ctx, m)
			if x.want == 0 && err != nil || x.want != 0 && (!errors.Is(err, x.want) || Classify(err) != Rejoin) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestLateOffsets walks this sequence: a plain offset commit is stuck in the network and given up; a transaction of the
// same generation commits a later offset; then the first request arrives and sets it back. So it must not be taken for
// done, nor for something to repeat within the generation: the caller joins again, and then it is refused.
func TestLateOffsets(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		f := newFaults()
		c := b.client(t, func(o *Options) { o.Dial = f.dial })
		topic := b.topic(t, c, 1)
		group := unique("group")
		member := b.join(t, b.client(t), group, topic)
		for _, kind := range []fault{loseRequest, loseAnswer} {
			f.arm(protocol.OffsetCommit, kind)
			err := c.CommitOffsets(testContext(t), member, TopicOffsets{topic, map[int32]OffsetMeta{0: {3, ""}}})
			if !errors.Is(err, ErrOffsetsLate) || Classify(err) != Rejoin {
				t.Fatalf("%v: %v, want a rejoin", kind, err)
			}
		}
		f.arm(protocol.OffsetCommit, delay)
		if err := c.CommitOffsets(testContext(t), member, TopicOffsets{topic, map[int32]OffsetMeta{0: {0, ""}}}); Classify(err) != Rejoin {
			t.Fatalf("%v, want a rejoin", err)
		}
		if err := c.CommitOffsets(testContext(t), member, TopicOffsets{topic, map[int32]OffsetMeta{0: {9, ""}}}); err != nil {
			t.Fatal(err)
		}
		f.release()
		if got := stableOffsets(t, c, group, topic, 0)[0].Offset; got != 0 {
			t.Fatalf("offset %d: the late request did nothing, the trap is gone", got)
		}
	})
}
