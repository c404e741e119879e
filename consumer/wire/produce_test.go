package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// sends says whether a producer of the test's protocol sends such requests.
func (b broker) sends(key kmsg.Key) bool {
	return b.firstProtocol || key != kmsg.AddPartitionsToTxn && key != kmsg.AddOffsetsToTxn
}

// TestTemporaryRefusals answers each step of a transaction with codes that time
// mends, which kfake never sends by itself.
func TestTemporaryRefusals(t *testing.T) {
	eachProtocol(t, fakeBroker(t), testTemporaryRefusals)
}

func testTemporaryRefusals(t *testing.T, b broker) {
	c := b.client(t)
	topic := b.topic(t, c, 1)
	member := b.join(t, c, unique("group"), topic)
	p := b.ready(t, c, ProducerOptions{})
	var want []string
	offset := int64(0)
	for key, codes := range map[kmsg.Key][]*kerr.Error{
		kmsg.InitProducerID:     {kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.ConcurrentTransactions},
		kmsg.AddPartitionsToTxn: {kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.UnknownTopicOrPartition},
		kmsg.Produce: {kerr.UnknownTopicOrPartition, kerr.LeaderNotAvailable, kerr.NotLeaderForPartition, kerr.RequestTimedOut,
			kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.ConcurrentTransactions, kerr.DuplicateSequenceNumber},
		kmsg.AddOffsetsToTxn: {kerr.ConcurrentTransactions, kerr.NotCoordinator},
		kmsg.TxnOffsetCommit: {kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.CoordinatorNotAvailable},
		kmsg.EndTxn:          {kerr.CoordinatorNotAvailable, kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress},
		kmsg.OffsetFetch:     {kerr.CoordinatorLoadInProgress, kerr.NotCoordinator},
	} {
		if !b.sends(key) {
			continue
		}
		for _, code := range codes {
			fault := b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: code, Count: 2})
			if key == kmsg.InitProducerID {
				if err := p.Init(testContext(t)); err != nil {
					t.Fatalf("%v %v: %v", key, code, err)
				}
			}
			value := fmt.Sprint(key, code.Message)
			offset++
			err := p.Commit(testContext(t), &Transaction{Batches: []*Batch{one(topic, 0, value)}, Member: member,
				Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {offset, ""}}}}})
			if err != nil {
				t.Fatalf("%v %v: %v", key, code, err)
			}
			if got := stableOffsets(t, c, member.Group, topic, 0)[0].Offset; got != offset {
				t.Fatalf("%v %v: offset %d, want %d", key, code, got, offset)
			}
			if fault.Hits() == 0 {
				t.Fatalf("%v %v was never answered", key, code)
			}
			fault.Remove()
			if code == kerr.DuplicateSequenceNumber {
				// Said to be there already, so it is not written again, and kfake waits
				// for its sequence number.
				if err := p.Init(testContext(t)); err != nil {
					t.Fatal(err)
				}
				continue
			}
			want = append(want, value)
		}
	}
	got := committedValues(t, c, topic, 0)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("committed %q, want %q", got, want)
	}
}

// TestFinalRefusals answers a step with a code that ends the transaction.
func TestFinalRefusals(t *testing.T) {
	eachProtocol(t, fakeBroker(t), testFinalRefusals)
}

