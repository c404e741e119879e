package consumertest

import (
	"context"
	"fmt"
	"hash/fnv"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/contract"
)

// ackTimeout bounds how long a Producer waits for the acknowledgement of one record, where its client has a limit for that.
const ackTimeout = 60 * time.Second

// ProducerRecord is a record for a Producer, which changes neither slice.
type ProducerRecord struct {
	Key   []byte // nil: none
	Value []byte // nil: a tombstone
}

// Producer writes records with a client that teams upstream of Lapwing use.
type Producer struct {
	Name string
	// Partitioner names the contract.Partitioner whose partitions the client's keyed records go to; "": none of them.
	Partitioner string
	// Send writes records to a topic, without retrying in a way that could write one twice or change their order, with
	// acks=all, and returns when each is acknowledged, or an error with its cause; then some may be in the topic. brokers is
	// a list of host:port with commas. Records without key go where the client likes. Where the client is missing, tb is
	// skipped, as by Need. Sends may run at the same time.
	Send func(ctx context.Context, tb testing.TB, brokers, topic string, records []ProducerRecord) error

	need func(tb testing.TB)
}

// Need skips the test, or fails it where EnvRequire has RequireServices, if the client is missing. Whoever calls Send on a
// goroutine other than the test's, which alone may skip, calls Need before.
func (p Producer) Need(tb testing.TB) {
	tb.Helper()
	p.need(tb)
}

// Producers lists a producer of each client and of each way to partition that it has: librdkafka (as kcat), the Java
// client, kafka-go and franz-go.
func Producers(tb testing.TB) []Producer {
	tb.Helper()
	murmur2, crc32, fnv1a := contract.Murmur2.String(), contract.CRC32.String(), contract.FNV1a.String()
	return []Producer{
		producer("kcat", crc32, needKcat, sendKcat()),
		producer("kcat murmur2_random", murmur2, needKcat, sendKcat("-X", "partitioner=murmur2_random")),
		producer("java", murmur2, needJava, sendJava),
		producer("kafka-go Hash", fnv1a, nil, sendKafkaGo(func() kafka.Balancer { return &kafka.Hash{} })),
		// Sarama's reference partitioner strips the sign of the hash, where its default turns it round.
		producer("kafka-go ReferenceHash", "", nil, sendKafkaGo(func() kafka.Balancer { return &kafka.ReferenceHash{} })),
		producer("kafka-go CRC32Balancer", crc32, nil, sendKafkaGo(func() kafka.Balancer { return kafka.CRC32Balancer{} })),
		producer("kafka-go Murmur2Balancer", murmur2, nil, sendKafkaGo(func() kafka.Balancer { return kafka.Murmur2Balancer{} })),
		producer("franz-go", murmur2, nil, sendFranz()),
		producer("franz-go SaramaCompatHasher", fnv1a, nil, sendFranz(kgo.SaramaCompatHasher(fnv1a32))),
		// In spite of its name not Sarama's: it takes the hash as unsigned.
		producer("franz-go SaramaHasher", "", nil, sendFranz(kgo.SaramaHasher(fnv1a32))),
	}
}

func fnv1a32(key []byte) uint32 {
	h := fnv.New32a()
	h.Write(key) // never fails (hash.Hash)
	return h.Sum32()
}

type sendFunc func(ctx context.Context, tb testing.TB, brokers, topic string, records []ProducerRecord) error

// producer makes a Producer; need is nil for a client that is always there.
func producer(name, partitioner string, need func(testing.TB), send sendFunc) Producer {
	if need == nil {
		need = func(testing.TB) {}
	}
	return Producer{
		Name: name, Partitioner: partitioner, need: need,
		Send: func(ctx context.Context, tb testing.TB, brokers, topic string, records []ProducerRecord) error {
			tb.Helper()
			need(tb)
			if err := send(ctx, tb, brokers, topic, records); err != nil {
				return fmt.Errorf("consumertest: %s writes %d records to %s: %w", name, len(records), topic, err)
			}
			return nil
		},
	}
}
