// Package backoff waits between tries of what time can mend.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff waits between tries: each wait doubles up to a limit, and is drawn from its upper half so that many do not
// try in step. Make one with New. One goroutine.
type Backoff struct {
	first, limit, next time.Duration
}

// New returns a Backoff whose first wait is at most first, and none is longer than limit. Both are above 0.
func New(first, limit time.Duration) *Backoff {
	return &Backoff{first: first, limit: limit, next: first}
}

// Reset starts over with the first wait: something has succeeded.
func (b *Backoff) Reset() { b.next = b.first }

// Wait returns ctx.Err() when ctx ends first.
func (b *Backoff) Wait(ctx context.Context) error {
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
