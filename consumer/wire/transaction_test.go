package wire

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// one returns a batch of one record.
func one(topic string, partition int32, value string) *Batch {
	b := NewBatch(topic, partition)
	b.Append(time.Now().UnixMilli(), nil, []byte(value))
	return b
}

// committedValues returns what a read_committed reader sees once no transaction
// is open.
func committedValues(t testing.TB, c *Client, topic string, partition int32) []string {
	t.Helper()
	ctx := testContext(t)
	for {
		end, err := c.EndOffset(ctx, topic, partition, false)
		if err != nil {
			t.Fatal(err)
		}
		stable, err := c.EndOffset(ctx, topic, partition, true)
		if err != nil {
			t.Fatal(err)
		}
		if stable == end {
			break
		}
	}
	records, _ := readAll(t, c, topic, partition, 0, FetchOptions{Committed: true})
	var values []string
	for _, r := range records {
		values = append(values, r.value)
	}
	return values
}

func expectValues(t testing.TB, c *Client, topic string, want ...string) {
	t.Helper()
	if got := committedValues(t, c, topic, 0); !slices.Equal(got, want) {
		t.Fatalf("committed %q, want %q", got, want)
	}
}

// commitKeys are the requests of a commit under the test's protocol.
func (b broker) commitKeys() []protocol.ApiKey {
	keys := []protocol.ApiKey{protocol.Produce, protocol.TxnOffsetCommit, protocol.EndTxn}
	if b.firstProtocol {
		keys = append(keys, protocol.AddPartitionsToTxn, protocol.AddOffsetsToTxn)
	}
	return keys
}

// TestLostRequestsOfACommit loses the request or the answer of each step, once
// and twice. The commit succeeds all the same, and everything is there once.
func TestLostRequestsOfACommit(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		f := newFaults()
		c := b.client(t, func(o *Options) { o.Dial = f.dial })
		topic := b.topic(t, c, 1)
		member := b.join(t, b.client(t), unique("group"), topic)
		p := b.ready(t, c, ProducerOptions{})
		var want []string
		offset := int64(0)
		for _, key := range append(b.commitKeys(), protocol.FindCoordinator) {
			for _, kinds := range [][]fault{{loseRequest}, {loseAnswer}, {loseAnswer, loseRequest}} {
				if key == protocol.FindCoordinator {
					c.coordinators.forget(groupKey(member.Group))
				}
				f.arm(key, kinds...)
				before := p.identity
				late := p.late
				value := fmt.Sprint(key, kinds)
				offset++
				err := p.Commit(testContext(t), &Transaction{
					Batches: []*Batch{one(topic, 0, value), one(topic, 0, value+" again")},
					Member:  member,
					Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {offset, value}}}},
				})
				if err != nil {
					t.Fatalf("%v %v: %v", key, kinds, err)
				}
				if (late || !b.firstProtocol) && p.identity == before {
					t.Fatalf("%v %v: the epoch stayed although a request before may be late", key, kinds)
				}
				if key != protocol.FindCoordinator && p.late != b.firstProtocol {
					t.Fatalf("%v %v: late %v", key, kinds, p.late)
				}
				want = append(want, value, value+" again")
				got := stableOffsets(t, c, member.Group, topic, 0)[0]
				if got != (Committed{Offset: offset, Metadata: value}) {
					t.Fatalf("%v %v: offset %+v, want %d", key, kinds, got, offset)
				}
			}
			if n := f.hits(key); n != 4 {
				t.Fatalf("%v met %d faults, want 4", key, n)
			}
		}
		expectValues(t, c, topic, want...)
	})
}

