package consumer

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/lapwing/lapwing/state"
)

// unflushed is a store that takes claims and reads and, while it is away, no writes.
type unflushed struct {
	state.Store
	away *atomic.Bool
}

func (s unflushed) Claim(ctx context.Context, lane int32) (state.Lane, error) {
	l, err := s.Store.Claim(ctx, lane)
	return unflushedLane{l, s.away}, err
}

type unflushedLane struct {
	state.Lane
	away *atomic.Bool
}

func (l unflushedLane) Flush(ctx context.Context, s *state.Snapshot) error {
	if l.away.Load() {
		return fmt.Errorf("no writes: %w", context.DeadlineExceeded)
	}
	return l.Lane.Flush(ctx, s)
}

// TestUncleanHandOverSparesTheLiving lets a member hand lanes over while Redis takes no writes. Their checkpoints then name
// it although it lives; the next owner fences that name, and the member's transactions must go on all the same.
func TestUncleanHandOverSparesTheLiving(t *testing.T) {
	onEachKafka(t, 4, func(t *testing.T, b *bench) {
		memory := state.NewMemory()
		var away atomic.Bool
		quick := func(o *Options) { o.DrainTimeout = 500 * time.Millisecond }
		living, _ := b.engine(unflushed{memory, &away}, quick)
		send := func(from, n int) {
			for i := range n {
				b.send(fmt.Sprintf(`{"type":"deposit","amount":"1","user_id":%d,"time":10}`, from+i))
			}
		}
		send(0, 40)
		b.read(b.output, 40)

		named := living.owner
		away.Store(true)
		send(100, 40) // of every lane something is not flushed
		b.read(b.output, 80)
		if _, stop := b.engine(memory, quick); true { // its own writes are taken
			defer func() { _ = stop() }()
		}
		// The newcomer has lanes of its own when it has fenced the name that stands in them.
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			fenced := 0
			for lane := range b.lanes {
				if c, ok, err := memory.Peek(t.Context(), lane); err == nil && ok && c.Owner != named {
					fenced++
				}
			}
			if fenced > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the second engine has no lane")
			}
		}
		away.Store(false)
		send(200, 40)
		b.read(b.output, 120)
		if failed := testutil.ToFloat64(living.metrics.transactions.WithLabelValues("failed")); failed != 0 {
			t.Errorf("%v transactions of the living member have failed", failed)
		}
	})
}
