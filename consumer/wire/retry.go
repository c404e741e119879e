package wire

import (
	"context"
	"fmt"
	"time"
)

// backoff waits between attempts: 1, 2, 4 .. 20 ms when a broker asked for a
// moment (CONCURRENT_TRANSACTIONS is routine right after EndTxn, and a first
// wait of 20 ms cost two to four times the throughput), 20, 40 .. 250 ms when a
// broker could not be reached.
type backoff struct {
	answered, unreached time.Duration
	cause               error // Of the last attempt that had its time.
}

// wait returns an error that wraps a cause when ctx ends first: the last one that
// says more than that no time was left for another attempt.
func (b *backoff) wait(ctx context.Context, cause error) error {
	deadline, bounded := ctx.Deadline()
	if timeUp := ctx.Err() != nil || bounded && time.Until(deadline) <= 0; !timeUp || isCode(cause) || b.cause == nil {
		b.cause = cause
	}
	var d time.Duration
	if isCode(cause) {
		b.answered = min(max(2*b.answered, time.Millisecond), 20*time.Millisecond)
		d = b.answered
	} else {
		b.unreached = min(max(2*b.unreached, 20*time.Millisecond), 250*time.Millisecond)
		d = b.unreached
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w (gave up: %w)", b.cause, ctx.Err())
	}
}

// retry repeats attempt, which must be safe to repeat, until it succeeds, its
// error is none that time mends, or ctx ends.
func retry(ctx context.Context, attempt func() error) error {
	var b backoff
	for {
		err := attempt()
		if err == nil || Classify(err) != Retry {
			return err
		}
		if err := b.wait(ctx, err); err != nil {
			return err
		}
	}
}
