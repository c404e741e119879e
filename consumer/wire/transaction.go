package wire

import (
	"context"
	"errors"
	"fmt"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/addoffsetstotxn"
	"github.com/segmentio/kafka-go/protocol/addpartitionstotxn"
)

// Transaction is what becomes visible together: records and input offsets.
type Transaction struct {
	// Batches to write; several of one partition are written in their order,
	// empty ones left out. They must not be touched while Commit runs and may be
	// used again afterwards, whatever it returned.
	Batches []*Batch
	// Member owns the offsets. The coordinator refuses those of an older
	// generation.
	Member Member
	// Offsets to commit.
	Offsets []TopicOffsets
}

// TopicOffsets are offsets to commit of one topic.
type TopicOffsets struct {
	Topic      string
	Partitions map[int32]OffsetMeta
}

func (tx *Transaction) hasOffsets() bool {
	for _, t := range tx.Offsets {
		if len(t.Partitions) > 0 {
			return true
		}
	}
	return false
}

// Commit writes the transaction. A begun commit is not cut short when ctx is
// cancelled; its bound is the transaction timeout. A transaction with nothing in
// it does nothing.
//
// Any error but ErrState leaves the producer doubtful or fenced, and then only
// Init is legal. The records and offsets are either all committed, or none: after
// Init and StableOffsets the offsets tell which.
func (p *Producer) Commit(ctx context.Context, tx *Transaction) error {
	batches := rounds(tx.Batches)
	if len(batches) == 0 && !tx.hasOffsets() && p.state == StateReady {
		return nil
	}
	if err := p.become(StateInTransaction); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return p.fail(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.options.TransactionTimeout)
	defer cancel()
	if err := p.commit(ctx, batches, tx); err != nil {
		if p.protocolOff(err) {
			err = fmt.Errorf("%w: %w", ErrProtocolOff, err)
		}
		return p.fail(err)
	}
	return p.become(StateReady)
}

// commit does its steps one after the other. Never two in parallel: a
// broker that verifies a Produce and a TxnOffsetCommit of one transaction at
// the same time answers one of them with 19.
func (p *Producer) commit(ctx context.Context, batches [][]*Batch, tx *Transaction) error {
	if err := p.check(batches, tx); err != nil {
		return err
	}
	if err := p.renew(ctx); err != nil {
		return err
	}
	if err := p.write(ctx, batches, tx); err != nil {
		if failed := p.abort(ctx, err); failed != nil {
			err = errors.Join(err, failed)
		}
		return err
	}
	return p.end(ctx, true)
}

// protocolOff says that a broker that spoke the second protocol at Init refuses
// it. See transactionProtocol.
func (p *Producer) protocolOff(err error) bool {
	code, ok := errorCode(err)
	return p.protocol.implicit && ok && code == kafka.UnsupportedVersion
}

// check refuses what would be refused by the broker or, worse, not be refused.
func (p *Producer) check(batches [][]*Batch, tx *Transaction) error {
	if tx.hasOffsets() && (tx.Member.ID == "" || tx.Member.Generation < 0) {
		return errors.New("offsets without a member and a generation: the broker would take them from anybody")
	}
	if p.options.BatchBytesMax == 0 {
		return nil
	}
	for _, round := range batches {
		for _, b := range round {
			if p.options.Compression == None && b.Len() > p.options.BatchBytesMax {
				return partitionError("produce", b.topic, b.partition, -1,
					fmt.Errorf("%w: %d bytes, at most %d", ErrBatchTooLarge, b.Len(), p.options.BatchBytesMax))
			}
		}
	}
	return nil
}

// write does all but the end.
func (p *Producer) write(ctx context.Context, batches [][]*Batch, tx *Transaction) error {
	announce := !p.protocol.implicit
	// The first round has a batch of each partition.
	if len(batches) > 0 && (announce || p.severalLeaders(ctx, batches[0])) {
		if err := p.addPartitions(ctx, batches[0]); err != nil {
			return err
		}
	}
	for _, round := range batches {
		if err := p.produce(ctx, round); err != nil {
			return err
		}
	}
	if !tx.hasOffsets() {
		return nil
	}
	member := tx.Member
	if member.Group == "" {
		member.Group = p.options.Group
	}
	if announce {
		if err := p.addOffsets(ctx, member.Group); err != nil {
			return err
		}
	}
	return p.commitOffsets(ctx, member, tx.Offsets)
}

// ask does one request with a coordinator, again while its error is one that time
// mends, and notices requests that may be late.
func ask[A any](ctx context.Context, p *Producer, k coordinatorKey,
	send func(ctx context.Context, broker int32) (A, error), check func(A) error) error {
	return p.client.coordinated(ctx, k, func(ctx context.Context, broker int32) error {
		a, err := send(ctx, broker)
		if err != nil {
			p.late = true
			return err
		}
		return check(a)
	})
}

// askMessage is ask for a message of kafka-go's.
func (p *Producer) askMessage(ctx context.Context, m protocol.Message, check func(protocol.Message) error) error {
	send := func(ctx context.Context, broker int32) (protocol.Message, error) { return p.client.ask(ctx, broker, m) }
	return ask(ctx, p, transactionKey(p.options.TransactionalID), send, check)
}