// TestDoubtfulCommit lets every EndTxn or its answer be lost until the
// transaction's time is up. The committed offset tells which it was, and the
// records agree.
func TestDoubtfulCommit(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		for _, kind := range []fault{loseRequest, loseAnswer} {
			t.Run(kind.String(), func(t *testing.T) {
				f := newFaults()
				c := b.client(t, func(o *Options) { o.Dial = f.dial })
				topic := b.topic(t, c, 1)
				member := b.join(t, b.client(t), unique("group"), topic)
				p := b.ready(t, c, ProducerOptions{TransactionTimeout: time.Second})
				f.persist(protocol.EndTxn, kind)
				tx := &Transaction{Batches: []*Batch{one(topic, 0, "doubtful")}, Member: member,
					Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {7, ""}}}}}
				err := p.Commit(testContext(t), tx)
				if err == nil || Classify(err) != Retry || p.State() != StateDoubtful {
					t.Fatalf("state %v, %v", p.State(), err)
				}
				if err := p.Commit(testContext(t), tx); !errors.Is(err, ErrState) {
					t.Fatalf("a doubtful producer commits: %v", err)
				}
				f.heal()
				if err := p.Init(testContext(t)); err != nil {
					t.Fatal(err)
				}
				got := stableOffsets(t, c, member.Group, topic, 0)[0].Offset
				if kind == loseAnswer {
					if got != 7 {
						t.Fatalf("offset %d", got)
					}
					expectValues(t, c, topic, "doubtful")
					return
				}
				if got != -1 {
					t.Fatalf("offset %d", got)
				}
				expectValues(t, c, topic)
				if err := p.Commit(testContext(t), tx); err != nil {
					t.Fatal(err)
				}
				expectValues(t, c, topic, "doubtful")
			})
		}
	})
}

// TestLateEndTxn walks this sequence: EndTxn of transaction 1 is stuck in the
// network; its repetition is answered; transaction 2 writes a record; then the
// first copy arrives. Without a new epoch it commits the half transaction 2.
func TestLateEndTxn(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		for _, renewed := range []bool{true, false} {
			t.Run(fmt.Sprint("renewed ", renewed), func(t *testing.T) {
				f := newFaults()
				c := b.client(t, func(o *Options) { o.Dial = f.dial })
				topic := b.topic(t, c, 1)
				p := b.ready(t, c, ProducerOptions{})
				f.arm(protocol.EndTxn, delay)
				if err := p.Commit(testContext(t), &Transaction{Batches: []*Batch{one(topic, 0, "first")}}); err != nil {
					t.Fatal(err)
				}
				p.late = p.late && renewed
				if err := p.renew(testContext(t)); err != nil {
					t.Fatal(err)
				}
				half := [][]*Batch{{one(topic, 0, "half")}}
				if err := p.write(testContext(t), half, &Transaction{}); err != nil {
					t.Fatal(err)
				}
				f.release()
				// The producer dies here, and its successor aborts what is open.
				b.ready(t, c, ProducerOptions{TransactionalID: p.options.TransactionalID})
				if renewed || !b.firstProtocol {
					expectValues(t, c, topic, "first")
				} else {
					expectValues(t, c, topic, "first", "half") // The trap is real.
				}
			})
		}
	})
}

// TestLateRequests delivers the first copy of each request of a commit after its
// repetition has been answered and the transaction has ended: before the next
// one begins, while it is open, and when it has ended, too. Nothing of it counts.
func TestLateRequests(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		for _, key := range b.commitKeys() {
			for _, when := range []string{"before the next", "within the next", "after the next"} {
				t.Run(fmt.Sprint(key, " ", when), func(t *testing.T) {
					f := newFaults()
					c := b.client(t, func(o *Options) { o.Dial = f.dial })
					ctx := testContext(t)
					topic := b.topic(t, c, 1)
					member := b.join(t, b.client(t), unique("group"), topic)
					offsets := func(o int64) []TopicOffsets { return []TopicOffsets{{topic, map[int32]OffsetMeta{0: {o, ""}}}} }
					p := b.ready(t, c, ProducerOptions{})
					release := func(at string) {
						if at == when {
							f.release()
						}
					}
					f.arm(key, delay)
					if err := p.Commit(ctx, &Transaction{Batches: []*Batch{one(topic, 0, "one")}, Member: member, Offsets: offsets(1)}); err != nil {
						t.Fatal(err)
					}
					if f.hits(key) != 1 {
						t.Fatal("no request was delayed")
					}
					release("before the next")
					// As Commit, but with a break.
					if err := p.become(StateInTransaction); err != nil {
						t.Fatal(err)
					}
					if err := p.renew(ctx); err != nil {
						t.Fatal(err)
					}
					if err := p.write(ctx, [][]*Batch{{one(topic, 0, "two")}}, &Transaction{Member: member, Offsets: offsets(2)}); err != nil {
						t.Fatal(err)
					}
					release("within the next")
					if err := p.end(ctx, true); err != nil {
						t.Fatal(err)
					}
					if err := p.become(StateReady); err != nil {
						t.Fatal(err)
					}
					release("after the next")
					if got := stableOffsets(t, c, member.Group, topic, 0)[0].Offset; got != 2 {
						t.Fatalf("offset %d, want 2", got)
					}
					expectValues(t, c, topic, "one", "two")
					if err := p.Commit(ctx, &Transaction{Batches: []*Batch{one(topic, 0, "three")}, Member: member, Offsets: offsets(3)}); err != nil {
						t.Fatal(err)
					}
					if got := stableOffsets(t, c, member.Group, topic, 0)[0].Offset; got != 3 {
						t.Fatalf("offset %d, want 3", got)
					}
					expectValues(t, c, topic, "one", "two", "three")
				})
			}
		}
	})
}

