package consumer

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff waits between tries: each wait doubles up to a limit, and is drawn from its upper half so that members do not
// try in step. One goroutine.
type backoff struct {
	first, limit, next time.Duration
}

func newBackoff(first, limit time.Duration) *backoff {
	return &backoff{first: first, limit: limit, next: first}
}

func (b *backoff) reset() { b.next = b.first }

// wait returns ctx.Err() when ctx ends first.
func (b *backoff) wait(ctx context.Context) error {
	d := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, b.limit)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