// askRaw is ask for bytes, which encode makes for each attempt.
func (p *Producer) askRaw(ctx context.Context, k coordinatorKey,
	encode func() *rawExchange, check func(body []byte) error) error {
	send := func(ctx context.Context, broker int32) ([]byte, error) { return p.client.askRaw(ctx, broker, encode()) }
	return ask(ctx, p, k, send, check)
}

// severalLeaders says that a round goes to more than one broker. Each of them would
// have its partitions join the transaction at the same time, and a broker whom the
// coordinator sends away tries again only after 20 ms (its setting
// add.partitions.to.txn.retry.backoff.ms): one request before is quicker.
func (p *Producer) severalLeaders(ctx context.Context, round []*Batch) bool {
	first := int32(-1)
	for i, b := range round {
		broker, err := p.client.leader(ctx, b.topic, b.partition)
		if err != nil {
			return false // Found out when the batch is sent.
		}
		if i == 0 {
			first = broker
		}
		if broker != first {
			return true
		}
	}
	return false
}

func (p *Producer) addPartitions(ctx context.Context, batches []*Batch) error {
	request := &addpartitionstotxn.Request{
		TransactionalID: p.options.TransactionalID,
		ProducerID:      p.identity.producer,
		ProducerEpoch:   p.identity.epoch,
	}
	index := make(map[string]int)
	for _, b := range batches {
		i, ok := index[b.topic]
		if !ok {
			i = len(request.Topics)
			index[b.topic] = i
			request.Topics = append(request.Topics, addpartitionstotxn.RequestTopic{Name: b.topic})
		}
		request.Topics[i].Partitions = append(request.Topics[i].Partitions, b.partition)
	}
	return p.askMessage(ctx, request, func(m protocol.Message) error {
		var worst worstError
		for _, t := range m.(*addpartitionstotxn.Response).Results {
			for _, r := range t.Results {
				worst.add(codeError("add to transaction", t.Name, r.PartitionIndex, -1, r.ErrorCode))
			}
		}
		return worst.err
	})
}

// produce writes one round of batches under their sequence numbers.
func (p *Producer) produce(ctx context.Context, round []*Batch) error {
	pending := make([]sealed, 0, len(round))
	for _, b := range round {
		bytes, err := b.seal(p.identity, p.next[topicPartition{b.topic, b.partition}], true, p.options.Compression)
		if err != nil {
			return err
		}
		if limit := p.options.BatchBytesMax; limit > 0 && len(bytes) > limit {
			return partitionError("produce", b.topic, b.partition, -1,
				fmt.Errorf("%w: %d bytes, at most %d", ErrBatchTooLarge, len(bytes), limit))
		}
		pending = append(pending, sealed{b, bytes})
	}
	lost := make(chan struct{}, 1)
	w := producing{client: p.client, version: p.protocol.produce, transactional: p.options.TransactionalID, lost: func() {
		select { // Called from the goroutines of several leaders.
		case lost <- struct{}{}:
		default:
		}
	}}
	err := w.send(ctx, pending)
	if len(lost) > 0 {
		p.late = true
	}
	if err != nil {
		return err
	}
	for _, b := range round {
		k := topicPartition{b.topic, b.partition}
		// After the largest number comes 0.
		p.next[k] = (p.next[k] + b.count) & 0x7fffffff
	}
	return nil
}

