package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

// queued is how many messages of a partition are read ahead.
const queued = 2000

// NewReader returns a reader of a group, from the earliest message on, whose commits are sent in the background.
func NewReader(o Options) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{
		Brokers: o.Brokers, GroupID: o.Group, Topic: o.Input, StartOffset: kafka.FirstOffset,
		// A fetch answers as soon as there is a message; an idle one waits.
		MinBytes: 1, MaxBytes: 10 << 20, MaxWait: 500 * time.Millisecond, QueueCapacity: queued,
		CommitInterval: 100 * time.Millisecond, JoinGroupBackoff: 500 * time.Millisecond,
	})
}

// NewWriter returns a writer to the output that sends as soon as so many messages of a partition are there, or after a
// moment.
func NewWriter(o Options, batch int) *kafka.Writer {
	return &kafka.Writer{
		Addr: kafka.TCP(o.Brokers...), Topic: o.Output, Balancer: kafka.Murmur2Balancer{Consistent: true},
		RequiredAcks: kafka.RequireAll, BatchSize: batch, BatchBytes: 900 << 10, BatchTimeout: time.Millisecond,
	}
}

// EachPartition reads until ctx ends and has a worker of its own for each partition that messages come from. It returns
// when the workers, which end with their channel or with ctx, have ended.
func EachPartition(ctx context.Context, r *kafka.Reader, work func(context.Context, <-chan kafka.Message) error) error {
	group, ctx := errgroup.WithContext(ctx)
	workers := map[int]chan kafka.Message{}
	var readErr error
	for {
		m, err := r.FetchMessage(ctx)
		if err != nil {
			readErr = err
			break
		}
		to, ok := workers[m.Partition]
		if !ok {
			to = make(chan kafka.Message, queued)
			workers[m.Partition] = to
			group.Go(func() error { return work(ctx, to) })
		}
		select {
		case to <- m:
			continue
		case <-ctx.Done():
		}
		break
	}
	for _, to := range workers {
		close(to)
	}
	err := group.Wait()
	if err == nil && ctx.Err() == nil {
		err = readErr
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read, judge and write: %w", err)
	}
	return nil
}
