package wire

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// TestMovedCoordinators pins every other broker, and one that does not exist,
// as coordinator. Each is found to be wrong and looked up again.
func TestMovedCoordinators(t *testing.T) {
	eachProtocol(t, fakeBroker(t, kfake.NumBrokers(3)), testMovedCoordinators)
}

func testMovedCoordinators(t *testing.T, b broker) {
	c := b.client(t)
	topic := b.topic(t, c, 1)
	member := b.join(t, c, unique("group"), topic)
	p := b.ready(t, c, ProducerOptions{})
	group, transaction := groupKey(member.Group), transactionKey(p.options.TransactionalID)
	offset := int64(0)
	for _, wrong := range []int32{0, 1, 2, 99} {
		pin := func() {
			c.coordinators.set(group, wrong)
			c.coordinators.set(transaction, wrong)
		}
		ctx := testContext(t)
		offset++
		pin()
		err := p.Commit(ctx, &Transaction{Batches: []*Batch{one(topic, 0, "x")}, Member: member,
			Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {offset, ""}}}}})
		if err != nil {
			t.Fatalf("commit by broker %d: %v", wrong, err)
		}
		pin()
		got, err := c.StableOffsets(ctx, member.Group, topic, []int32{0})
		if err != nil || got[0] != (Committed{Offset: offset}) {
			t.Fatalf("offsets by broker %d: %+v, %v", wrong, got, err)
		}
		pin()
		if err := c.Heartbeat(ctx, member); err != nil {
			t.Fatalf("heartbeat by broker %d: %v", wrong, err)
		}
		pin()
		if err := c.CommitOffsets(ctx, member, TopicOffsets{topic, map[int32]OffsetMeta{0: {offset, ""}}}); err != nil {
			t.Fatalf("plain commit by broker %d: %v", wrong, err)
		}
		pin()
		if err := p.Init(ctx); err != nil {
			t.Fatalf("Init by broker %d: %v", wrong, err)
		}
		want := b.fake.CoordinatorFor(p.options.TransactionalID)
		if id, ok := c.coordinators.get(transaction); !ok || id != want {
			t.Fatalf("broker %d is pinned, the coordinator is %d", id, want)
		}
	}
}
