package consumertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// sendKafkaGo sends with a Writer of kafka-go, which has the balancer of each call to itself.
func sendKafkaGo(balancer func() kafka.Balancer) sendFunc {
	return func(ctx context.Context, _ testing.TB, brokers, topic string, records []ProducerRecord) error {
		transport := &kafka.Transport{}
		defer transport.CloseIdleConnections()
		writer := &kafka.Writer{
			Addr: kafka.TCP(strings.Split(brokers, ",")...), Topic: topic, Balancer: balancer(), Transport: transport,
			RequiredAcks: kafka.RequireAll,     // the default waits for no answer
			BatchTimeout: 5 * time.Millisecond, // the default holds each last batch back for a second
			BatchSize:    500,                  // records
			ReadTimeout:  ackTimeout,
			WriteTimeout: ackTimeout,
			// The Writer is not idempotent: what it sent again, after an answer that was lost or late, would be there twice.
			MaxAttempts: 1,
		}
		messages := make([]kafka.Message, len(records))
		for i, r := range records {
			messages[i] = kafka.Message{Key: r.Key, Value: r.Value}
		}
		return errors.Join(firstWriteError(writer.WriteMessages(ctx, messages...)), writer.Close())
	}
}

// firstWriteError makes one error of what WriteMessages returns, which else names each record's and wraps none.
func firstWriteError(err error) error {
	var each kafka.WriteErrors
	if !errors.As(err, &each) {
		return err
	}
	for i, cause := range each {
		if cause != nil {
			return fmt.Errorf("%d not acknowledged, the first of them record %d: %w", each.Count(), i, cause)
		}
	}
	return err
}

// sendFranz sends with franz-go, an idempotent producer with acks=all by default. Without a hasher it partitions as it does
// by default.
func sendFranz(hasher ...kgo.PartitionerHasher) sendFunc {
	return func(ctx context.Context, _ testing.TB, brokers, topic string, records []ProducerRecord) error {
		opts := []kgo.Opt{
			kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.DefaultProduceTopic(topic), kgo.RecordDeliveryTimeout(ackTimeout),
		}
		for _, h := range hasher {
			opts = append(opts, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(h)))
		}
		client, err := kgo.NewClient(opts...)
		if err != nil {
			return err
		}
		defer client.Close()
		made := make([]*kgo.Record, len(records))
		for i, r := range records {
			made[i] = &kgo.Record{Key: r.Key, Value: r.Value}
		}
		var failed int
		var first error
		for _, result := range client.ProduceSync(ctx, made...) {
			if result.Err == nil {
				continue
			}
			if failed++; first == nil {
				first = result.Err
			}
		}
		if failed > 0 {
			return fmt.Errorf("%d not acknowledged, the first to fail: %w", failed, first)
		}
		return nil
	}
}