func testFinalRefusals(t *testing.T, b broker) {
	c := b.client(t)
	topic := b.topic(t, c, 1)
	member := b.join(t, c, unique("group"), topic)
	p := b.ready(t, c, ProducerOptions{})
	for _, x := range []struct {
		key   kmsg.Key
		code  *kerr.Error
		class Class
		state ProducerState
	}{
		{kmsg.AddPartitionsToTxn, kerr.TopicAuthorizationFailed, Fatal, StateDoubtful},
		{kmsg.AddPartitionsToTxn, kerr.ProducerFenced, Rejoin, StateFenced},
		{kmsg.Produce, kerr.InvalidProducerEpoch, Rejoin, StateFenced},
		{kmsg.Produce, kerr.OutOfOrderSequenceNumber, Rejoin, StateDoubtful},
		{kmsg.Produce, kerr.InvalidTxnState, Rejoin, StateDoubtful},
		{kmsg.Produce, kerr.InvalidProducerIDMapping, Rejoin, StateDoubtful},
		{kmsg.Produce, kerr.TransactionAbortable, Rejoin, StateDoubtful},
		{kmsg.TxnOffsetCommit, kerr.TransactionAbortable, Rejoin, StateDoubtful},
		{kmsg.TxnOffsetCommit, kerr.InvalidProducerEpoch, Rejoin, StateFenced},
		{kmsg.Produce, kerr.MessageTooLarge, TooLarge, StateDoubtful},
		{kmsg.Produce, kerr.InvalidRecord, DeadLetter, StateDoubtful},
		{kmsg.AddOffsetsToTxn, kerr.GroupAuthorizationFailed, Fatal, StateDoubtful},
		{kmsg.TxnOffsetCommit, kerr.RebalanceInProgress, Rejoin, StateDoubtful},
		{kmsg.TxnOffsetCommit, kerr.IllegalGeneration, Rejoin, StateDoubtful},
		{kmsg.EndTxn, kerr.InvalidTxnState, Rejoin, StateDoubtful},
		{kmsg.EndTxn, kerr.ProducerFenced, Rejoin, StateFenced},
		{kmsg.InitProducerID, kerr.TransactionalIDAuthorizationFailed, Fatal, StateDoubtful},
	} {
		if !b.sends(x.key) {
			continue
		}
		if p.State() != StateReady {
			if err := p.Init(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
		fault := b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{x.key}, Err: x.code})
		var err error
		if x.key == kmsg.InitProducerID {
			err = p.Init(testContext(t))
		} else {
			err = p.Commit(testContext(t), &Transaction{Batches: []*Batch{one(topic, 0, "refused")}, Member: member,
				Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {5, ""}}}}})
		}
		var code kafka.Error
		if !errors.As(err, &code) || int16(code) != x.code.Code || Classify(err) != x.class || p.State() != x.state {
			t.Fatalf("%v %v: state %v, class %v, %v", x.key, x.code, p.State(), Classify(err), err)
		}
		fault.Remove()
	}
	if err := p.Init(testContext(t)); err != nil {
		t.Fatal(err)
	}
	expectValues(t, c, topic)
	if got := stableOffsets(t, c, member.Group, topic, 0)[0].Offset; got != -1 {
		t.Fatalf("offset %d", got)
	}
}

func TestBatchTooLarge(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		topic := b.topic(t, c, 2, "max.message.bytes", "2000")
		limit, err := c.MessageBytesMax(ctx, topic)
		if err != nil || limit != 2000 {
			t.Fatalf("max.message.bytes %d, %v", limit, err)
		}
		large := func() *Batch {
			b := NewBatch(topic, 1)
			for i := range 30 {
				b.Append(0, nil, []byte(strings.Repeat(fmt.Sprint(i), 50)))
			}
			return b
		}
		for name, o := range map[string]ProducerOptions{
			"the broker's limit":        {},
			"own limit":                 {BatchBytesMax: limit},
			"own limit, compressed":     {BatchBytesMax: 200, Compression: Zstd},
			"compressed below a limit":  {BatchBytesMax: limit, Compression: Zstd},
			"compressed for the broker": {Compression: Zstd},
		} {
			p := b.ready(t, c, o)
			small := NewBatch(topic, 0)
			small.Append(0, nil, []byte(name))
			err := p.Commit(ctx, &Transaction{Batches: []*Batch{small, large()}})
			if strings.HasPrefix(name, "compressed") {
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				continue
			}
			var where *PartitionError
			if !errors.Is(err, ErrBatchTooLarge) || Classify(err) != TooLarge || !errors.As(err, &where) || where.Partition != 1 || where.Topic != topic {
				t.Fatalf("%s: %v", name, err)
			}
			if err := p.Init(ctx); err != nil {
				t.Fatal(err)
			}
		}
		got := committedValues(t, c, topic, 0)
		slices.Sort(got)
		if want := []string{"compressed below a limit", "compressed for the broker"}; !slices.Equal(got, want) {
			t.Fatalf("committed %q, want %q", got, want)
		}
	})
}

