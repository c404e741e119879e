package backoff

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestWait checks that waits double up to the limit, each drawn from its upper half, and that Reset starts over.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(10*time.Millisecond, 35*time.Millisecond)
		for _, most := range []time.Duration{10, 20, 35, 35, 0, 10} {
			if most == 0 {
				b.Reset()
				continue
			}
			most *= time.Millisecond
			start := time.Now()
			if err := b.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took < most/2 || took > most {
				t.Errorf("waited %v, want %v to %v", took, most/2, most)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := New(time.Hour, time.Hour).Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v when the context ended", err)
		}
	})
}
