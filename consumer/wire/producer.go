package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
)

// DefaultTransactionTimeout is the default of ProducerOptions.TransactionTimeout.
const DefaultTransactionTimeout = 10 * time.Second

// ProducerOptions configures a Producer. Only TransactionalID is required.
type ProducerOptions struct {
	// TransactionalID names the producer. Whoever calls InitProducerID with it
	// last owns it.
	TransactionalID string
	// TransactionTimeout bounds a commit, and after it (and up to ten seconds
	// more) the broker aborts a transaction by itself.
	TransactionTimeout time.Duration
	// Compression of the batches.
	Compression Compression
	// Group is the consumer group of the offsets, for a Transaction whose Member
	// names none.
	Group string
	// BatchBytesMax, if not 0, refuses larger batches before anything is sent.
	BatchBytesMax int
	// FirstProtocol speaks the first transaction protocol even where the cluster
	// has the second (KIP-890), which takes fewer round trips.
	FirstProtocol bool
}

// ProducerState is where a Producer is in its life.
type ProducerState int

// The states of a Producer.
const (
	// StateNew: Init was not called yet.
	StateNew ProducerState = iota
	// StateInitializing: Init is at work.
	StateInitializing
	// StateReady: no transaction is open.
	StateReady
	// StateInTransaction: Commit is at work.
	StateInTransaction
	// StateDoubtful: the last Init or Commit failed. Its transaction may be
	// open, aborted, or committed.
	StateDoubtful
	// StateFenced: another producer took over the transactional id.
	StateFenced
)

func (s ProducerState) String() string {
	switch s {
	case StateNew:
		return "new"
	case StateInitializing:
		return "initializing"
	case StateReady:
		return "ready"
	case StateInTransaction:
		return "in transaction"
	case StateDoubtful:
		return "doubtful"
	case StateFenced:
		return "fenced"
	}
	return fmt.Sprintf("ProducerState(%d)", int(s))
}

// mayBecome is the whole life of a producer.
func (s ProducerState) mayBecome(next ProducerState) bool {
	switch s {
	case StateNew, StateDoubtful, StateFenced:
		return next == StateInitializing
	case StateInitializing:
		return next == StateReady || next == StateDoubtful || next == StateFenced
	case StateReady:
		return next == StateInitializing || next == StateInTransaction
	case StateInTransaction:
		return next == StateReady || next == StateDoubtful || next == StateFenced
	}
	return false
}

// Producer writes transactions under one transactional id. One goroutine at a
// time.
type Producer struct {
	client   *Client
	options  ProducerOptions
	state    ProducerState
	protocol transactionProtocol // As the last Init found it.
	identity identity
	// next has the next sequence number of each partition under this identity.
	next map[topicPartition]int32
	// late: a request of an earlier transaction of this epoch may still be on
	// its way to the broker. See renew.
	late bool
}

// NewProducer returns a producer in StateNew. It connects to nothing.
func (c *Client) NewProducer(o ProducerOptions) *Producer {
	if o.TransactionTimeout <= 0 {
		o.TransactionTimeout = DefaultTransactionTimeout
	}
	return &Producer{
		client: c, options: o, protocol: firstProtocol, identity: noProducer, next: make(map[topicPartition]int32),
	}
}

// State returns the producer's state.
func (p *Producer) State() ProducerState { return p.state }

// become moves to another state, or returns ErrState.
func (p *Producer) become(next ProducerState) error {
	if !p.state.mayBecome(next) {
		return fmt.Errorf("producer %q is %v and cannot become %v: %w", p.options.TransactionalID, p.state, next, ErrState)
	}
	p.state = next
	return nil
}

// fail moves to the state that err leaves behind, and returns err with the
// producer's name.
func (p *Producer) fail(err error) error {
	next := StateDoubtful
	if isFenced(err) {
		next = StateFenced
	}
	if illegal := p.become(next); illegal != nil {
		return errors.Join(err, illegal)
	}
	return fmt.Errorf("producer %q: %w", p.options.TransactionalID, Deny(err, p.options.Group, p.options.TransactionalID))
}

// Init takes over the transactional id: it fences every producer that holds
// it, ends what its last transaction left (a begun commit is finished, anything
// else aborted), and starts with a new epoch and sequence numbers of 0. It is
// legal in every state but within a Commit. It finds out anew which transaction
// protocol the cluster speaks.
//
// It repeats itself until ctx ends (RequestTimeout without a deadline) while
// the coordinator is loading, moving, away, or busy with the transaction
// before.
func (p *Producer) Init(ctx context.Context) error {
	if err := p.become(StateInitializing); err != nil {
		return err
	}
	ctx, cancel := p.client.bound(ctx)
	defer cancel()
	spoken := firstProtocol
	if !p.options.FirstProtocol {
		var err error
		if spoken, err = p.client.transactionProtocol(ctx, p.options.TransactionalID); err != nil {
			return p.fail(err)
		}
	}
	// -1 and -1 ask as a newcomer. 0 and 0 would claim to be producer 0.
	who, err := p.client.initProducerID(ctx, p.options.TransactionalID, p.options.TransactionTimeout, noProducer)
	if err != nil {
		return p.fail(err)
	}
	p.protocol = spoken
	p.adopt(who)
	return p.become(StateReady)
}

// adopt starts over under a new identity.
func (p *Producer) adopt(who identity) {
	p.identity = who
	clear(p.next)
	p.late = false
}

// renew raises the epoch before the next transaction when a request of an
// earlier one was given up and sent again. The first copy may be delivered any
// time later, and of the same epoch it would count: an EndTxn would commit
// half of the next transaction, a TxnOffsetCommit set back its offsets. Under
// the second protocol EndTxn has raised the epoch already, and nothing is late.
//
// It asks with its own identity, so that a producer that was fenced meanwhile
// learns of it (90) and does not fence its successor.
func (p *Producer) renew(ctx context.Context) error {
	if !p.late {
		return nil
	}
	who, err := p.client.initProducerID(ctx, p.options.TransactionalID, p.options.TransactionTimeout, p.identity)
	if err != nil {
		return err
	}
	p.adopt(who)
	return nil
}

var errNoTransactionalID = errors.New("the transactional id is empty")

// FenceTransactionalID takes a transactional id away from whoever holds it and
// ends its open transaction. For an owner that is known to be dead: a living
// one has to start anew.
func (c *Client) FenceTransactionalID(ctx context.Context, id string, timeout time.Duration) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	_, err := c.initProducerID(ctx, id, timeout, noProducer)
	return err
}

// initProducerID repeats the request until it is answered.
func (c *Client) initProducerID(ctx context.Context, id string, timeout time.Duration, as identity) (identity, error) {
	if id == "" {
		return noProducer, errNoTransactionalID
	}
	request := &initproducerid.Request{
		TransactionalID:      id,
		TransactionTimeoutMs: int32(timeout.Milliseconds()),
		ProducerID:           as.producer,
		ProducerEpoch:        as.epoch,
	}
	who := noProducer
	err := c.askCoordinator(ctx, transactionKey(id), request, func(m protocol.Message) (err error) {
		who, err = identityOf(m)
		return err
	})
	if err != nil {
		return noProducer, fmt.Errorf("initialize transactional id %q: %w", id, err)
	}
	return who, nil
}

// identityOf is what an InitProducerId answer gives.
func identityOf(m protocol.Message) (identity, error) {
	r := m.(*initproducerid.Response)
	if r.ErrorCode != 0 {
		return noProducer, kafka.Error(r.ErrorCode)
	}
	return identity{r.ProducerID, r.ProducerEpoch}, nil
}