// TestSilentLoss shows the trap that makes Init necessary after any error: the
// answer to a Produce is lost, the transaction aborted, and the next batch has
// the sequence number of the lost one. The broker says that it is a duplicate.
func TestSilentLoss(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		for _, initialized := range []bool{true, false} {
			t.Run(fmt.Sprint("Init ", initialized), func(t *testing.T) {
				c := b.client(t)
				ctx := testContext(t)
				topic := b.topic(t, c, 1)
				p := b.ready(t, c, ProducerOptions{})
				if err := p.write(ctx, [][]*Batch{{one(topic, 0, "lost")}}, &Transaction{}); err != nil {
					t.Fatal(err)
				}
				p.next = make(map[topicPartition]int32) // As after a lost answer.
				if err := p.end(ctx, false); err != nil {
					t.Fatal(err)
				}
				if initialized {
					if err := p.Init(ctx); err != nil {
						t.Fatal(err)
					}
				}
				if err := p.Commit(ctx, &Transaction{Batches: []*Batch{one(topic, 0, "next")}}); err != nil {
					t.Fatal(err)
				}
				if initialized || !b.firstProtocol { // The second protocol has a new epoch for each transaction.
					expectValues(t, c, topic, "next")
				} else {
					expectValues(t, c, topic) // No error, no record.
				}
			})
		}
	})
}

func TestFencing(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		topic := b.topic(t, c, 1)
		group := unique("group")
		member := b.join(t, c, group, topic)
		offsets := []TopicOffsets{{topic, map[int32]OffsetMeta{0: {5, ""}}}}
		zombie := b.ready(t, c, ProducerOptions{})
		id := zombie.options.TransactionalID

		// Between two transactions.
		successor := b.ready(t, c, ProducerOptions{TransactionalID: id})
		err := zombie.Commit(ctx, &Transaction{Batches: []*Batch{one(topic, 0, "zombie")}, Member: member, Offsets: offsets})
		if Classify(err) != Rejoin || zombie.State() != StateFenced {
			t.Fatalf("state %v, %v", zombie.State(), err)
		}
		if err := zombie.Commit(ctx, &Transaction{Batches: []*Batch{one(topic, 0, "zombie")}}); !errors.Is(err, ErrState) {
			t.Fatalf("a fenced producer commits: %v", err)
		}

		// Within a transaction, by FenceTransactionalID.
		if err := successor.write(ctx, [][]*Batch{{one(topic, 0, "open")}}, &Transaction{Member: member, Offsets: offsets}); err != nil {
			t.Fatal(err)
		}
		got, err := c.StableOffsets(ctx, group, topic, []int32{0})
		if err != nil || !errors.Is(got[0].Err, kafka.UnstableOffsetCommit) {
			t.Fatalf("offsets of an open transaction: %+v, %v", got, err)
		}
		if err := c.FenceTransactionalID(ctx, id, time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := stableOffsets(t, c, group, topic, 0)[0].Offset; got != -1 {
			t.Fatalf("offset %d of an aborted transaction", got)
		}
		// kfake takes it for the repetition of the abort that fenced it, and refuses
		// it as such (48).
		if err := successor.end(ctx, true); Classify(err) != Rejoin || b.fake == nil && !isFenced(err) {
			t.Fatalf("EndTxn of a fenced producer: %v", err)
		}
		successor.state = StateInTransaction
		if err := successor.fail(kafka.ProducerFenced); successor.State() != StateFenced {
			t.Fatal(err)
		}
		expectValues(t, c, topic)

		if b.fake != nil {
			return // kfake gives a fenced producer a new epoch.
		}
		// A fenced producer that asks for a new epoch by its own identity learns of
		// it, and does not fence its successor.
		last := b.ready(t, c, ProducerOptions{TransactionalID: id})
		successor.late = true
		if err := successor.renew(ctx); !isFenced(err) {
			t.Fatalf("renew of a fenced producer: %v", err)
		}
		if err := last.Commit(ctx, &Transaction{Batches: []*Batch{one(topic, 0, "last")}}); err != nil {
			t.Fatal(err)
		}
		expectValues(t, c, topic, "last")
	})
}

