package wire

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestReadWhatFranzWrote reads batches of another client in every codec.
func TestReadWhatFranzWrote(t *testing.T) {
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		for i, codec := range codecs {
			topic := b.topic(t, c, 1)
			producer := b.franz(t, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(0), kgo.DefaultProduceTopic(topic))
			var want []seen
			for batch := range 5 {
				var records []*kgo.Record
				for j := range 100 {
					r := &kgo.Record{Key: []byte(fmt.Sprint(j)), Value: []byte(strings.Repeat(fmt.Sprint("value ", j), batch*j%20))}
					headers := ""
					if j%3 == 0 {
						r.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "n"}}
						headers = "h=v;n=<null>;"
					}
					if j%10 == 0 {
						r.Value = nil
					}
					records = append(records, r)
					want = append(want, seen{int64(len(want)), text(r.Key), text(r.Value), headers})
				}
				if err := producer.ProduceSync(testContext(t), records...).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			for _, start := range []int64{0, 1, 137, 499} {
				if got, next := readAll(t, c, topic, 0, start, FetchOptions{}); !reflect.DeepEqual(got, want[start:]) || next != 500 {
					t.Fatalf("codec %d from %d: %d records up to %d, want %d", i, start, len(got), next, len(want[start:]))
				}
			}
		}
	})
}

// TestInterleavedTransactions writes transactions of four producers at once,
// some aborted, and reads from random offsets with random limits, as franz-go
// does.
func TestInterleavedTransactions(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 1))
		c := b.client(t)
		topic := b.topic(t, c, 1)
		ctx := testContext(t)
		var producers []*Producer
		for i := range 4 {
			p := b.ready(t, c, ProducerOptions{TransactionTimeout: time.Minute, Compression: Compression(i)})
			producers = append(producers, p)
		}
		open := make([]int, len(producers))
		for step := range 250 {
			i := rng.IntN(len(producers))
			p := producers[i]
			if open[i] > 0 && rng.IntN(3) == 0 {
				if err := p.end(ctx, rng.IntN(2) == 0); err != nil {
					t.Fatal(err)
				}
				open[i] = 0
				continue
			}
			batch := NewBatch(topic, 0)
			for j := range 1 + rng.IntN(6) {
				batch.Append(int64(step), nil, []byte(fmt.Sprintf("step %d record %d %s", step, j, strings.Repeat("x", rng.IntN(200)))))
			}
			if err := p.write(ctx, [][]*Batch{{batch}}, &Transaction{}); err != nil {
				t.Fatal(err)
			}
			open[i]++
		}
		for i, p := range producers {
			if open[i] > 0 {
				if err := p.end(ctx, i%2 == 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		values := committedValues(t, c, topic, 0)
		end, err := c.EndOffset(ctx, topic, 0, true)
		if err != nil {
			t.Fatal(err)
		}
		want := b.franzReadAll(t, topic, 0, end, true)
		uncommitted := b.franzReadAll(t, topic, 0, end, false)
		if len(want) == 0 || len(want) >= len(uncommitted) || len(values) != len(want) {
			t.Fatalf("%d committed of %d records, we read %d", len(want), len(uncommitted), len(values))
		}
		for range 30 {
			offset := rng.Int64N(end)
			o := FetchOptions{Committed: true, BytesMax: 1 + rng.Int32N(20_000)}
			if got, _ := readAll(t, c, topic, 0, offset, o); !reflect.DeepEqual(got, from(want, offset)) {
				t.Fatalf("from %d with %d bytes: %d records, want %d", offset, o.BytesMax, len(got), len(from(want, offset)))
			}
			o.Committed = false
			if got, _ := readAll(t, c, topic, 0, offset, o); !reflect.DeepEqual(got, from(uncommitted, offset)) {
				t.Fatalf("uncommitted from %d with %d bytes: %d records, want %d", offset, o.BytesMax, len(got), len(from(uncommitted, offset)))
			}
		}
	})
}

// from returns the records at or after an offset.
func from(all []seen, offset int64) []seen {
	for i, r := range all {
		if r.offset >= offset {
			return all[i:]
		}
	}
	return nil
}

