// Command kafkago-batched is kafkago-plain in batches of 500 events: an MGET and an MSET for a batch, all its results
// in one write, and a commit after it, at least once. Each partition has a goroutine of its own.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/deploy/bench/peers/peer"
	"github.com/lapwing/lapwing/rules"
)

// batchMax is how many events are judged together; fewer when there are no more.
const batchMax = 500

func main() { peer.Main("kafkago-batched", run) }

func run(ctx context.Context, o peer.Options) error {
	store := redis.NewClient(&redis.Options{Addr: o.Redis})
	defer store.Close()
	reader, writer := peer.NewReader(o), peer.NewWriter(o, batchMax)
	err := peer.EachPartition(ctx, reader, func(ctx context.Context, messages <-chan kafka.Message) error {
		w := worker{judge: peer.NewJudge(o.Group), store: store, writer: writer}
		for m := range messages {
			batch := append(make([]kafka.Message, 0, batchMax), m)
			batch = more(batch, messages)
			if err := w.batch(ctx, batch); err != nil {
				return fmt.Errorf("%d events from %s/%d/%d on: %w", len(batch), m.Topic, m.Partition, m.Offset, err)
			}
			if err := reader.CommitMessages(ctx, batch[len(batch)-1]); err != nil {
				return fmt.Errorf("commit: %w", err)
			}
		}
		return nil
	})
	return errors.Join(err, writer.Close(), reader.Close())
}

// more adds what has arrived already.
func more(batch []kafka.Message, messages <-chan kafka.Message) []kafka.Message {
	for len(batch) < batchMax {
		select {
		case m, ok := <-messages:
			if !ok {
				return batch
			}
			batch = append(batch, m)
		default:
			return batch
		}
	}
	return batch
}

type worker struct {
	judge  *peer.Judge
	store  *redis.Client
	writer *kafka.Writer
}

func (w *worker) batch(ctx context.Context, batch []kafka.Message) error {
	events := make([]contract.Event, len(batch))
	places := make(map[int64]int, len(batch)) // of users, in keys and users
	keys := make([]string, 0, len(batch))
	for i, m := range batch {
		var err error
		if events[i], err = w.judge.Event(m.Value); err != nil {
			return err
		}
		if _, known := places[events[i].UserID]; !known {
			places[events[i].UserID] = len(keys)
			keys = append(keys, w.judge.Key(events[i].UserID))
		}
	}
	users, err := w.load(ctx, keys)
	if err != nil {
		return err
	}
	results := make([]kafka.Message, len(batch))
	for i := range events {
		ev := &events[i]
		results[i].Key, results[i].Value = w.judge.Result(&users[places[ev.UserID]], ev)
	}
	// Both must be there before the commit; neither needs the other.
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := w.writer.WriteMessages(ctx, results...); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	})
	group.Go(func() error { return w.save(ctx, keys, users) })
	return group.Wait()
}

// load reads states by their keys.
func (w *worker) load(ctx context.Context, keys []string) ([]rules.UserState, error) {
	stored, err := w.store.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, fmt.Errorf("mget: %w", err)
	}
	users := make([]rules.UserState, len(keys))
	for i, value := range stored {
		text, _ := value.(string) // nil: a new user
		if users[i], err = w.judge.State([]byte(text)); err != nil {
			return nil, fmt.Errorf("key %s: %w", keys[i], err)
		}
	}
	return users, nil
}

func (w *worker) save(ctx context.Context, keys []string, users []rules.UserState) error {
	pairs := make([]any, 0, 2*len(keys))
	for i, key := range keys {
		stored, err := w.judge.Stored(&users[i])
		if err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
		pairs = append(pairs, key, stored)
	}
	if err := w.store.MSet(ctx, pairs...).Err(); err != nil {
		return fmt.Errorf("mset: %w", err)
	}
	return nil
}
