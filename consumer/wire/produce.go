package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// produceVersion is the first with flexible fields; Kafka 3.1 has it. The bytes
// of 12, the first of the second transaction protocol, are the same.
const produceVersion = 9

// requestBytesMax bounds the batches of one Produce request that has more than
// one; a broker takes 100 MiB by default (socket.request.max.bytes).
const requestBytesMax = 16 << 20

// sealed is a batch as it is sent: the bytes stay the same however often.
type sealed struct {
	batch *Batch
	bytes []byte
}

// producing is one call that writes batches.
type producing struct {
	client        *Client
	version       int16
	transactional string // The transactional id, empty without a transaction.
	lost          func() // Called when a request or its answer may be lost.
}

// Produce writes batches without a transaction and waits for all replicas in
// sync (acks=all). A batch whose answer was lost is sent again, so it may be in
// the log twice. Several batches of one partition are written in their order.
// Empty batches are left out.
func (c *Client) Produce(ctx context.Context, compression Compression, batches []*Batch) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	p := producing{client: c, version: produceVersion, lost: func() {}}
	for _, round := range rounds(batches) {
		pending := make([]sealed, 0, len(round))
		for _, b := range round {
			bytes, err := b.seal(noProducer, -1, false, compression)
			if err != nil {
				return err
			}
			pending = append(pending, sealed{b, bytes})
		}
		if err := p.send(ctx, pending); err != nil {
			return err
		}
	}
	return nil
}

type topicPartition struct {
	topic     string
	partition int32
}

// rounds groups batches so that no round has two of one partition and a
// partition's batches keep their order.
func rounds(batches []*Batch) [][]*Batch {
	var rounds [][]*Batch
	seen := make(map[topicPartition]int, len(batches))
	for _, b := range batches {
		if b.Count() == 0 {
			continue
		}
		k := topicPartition{b.topic, b.partition}
		n := seen[k]
		seen[k] = n + 1
		if n == len(rounds) {
			rounds = append(rounds, nil)
		}
		rounds[n] = append(rounds[n], b)
	}
	return rounds
}

// send writes batches of different partitions until all are in the log. What
// was not acknowledged is sent again with the same bytes, and so with the same
// sequence number: within an open transaction the broker then drops what it
// has already.
func (p *producing) send(ctx context.Context, pending []sealed) error {
	var b backoff
	for {
		results := p.attempt(ctx, pending)
		var again []sealed
		var temporary error
		for i, err := range results {
			switch {
			case err == nil:
				continue
			case Classify(err) != Retry:
				return err
			}
			if temporary == nil {
				temporary = err
			}
			again = append(again, pending[i])
		}
		if temporary == nil {
			return nil
		}
		if err := b.wait(ctx, temporary); err != nil {
			return err
		}
		pending = again
	}
}

// attempt sends each batch once and returns what became of each.
func (p *producing) attempt(ctx context.Context, pending []sealed) []error {
	results := make([]error, len(pending))
	var requests []produceRequest
	open := make(map[int32]int) // Broker to the request that has room.
	for i, s := range pending {
		broker, err := p.client.leader(ctx, s.batch.topic, s.batch.partition)
		if err != nil {
			results[i] = err
			continue
		}
		n, ok := open[broker]
		if !ok || requests[n].size+len(s.bytes) > requestBytesMax {
			n = len(requests)
			open[broker] = n
			requests = append(requests, produceRequest{broker: broker})
		}
		requests[n].add(i, s)
	}
	if len(requests) == 1 {
		p.exchange(ctx, &requests[0], results)
		return results
	}
	var wait sync.WaitGroup
	for i := range requests {
		wait.Go(func() { p.exchange(ctx, &requests[i], results) })
	}
	wait.Wait()
	return results
}

// produceRequest is what goes to one broker at once.
type produceRequest struct {
	broker  int32
	size    int
	batches []addressed
}

// addressed is a batch with its place in the results.
type addressed struct {
	sealed
	index int
}

func (r *produceRequest) add(i int, s sealed) {
	r.size += len(s.bytes)
	r.batches = append(r.batches, addressed{s, i})
}

// exchange sends one request and writes the results of its batches only.
func (p *producing) exchange(ctx context.Context, r *produceRequest, results []error) {
	codes, err := p.ask(ctx, r)
	if err != nil && !isCode(err) {
		p.lost()
	}
	for i, s := range r.batches {
		e := err
		if e == nil {
			e = produceError(codes[i])
		}
		if e == nil {
			continue
		}
		if movedLeader(e) {
			p.client.leaders.forget(s.batch.topic)
		}
		results[s.index] = partitionError("produce", s.batch.topic, s.batch.partition, -1, e)
	}
}

