package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// benchReader reads one partition of the output or of the dead letters as a subscriber would (read_committed), and
// notes in the ledger when it sees what came of which event.
type benchReader struct {
	client    *wire.Client
	topic     string
	partition int32
	letters   bool // of dead letters
	input     string
	options   wire.FetchOptions
	ledger    *benchLedger
	began     time.Time

	position atomic.Int64 // everything before it was seen
	seen     []sighting   // of one answer
}

// run reads from position on until ctx ends, which is no error. What the cluster mends is tried again.
func (r *benchReader) run(ctx context.Context) error {
	const pauseLeast, pauseMost = 25 * time.Millisecond, time.Second
	fetcher := r.client.NewFetcher(r.topic, r.partition, r.options)
	delay := backoff.New(pauseLeast, pauseMost)
	for ctx.Err() == nil {
		next, err := r.fetch(ctx, fetcher)
		r.ledger.see(r.seen)
		r.position.Store(next)
		switch {
		case err == nil:
			delay.Reset()
		case ctx.Err() != nil:
		case wire.Classify(err) != wire.Retry:
			return fmt.Errorf("read what came of the events: %w", err)
		default:
			_ = delay.Wait(ctx) // the loop sees the end of ctx
		}
	}
	return nil
}

// fetch reads once and returns where to go on, after an error too.
func (r *benchReader) fetch(ctx context.Context, fetcher *wire.Fetcher) (int64, error) {
	r.seen = r.seen[:0]
	seen := time.Duration(-1)
	return fetcher.Fetch(ctx, r.position.Load(), func(record *wire.Record) error {
		if seen < 0 {
			seen = time.Since(r.began) // all of an answer arrive at once
		}
		text, ok := record.Header(contract.HeaderSource)
		if !ok {
			return nil
		}
		source, err := contract.ParseSource(text)
		if errors.Is(err, contract.ErrSource) || source.Topic != r.input {
			return nil // somebody else's
		}
		s := sighting{partition: source.Partition, offset: source.Offset, seen: seen, output: r.partition, at: record.Offset, letter: r.letters}
		if r.letters {
			reason, _ := record.Header(contract.HeaderReason)
			s.reason = oneLine(string(reason))
		}
		r.seen = append(r.seen, s)
		return nil
	})
}
