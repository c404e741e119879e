package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

func apiVersionsSeed(level int16) []byte {
	r := kmsg.NewPtrApiVersionsResponse()
	r.SetVersion(apiVersionsVersion)
	r.ApiKeys = []kmsg.ApiVersionsResponseApiKey{
		{ApiKey: 0, MinVersion: 3, MaxVersion: 12}, {ApiKey: 28, MaxVersion: 5}, {ApiKey: 26, MaxVersion: 5}, {ApiKey: 1, MinVersion: 4, MaxVersion: 17},
	}
	r.SupportedFeatures = []kmsg.ApiVersionsResponseSupportedFeature{{Name: transactionFeature, MaxVersion: 9}}
	r.FinalizedFeaturesEpoch = 7
	r.FinalizedFeatures = []kmsg.ApiVersionsResponseFinalizedFeature{
		{Name: "metadata.version", MaxVersionLevel: 25, MinVersionLevel: 25},
		{Name: transactionFeature, MaxVersionLevel: level, MinVersionLevel: 1},
	}
	return r.AppendTo(nil)
}

func TestDecodeAPIVersions(t *testing.T) {
	for level := range int16(4) {
		a, err := decodeAPIVersions(apiVersionsSeed(level))
		if err != nil || a.transactionVersion != level || a.allows(secondProtocol) != (level >= 2) {
			t.Fatalf("level %d: %+v, %v", level, a, err)
		}
		if want := (versionRange{4, 17}); a.requests[protocol.Fetch] != want || len(a.requests) != 4 {
			t.Fatalf("%+v", a.requests)
		}
	}
	for _, key := range []protocol.ApiKey{protocol.Produce, protocol.TxnOffsetCommit, protocol.EndTxn} {
		for _, r := range []versionRange{{}, {0, 4}, {13, 20}} {
			a, err := decodeAPIVersions(apiVersionsSeed(2))
			if err != nil {
				t.Fatal(err)
			}
			a.requests[key] = r
			if a.allows(secondProtocol) {
				t.Errorf("%v from %d to %d is enough", key, r.min, r.max)
			}
		}
	}
	// A broker that does not know the version answers as in version 0.
	r := kmsg.NewPtrApiVersionsResponse()
	r.ErrorCode = 35
	r.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 18, MaxVersion: 2}}
	if a, err := decodeAPIVersions(r.AppendTo(nil)); err != nil || a.allows(secondProtocol) {
		t.Fatalf("%+v, %v", a, err)
	}
	if _, err := decodeAPIVersions([]byte{0, 42}); !errors.Is(err, kafka.InvalidRequest) {
		t.Fatal(err)
	}
}

func txnOffsetCommitSeed(codes ...int16) []byte {
	r := kmsg.NewPtrTxnOffsetCommitResponse()
	r.SetVersion(secondProtocol.txnOffsetCommit)
	topic := kmsg.TxnOffsetCommitResponseTopic{Topic: "events"}
	for i, code := range append(codes, 0)[:max(len(codes), 1)] {
		topic.Partitions = append(topic.Partitions, kmsg.TxnOffsetCommitResponseTopicPartition{Partition: int32(i), ErrorCode: code})
	}
	r.Topics = []kmsg.TxnOffsetCommitResponseTopic{topic}
	return r.AppendTo([]byte{0})
}

func TestDecodeTxnOffsetCommit(t *testing.T) {
	all := []TopicOffsets{{"none", nil}, {"events", map[int32]OffsetMeta{0: {}, 1: {}, 2: {}}}}
	if err := decodeTxnOffsetCommit(txnOffsetCommitSeed(0, 0, 0), all); err != nil {
		t.Fatal(err)
	}
	// The one that time does not mend decides.
	err := decodeTxnOffsetCommit(txnOffsetCommitSeed(16, 22, 0), all)
	var where *PartitionError
	if !errors.Is(err, kafka.IllegalGeneration) || !errors.As(err, &where) || where.Partition != 1 || where.Topic != "events" {
		t.Fatal(err)
	}
	if err := decodeTxnOffsetCommit(txnOffsetCommitSeed(0, 0), all); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "events/2") {
		t.Fatalf("a partition left out: %v", err)
	}
}