// TestFetchLimits reads batches that are larger than the fetch's limit, and
// waits no longer than asked.
func TestFetchLimits(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		topic := b.topic(t, c, 1)
		value := strings.Repeat("v", 100_000)
		if err := c.Produce(ctx, None, []*Batch{one(topic, 0, value), one(topic, 0, value+"2")}); err != nil {
			t.Fatal(err)
		}
		f := c.NewFetcher(topic, 0, FetchOptions{BytesMax: 100, WaitMax: 50 * time.Millisecond})
		var got []string
		for next := int64(0); next < 2; {
			var err error
			next, err = f.Fetch(ctx, next, func(r *Record) error {
				got = append(got, string(r.Value))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if len(got) != 2 || got[0] != value || got[1] != value+"2" {
			t.Fatalf("%d records", len(got))
		}
		if f.HighWatermark != 2 || f.LastStable != 2 || f.LogStart != 0 {
			t.Fatalf("marks %d %d %d", f.HighWatermark, f.LastStable, f.LogStart)
		}
		start := time.Now()
		next, err := f.Fetch(ctx, 2, func(*Record) error { return errors.New("no record is there") })
		if waited := time.Since(start); err != nil || next != 2 || waited < 40*time.Millisecond || waited > 5*time.Second {
			t.Fatalf("next %d after %v, %v", next, waited, err)
		}
	})
}

func TestFetchRefusesBombs(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		topic := b.topic(t, c, 1)
		if err := c.Produce(ctx, Zstd, []*Batch{one(topic, 0, "before"), one(topic, 0, strings.Repeat("0", 900_000))}); err != nil {
			t.Fatal(err)
		}
		f := c.NewFetcher(topic, 0, FetchOptions{DecompressedBytesMax: 100_000})
		n := 0
		next, err := f.Fetch(ctx, 0, func(*Record) error { n++; return nil })
		if next == 1 && err == nil {
			next, err = f.Fetch(ctx, 1, func(*Record) error { n++; return nil })
		}
		var where *PartitionError
		if !errors.Is(err, ErrTooLarge) || !errors.As(err, &where) || where.Topic != topic || where.Partition != 0 || where.Offset != 1 || next != 1 || n != 1 {
			t.Fatalf("%d records, next %d, %v", n, next, err)
		}
	})
}

// TestFetchErrorOfTheCallback comes back as it is, with its record's offset.
func TestFetchErrorOfTheCallback(t *testing.T) {
	b := fakeBroker(t)
	c := b.client(t)
	topic := b.topic(t, c, 1)
	if err := c.Produce(testContext(t), None, []*Batch{one(topic, 0, "a"), one(topic, 0, "b")}); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	f := c.NewFetcher(topic, 0, FetchOptions{})
	next, err := f.Fetch(testContext(t), 0, func(r *Record) error {
		if r.Offset == 1 {
			return stop
		}
		return nil
	})
	if next != 1 || err != stop {
		t.Fatalf("next %d, %v", next, err)
	}
}

func TestOutOfRange(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		topic := b.topic(t, c, 1)
		for i := range 10 {
			if err := c.Produce(ctx, None, []*Batch{one(topic, 0, fmt.Sprint(i))}); err != nil {
				t.Fatal(err)
			}
		}
		cut := kadm.Offsets{}
		cut.AddOffset(topic, 0, 7, -1)
		if _, err := kadm.NewClient(b.franz(t)).DeleteRecords(ctx, cut); err != nil {
			t.Fatal(err)
		}
		f := c.NewFetcher(topic, 0, FetchOptions{})
		for _, offset := range []int64{0, 6, 11} {
			next, err := f.Fetch(ctx, offset, func(*Record) error { return errors.New("a record") })
			var where *PartitionError
			if Classify(err) != OutOfRange || next != offset || !errors.As(err, &where) || where.Offset != offset {
				t.Fatalf("from %d: next %d, %v", offset, next, err)
			}
		}
		if got, err := c.EarliestOffset(ctx, topic, 0); err != nil || got != 7 {
			t.Fatalf("earliest %d, %v", got, err)
		}
		if got, _ := readAll(t, c, topic, 0, 7, FetchOptions{}); len(got) != 3 {
			t.Fatalf("%v", got)
		}
	})
}

