package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// warmUpEvents go through an empty relay with transactions before anything is measured, and then some at a steady rate: the
// first engine would pay for a broker that has compiled nothing yet, and has neither its offsets' nor its transactions'
// topic. After 200,000 events alone a broker still took twice the CPU that it took ten seconds later.
const (
	warmUpEvents = 2_000_000
	warmUpRounds = 2
)

func (l *lab) warmUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.o.timeout)
	defer cancel()
	if err := l.awaitCoordinator(ctx); err != nil {
		return err
	}
	spec := l.o.spec(uniform, false)
	spec.count = min(spec.count, warmUpEvents)
	in, err := l.inputs.get(ctx, spec)
	if err != nil {
		return err
	}
	for _, e := range engines() {
		if e.name != nameRelayTransactions {
			continue
		}
		for range warmUpRounds {
			if _, err := l.throughput(ctx, e, in); err != nil {
				return err
			}
		}
		if !l.o.skipLatency {
			_, err = l.latency(ctx, e)
		}
		return err
	}
	return errors.New("there is no relay")
}

// awaitCoordinator waits for the topic of offsets, which the first question makes.
func (l *lab) awaitCoordinator(ctx context.Context) error {
	for {
		_, err := kadm.NewClient(l.kafka).FetchOffsets(ctx, l.prefix)
		if err == nil || errors.Is(err, kerr.GroupIDNotFound) {
			return nil
		}
		if !kerr.IsRetriable(err) {
			return fmt.Errorf("wait for the coordinator of groups: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the coordinator of groups: %w", errors.Join(ctx.Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
