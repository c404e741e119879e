package consumer

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/lapwing/lapwing/consumer/wire"
)

const (
	// lagEvery is how often the end of each lane's input is asked for; it goes on while a lane stands still.
	lagEvery = 2 * time.Second
	// lagAtOnce bounds how many lanes' ends are asked for at a time: a leader that does not answer holds up few.
	lagAtOnce = 8
)

// watchLag keeps the lag metrics true until ctx ends, for lanes that start or are stopped too.
func (g *generation) watchLag(ctx context.Context) {
	ticker := time.NewTicker(lagEvery)
	defer ticker.Stop()
	slots := make(chan struct{}, lagAtOnce)
	for {
		var asking sync.WaitGroup
		for _, lane := range g.lanes {
			slots <- struct{}{}
			asking.Go(func() {
				g.reportLag(ctx, lane)
				<-slots
			})
		}
		asking.Wait()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// reportLag sets the lag metrics of a lane. While the broker does not answer, which the lane itself reports, the records
// stay as they were last seen, and what is known to wait goes on growing older.
func (g *generation) reportLag(ctx context.Context, lane int32) {
	m, label, w := g.engine.metrics, strconv.Itoa(int(lane)), g.watched[lane]
	if committed, ends, err := g.laneEnds(ctx, lane); err == nil {
		m.lag.WithLabelValues(label).Set(float64(max(0, sum(ends)-sum(committed))))
		if w.waiting == nil {
			w.waiting = make([]waiting, len(ends))
		}
		for i := range ends {
			w.waiting[i].follow(committed[i], ends[i], time.Now(), func(from int64) (time.Time, int64, error) {
				return g.timeOfRecord(ctx, g.engine.sources[i], lane, from)
			})
		}
	}
	if w.waiting == nil {
		return // nothing has been seen yet
	}
	var oldest time.Duration
	for i := range w.waiting {
		oldest = max(oldest, w.waiting[i].age(time.Now()))
	}
	m.lagSeconds.WithLabelValues(label).Set(oldest.Seconds())
}

// laneEnds returns, by source, what is committed of the lane's input, and where what can be read of it ends. For a lane
// without a tenure, which may not have committed or may stand before deleted input, what is committed is the first kept
// record at the least. The watch gets what was found.
func (g *generation) laneEnds(ctx context.Context, lane int32) (committed, ends []int64, err error) {
	o, w := &g.engine.options, g.watched[lane]
	err = g.engine.call(ctx, func(ctx context.Context) error {
		var ok bool
		if committed, ok = g.committer.committedOffsets(lane); !ok {
			known, start, err := g.committedAndStart(ctx, lane)
			switch {
			case err == nil:
				w.setKnown(known)
			case w.known.Load() == nil || !errors.Is(err, kafka.UnstableOffsetCommit):
				return err
			} // else a transaction is pending, perhaps for long: what was known before is near enough
			committed = start
			if known := w.known.Load(); known != nil {
				for i, offset := range *known {
					committed[i] = max(offset, start[i])
				}
			}
		}
		for _, s := range g.engine.sources {
			end, err := o.Client.EndOffset(ctx, s.topic, lane, true)
			if err != nil {
				return err
			}
			ends = append(ends, end)
		}
		w.end.Store(sum(ends))
		return nil
	})
	return committed, ends, err
}

// committedAndStart returns, by source, what is committed (nil: nothing of any input) and where the log begins.
func (g *generation) committedAndStart(ctx context.Context, lane int32) (committed, start []int64, err error) {
	o := &g.engine.options
	var unstable error
	judged := false
	for _, s := range g.engine.sources {
		at, err := o.Client.EarliestOffset(ctx, s.topic, lane)
		if err != nil {
			return nil, nil, err
		}
		start = append(start, at)
		all, err := o.Client.StableOffsets(ctx, o.Group, s.topic, []int32{lane})
		switch {
		case err != nil:
			return nil, nil, err
		case all[lane].Err != nil:
			unstable = all[lane].Err
		case all[lane].Offset >= 0:
			at = all[lane].Offset
			judged = judged || !s.rekey
		}
		committed = append(committed, at)
	}
	if !judged {
		committed = nil
	}
	return committed, start, unstable
}

// errFirst ends a fetch at its first record.
var errFirst = errors.New("consumer: the first record is enough")

// timeOfRecord asks once for the first record that can be read at or after an offset. It returns the record's time (zero:
// it has none) and its offset; where the answer shows no record, errNoRecord and where to ask next.
func (g *generation) timeOfRecord(ctx context.Context, s source, lane int32, from int64) (at time.Time, next int64, err error) {
	o := &g.engine.options
	err = g.engine.call(ctx, func(ctx context.Context) error {
		// One batch is enough, and it arrives whole whatever its size is. Its buffers are not kept.
		fetcher := o.Client.NewFetcher(s.topic, lane, wire.FetchOptions{
			TopicID: s.id, BytesMax: 1, WaitMax: time.Millisecond, Committed: true, DecompressedBytesMax: o.DecompressedBytesMax,
		})
		next, err = fetcher.Fetch(ctx, from, func(r *wire.Record) error {
			if r.TimeMillis > 0 {
				at = time.UnixMilli(r.TimeMillis)
			}
			return errFirst
		})
		return err
	})
	switch {
	case errors.Is(err, errFirst):
		return at, next, nil
	case err != nil:
		return time.Time{}, from, err
	}
	return time.Time{}, next, errNoRecord
}

// errNoRecord says that what was fetched is invisible: markers, or records of aborted transactions.
var errNoRecord = errors.New("consumer: no record that can be read")

// waiting is the first record of a source that is not committed. Its time is asked for once, while it is the first.
type waiting struct {
	committed, end int64
	at             int64     // its offset; until it is found, where to look for it; at the end there is none
	found          bool      // or given up
	since          time.Time // its time; when it was first seen, until that is known and where it is to come
}

// follow notes how far the source is committed and where it ends, and has look find the record, once at most.
func (w *waiting) follow(committed, end int64, now time.Time, look func(from int64) (at time.Time, next int64, err error)) {
	if committed > w.at || committed < w.committed {
		*w = waiting{at: committed}
	}
	w.committed, w.end = committed, end
	if w.at >= end || w.found {
		return
	}
	if w.since.IsZero() {
		w.since = now
	}
	since, next, err := look(w.at)
	switch {
	case err == nil:
		w.found, w.at = true, next
		if !since.IsZero() && since.Before(w.since) {
			w.since = since
		}
	case errors.Is(err, errNoRecord):
		if w.at = max(next, w.at); w.at >= end {
			w.since = time.Time{}
		}
	case unreadable(err) != "":
		w.found = true // another look would find the same
	}
}

// age returns how old the record is; 0 where there is none.
func (w *waiting) age(now time.Time) time.Duration {
	if w.at >= w.end || w.since.IsZero() {
		return 0
	}
	return max(0, now.Sub(w.since))
}
