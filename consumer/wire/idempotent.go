package wire

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go/protocol/initproducerid"
)

// ErrUnplaced is the error of a batch that is in the log, the broker does not say
// where.
var ErrUnplaced = errors.New("written, but the broker does not say at which offset")

// IdempotentProducer writes batches without transactions, each once: a batch whose
// answer was lost is sent again, and the broker knows it by its sequence number.
// One goroutine at a time.
type IdempotentProducer struct {
	client      *Client
	compression Compression
	identity    identity
	next        map[topicPartition]int32 // The next sequence number.
}

// NewIdempotentProducer asks for a producer id, which nobody else has.
func (c *Client) NewIdempotentProducer(ctx context.Context, compression Compression) (*IdempotentProducer, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	who := noProducer
	err := retry(ctx, func() error {
		// No transactional id: any broker answers, and no timeout counts.
		m, err := c.ask(ctx, anyBroker, &initproducerid.Request{
			TransactionTimeoutMs: int32(DefaultTransactionTimeout.Milliseconds()),
			ProducerID:           noProducer.producer, ProducerEpoch: noProducer.epoch,
		})
		if err != nil {
			return err
		}
		who, err = identityOf(m)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for a producer id: %w", denyCluster(err, OperationIdempotentWrite))
	}
	return &IdempotentProducer{client: c, compression: compression, identity: who, next: make(map[topicPartition]int32)}, nil
}

// Produce writes batches and waits for all replicas in sync (acks=all); then each
// has its BaseOffset. Several batches of one partition are written in their order.
// Empty batches are left out.
//
// After an error the producer must not be used any more: some of the batches may
// be in the log. Those that certainly are have their BaseOffset.
func (p *IdempotentProducer) Produce(ctx context.Context, batches ...*Batch) error {
	ctx, cancel := p.client.bound(ctx)
	defer cancel()
	by := producing{client: p.client, version: produceVersion, lost: func() {}}
	for _, round := range rounds(batches) {
		pending := make([]sealed, 0, len(round))
		for _, b := range round {
			at := topicPartition{b.topic, b.partition}
			bytes, err := b.seal(p.identity, p.next[at], false, p.compression)
			if err != nil {
				return err
			}
			b.base = -1
			pending = append(pending, sealed{b, bytes})
			p.next[at] = (p.next[at] + b.count) & 0x7fffffff
		}
		if err := by.send(ctx, pending); err != nil {
			return err
		}
		for _, b := range round {
			if b.base < 0 {
				return partitionError("produce", b.topic, b.partition, -1, ErrUnplaced)
			}
		}
	}
	return nil
}
