package chaos

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// watch follows the output as a subscriber does, at read_committed, and notes when each lane showed no result for a while.
type watch struct {
	client *kgo.Client
	wg     sync.WaitGroup
	cancel context.CancelFunc

	mu    sync.Mutex
	last  []time.Time // of the latest result, by lane; zero before the first
	gaps  [][]gap     // by lane, those of at least gapMin
	count int
}

// gap is a time in which a lane showed nothing.
type gap struct{ from, to time.Time }

// gapMin is the shortest gap that is kept.
const gapMin = 50 * time.Millisecond

func newWatch(brokers []string, output string, lanes int) (*watch, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(output), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(200*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("chaos: reader of %v: %w", brokers, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{client: client, cancel: cancel, last: make([]time.Time, lanes), gaps: make([][]gap, lanes)}
	w.wg.Go(func() {
		for ctx.Err() == nil {
			w.poll(ctx)
		}
	})
	return w, nil
}

// close ends the watch; what it has noted can still be asked.
func (w *watch) close() {
	w.cancel()
	w.wg.Wait()
	w.client.Close()
}

func (w *watch) poll(ctx context.Context) {
	fetches := w.client.PollFetches(ctx)
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	fetches.EachRecord(func(r *kgo.Record) {
		w.count++
		if lane, ok := laneOf(r); ok && lane < len(w.last) {
			w.seen(lane, now)
		}
	})
}

// seen notes a result of a lane.
func (w *watch) seen(lane int, now time.Time) {
	if last := w.last[lane]; !last.IsZero() && now.Sub(last) >= gapMin {
		w.gaps[lane] = append(w.gaps[lane], gap{last, now})
	}
	w.last[lane] = now
}

// laneOf reads the lane from the header that names a result's source.
func laneOf(r *kgo.Record) (int, bool) {
	for _, h := range r.Headers {
		if h.Key != "lapwing-source" {
			continue
		}
		parts := strings.Split(string(h.Value), "/")
		if len(parts) != 3 {
			return 0, false
		}
		lane, err := strconv.Atoi(parts[1])
		return lane, err == nil && lane >= 0
	}
	return 0, false
}

// longest returns the longest gap of any lane that was open at some time between the two, and its lane.
func (w *watch) longest(from, to time.Time) (lane int, longest gap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, gaps := range w.gaps {
		open := gap{w.last[i], time.Now()}
		if open.from.IsZero() {
			open.from = from
		}
		for _, g := range append(slices.Clone(gaps), open) {
			if g.from.Before(to) && g.to.After(from) && g.length() > longest.length() {
				lane, longest = i, g
			}
		}
	}
	return lane, longest
}

func (g gap) length() time.Duration { return g.to.Sub(g.from) }
