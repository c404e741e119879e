package gateway

import (
	"context"
	"math/rand/v2"
	"time"
)

// Bounds of the pauses between tries of what the cluster did not answer.
const (
	backoffFirst = 25 * time.Millisecond
	backoffLimit = time.Second
)

// backoff waits between tries: each wait doubles up to the limit and is drawn from its upper half, so
// that many do not try in step. The zero value is at its beginning. One goroutine.
type backoff struct{ next time.Duration }

func (b *backoff) reset() { b.next = 0 }

// wait returns false when ctx ends first.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(2*b.next, backoffFirst), backoffLimit)
	timer := time.NewTimer(b.next/2 + rand.N(b.next/2+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
