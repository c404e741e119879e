package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

func TestOptions(t *testing.T) {
	good := Options{Brokers: []string{"one:9092", "[::1]:9093"}}
	for _, x := range []struct {
		name   string
		change func(o *Options)
		says   string
	}{
		{"none", func(o *Options) { o.Brokers = nil }, "no brokers"},
		{"no port", func(o *Options) { o.Brokers = []string{"one"} }, `"one"`},
		{"bad port", func(o *Options) { o.Brokers = []string{"ok:1", "one:kafka"} }, `"one:kafka"`},
		{"negative time", func(o *Options) { o.RequestTimeout = -1 }, "RequestTimeout is -1ns"},
		{"short time", func(o *Options) { o.DialTimeout = 1 }, "DialTimeout is 1ns"},
		{"small answers", func(o *Options) { o.ResponseBytesMax = 5 }, "ResponseBytesMax is 5"},
	} {
		o := good
		x.change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	c, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := Options{DialTimeout: 5 * time.Second, RequestTimeout: 10 * time.Second, MetadataTTL: time.Second, ClientID: "lapwing", ResponseBytesMax: 128 << 20}
	got := c.options
	if got.DialTimeout != want.DialTimeout || got.RequestTimeout != want.RequestTimeout || got.MetadataTTL != want.MetadataTTL ||
		got.ClientID != want.ClientID || got.ResponseBytesMax != want.ResponseBytesMax {
		t.Errorf("defaults %+v", got)
	}
	if got := c.Addr().String(); got != "one:9092,[::1]:9093" {
		t.Errorf("address %q", got)
	}
	if topics := c.Transport().MetadataTopics; topics == nil || len(topics) != 0 {
		t.Errorf("kafka-go asks for topics %v, nil being all", topics)
	}
	if c.Transport().ClientID != "lapwing" || c.Dialer().ClientID != "lapwing" || c.Dialer().Timeout != 5*time.Second {
		t.Error("transport and dialer have other settings")
	}
}

// TestEveryCallHasADeadline connects to something that accepts and says
// nothing.
func TestEveryCallHasADeadline(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) // After the parallel subtests.
	c := broker{addr: l.Addr().String()}.client(t, func(o *Options) {
		o.RequestTimeout, o.DialTimeout = 100*time.Millisecond, 100*time.Millisecond
	})
	ctx := context.Background()
	for name, call := range map[string]func() error{
		"Topics":          func() error { _, err := c.Topics(ctx, "t"); return err },
		"CreateTopics":    func() error { return c.CreateTopics(ctx, TopicSpec{Name: "t", Partitions: 1}) },
		"MessageBytesMax": func() error { _, err := c.MessageBytesMax(ctx, "t"); return err },
		"EarliestOffset":  func() error { _, err := c.EarliestOffset(ctx, "t", 0); return err },
		"EndOffset":       func() error { _, err := c.EndOffset(ctx, "t", 0, true); return err },
		"OffsetAt":        func() error { _, err := c.OffsetAt(ctx, "t", 0, time.Now()); return err },
		"StableOffsets":   func() error { _, err := c.StableOffsets(ctx, "g", "t", []int32{0}); return err },
		"Heartbeat":       func() error { return c.Heartbeat(ctx, Member{Group: "g"}) },
		"CommitOffsets": func() error {
			return c.CommitOffsets(ctx, Member{Group: "g"}, TopicOffsets{"t", map[int32]OffsetMeta{0: {}}})
		},
		"Init":    func() error { return c.NewProducer(ProducerOptions{TransactionalID: "x"}).Init(ctx) },
		"Fence":   func() error { return c.FenceTransactionalID(ctx, "x", time.Second) },
		"Produce": func() error { return c.Produce(ctx, None, []*Batch{one("t", 0, "x")}) },
		"Fetch": func() error {
			_, err := c.NewFetcher("t", 0, FetchOptions{WaitMax: time.Millisecond}).Fetch(ctx, 0, func(*Record) error { return nil })
			return err
		},
		"Commit": func() error {
			p := c.NewProducer(ProducerOptions{TransactionalID: "x", TransactionTimeout: 100 * time.Millisecond})
			p.state = StateReady
			return p.Commit(ctx, &Transaction{Batches: []*Batch{one("t", 0, "x")}})
		},
		"Probe": func() error { return c.Probe(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			err := call()
			if waited := time.Since(start); err == nil || Classify(err) != Retry || waited > 5*time.Second {
				t.Fatalf("after %v: %v", waited, err)
			}
		})
	}
}

// TestCoordinatorIsPinned counts the requests of a commit.
func TestCoordinatorIsPinned(t *testing.T) {
	eachProtocol(t, fakeBroker(t), testCoordinatorIsPinned)
}

func testCoordinatorIsPinned(t *testing.T, b broker) {
	counts := newFaults()
	c := b.client(t, func(o *Options) {
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &countingConn{conn, counts}, err
		}
	})
	topic := b.topic(t, c, 1)
	member := b.join(t, b.client(t), unique("group"), topic)
	p := b.ready(t, c, ProducerOptions{})
	for i := range int64(10) {
		err := p.Commit(testContext(t), &Transaction{Batches: []*Batch{one(topic, 0, "x")}, Member: member,
			Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {i, ""}}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	announced := 0
	if b.firstProtocol {
		announced = 10
	}
	for key, want := range map[protocol.ApiKey]int{
		protocol.FindCoordinator: 2, // The transactional id's and the group's.
		protocol.InitProducerId:  1, protocol.AddPartitionsToTxn: announced, protocol.Produce: 10,
		protocol.AddOffsetsToTxn: announced, protocol.TxnOffsetCommit: 10, protocol.EndTxn: 10,
	} {
		if got := counts.hits(key); got != want {
			t.Errorf("%d requests of %v, want %d", got, key, want)
		}
	}
}

// countingConn counts requests by their kind.
type countingConn struct {
	net.Conn
	counts *faults
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.counts.mu.Lock()
	c.counts.hit[protocol.ApiKey(int(b[4])<<8|int(b[5]))]++
	c.counts.mu.Unlock()
	return c.Conn.Write(b)
}

func TestRetry(t *testing.T) {
	attempts := 0
	err := retry(t.Context(), func() error {
		if attempts++; attempts < 4 {
			return []error{io.EOF, kafka.ConcurrentTransactions, fmt.Errorf("wrapped: %w", kafka.NotCoordinatorForGroup)}[attempts-1]
		}
		return nil
	})
	if err != nil || attempts != 4 {
		t.Fatalf("%d attempts, %v", attempts, err)
	}
	attempts = 0
	err = retry(t.Context(), func() error { attempts++; return kafka.IllegalGeneration })
	if !errors.Is(err, kafka.IllegalGeneration) || attempts != 1 {
		t.Fatalf("%d attempts, %v", attempts, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = retry(ctx, func() error { cancel(); return kafka.ConcurrentTransactions })
	if !errors.Is(err, kafka.ConcurrentTransactions) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestBackoffGrows(t *testing.T) {
	var b backoff
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 20, 20} {
		_ = b.wait(ctx, kafka.ConcurrentTransactions)
		if b.answered != want*time.Millisecond {
			t.Errorf("%v, want %d ms", b.answered, want)
		}
	}
	for _, want := range []time.Duration{20, 40, 80, 160, 250, 250} {
		_ = b.wait(ctx, io.EOF)
		if b.unreached != want*time.Millisecond {
			t.Errorf("%v, want %d ms", b.unreached, want)
		}
	}
}