func TestOffsets(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		topic := b.topic(t, c, 1)
		base := time.Now().Truncate(time.Second)
		for i := range 3 {
			batch := NewBatch(topic, 0)
			batch.Append(base.Add(time.Duration(i)*time.Second).UnixMilli(), nil, []byte("x"))
			if err := c.Produce(ctx, None, []*Batch{batch}); err != nil {
				t.Fatal(err)
			}
		}
		p := b.ready(t, c, ProducerOptions{})
		if err := p.write(ctx, [][]*Batch{{one(topic, 0, "open")}}, &Transaction{}); err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			name string
			got  func() (int64, error)
			want int64
		}{
			{"earliest", func() (int64, error) { return c.EarliestOffset(ctx, topic, 0) }, 0},
			{"end", func() (int64, error) { return c.EndOffset(ctx, topic, 0, false) }, 4},
			{"stable end", func() (int64, error) { return c.EndOffset(ctx, topic, 0, true) }, 3},
			{"at the second", func() (int64, error) { return c.OffsetAt(ctx, topic, 0, base.Add(time.Second)) }, 1},
			{"between", func() (int64, error) { return c.OffsetAt(ctx, topic, 0, base.Add(time.Millisecond)) }, 1},
			{"long ago", func() (int64, error) { return c.OffsetAt(ctx, topic, 0, time.Unix(-5, 0)) }, 0},
			{"in the future", func() (int64, error) { return c.OffsetAt(ctx, topic, 0, base.Add(time.Hour)) }, 4},
		} {
			if got, err := x.got(); err != nil || got != x.want {
				t.Errorf("%s: %d, want %d, %v", x.name, got, x.want, err)
			}
		}
		if err := p.end(ctx, false); err != nil {
			t.Fatal(err)
		}
		_, err := c.EndOffset(ctx, topic, 9, false)
		var where *PartitionError
		if !errors.Is(err, kafka.UnknownTopicOrPartition) || !errors.As(err, &where) || where.Partition != 9 {
			t.Errorf("partition that is not there: %v", err)
		}
	})
}

// TestFetchFollowsTheLeader moves the partition from broker to broker. One
// failed fetch is enough to find it again.
func TestFetchFollowsTheLeader(t *testing.T) {
	b := fakeBroker(t, kfake.NumBrokers(3))
	c := b.client(t)
	topic := b.topic(t, c, 1)
	if err := c.Produce(testContext(t), None, []*Batch{one(topic, 0, "x")}); err != nil {
		t.Fatal(err)
	}
	f := c.NewFetcher(topic, 0, FetchOptions{})
	for move := range int32(6) {
		if err := b.fake.MoveTopicPartition(topic, 0, move%3); err != nil {
			t.Fatal(err)
		}
		n := 0
		read := func() error {
			_, err := f.Fetch(testContext(t), 0, func(*Record) error { n++; return nil })
			return err
		}
		err := read()
		if err != nil {
			if Classify(err) != Retry {
				t.Fatal(err)
			}
			err = read()
		}
		if err != nil || n != 1 {
			t.Fatalf("move %d: %d records, %v", move, n, err)
		}
	}
}

// TestFetchAfterFaults: an abandoned long poll leaves nothing behind that the
// next fetch could trip over.
func TestFetchAfterFaults(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		faults := newFaults()
		c := b.client(t, func(o *Options) { o.Dial = faults.dial })
		topic := b.topic(t, c, 1)
		if err := c.Produce(testContext(t), None, []*Batch{one(topic, 0, "x")}); err != nil {
			t.Fatal(err)
		}
		f := c.NewFetcher(topic, 0, FetchOptions{WaitMax: 2 * time.Second})
		for i := range 6 {
			short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			_, err := f.Fetch(short, 1, func(*Record) error { return nil })
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) && Classify(err) != Retry {
				t.Fatalf("abandoned long poll: %v", err)
			}
			faults.arm(protocol.Fetch, fault(i%2))
			if _, err := f.Fetch(testContext(t), 0, func(*Record) error { return nil }); Classify(err) != Retry || err == nil {
				t.Fatalf("lost fetch: %v", err)
			}
			n := 0
			if next, err := f.Fetch(testContext(t), 0, func(*Record) error { n++; return nil }); err != nil || n != 1 || next != 1 {
				t.Fatalf("%d records, next %d, %v", n, next, err)
			}
		}
	})
}
