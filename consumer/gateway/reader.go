package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// results reads the output topic and gives each result to the request that waits for it. It also keeps
// the status of both topics up to date.
type results struct {
	options *Options
	log     *slog.Logger
	metrics *metrics
	status  *status
	waiters *waiters
	group   *sync.WaitGroup
}

// newBackoff is for the pauses between tries of what the cluster did not answer.
func newBackoff() *backoff.Backoff { return backoff.New(25*time.Millisecond, time.Second) }

// watchTopics asks for the partitions of both topics until ctx ends, and starts a reader for each of
// the output's that is new.
func (r *results) watchTopics(ctx context.Context) {
	delay := newBackoff()
	var readers int32
	for {
		input, output, err := r.partitions(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			r.topicsUnknown(err, readers > 0)
			if delay.Wait(ctx) != nil {
				return
			}
			continue
		}
		delay.Reset()
		for ; readers < output; readers++ {
			subject := fmt.Sprintf("results of %s/%d", r.options.Output, readers)
			// Before the topics are cleared: there is no moment at which all seems well.
			r.status.block(subject, errUnknownYet)
			partition := readers
			r.metrics.readers.Inc()
			r.group.Go(func() { r.read(ctx, partition, subject) })
		}
		r.status.setInputPartitions(input)
		r.status.clear(topicsSubject)
		if !sleep(ctx, r.options.MetadataInterval) {
			return
		}
	}
}

// topicsUnknown notes that the cluster did not say its topics. Once they are known this stops nothing.
func (r *results) topicsUnknown(err error, known bool) {
	note := r.status.block
	if known {
		note = r.status.fail
	}
	if note(topicsSubject, err) {
		r.log.Warn("cannot ask for the topics, trying again", "err", err)
	}
}

// partitions asks for the number of partitions of both topics.
func (r *results) partitions(ctx context.Context) (input, output int32, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.options.RequestTimeout)
	defer cancel()
	topics, err := r.options.Client.Topics(ctx, r.options.Input, r.options.Output)
	if err != nil {
		return 0, 0, err
	}
	for _, t := range topics {
		if t.Err != nil {
			return 0, 0, fmt.Errorf("topic %s: %w", t.Name, t.Err)
		}
	}
	return topics[0].Partitions, topics[1].Partitions, nil
}

// read reads one partition until ctx ends, from the end that it has at first. Everything before is of
// requests that nobody here has made yet.
func (r *results) read(ctx context.Context, partition int32, subject string) {
	fetcher := r.options.Client.NewFetcher(r.options.Output, partition, wire.FetchOptions{
		BytesMax: r.options.FetchBytesMax, BytesMin: 1, WaitMax: r.options.FetchWaitMax,
		Committed: true, DecompressedBytesMax: r.options.DecompressedBytesMax,
	})
	log := r.log.With("topic", r.options.Output, "partition", partition)
	delay := newBackoff()
	offset, known := int64(-1), false
	for ctx.Err() == nil {
		if !known {
			end, err := r.committedEnd(ctx, partition)
			if err != nil {
				r.retry(ctx, log, subject, r.status.block, delay, err)
				continue
			}
			offset, known = end, true
			r.status.clear(subject)
			log.Info("reading results", "offset", offset)
		}
		next, err := r.fetch(ctx, fetcher, offset)
		offset = next
		switch {
		case err == nil:
			delay.Reset()
			r.status.clear(subject)
		case unreadable(err) && ctx.Err() == nil:
			// Retention, a recreated topic, or damage. Nobody waits for what is gone for longer than
			// ResultTimeout, so the end is the place to go on.
			r.metrics.fetchFailures.Inc()
			known = false
			r.status.block(subject, errUnknownYet)
			log.Warn("results cannot be read from here, going on at the end", "offset", offset, "err", err)
			_ = delay.Wait(ctx) // the loop sees the end of ctx
		default:
			r.retry(ctx, log, subject, r.status.fail, delay, err)
		}
	}
}

// unreadable reports whether reading from the same offset again would fail for ever.
func unreadable(err error) bool {
	return wire.Classify(err) == wire.OutOfRange ||
		errors.Is(err, wire.ErrMalformed) || errors.Is(err, wire.ErrTooLarge) || errors.Is(err, wire.ErrOldFormat)
}

// retry notes a failure and waits before the next try.
func (r *results) retry(
	ctx context.Context, log *slog.Logger, subject string, note func(string, error) bool, delay *backoff.Backoff, err error,
) {
	if ctx.Err() != nil {
		return
	}
	r.metrics.fetchFailures.Inc()
	if note(subject, err) {
		log.Warn("cannot read results, trying again", "err", err)
	}
	_ = delay.Wait(ctx) // the caller sees the end of ctx
}

func (r *results) committedEnd(ctx context.Context, partition int32) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.options.RequestTimeout)
	defer cancel()
	return r.options.Client.EndOffset(ctx, r.options.Output, partition, true)
}

// fetch reads once and returns where to go on, after an error too.
func (r *results) fetch(ctx context.Context, fetcher *wire.Fetcher, offset int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.options.FetchWaitMax+r.options.RequestTimeout)
	defer cancel()
	return fetcher.Fetch(ctx, offset, func(record *wire.Record) error {
		fate := fateForeign
		if id, ok := record.Header(contract.HeaderRequestID); ok {
			fate = r.waiters.deliver(id, record.Value)
		}
		r.metrics.results[fate].Inc()
		return nil
	})
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