func endTxnSeed(producer int64, epoch int16) []byte {
	r := kmsg.NewPtrEndTxnResponse()
	r.SetVersion(secondProtocol.endTxn)
	r.ProducerID, r.ProducerEpoch = producer, epoch
	return r.AppendTo([]byte{0})
}

func TestDecodeEndTxn(t *testing.T) {
	last := identity{7, 3}
	for _, x := range []struct {
		name   string
		body   []byte
		spoken transactionProtocol
		next   identity
		err    error
	}{
		{"another epoch", endTxnSeed(7, 4), secondProtocol, identity{7, 4}, nil},
		{"another producer", endTxnSeed(8, 0), secondProtocol, identity{8, 0}, nil},
		{"the same", endTxnSeed(7, 3), secondProtocol, last, ErrMalformed},
		{"none", endTxnSeed(-1, -1), secondProtocol, last, ErrMalformed},
		{"refused", []byte{0, 0, 0, 0, 0, 0, 90, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0}, secondProtocol, last, kafka.ProducerFenced},
		{"first protocol", []byte{0, 0, 0, 0, 0, 0, 0, 0}, firstProtocol, last, nil},
		{"first protocol, refused", []byte{0, 0, 0, 0, 0, 0, 48, 0}, firstProtocol, last, kafka.InvalidTransactionState},
	} {
		if next, err := decodeEndTxn(x.body, x.spoken, last); next != x.next || !errors.Is(err, x.err) {
			t.Errorf("%s: %+v, %v", x.name, next, err)
		}
	}
}

