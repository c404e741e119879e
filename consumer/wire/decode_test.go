package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"testing/iotest"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The seeds are encoded by franz-go's generated code; a flexible answer has its
// header's tags before it.

func metadataSeed() []byte {
	r := kmsg.NewPtrMetadataResponse()
	r.SetVersion(metadataVersion)
	rack := "rack"
	r.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "one", Port: 9092}, {NodeID: 2, Host: "two", Port: 9093, Rack: &rack}}
	r.ControllerID = 1
	events, gone := "events", "gone"
	r.Topics = []kmsg.MetadataResponseTopic{
		{Topic: &events, TopicID: [16]byte{1, 2, 3, 15: 9}, Partitions: []kmsg.MetadataResponseTopicPartition{
			{Partition: 1, Leader: 2, Replicas: []int32{1, 2}, ISR: []int32{2}, OfflineReplicas: []int32{1}},
			{Partition: 0, Leader: 1, ErrorCode: 9},
			{Partition: 2, Leader: 1, ErrorCode: 5},
		}},
		{Topic: &gone, ErrorCode: 3},
	}
	return r.AppendTo([]byte{0})
}

func TestDecodeMetadata(t *testing.T) {
	topics, err := decodeMetadata(metadataSeed())
	if err != nil || len(topics) != 2 {
		t.Fatalf("%+v, %v", topics, err)
	}
	want := topicMetadata{Topic{Name: "events", ID: [16]byte{1, 2, 3, 15: 9}, Partitions: 3}, []int32{1, 2, -1}}
	if !reflect.DeepEqual(topics[0], want) {
		t.Fatalf("%+v, want %+v", topics[0], want)
	}
	if topics[1].Name != "gone" || !errors.Is(topics[1].Err, kafka.UnknownTopicOrPartition) {
		t.Fatalf("%+v", topics[1])
	}
}

func offsetFetchSeed() []byte {
	r := kmsg.NewPtrOffsetFetchResponse()
	r.SetVersion(offsetFetchVersion)
	mark := "mark"
	r.Topics = []kmsg.OffsetFetchResponseTopic{{Topic: "events", Partitions: []kmsg.OffsetFetchResponseTopicPartition{
		{Partition: 0, Offset: 17, Metadata: &mark}, {Partition: 1, Offset: -1}, {Partition: 2, Offset: -1, ErrorCode: 88},
	}}}
	return r.AppendTo([]byte{0})
}

func TestDecodeOffsetFetch(t *testing.T) {
	got, err := decodeOffsetFetch(offsetFetchSeed(), "events")
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0] != (Committed{Offset: 17, Metadata: "mark"}) || got[1] != (Committed{Offset: -1}) || !errors.Is(got[2].Err, kafka.UnstableOffsetCommit) {
		t.Fatalf("%+v", got)
	}
	if _, err := decodeOffsetFetch(offsetFetchSeed(), "other"); !errors.Is(err, ErrMalformed) {
		t.Fatalf("another topic: %v", err)
	}
	r := kmsg.NewPtrOffsetFetchResponse()
	r.SetVersion(offsetFetchVersion)
	r.ErrorCode = 16
	if _, err := decodeOffsetFetch(r.AppendTo([]byte{0}), "events"); !errors.Is(err, kafka.NotCoordinatorForGroup) {
		t.Fatalf("error of the group: %v", err)
	}
}

func produceSeed() []byte {
	r := kmsg.NewPtrProduceResponse()
	r.SetVersion(produceVersion)
	message := "too large"
	r.Topics = []kmsg.ProduceResponseTopic{{Topic: "alerts", Partitions: []kmsg.ProduceResponseTopicPartition{
		{Partition: 0, ErrorCode: 10, ErrorMessage: &message, ErrorRecords: []kmsg.ProduceResponseTopicPartitionErrorRecord{{RelativeOffset: 3}}},
		{Partition: 1, BaseOffset: 5},
	}}}
	return r.AppendTo([]byte{0})
}

func TestDecodeProduce(t *testing.T) {
	batches := []addressed{{sealed: sealed{batch: NewBatch("alerts", 1)}}, {sealed: sealed{batch: NewBatch("alerts", 0)}}}
	codes, err := decodeProduce(produceSeed(), batches)
	if err != nil || !reflect.DeepEqual(codes, []int16{0, 10}) {
		t.Fatalf("%v, %v", codes, err)
	}
	batches = append(batches, addressed{sealed: sealed{batch: NewBatch("alerts", 2)}})
	if _, err := decodeProduce(produceSeed(), batches); !errors.Is(err, ErrMalformed) {
		t.Fatalf("a partition left out: %v", err)
	}
}

// TestDecodersRefuseCutAnswers cuts each answer at every byte.
func TestDecodersRefuseCutAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		body   []byte
		decode func([]byte) error
	}{
		"metadata":     {metadataSeed(), func(b []byte) error { _, err := decodeMetadata(b); return err }},
		"offset fetch": {offsetFetchSeed(), func(b []byte) error { _, err := decodeOffsetFetch(b, "events"); return err }},
		"API versions": {apiVersionsSeed(2), func(b []byte) error { _, err := decodeAPIVersions(b); return err }},
		"TxnOffsetCommit": {txnOffsetCommitSeed(), func(b []byte) error {
			return decodeTxnOffsetCommit(b, []TopicOffsets{{"events", map[int32]OffsetMeta{0: {}}}})
		}},
		"EndTxn": {endTxnSeed(1, 1), func(b []byte) error { _, err := decodeEndTxn(b, secondProtocol, noProducer); return err }},
		"produce": {produceSeed(), func(b []byte) error {
			_, err := decodeProduce(b, []addressed{{sealed: sealed{batch: NewBatch("alerts", 1)}}})
			return err
		}},
	} {
		if err := c.decode(c.body); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for cut := range c.body {
			if err := c.decode(c.body[:cut]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%s cut at %d of %d: %v", name, cut, len(c.body), err)
			}
		}
	}
}

