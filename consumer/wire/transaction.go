package wire

import (
	"context"
	"errors"
	"fmt"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/addoffsetstotxn"
	"github.com/segmentio/kafka-go/protocol/addpartitionstotxn"
	"github.com/segmentio/kafka-go/protocol/endtxn"
	"github.com/segmentio/kafka-go/protocol/txnoffsetcommit"
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
		return p.fail(err)
	}
	return p.become(StateReady)
}

// commit does the four steps one after the other. Never two in parallel: a
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
	if len(batches) > 0 {
		// The first round has a batch of each partition.
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
	if err := p.addOffsets(ctx, member.Group); err != nil {
		return err
	}
	return p.commitOffsets(ctx, member, tx.Offsets)
}

// ask is Client.askCoordinator that notices lost requests.
func (p *Producer) ask(ctx context.Context, k coordinatorKey, m protocol.Message, check func(protocol.Message) error) error {
	return p.client.coordinated(ctx, k, func(ctx context.Context, broker int32) error {
		r, err := p.client.ask(ctx, broker, m)
		if err != nil {
			p.late = true
			return err
		}
		return check(r)
	})
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
	return p.ask(ctx, transactionKey(p.options.TransactionalID), request, func(m protocol.Message) error {
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
	w := producing{client: p.client, transactional: p.options.TransactionalID, lost: func() {
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
	err := p.ask(ctx, transactionKey(p.options.TransactionalID), request, func(m protocol.Message) error {
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
	request := &txnoffsetcommit.Request{
		TransactionalID: p.options.TransactionalID,
		GroupID:         member.Group,
		ProducerID:      p.identity.producer,
		ProducerEpoch:   p.identity.epoch,
		GenerationID:    member.Generation,
		MemberID:        member.ID,
	}
	for _, t := range offsets {
		if len(t.Partitions) == 0 {
			continue
		}
		r := txnoffsetcommit.RequestTopic{Name: t.Topic}
		for partition, o := range t.Partitions {
			r.Partitions = append(r.Partitions, txnoffsetcommit.RequestPartition{
				Partition:            partition,
				CommittedOffset:      o.Offset,
				CommittedLeaderEpoch: -1, // Unknown; 0 would be an epoch.
				CommittedMetadata:    o.Metadata,
			})
		}
		request.Topics = append(request.Topics, r)
	}
	err := p.ask(ctx, groupKey(member.Group), request, func(m protocol.Message) error {
		var worst worstError
		for _, t := range m.(*txnoffsetcommit.Response).Topics {
			for _, r := range t.Partitions {
				worst.add(codeError("commit offset in transaction of", t.Name, r.Partition, -1, r.ErrorCode))
			}
		}
		return worst.err
	})
	if err != nil {
		return fmt.Errorf("group %q, generation %d, member %q: %w", member.Group, member.Generation, member.ID, err)
	}
	return nil
}

// end commits or aborts. A repeated EndTxn is answered as the first was.
func (p *Producer) end(ctx context.Context, commit bool) error {
	request := &endtxn.Request{
		TransactionalID: p.options.TransactionalID,
		ProducerID:      p.identity.producer,
		ProducerEpoch:   p.identity.epoch,
		Committed:       commit,
	}
	err := p.ask(ctx, transactionKey(p.options.TransactionalID), request, func(m protocol.Message) error {
		if code := m.(*endtxn.Response).ErrorCode; code != 0 {
			return kafka.Error(code)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("end transaction (commit %t): %w", commit, err)
	}
	return nil
}

// abort tries to end a transaction that was refused, so that readers of the
// output need not wait for its timeout. Init does it again in any case, and only
// Init makes the producer usable: a sequence number that was used in the
// aborted transaction would make the broker drop the next batch.
func (p *Producer) abort(ctx context.Context, cause error) error {
	if isFenced(cause) || !isCode(cause) && isNetwork(cause) {
		return nil // Not ours any more, or nobody there to tell.
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