func (p *Producer) addOffsets(ctx context.Context, group string) error {
	request := &addoffsetstotxn.Request{
		TransactionalID: p.options.TransactionalID,
		ProducerID:      p.identity.producer,
		ProducerEpoch:   p.identity.epoch,
		GroupID:         group,
	}
	err := p.askMessage(ctx, request, func(m protocol.Message) error {
		if code := m.(*addoffsetstotxn.Response).ErrorCode; code != 0 {
			return kafka.Error(code)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("add offsets of group %q to transaction: %w", group, err)
	}
	return nil
}

func (p *Producer) commitOffsets(ctx context.Context, member Member, offsets []TopicOffsets) error {
	encode := func() *rawExchange { return p.txnOffsetCommitRequest(member, offsets) }
	err := p.askRaw(ctx, groupKey(member.Group), encode, func(body []byte) error {
		return decodeTxnOffsetCommit(body, offsets)
	})
	if err != nil {
		return fmt.Errorf("group %q, generation %d, member %q: %w", member.Group, member.Generation, member.ID, err)
	}
	return nil
}

// txnOffsetCommitRequest encodes a version from 3 to 5.
func (p *Producer) txnOffsetCommitRequest(member Member, offsets []TopicOffsets) *rawExchange {
	topics := 0
	for _, t := range offsets {
		if len(t.Partitions) > 0 {
			topics++
		}
	}
	x := p.client.request(nil, protocol.TxnOffsetCommit, p.protocol.txnOffsetCommit, true)
	b := appendCompactString(x.frame, p.options.TransactionalID)
	b = appendCompactString(b, member.Group)
	b = appendInt64(b, p.identity.producer)
	b = appendInt16(b, p.identity.epoch)
	b = appendInt32(b, member.Generation)
	b = appendCompactString(b, member.ID)
	b = append(b, 0) // No static member.
	b = appendCompactCount(b, topics)
	for _, t := range offsets {
		if len(t.Partitions) == 0 {
			continue
		}
		b = appendCompactString(b, t.Topic)
		b = appendCompactCount(b, len(t.Partitions))
		for partition, o := range t.Partitions {
			b = appendInt32(b, partition)
			b = appendInt64(b, o.Offset)
			b = appendInt32(b, -1) // The leader's epoch is not known; 0 would be one.
			b = appendCompactString(b, o.Metadata)
			b = append(b, 0)
		}
		b = append(b, 0)
	}
	x.frame = append(b, 0)
	return x
}

// decodeTxnOffsetCommit reads a TxnOffsetCommit answer of a version from 3 to 5,
// which must be about all of the offsets.
func decodeTxnOffsetCommit(body []byte, offsets []TopicOffsets) error {
	d := decoder{rest: body}
	d.tags()
	d.int32() // Throttle time.
	var worst worstError
	found := make(map[topicPartition]bool)
	for n := d.compactCount(3); n > 0 && !d.bad; n-- {
		topic := string(d.compactString())
		for m := d.compactCount(7); m > 0 && !d.bad; m-- {
			partition := d.int32()
			code := d.int16()
			d.tags()
			found[topicPartition{topic, partition}] = true
			worst.add(codeError("commit offset in transaction of", topic, partition, -1, code))
		}
		d.tags()
	}
	d.tags()
	if err := d.err("TxnOffsetCommit"); err != nil {
		return err
	}
	for _, t := range offsets {
		for partition := range t.Partitions {
			if !found[topicPartition{t.Topic, partition}] {
				return fmt.Errorf("%w: TxnOffsetCommit answer leaves out %s/%d", ErrMalformed, t.Topic, partition)
			}
		}
	}
	return worst.err
}

// end commits or aborts. A repeated EndTxn is answered as the first was, also
// when it has the epoch before the one that the first gave.
func (p *Producer) end(ctx context.Context, commit bool) error {
	next := p.identity
	encode := func() *rawExchange { return p.endTxnRequest(commit) }
	err := p.askRaw(ctx, transactionKey(p.options.TransactionalID), encode, func(body []byte) (err error) {
		next, err = decodeEndTxn(body, p.protocol, p.identity)
		return err
	})
	if err != nil {
		return fmt.Errorf("end transaction (commit %t): %w", commit, err)
	}
	if next != p.identity {
		p.adopt(next)
	}
	return nil
}

// endTxnRequest encodes a version from 3 to 5.
func (p *Producer) endTxnRequest(commit bool) *rawExchange {
	x := p.client.request(nil, protocol.EndTxn, p.protocol.endTxn, true)
	b := appendCompactString(x.frame, p.options.TransactionalID)
	b = appendInt64(b, p.identity.producer)
	b = appendInt16(b, p.identity.epoch)
	if commit {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	x.frame = append(b, 0)
	return x
}

// decodeEndTxn reads an EndTxn answer and returns the identity of the next
// transaction. It must be another one where the protocol says so: under the same
// epoch the sequence numbers would have to go on.
func decodeEndTxn(body []byte, spoken transactionProtocol, last identity) (identity, error) {
	d := decoder{rest: body}
	d.tags()
	d.int32() // Throttle time.
	code := d.int16()
	next := last
	if spoken.implicit {
		next = identity{d.int64(), d.int16()}
	}
	d.tags()
	if err := d.err("EndTxn"); err != nil {
		return last, err
	}
	if code != 0 {
		return last, kafka.Error(code)
	}
	if spoken.implicit && (next == last || next.producer < 0 || next.epoch < 0) {
		return last, fmt.Errorf("%w: EndTxn answer gives producer %d, epoch %d after producer %d, epoch %d",
			ErrMalformed, next.producer, next.epoch, last.producer, last.epoch)
	}
	return next, nil
}

// abort tries to end a transaction that was refused, so that readers of the
// output need not wait for its timeout. Init does it again in any case, and only
// Init makes the producer usable: a sequence number that was used in the
// aborted transaction would make the broker drop the next batch.
func (p *Producer) abort(ctx context.Context, cause error) error {
	if isFenced(cause) || p.protocolOff(cause) || !isCode(cause) && isNetwork(cause) {
		return nil // Not ours any more, or nobody there who would do it.
	}
	ctx, cancel := p.client.bound(context.WithoutCancel(ctx))
	defer cancel()
	if err := p.end(ctx, false); err != nil && !isCode(err) {
		return err
	}
	return nil
}

// worstError keeps the error that decides: one that time does not mend before
// one that it does, else the first.
type worstError struct{ err error }

func (w *worstError) add(err error) {
	if err == nil {
		return
	}
	if w.err == nil || Classify(w.err) == Retry && Classify(err) != Retry {
		w.err = err
	}
}