func produceError(code int16) error {
	switch e := kafka.Error(code); e {
	case 0, kafka.DuplicateSequenceNumber: // 46: an earlier copy has arrived.
		return nil
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge:
		return fmt.Errorf("%w: %w", ErrBatchTooLarge, e)
	default:
		return e
	}
}

// ask returns the codes of the batches in their order.
func (p *producing) ask(ctx context.Context, r *produceRequest) ([]int16, error) {
	c := p.client
	slices.SortStableFunc(r.batches, func(a, b addressed) int { return strings.Compare(a.batch.topic, b.batch.topic) })
	buf, _ := c.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	x := c.request((*buf)[:0], protocol.Produce, p.version, true)
	x.appendProduce(p.transactional, c.options.RequestTimeout/2, r.batches)
	body, err := c.askRaw(ctx, r.broker, x)
	if err != nil {
		// The buffer is lost: kafka-go may still be sending it. So may it the batches.
		for _, s := range r.batches {
			s.batch.lent = true
		}
		return nil, err
	}
	*buf = x.frame
	c.buffers.Put(buf)
	return decodeProduce(body, r.batches)
}

// insertBytesMin is the size from which a batch is sent from where it is: a smaller
// one costs less as a copy than as a write of its own.
const insertBytesMin = 16 << 10

// appendProduce encodes a Produce request of a version from 9 to 12. The batches
// are in the order of their topics.
func (x *rawExchange) appendProduce(transactional string, timeout time.Duration, batches []addressed) {
	b := x.frame
	if transactional == "" {
		b = append(b, 0) // Null.
	} else {
		b = appendCompactString(b, transactional)
	}
	b = appendInt16(b, -1) // Acknowledged by all replicas in sync.
	b = appendInt32(b, int32(timeout.Milliseconds()))
	topics := 0
	for i := range batches {
		if i == 0 || batches[i].batch.topic != batches[i-1].batch.topic {
			topics++
		}
	}
	b = appendCompactCount(b, topics)
	for len(batches) > 0 {
		n := 1
		for n < len(batches) && batches[n].batch.topic == batches[0].batch.topic {
			n++
		}
		b = appendCompactString(b, batches[0].batch.topic)
		b = appendCompactCount(b, n)
		for _, s := range batches[:n] {
			b = appendInt32(b, s.batch.partition)
			b = appendCompactCount(b, len(s.bytes))
			if len(s.bytes) < insertBytesMin {
				b = append(b, s.bytes...)
			} else {
				x.inserts = append(x.inserts, insert{len(b), s.bytes})
			}
			b = append(b, 0)
		}
		b = append(b, 0)
		batches = batches[n:]
	}
	x.frame = append(b, 0)
}

// decodeProduce reads a Produce answer of a version from 9 to 12 about the given
// batches, and notes the base offset of those that were taken.
func decodeProduce(body []byte, batches []addressed) ([]int16, error) {
	d := decoder{rest: body}
	d.tags()
	type outcome struct {
		code int16
		base int64
	}
	found := make(map[topicPartition]outcome, len(batches))
	for n := d.compactCount(3); n > 0 && !d.bad; n-- {
		topic := string(d.compactString())
		for m := d.compactCount(33); m > 0 && !d.bad; m-- {
			partition := d.int32()
			o := outcome{d.int16(), d.int64()}
			d.int64() // Append time.
			d.int64() // Log start.
			for k := d.compactCount(6); k > 0 && !d.bad; k-- {
				d.int32() // Index of a refused record.
				d.compactString()
				d.tags()
			}
			d.compactString() // Message: the code says it.
			d.tags()          // The leader's successor: metadata says it.
			found[topicPartition{topic, partition}] = o
		}
		d.tags()
	}
	d.int32() // Throttle time.
	d.tags()
	if err := d.err("produce"); err != nil {
		return nil, err
	}
	codes := make([]int16, len(batches))
	for i, s := range batches {
		o, ok := found[topicPartition{s.batch.topic, s.batch.partition}]
		if !ok {
			return nil, errors.Join(ErrMalformed, fmt.Errorf("produce answer leaves out %s/%d", s.batch.topic, s.batch.partition))
		}
		codes[i] = o.code
		if o.code == 0 {
			s.batch.base = o.base
		}
	}
	return codes, nil
}
