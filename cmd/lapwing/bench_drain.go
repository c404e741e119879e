package main

import (
	"context"
	"time"

	"github.com/lapwing/lapwing/consumer/wire"
)

const (
	// benchLook is how often it is looked whether all results are there.
	benchLook = 5 * time.Millisecond
	// benchAsk is how often the cluster is asked how far the group is.
	benchAsk = 25 * time.Millisecond
)

// benchDrained is what came of waiting for the last results.
type benchDrained struct {
	// judged is the offset up to which the group has judged each partition, where only alerts are published; nil where
	// every event has a result.
	judged   []int64
	judgedAt time.Duration // when all were, 0: not seen
	waited   time.Duration // in all
	whole    bool          // all are judged, and what was written by then was read
	err      error         // why that cannot be said
}

// alertsOnly reports whether most events have no result.
func (b *bench) alertsOnly() bool { return b.target.config.Results == "alerts" }

// await waits until every event is judged, then until everything has been read that was written by then: a result that
// is there twice would not be seen otherwise.
func (b *bench) await(ctx context.Context) (d benchDrained) {
	begin := time.Now()
	defer func() { d.waited = time.Since(begin) }()
	if b.alertsOnly() {
		b.awaitGroup(ctx, &d)
	} else {
		d.err = b.until(ctx, benchLook, func() (bool, error) { return b.ledger.outstanding() == 0, nil })
	}
	if d.err != nil || ctx.Err() != nil {
		return d
	}
	// Every own result was seen; of alerts it is only known that their transactions have ended: a broker may be about
	// to show them.
	ends, err := b.target.currentEnds(ctx, !b.alertsOnly())
	if err != nil {
		if ctx.Err() == nil {
			d.err = err
		}
		return d
	}
	d.err = b.until(ctx, benchLook, func() (bool, error) {
		for _, r := range b.readers {
			if r.position.Load() < ends[r.topic][r.partition] {
				return false, nil
			}
		}
		d.whole = true
		return true, nil
	})
	return d
}

// awaitGroup waits until the group has judged all events, by the offsets that it has committed.
func (b *bench) awaitGroup(ctx context.Context, d *benchDrained) {
	ends := b.ledger.ends()
	d.judged = make([]int64, len(ends)) // none
	d.err = b.until(ctx, benchAsk, func() (bool, error) {
		judged, stable, err := b.target.judged(ctx)
		if err != nil && wire.Classify(err) != wire.Retry {
			return false, err
		}
		if err != nil || !stable {
			return false, nil
		}
		d.judged = judged
		for p := range ends {
			if ends[p] > 0 && judged[p] < ends[p] {
				return false, nil
			}
		}
		d.judgedAt = time.Since(b.began)
		return true, nil
	})
}

// until asks again and again until the answer is yes or an error; when ctx ends first, that is none.
func (b *bench) until(ctx context.Context, every time.Duration, ask func() (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}