func TestDecodeFetchErrors(t *testing.T) {
	id := [16]byte{1, 2, 3, 15: 9}
	answer := func(change func(r *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition)) []byte {
		r := kmsg.NewPtrFetchResponse()
		r.SetVersion(fetchVersion)
		r.Topics = []kmsg.FetchResponseTopic{{TopicID: id, Partitions: []kmsg.FetchResponseTopicPartition{{
			Partition: 2, HighWatermark: 9, LastStableOffset: 8, LogStartOffset: 7, PreferredReadReplica: -1,
		}}}}
		change(r, &r.Topics[0].Partitions[0])
		return r.AppendTo([]byte{0})
	}
	for _, c := range []struct {
		name   string
		change func(r *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition)
		want   error
	}{
		{"empty", func(*kmsg.FetchResponse, *kmsg.FetchResponseTopicPartition) {}, nil},
		{"error of the request", func(r *kmsg.FetchResponse, _ *kmsg.FetchResponseTopicPartition) { r.ErrorCode = 70 }, kafka.FetchSessionIDNotFound},
		{"error of the partition", func(_ *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition) { p.ErrorCode = 1 }, kafka.OffsetOutOfRange},
		{"another topic", func(r *kmsg.FetchResponse, _ *kmsg.FetchResponseTopicPartition) { r.Topics[0].TopicID[3] = 4 }, ErrMalformed},
		{"another partition", func(_ *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition) { p.Partition = 1 }, ErrMalformed},
		{"no topic", func(r *kmsg.FetchResponse, _ *kmsg.FetchResponseTopicPartition) { r.Topics = nil }, ErrMalformed},
	} {
		f := (&Client{}).NewFetcher("events", 2, FetchOptions{TopicID: id})
		if _, err := f.decode(answer(c.change)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	whole := answer(func(_ *kmsg.FetchResponse, p *kmsg.FetchResponseTopicPartition) {
		p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 1, FirstOffset: 2}}
		p.RecordBatches = []byte("batches")
	})
	f := (&Client{}).NewFetcher("events", 2, FetchOptions{TopicID: id})
	records, err := f.decode(whole)
	if err != nil || string(records) != "batches" || !reflect.DeepEqual(f.reader.aborted, []abortedTransaction{{1, 2}}) ||
		f.HighWatermark != 9 || f.LastStable != 8 || f.LogStart != 7 {
		t.Fatalf("%q %+v %v", records, f, err)
	}
	for cut := range whole {
		if _, err := f.decode(whole[:cut]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut at %d of %d: %v", cut, len(whole), err)
		}
	}
}

// loop is a connection that answers whatever is written with given bytes.
type loop struct {
	io.Reader
	io.Writer
}

func TestRawExchangeRefusesHostileAnswers(t *testing.T) {
	c := &Client{options: Options{ResponseBytesMax: 100}.withDefaults()}
	for _, x := range []struct {
		name   string
		answer []byte
		want   error
	}{
		{"whole", []byte{0, 0, 0, 6, 0, 0, 0, 1, 'o', 'k'}, nil},
		{"nothing", nil, io.EOF},
		{"cut in the head", []byte{0, 0, 0}, io.ErrUnexpectedEOF},
		{"cut in the body", []byte{0, 0, 0, 6, 0, 0, 0, 1, 'o'}, io.ErrUnexpectedEOF},
		{"without its body", []byte{0, 0, 0, 6, 0, 0, 0, 1}, io.ErrUnexpectedEOF},
		{"negative size", []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1}, ErrMalformed},
		{"size below the head", []byte{0, 0, 0, 3, 0, 0, 0, 1}, ErrMalformed},
		{"size above the limit", []byte{0, 0, 0, 105, 0, 0, 0, 1}, ErrMalformed},
		{"answer to another request", []byte{0, 0, 0, 6, 0, 0, 0, 9, 'o', 'k'}, ErrMalformed},
	} {
		r := c.request(nil, protocol.Fetch, fetchVersion, true)
		r.correlation = 1
		m, err := r.RawExchange(loop{bytes.NewReader(x.answer), io.Discard})
		if !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", x.name, err, x.want)
		}
		if err == nil && string(m.(*answer).body) != "ok" {
			t.Errorf("%s: %q", x.name, m.(*answer).body)
		}
	}
}

func TestReadBodyGrowsAsBytesArrive(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 500_000)
	for _, buf := range [][]byte{nil, make([]byte, 10), make([]byte, 0, len(want))} {
		got, err := readBody(iotest.HalfReader(bytes.NewReader(want)), buf, len(want))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if _, err := readBody(bytes.NewReader(want), nil, 1<<40); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("a size of a terabyte: %v", err)
	}
}

func TestDecodeTags(t *testing.T) {
	// Two tagged fields, of three bytes and of none, then what follows.
	d := decoder{rest: []byte{2, 0, 3, 'a', 'b', 'c', 9, 0, 'x'}}
	if d.tags(); d.bad || string(d.rest) != "x" {
		t.Fatalf("%+v", d)
	}
	for _, hostile := range [][]byte{
		{1, 0, 3, 'a', 'b'},
		{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		{0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0},
		{1},
	} {
		d := decoder{rest: hostile}
		if d.tags(); d.err("test") == nil {
			t.Errorf("%v is taken", hostile)
		}
	}
}