// TestTransactionRequests decodes the requests by franz-go's generated code.
func TestTransactionRequests(t *testing.T) {
	c, err := New(Options{Brokers: []string{"one:9092"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	decode := func(x *rawExchange, m kmsg.Request) {
		t.Helper()
		x.finish()
		m.SetVersion(x.version)
		var written bytes.Buffer
		if err := x.write(&written); err != nil {
			t.Fatal(err)
		}
		r := kbin.Reader{Src: written.Bytes()}
		if size, key, version, id, client := int(r.Int32()), r.Int16(), r.Int16(), r.Int32(), r.NullableString(); size != written.Len()-4 ||
			key != m.Key() || version != x.version || id != x.correlation || *client != DefaultClientID {
			t.Fatalf("header of %T: %d %d %d %d %v", m, size, key, version, id, *client)
		}
		kmsg.SkipTags(&r)
		if err := m.ReadFrom(r.Src); err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if again := m.AppendTo(nil); len(again) != len(r.Src) {
			t.Fatalf("%T: %d bytes, %d decoded", m, len(r.Src), len(again))
		}
	}
	for _, spoken := range []transactionProtocol{firstProtocol, secondProtocol} {
		p := c.NewProducer(ProducerOptions{TransactionalID: "tx"})
		p.protocol, p.identity = spoken, identity{1 << 40, 300}

		var commit kmsg.TxnOffsetCommitRequest
		decode(p.txnOffsetCommitRequest(Member{"group", 5, "me"}, []TopicOffsets{{"none", nil}, {"events", map[int32]OffsetMeta{3: {1 << 33, "märk"}}}}), &commit)
		want := kmsg.TxnOffsetCommitRequest{
			Version: spoken.txnOffsetCommit, TransactionalID: "tx", Group: "group", ProducerID: 1 << 40, ProducerEpoch: 300, Generation: 5, MemberID: "me",
			Topics: []kmsg.TxnOffsetCommitRequestTopic{{Topic: "events", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{
				{Partition: 3, Offset: 1 << 33, LeaderEpoch: -1, Metadata: kmsg.StringPtr("märk")},
			}}},
		}
		if !reflect.DeepEqual(commit, want) {
			t.Errorf("%+v, want %+v", commit, want)
		}
		for _, committed := range []bool{true, false} {
			var end kmsg.EndTxnRequest
			decode(p.endTxnRequest(committed), &end)
			if want := (kmsg.EndTxnRequest{Version: spoken.endTxn, TransactionalID: "tx", ProducerID: 1 << 40, ProducerEpoch: 300, Commit: committed}); !reflect.DeepEqual(end, want) {
				t.Errorf("%+v, want %+v", end, want)
			}
		}
		large := []byte(strings.Repeat("large", insertBytesMin)) // sent from where it is
		for _, id := range []string{"tx", ""} {
			x := c.request(nil, protocol.Produce, spoken.produce, true)
			x.appendProduce(id, time.Second, []addressed{
				{sealed: sealed{NewBatch("alerts", 1), []byte("one")}}, {sealed: sealed{NewBatch("alerts", 2), []byte(strings.Repeat("x", 200))}},
				{sealed: sealed{NewBatch("dead", 0), large}}, {sealed: sealed{NewBatch("dead", 1), []byte("four")}}, {sealed: sealed{NewBatch("dead", 2), large[1:]}},
			})
			var produce kmsg.ProduceRequest
			decode(x, &produce)
			want := kmsg.ProduceRequest{Version: spoken.produce, Acks: -1, TimeoutMillis: 1000, Topics: []kmsg.ProduceRequestTopic{
				{Topic: "alerts", Partitions: []kmsg.ProduceRequestTopicPartition{
					{Partition: 1, Records: []byte("one")}, {Partition: 2, Records: []byte(strings.Repeat("x", 200))}}},
				{Topic: "dead", Partitions: []kmsg.ProduceRequestTopicPartition{
					{Partition: 0, Records: large}, {Partition: 1, Records: []byte("four")}, {Partition: 2, Records: large[1:]}}},
			}}
			if id != "" {
				want.TransactionID = &id
			}
			if !reflect.DeepEqual(produce, want) {
				t.Errorf("%+v, want %+v", produce, want)
			}
		}
	}
	var versions kmsg.ApiVersionsRequest
	decode(c.apiVersionsRequest(), &versions)
	if versions.ClientSoftwareName != "lapwing" || versions.ClientSoftwareVersion != "unknown" {
		t.Errorf("%+v", versions)
	}
}

// TestGoldenTransactionAnswers reads answers of a real broker to a transaction of
// the second protocol. They are taken again as those of golden_test.go.
func TestGoldenTransactionAnswers(t *testing.T) {
	file := func(name string) string { return filepath.Join("testdata", "transaction-"+name+".bin") }
	if *update {
		takeGoldenTransaction(t, file)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(file(name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, err := decodeAPIVersions(read("api-versions"))
	if err != nil || a.transactionVersion != 2 || !a.allows(secondProtocol) || a.requests[protocol.Fetch].max < fetchVersion {
		t.Errorf("%+v, %v", a, err)
	}
	batches := []addressed{{sealed: sealed{batch: NewBatch("golden", 1)}}, {sealed: sealed{batch: NewBatch("golden", 0)}}}
	// Partition 0 had a sequence number too high.
	if codes, err := decodeProduce(read("produce"), batches); err != nil || !slices.Equal(codes, []int16{0, 45}) {
		t.Errorf("%v, %v", codes, err)
	}
	offsets := []TopicOffsets{{"golden", map[int32]OffsetMeta{0: {}, 1: {}}}}
	if err := decodeTxnOffsetCommit(read("txn-offset-commit"), offsets); err != nil {
		t.Error(err)
	}
	// Of the first transaction of a new transactional id.
	first := identity{epoch: 0}
	if next, err := decodeEndTxn(read("end-txn"), secondProtocol, first); err != nil || next.epoch != 1 {
		t.Errorf("%+v, %v", next, err)
	}
	if _, err := decodeEndTxn(read("end-txn-fenced"), secondProtocol, first); !errors.Is(err, kafka.ProducerFenced) {
		t.Error(err)
	}
}

func takeGoldenTransaction(t *testing.T, file func(name string) string) {
	t.Helper()
	b := realBroker(t)
	c := b.client(t)
	ctx := testContext(t)
	admin := b.franz(t)
	const topic = "golden"
	if err := c.CreateTopics(ctx, TopicSpec{Name: topic, Partitions: 2, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		remove := kmsg.NewPtrDeleteTopicsRequest()
		remove.TopicNames, remove.Topics = []string{topic}, []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr(topic)}}
		if _, err := remove.RequestWith(ctx, admin); err != nil {
			t.Error(err)
		}
	}()
	member := b.join(t, c, unique("group"), topic)
	p := b.ready(t, c, ProducerOptions{})
	take := func(name string, k coordinatorKey, encode func() *rawExchange) {
		err := c.coordinated(ctx, k, func(ctx context.Context, broker int32) error {
			body, err := c.askRaw(ctx, broker, encode())
			if err == nil {
				err = os.WriteFile(file(name), body, 0o644)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	transaction, group := transactionKey(p.options.TransactionalID), groupKey(member.Group)
	take("api-versions", transaction, c.apiVersionsRequest)
	// Both partitions have a record, so that a gap is one.
	if err := p.write(ctx, [][]*Batch{{one(topic, 0, "x"), one(topic, 1, "x")}}, &Transaction{}); err != nil {
		t.Fatal(err)
	}
	take("produce", transaction, func() *rawExchange {
		var batches []addressed
		for partition, sequence := range []int32{9, 1} {
			bytes, err := one(topic, int32(partition), "y").seal(p.identity, sequence, true, None)
			if err != nil {
				t.Fatal(err)
			}
			batches = append(batches, addressed{sealed: sealed{NewBatch(topic, int32(partition)), bytes}})
		}
		x := c.request(nil, protocol.Produce, secondProtocol.produce, true)
		x.appendProduce(p.options.TransactionalID, time.Second, batches)
		return x
	})
	take("txn-offset-commit", group, func() *rawExchange {
		return p.txnOffsetCommitRequest(member, []TopicOffsets{{topic, map[int32]OffsetMeta{0: {1, ""}, 1: {2, ""}}}})
	})
	take("end-txn", transaction, func() *rawExchange { return p.endTxnRequest(true) })
	b.ready(t, c, ProducerOptions{TransactionalID: p.options.TransactionalID})
	take("end-txn-fenced", transaction, func() *rawExchange { return p.endTxnRequest(true) })
}

// finalize sets the level of the feature transaction.version, as an upgrade or a
// downgrade of the cluster does.
func (b broker) finalize(t testing.TB, level int16) {
	t.Helper()
	r := kmsg.NewPtrUpdateFeaturesRequest()
	f := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	f.Feature, f.MaxVersionLevel, f.AllowDowngrade, f.UpgradeType = transactionFeature, level, true, 2
	c := b.client(t)
	if a := b.apiVersions(t, c); a.transactionVersion < level {
		f.UpgradeType = 1
	}
	r.FeatureUpdates = append(r.FeatureUpdates, f)
	answer, err := r.RequestWith(testContext(t), b.franz(t))
	if err != nil || answer.ErrorCode != 0 {
		t.Fatalf("set %s to %d: %+v, %v", f.Feature, level, answer, err)
	}
	for b.apiVersions(t, c).transactionVersion != level { // The broker hears of it a moment later.
		time.Sleep(time.Millisecond)
	}
}

func (b broker) apiVersions(t testing.TB, c *Client) apiVersions {
	t.Helper()
	body, err := c.askRaw(testContext(t), anyBroker, c.apiVersionsRequest())
	if err != nil {
		t.Fatal(err)
	}
	a, err := decodeAPIVersions(body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestProtocolOfTheCluster has clusters that may and may not speak the second
// protocol.
func TestProtocolOfTheCluster(t *testing.T) {
	capped := kversion.V4_0_0()
	capped.SetMaxKeyVersion(int16(kmsg.EndTxn), 4)
	for _, x := range []struct {
		name   string
		opts   []kfake.Opt
		level  int16 // -1: as it is.
		second bool
	}{
		{"newest", nil, -1, true},
		{"4.0", []kfake.Opt{kfake.MaxVersions(kversion.V4_0_0())}, -1, true},
		{"3.1", []kfake.Opt{kfake.MaxVersions(kversion.V3_1_0())}, -1, false},
		{"without features", []kfake.Opt{kfake.MaxVersions(kversion.V2_3_0())}, -1, false},
		{"downgraded to 1", nil, 1, false},
		{"downgraded to 0", nil, 0, false},
		{"without EndTxn 5", []kfake.Opt{kfake.MaxVersions(capped)}, -1, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			b := fakeBroker(t, x.opts...)
			if x.level >= 0 {
				b.finalize(t, x.level)
			}
			p := b.producer(b.client(t), ProducerOptions{})
			if err := p.Init(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if p.protocol.implicit != x.second {
				t.Fatalf("%+v", p.protocol)
			}
		})
	}
	c := fakeBroker(t).client(t)
	for name, err := range map[string]error{
		"Init":  c.NewProducer(ProducerOptions{}).Init(testContext(t)),
		"fence": c.FenceTransactionalID(testContext(t), "", time.Second),
	} {
		if !errors.Is(err, errNoTransactionalID) {
			t.Errorf("%s without a transactional id: %v", name, err)
		}
	}
}

// TestProtocolChanges switches the feature off and on again under producers,
// between their transactions and within one. They go on as they began, and the
// next Init finds the change.
func TestProtocolChanges(t *testing.T) {
	t.Run("kfake", func(t *testing.T) { testProtocolChanges(t, fakeBroker(t), 0, 2, 1, 2) })
	t.Run("kafka", func(t *testing.T) {
		if testing.Short() {
			t.Skip("starts a broker of its own; left out by -short")
		}
		cluster := consumertest.OwnCluster(t, consumertest.ClusterOptions{Brokers: 1})
		b := broker{name: "own", addr: strings.Join(cluster.Addrs(), ",")}
		testProtocolChanges(t, b, 1, 2)
		testProtocolOff(t, b, cluster)
	})
}

// testProtocolOff sets the feature back to 0 within a transaction and between
// two. Both fail whole, and Init mends them once the level is 1 and the coordinator
// has restarted.
func testProtocolOff(t *testing.T, b broker, cluster *consumertest.Cluster) {
	c := b.client(t)
	topic := b.topic(t, c, 1)
	within, between := b.ready(t, c, ProducerOptions{}), b.ready(t, c, ProducerOptions{})
	for _, p := range []*Producer{within, between} {
		if err := p.Commit(testContext(t), &Transaction{Batches: []*Batch{one(topic, 0, "before")}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := within.write(testContext(t), [][]*Batch{{one(topic, 0, "within")}}, &Transaction{}); err != nil {
		t.Fatal(err)
	}
	b.finalize(t, 0)
	if err := within.end(testContext(t), true); !within.protocolOff(err) {
		t.Fatalf("EndTxn: %v", err)
	}
	start := time.Now()
	err := between.Commit(testContext(t), &Transaction{Batches: []*Batch{one(topic, 0, "between")}})
	if !errors.Is(err, ErrProtocolOff) || Classify(err) != Retry || between.State() != StateDoubtful {
		t.Fatalf("state %v, %v", between.State(), err)
	}
	if took := time.Since(start); took > between.options.TransactionTimeout/2 {
		t.Fatalf("the refusal took %v", took)
	}
	b.finalize(t, 1)
	cluster.Stop(0)
	cluster.Start(0)
	if err := cluster.WaitUp(testContext(t), 1); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Producer{within, between} {
		if err := p.Init(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if p.protocol.implicit {
			t.Fatalf("%+v", p.protocol)
		}
		if err := p.Commit(testContext(t), &Transaction{Batches: []*Batch{one(topic, 0, "after")}}); err != nil {
			t.Fatal(err)
		}
	}
	expectValues(t, c, topic, "before", "before", "after", "after")
}

func testProtocolChanges(t *testing.T, b broker, levels ...int16) {
	c := b.client(t)
	ctx := testContext(t)
	topic := b.topic(t, c, 1)
	member := b.join(t, c, unique("group"), topic)
	var want []string
	transaction := func(name string) *Transaction {
		want = append(want, name)
		return &Transaction{Batches: []*Batch{one(topic, 0, name)}, Member: member,
			Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {int64(len(want)), name}}}}}
	}
	check := func() {
		t.Helper()
		expectValues(t, c, topic, want...)
		got := stableOffsets(t, c, member.Group, topic, 0)[0]
		if last := (Committed{Offset: int64(len(want)), Metadata: want[len(want)-1]}); got != last {
			t.Fatalf("%+v, want %+v", got, last)
		}
	}
	commit := func(p *Producer, name string) {
		t.Helper()
		if err := p.Commit(ctx, transaction(name)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		check()
	}
	p := b.ready(t, c, ProducerOptions{})
	commit(p, "second protocol")
	for _, level := range levels {
		// Within a transaction.
		tx := transaction(fmt.Sprint("open while set to ", level))
		if err := p.become(StateInTransaction); err != nil {
			t.Fatal(err)
		}
		if err := p.write(ctx, rounds(tx.Batches), tx); err != nil {
			t.Fatal(err)
		}
		b.finalize(t, level)
		if err := p.end(ctx, true); err != nil {
			t.Fatalf("EndTxn after a change to %d: %v", level, err)
		}
		if err := p.become(StateReady); err != nil {
			t.Fatal(err)
		}
		check()
		before := p.protocol
		for i := range 3 {
			commit(p, fmt.Sprint("as before, set to ", level, ", ", i))
		}
		if p.protocol != before {
			t.Fatalf("%+v, want %+v", p.protocol, before)
		}
		// A transaction in the old protocol is left open, and aborted by Init in the
		// new one.
		if err := p.write(ctx, [][]*Batch{{one(topic, 0, "left open")}}, &Transaction{}); err != nil {
			t.Fatal(err)
		}
		if err := p.Init(ctx); err != nil {
			t.Fatal(err)
		}
		if p.protocol.implicit != (level == 2) {
			t.Fatalf("Init at level %d finds %+v", level, p.protocol)
		}
		commit(p, fmt.Sprint("after Init at ", level))
	}
}

// TestBrokerWithoutTheProtocol has a producer of the second protocol meet brokers
// of a release before it, as after a roll back: the commit fails when its time is
// up, and Init mends it.
func TestBrokerWithoutTheProtocol(t *testing.T) {
	b := fakeBroker(t, kfake.MaxVersions(kversion.V3_1_0()))
	c := b.client(t)
	topic := b.topic(t, c, 1)
	b.firstProtocol = true
	p := b.ready(t, c, ProducerOptions{TransactionTimeout: 300 * time.Millisecond})
	p.options.FirstProtocol, p.protocol = false, secondProtocol
	tx := &Transaction{Batches: []*Batch{one(topic, 0, "x")}}
	if err := p.Commit(testContext(t), tx); Classify(err) != Retry || p.State() != StateDoubtful {
		t.Fatalf("state %v, %v", p.State(), err)
	}
	if err := p.Init(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(testContext(t), tx); err != nil {
		t.Fatal(err)
	}
	expectValues(t, c, topic, "x")
}

// TestLastEpoch commits under the last epoch of a producer id: EndTxn answers
// with another id. kfake takes over an epoch from a batch, which spares 32,000
// transactions.
func TestLastEpoch(t *testing.T) {
	b := fakeBroker(t)
	c := b.client(t)
	topic := b.topic(t, c, 1)
	p := b.ready(t, c, ProducerOptions{})
	p.identity.epoch = math.MaxInt16 - 1
	last := p.identity
	for _, value := range []string{"one", "two"} {
		if err := p.Commit(testContext(t), &Transaction{Batches: []*Batch{one(topic, 0, value), one(topic, 0, value+" again")}}); err != nil {
			t.Fatal(err)
		}
		if p.identity.producer == last.producer || p.identity.epoch > 1 {
			t.Fatalf("%+v after %+v", p.identity, last)
		}
	}
	expectValues(t, c, topic, "one", "one again", "two", "two again")
}
