package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lapwing/lapwing/consumer/contract"
)

const (
	// benchSlice is how often events that are due are made.
	benchSlice = time.Millisecond
	// benchChunk is how many events are made before anything else is looked at.
	benchChunk = 256
	// benchLateMax is how long events are made beyond the load's time, when they are behind it.
	benchLateMax = time.Second
)

// benchPlan says which events are made when.
type benchPlan struct {
	perSecond int64 // 0: as fast as they can be written
	events    int64
	warm      int64 // so many of them are not counted
}

// due returns how many events are to be made by a time since the load began.
func (p *benchPlan) due(at time.Duration) int64 {
	if p.perSecond == 0 {
		return p.events
	}
	return min(p.events, int64(at.Seconds()*float64(p.perSecond))+1)
}

// created returns the time of an event. It is fixed in advance: an event that has to wait because the one before did
// takes longer for it.
func (p *benchPlan) created(n int64, now time.Duration) time.Duration {
	if p.perSecond == 0 {
		return now
	}
	return time.Duration(float64(n) / float64(p.perSecond) * float64(time.Second))
}

// over reports whether no more events are made, though some are due.
func (p *benchPlan) over(at time.Duration) bool {
	return p.perSecond > 0 && at > p.created(p.events, 0)+benchLateMax
}

// benchLoad makes the events of a plan and has them written.
type benchLoad struct {
	plan        benchPlan
	events      *benchEvents
	partitioner contract.Partitioner
	writers     []*benchWriter // by partition; a writer has those of one broker
	began       time.Time
}

// benchLoaded is what became of a plan.
type benchLoaded struct {
	made        int64
	unsure      int64         // events that were sent and not acknowledged
	behind      time.Duration // the most that an event was sent after its time
	interrupted bool          // by the end of the context
	err         error         // why not all could be written
}

// run makes events until the plan is done, ctx ends or they cannot be written, and waits until all that were made are.
func (l *benchLoad) run(ctx context.Context) benchLoaded {
	var loaded benchLoaded
	// What was begun is finished when ctx ends: cut off, nobody could say whether it is in the topic.
	group, writing := errgroup.WithContext(context.WithoutCancel(ctx))
	writers := distinct(l.writers)
	for _, w := range writers {
		group.Go(func() error { return w.run(writing, l.began) })
	}
	stop, cancel := context.WithCancel(writing)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	loaded.made = l.make(stop, writers)
	for _, w := range writers {
		w.close()
	}
	loaded.err = group.Wait()
	loaded.interrupted = ctx.Err() != nil
	for _, w := range writers {
		loaded.behind = max(loaded.behind, w.behind)
		loaded.unsure += w.unsure
	}
	return loaded
}

// make makes events until the plan is done or over or ctx ends, and returns how many.
func (l *benchLoad) make(ctx context.Context, writers []*benchWriter) (made int64) {
	pause := time.NewTicker(benchSlice)
	defer pause.Stop()
	for made < l.plan.events && ctx.Err() == nil {
		now := time.Since(l.began)
		if l.plan.over(now) {
			break
		}
		due := l.plan.due(now)
		for end := min(due, made+benchChunk); made < end; made++ {
			if !l.put(ctx, made, l.plan.created(made, now)) {
				return made
			}
		}
		for _, w := range writers {
			w.wake()
		}
		if made < due {
			continue
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
	return made
}

// put makes one event and hands it to its writer. It returns false when ctx ends first.
func (l *benchLoad) put(ctx context.Context, n int64, created time.Duration) bool {
	at := l.began.Add(created)
	user := l.events.next(at)
	partition := l.partitioner.Partition(l.events.key, int32(len(l.writers)))
	own := benchOwn{user: user, created: created, counted: n >= l.plan.warm}
	return l.writers[partition].put(ctx, partition, own, at, l.events.key, l.events.value)
}

// distinct returns each writer once.
func distinct(writers []*benchWriter) []*benchWriter {
	var once []*benchWriter
	seen := map[*benchWriter]bool{}
	for _, w := range writers {
		if !seen[w] {
			once = append(once, w)
		}
		seen[w] = true
	}
	return once
}