func TestPlainProduce(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		f := newFaults()
		c := b.client(t, func(o *Options) { o.Dial = f.dial })
		topic := b.topic(t, c, 2)
		f.arm(protocol.Produce, loseRequest)
		batches := []*Batch{one(topic, 0, "a"), one(topic, 1, "b"), NewBatch(topic, 0), one(topic, 0, "c")}
		if err := c.Produce(testContext(t), Gzip, batches); err != nil {
			t.Fatal(err)
		}
		expectValues(t, c, topic, "a", "c")
		if got := committedValues(t, c, topic, 1); !slices.Equal(got, []string{"b"}) {
			t.Fatalf("%q", got)
		}
		// A lost answer: at least once.
		f.arm(protocol.Produce, loseAnswer)
		if err := c.Produce(testContext(t), None, []*Batch{one(topic, 0, "d")}); err != nil {
			t.Fatal(err)
		}
		expectValues(t, c, topic, "a", "c", "d", "d")
		if err := c.Produce(testContext(t), None, nil); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSeveralLeaders writes to partitions of three brokers in one transaction
// while leaders move.
func TestSeveralLeaders(t *testing.T) {
	eachProtocol(t, fakeBroker(t, kfake.NumBrokers(3)), testSeveralLeaders)
}

func testSeveralLeaders(t *testing.T, b broker) {
	c := b.client(t)
	const partitions = 6
	topic := b.topic(t, c, partitions)
	p := b.ready(t, c, ProducerOptions{})
	leaders := map[int32]bool{}
	const rounds = 12
	for round := range int32(rounds) {
		var batches []*Batch
		for partition := range int32(partitions) {
			batches = append(batches, one(topic, partition, fmt.Sprint(round)))
			leaders[b.fake.LeaderFor(topic, partition)] = true
		}
		if err := p.Commit(testContext(t), &Transaction{Batches: batches}); err != nil {
			t.Fatal(err)
		}
		if err := b.fake.MoveTopicPartition(topic, round%partitions, round%3); err != nil {
			t.Fatal(err)
		}
	}
	if len(leaders) != 3 {
		t.Fatalf("leaders %v", leaders)
	}
	var want []string
	for round := range rounds {
		want = append(want, fmt.Sprint(round))
	}
	for partition := range int32(partitions) {
		got := committedValues(t, c, topic, partition)
		if !slices.Equal(got, want) {
			t.Fatalf("partition %d: %q", partition, got)
		}
	}
}

// TestSeveralRealLeaders writes to three brokers and commits offsets, with two
// batches of each partition.
func TestSeveralRealLeaders(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of three brokers; left out by -short")
	}
	cluster := consumertest.OwnCluster(t, consumertest.ClusterOptions{HeapMiB: 400})
	b := broker{name: "own", addr: strings.Join(cluster.Addrs(), ",")}
	eachProtocol(t, b, func(t *testing.T, b broker) {
		c := b.client(t)
		topic := unique("wire")
		const partitions, transactions = 6, 10
		if err := c.CreateTopics(testContext(t), TopicSpec{Name: topic, Partitions: partitions, Replication: 3}); err != nil {
			t.Fatal(err)
		}
		member := b.join(t, b.client(t), unique("group"), topic)
		p := b.ready(t, c, ProducerOptions{})
		leaders := map[int32]bool{}
		var want []string
		for i := range int64(transactions) {
			var batches []*Batch
			for _, half := range []string{"a", "b"} {
				for partition := range int32(partitions) {
					batches = append(batches, one(topic, partition, fmt.Sprint(i, half)))
				}
				want = append(want, fmt.Sprint(i, half))
			}
			err := p.Commit(testContext(t), &Transaction{Batches: batches, Member: member,
				Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {i + 1, ""}}}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		for partition := range int32(partitions) {
			leader, err := c.leader(testContext(t), topic, partition)
			if err != nil {
				t.Fatal(err)
			}
			leaders[leader] = true
			if got := committedValues(t, c, topic, partition); !slices.Equal(got, want) {
				t.Fatalf("partition %d: %q, want %q", partition, got, want)
			}
		}
		if len(leaders) != 3 {
			t.Fatalf("leaders %v", leaders)
		}
		if got := stableOffsets(t, c, member.Group, topic, 0)[0].Offset; got != transactions {
			t.Fatalf("offset %d", got)
		}
	})
}

func TestLargeRequestsAreSplit(t *testing.T) {
	b := fakeBroker(t)
	c := b.client(t)
	const partitions = 5
	topic := b.topic(t, c, partitions, "max.message.bytes", "10000000")
	seen := b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Observe: true, Count: -1})
	var batches []*Batch
	value := make([]byte, requestBytesMax/3)
	for partition := range int32(partitions) {
		batch := NewBatch(topic, partition)
		batch.Append(0, nil, value)
		batches = append(batches, batch)
	}
	if err := c.Produce(testContext(t), None, batches); err != nil {
		t.Fatal(err)
	}
	// Two such batches fit into one request.
	if n := seen.Hits(); n != 3 {
		t.Fatalf("%d requests, want 3", n)
	}
}

// TestProduceGivesUp: a topic that does not exist is asked for until the time
// is up, and the error says both.
func TestProduceGivesUp(t *testing.T) {
	b := fakeBroker(t)
	const timeout = time.Second // Enough for one answer on a busy machine.
	c := b.client(t, func(o *Options) { o.RequestTimeout = timeout })
	start := time.Now()
	err := c.Produce(t.Context(), None, []*Batch{one("nowhere", 0, "x")})
	if !errors.Is(err, kafka.UnknownTopicOrPartition) || !strings.Contains(err.Error(), "gave up") || !strings.Contains(err.Error(), "nowhere") {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited < timeout {
		t.Fatalf("gave up after %v", waited)
	}
}