func TestOffsetsNeedTheirMember(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		topic := b.topic(t, c, 1)
		member := b.join(t, c, unique("group"), topic)
		offsets := []TopicOffsets{{topic, map[int32]OffsetMeta{0: {5, ""}}}}
		p := b.ready(t, c, ProducerOptions{})
		for _, x := range []struct {
			name   string
			change func(m *Member)
			want   Class
		}{
			{"older generation", func(m *Member) { m.Generation-- }, Rejoin},
			{"newer generation", func(m *Member) { m.Generation++ }, Rejoin},
			{"unknown member", func(m *Member) { m.ID = "nobody" }, Rejoin},
			{"no member", func(m *Member) { m.ID = "" }, Fatal},
			{"no generation", func(m *Member) { m.Generation, m.ID = -1, "" }, Fatal},
		} {
			wrong := member
			x.change(&wrong)
			err := p.Commit(ctx, &Transaction{Batches: []*Batch{one(topic, 0, x.name)}, Member: wrong, Offsets: offsets})
			if err == nil || Classify(err) != x.want || p.State() != StateDoubtful {
				t.Fatalf("%s: state %v, %v", x.name, p.State(), err)
			}
			if err := p.Init(ctx); err != nil {
				t.Fatal(err)
			}
			if wrong.ID != "" {
				if err := c.Heartbeat(ctx, wrong); Classify(err) != Rejoin {
					t.Fatalf("%s: heartbeat %v", x.name, err)
				}
				if err := c.CommitOffsets(ctx, wrong, TopicOffsets{topic, offsets[0].Partitions}); Classify(err) != Rejoin {
					t.Fatalf("%s: plain commit %v", x.name, err)
				}
			}
		}
		if got := stableOffsets(t, c, member.Group, topic, 0)[0].Offset; got != -1 {
			t.Fatalf("offset %d", got)
		}
		expectValues(t, c, topic)
		if err := c.CommitOffsets(ctx, member, TopicOffsets{topic, map[int32]OffsetMeta{0: {3, "plain"}}}); err != nil {
			t.Fatal(err)
		}
		if got := stableOffsets(t, c, member.Group, topic, 0)[0]; got != (Committed{Offset: 3, Metadata: "plain"}) {
			t.Fatalf("%+v", got)
		}
	})
}

