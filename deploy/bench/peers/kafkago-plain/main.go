// Command kafkago-plain is the loop that most Go services of this kind are: kafka-go's Reader, per event a GET and a
// SET of go-redis and a write of kafka-go's Writer, at least once. Each partition has a goroutine of its own.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/segmentio/kafka-go"

	"github.com/lapwing/lapwing/deploy/bench/peers/peer"
)

func main() { peer.Main("kafkago-plain", run) }

func run(ctx context.Context, o peer.Options) error {
	store := redis.NewClient(&redis.Options{Addr: o.Redis})
	defer store.Close()
	reader, writer := peer.NewReader(o), peer.NewWriter(o, 1)
	err := peer.EachPartition(ctx, reader, func(ctx context.Context, messages <-chan kafka.Message) error {
		w := worker{judge: peer.NewJudge(o.Group), store: store, writer: writer}
		for m := range messages {
			if err := w.one(ctx, m); err != nil {
				return fmt.Errorf("%s/%d/%d: %w", m.Topic, m.Partition, m.Offset, err)
			}
			if err := reader.CommitMessages(ctx, m); err != nil {
				return fmt.Errorf("commit: %w", err)
			}
		}
		return nil
	})
	return errors.Join(err, writer.Close(), reader.Close())
}

type worker struct {
	judge  *peer.Judge
	store  *redis.Client
	writer *kafka.Writer
}

func (w *worker) one(ctx context.Context, m kafka.Message) error {
	ev, err := w.judge.Event(m.Value)
	if err != nil {
		return err
	}
	key := w.judge.Key(ev.UserID)
	stored, err := w.store.Get(ctx, key).Bytes()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("get: %w", err)
	}
	user, err := w.judge.State(stored)
	if err != nil {
		return err
	}
	resultKey, value := w.judge.Result(&user, &ev)
	if stored, err = w.judge.Stored(&user); err != nil {
		return err
	}
	if err := w.store.Set(ctx, key, stored, 0).Err(); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	if err := w.writer.WriteMessages(ctx, kafka.Message{Key: resultKey, Value: value}); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
