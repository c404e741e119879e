package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	kafka "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// cutEvery is how many reads go well per one that does not: a new connection needs some before it carries a request.
const cutEvery = 11

// severing is a connection that closes at times as an answer arrives, as long as it is armed.
type severing struct {
	net.Conn
	armed *atomic.Bool
	reads *atomic.Int64
	cuts  *atomic.Int64
}

func (s severing) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if s.armed.Load() && s.reads.Add(1)%cutEvery == 0 {
		s.cuts.Add(1)
		s.Conn.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

// TestIdempotentProducer loses answers: each record is in the log once, in order, at the offset that the
// batch was told.
func TestIdempotentProducer(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		var armed atomic.Bool
		var reads, cuts atomic.Int64
		c := b.client(t, func(o *Options) {
			o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return severing{conn, &armed, &reads, &cuts}, nil
			}
		})
		const partitions, batches, records = 2, 30, 5
		topic := b.topic(t, c, partitions)
		p, err := c.NewIdempotentProducer(testContext(t), None)
		if err != nil {
			t.Fatal(err)
		}
		armed.Store(true)
		want := map[int64]string{} // by offset and partition
		key := func(partition int32, offset int64) int64 { return offset*partitions + int64(partition) }
		for i := range batches {
			var round []*Batch
			for partition := range int32(partitions) {
				for half := range 2 { // two of one partition in a call
					batch := NewBatch(topic, partition)
					for r := range records {
						batch.Append(1, nil, fmt.Appendf(nil, "%d-%d-%d-%d", i, partition, half, r))
					}
					round = append(round, batch)
				}
			}
			if err := p.Produce(testContext(t), round...); err != nil {
				t.Fatal(err)
			}
			for n, batch := range round {
				for r := range records {
					want[key(batch.Partition(), batch.BaseOffset()+int64(r))] = fmt.Sprintf("%d-%d-%d-%d", i, batch.Partition(), n%2, r)
				}
			}
		}
		armed.Store(false)
		if cuts.Load() == 0 {
			t.Fatal("no answer was lost")
		}
		if len(want) != batches*2*partitions*records {
			t.Fatalf("%d places were told for %d records", len(want), batches*2*partitions*records)
		}
		reader := b.franz(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		for seen := 0; seen < len(want); {
			fetches := reader.PollFetches(testContext(t))
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			fetches.EachRecord(func(r *kgo.Record) {
				seen++
				if got := want[key(r.Partition, r.Offset)]; got != string(r.Value) {
					t.Errorf("%d/%d has %s, told was %q", r.Partition, r.Offset, r.Value, got)
				}
			})
		}
		for partition := range int32(partitions) {
			end, err := c.EndOffset(testContext(t), topic, partition, false)
			if err != nil || end != batches*2*records {
				t.Errorf("partition %d has %d records (%v), want %d", partition, end, err, batches*2*records)
			}
		}
		t.Logf("%d answers lost", cuts.Load())
	})
}

// TestIdempotentProducerRefused: a batch that the topic does not take has no place, another of the same call does.
func TestIdempotentProducerRefused(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		small, large := b.topic(t, c, 1, "max.message.bytes", "1024"), b.topic(t, c, 1)
		p, err := c.NewIdempotentProducer(testContext(t), None)
		if err != nil {
			t.Fatal(err)
		}
		refused, taken := NewBatch(small, 0), NewBatch(large, 0)
		refused.Append(1, nil, make([]byte, 4096))
		taken.Append(1, nil, make([]byte, 4096))
		err = p.Produce(testContext(t), taken, refused)
		if !errors.Is(err, ErrBatchTooLarge) || !errors.Is(err, kafka.MessageSizeTooLarge) {
			t.Errorf("got %v", err)
		}
		if refused.BaseOffset() != -1 || taken.BaseOffset() != 0 {
			t.Errorf("refused at %d, taken at %d; want -1 and 0", refused.BaseOffset(), taken.BaseOffset())
		}
	})
}
