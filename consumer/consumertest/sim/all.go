package sim

import (
	"context"
	"sync"
)

// DefaultParallel is how many seeds run at a time: a run mostly waits, for sessions to end and pauses to pass.
const DefaultParallel = 10

// RunAll runs count seeds from first on, each repeat times, so many runs at a time, and gives each result to done, one call after the other.
// When ctx ends it begins no further one.
func RunAll(ctx context.Context, first uint64, count, repeat, parallel int, done func(Result)) {
	seeds := make(chan uint64)
	var workers sync.WaitGroup
	var mu sync.Mutex
	for range min(parallel, count*repeat) {
		workers.Go(func() {
			for seed := range seeds {
				r := Run(ctx, Options{Seed: seed})
				mu.Lock()
				done(r)
				mu.Unlock()
			}
		})
	}
	for i := range uint64(count * repeat) {
		select {
		case seeds <- first + i/uint64(repeat):
			continue
		case <-ctx.Done():
		}
		break
	}
	close(seeds)
	workers.Wait()
}