func TestEmptyTransactions(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		topic := b.topic(t, c, 1)
		member := b.join(t, c, unique("group"), topic)
		p := b.producer(c, ProducerOptions{Group: member.Group})
		if err := p.Commit(ctx, &Transaction{}); !errors.Is(err, ErrState) {
			t.Fatalf("before Init: %v", err)
		}
		if err := p.Init(ctx); err != nil {
			t.Fatal(err)
		}
		if err := p.Commit(ctx, &Transaction{Batches: []*Batch{NewBatch(topic, 0)}, Offsets: []TopicOffsets{{Topic: topic}}}); err != nil {
			t.Fatalf("nothing at all: %v", err)
		}
		if b.fake == nil {
			// What Commit does not ask for: kfake takes it after another commit.
			if err := p.end(ctx, true); !errors.Is(err, kafka.InvalidTransactionState) {
				t.Fatalf("EndTxn of an empty transaction: %v", err)
			}
			before := p.identity
			if err := p.end(ctx, false); !b.firstProtocol && (err != nil || p.identity == before) {
				t.Fatalf("abort of an empty transaction: %+v after %+v, %v", p.identity, before, err)
			}
		}
		if err := p.Commit(ctx, &Transaction{Batches: []*Batch{one(topic, 0, "alone")}}); err != nil {
			t.Fatalf("batches alone: %v", err)
		}
		expectValues(t, c, topic, "alone")
		member.Group = "" // The producer's.
		err := p.Commit(ctx, &Transaction{Member: member, Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {4, ""}}}}})
		if err != nil {
			t.Fatalf("offsets alone: %v", err)
		}
		if got := stableOffsets(t, c, p.options.Group, topic, 0)[0].Offset; got != 4 {
			t.Fatalf("offset %d", got)
		}
	})
}

func TestCommitAndCancellation(t *testing.T) {
	eachProtocol(t, fakeBroker(t), testCommitAndCancellation)
}

func testCommitAndCancellation(t *testing.T, b broker) {
	f := newFaults()
	c := b.client(t, func(o *Options) { o.Dial = f.dial })
	topic := b.topic(t, c, 1)
	p := b.ready(t, c, ProducerOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	f.arm(protocol.Produce, loseRequest, loseRequest)
	done := make(chan error)
	go func() { done <- p.Commit(ctx, &Transaction{Batches: []*Batch{one(topic, 0, "begun")}}) }()
	for f.hits(protocol.Produce) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("a begun commit was cut: %v", err)
	}
	expectValues(t, c, topic, "begun")
	if err := p.Commit(ctx, &Transaction{Batches: []*Batch{one(topic, 0, "never")}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled context begins a commit: %v", err)
	}
	expectValues(t, c, topic, "begun")
}

// TestExactlyOnceUnderFaults is an engine in small: it commits the numbers from
// its committed offset on, one by one, while requests and answers are lost and
// successors take over. Each number is in the log once.
func TestExactlyOnceUnderFaults(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		committing := b.commitKeys()
		keys := append(committing, protocol.InitProducerId, protocol.ApiVersions, protocol.FindCoordinator, protocol.OffsetFetch)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		f := newFaults()
		c := b.client(t, func(o *Options) { o.Dial = f.dial })
		topic := b.topic(t, c, 1)
		member := b.join(t, b.client(t), unique("group"), topic)
		options := ProducerOptions{TransactionalID: unique("tx"), TransactionTimeout: 400 * time.Millisecond, Compression: Snappy}
		p := b.producer(c, options)
		const numbers = 60
		var want []string
		for i := range numbers {
			want = append(want, fmt.Sprint(i))
		}
		next, failures, batch := int64(-1), 0, NewBatch(topic, 0)
		for next < numbers {
			if p.State() != StateReady {
				f.heal()
				if err := p.Init(testContext(t)); err != nil {
					t.Fatal(err)
				}
				next = max(stableOffsets(t, c, member.Group, topic, 0)[0].Offset, 0)
				continue
			}
			if rng.IntN(3) == 0 {
				f.arm(keys[rng.IntN(len(keys))], fault(rng.IntN(2)))
			}
			switch rng.IntN(15) {
			case 0:
				f.persist(committing[rng.IntN(len(committing))], fault(rng.IntN(2)))
			case 1: // The process dies and another takes over.
				p = b.producer(c, options)
				continue
			}
			batch.Reset(topic, 0)
			batch.Append(time.Now().UnixMilli(), nil, []byte(fmt.Sprint(next))) // Not old enough for retention.
			err := p.Commit(testContext(t), &Transaction{Batches: []*Batch{batch}, Member: member,
				Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {next + 1, ""}}}}})
			if err != nil {
				failures++
				continue
			}
			next++
		}
		f.heal()
		t.Logf("%d failed commits", failures)
		expectValues(t, c, topic, want...)
	})
}
