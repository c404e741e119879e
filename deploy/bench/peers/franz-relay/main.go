// Command franz-relay copies keys and values from one topic to another with franz-go: no rules, no state. It is the
// limit that no engine on the same machine is expected to pass.
//
// Without flags of its own it is at least once; with --transactional exactly once, a transaction for each poll or, with
// --interval, for each interval.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/lapwing/lapwing/deploy/bench/peers/peer"
)

var (
	transactional = flag.Bool("transactional", false, "exactly once, by transactions")
	interval      = flag.Duration("interval", 0, "length of a transaction; 0: one for each poll")
	clients       = flag.Int("clients", 1, "members of the group, each with transactions of its own")
)

func main() { peer.Main("franz-relay", run) }

func run(ctx context.Context, o peer.Options) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range *clients {
		group.Go(func() error {
			if *transactional {
				return relayTransactions(ctx, o, i)
			}
			return relay(ctx, o)
		})
	}
	return group.Wait()
}

// options are those of both kinds: no compression, nothing lingers, batches and fetches are as large as brokers take
// them.
func options(o peer.Options) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(o.Brokers...), kgo.ConsumerGroup(o.Group), kgo.ConsumeTopics(o.Input),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(500_000), kgo.ProducerBatchMaxBytes(1_000_000), kgo.DefaultProduceTopic(o.Output),
	}
}

// copies returns the records to write for those of a poll, each into the partition with the same number.
func copies(fetches kgo.Fetches) []kgo.Record {
	all := make([]kgo.Record, 0, fetches.NumRecords())
	fetches.EachRecord(func(r *kgo.Record) {
		all = append(all, kgo.Record{Key: r.Key, Value: r.Value, Partition: r.Partition})
	})
	return all
}

// relay commits in the background what the brokers have acknowledged.
func relay(ctx context.Context, o peer.Options) error {
	whole := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	client, err := kgo.NewClient(append(options(o), kgo.AutoCommitMarks(), kgo.AutoCommitInterval(100*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			break
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		var originals []*kgo.Record
		fetches.EachRecord(func(r *kgo.Record) { originals = append(originals, r) })
		all := copies(fetches)
		for i := range all {
			original := originals[i]
			// Acknowledgements of a partition come in order: a mark never passes a record that is not written.
			client.Produce(ctx, &all[i], func(_ *kgo.Record, err error) {
				if err != nil {
					stop(fmt.Errorf("produce: %w", err))
					return
				}
				client.MarkCommitRecords(original)
			})
		}
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	err = errors.Join(client.Flush(finish), client.CommitMarkedOffsets(finish))
	if whole.Err() == nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return err
}

// finishTimeout bounds what is done after the signal to end.
const finishTimeout = 10 * time.Second

// relayTransactions is member number n of the group.
func relayTransactions(ctx context.Context, o peer.Options, n int) error {
	session, err := kgo.NewGroupTransactSession(append(options(o),
		kgo.TransactionalID(fmt.Sprintf("%s-%d", o.Group, n)), kgo.TransactionTimeout(30*time.Second),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer session.Close()
	for {
		fetches := session.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		if err := transaction(ctx, session, fetches); err != nil {
			return err
		}
	}
}

// transaction writes what was polled and, until the interval is over, what comes after it. One that a rebalance aborts
// is no error: the session goes back to what is committed.
func transaction(ctx context.Context, session *kgo.GroupTransactSession, fetches kgo.Fetches) error {
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout+*interval)
	defer cancel()
	if err := session.Begin(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	var failed kgo.FirstErrPromise
	write := func(fetches kgo.Fetches) {
		all := copies(fetches)
		for i := range all {
			session.Produce(finish, &all[i], failed.Promise())
		}
	}
	write(fetches)
	for until := time.Now().Add(*interval); time.Now().Before(until); {
		poll, cancel := context.WithDeadline(ctx, until)
		fetches := session.PollFetches(poll)
		cancel()
		if poll.Err() != nil && fetches.NumRecords() == 0 {
			break
		}
		write(fetches)
	}
	if err := session.Client().Flush(finish); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if _, err := session.End(finish, kgo.TransactionEndTry(failed.Err() == nil)); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	return nil
}
