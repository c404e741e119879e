package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// latency is what was measured at one rate.
type latency struct {
	consumertest.Latency
	cannot bool // the results fall behind at this rate
}

// String gives the figures in short.
func (l latency) String() string {
	if l.cannot {
		return "cannot"
	}
	return fmt.Sprintf("p50 %s p99 %s p99.9 %s max %s ms", millis(l.P50), millis(l.P99), millis(l.P999), millis(l.Max))
}

func sortedRates(m map[int]latency) []int { return slices.Sorted(maps.Keys(m)) }

const (
	// warmEvents are judged before the first rate, so that caches are filled and code is compiled.
	warmEvents     = 100_000
	warmEventsSlow = 5_000
	// behindMax is how many events, as seconds of the rate, may be without a result; beyond, the engine cannot.
	behindMax = 2
	// settled is when all that is committed can be seen in the output, too.
	settled = 500 * time.Millisecond
)

// latency measures an engine at each rate, on an input of its own.
func (l *lab) latency(ctx context.Context, e engine) (at map[int]latency, err error) {
	j, end, err := l.job(ctx, "")
	if end != nil {
		defer end()
	}
	if err != nil {
		return nil, err
	}
	err = l.during(ctx, e, j, func(ctx context.Context, _ *program) (err error) {
		at, err = l.latencies(ctx, e, j)
		return err
	})
	return at, err
}

func (l *lab) latencies(ctx context.Context, e engine, j job) (map[int]latency, error) {
	g := consumertest.NewGenerator(l.o.eventOptions())
	count := warmEvents
	if e.slow {
		count = warmEventsSlow
	}
	if _, err := consumertest.Produce(ctx, consumertest.ProduceOptions{Brokers: j.brokers, Topic: j.input, Count: count}, g); err != nil {
		return nil, err
	}
	at := map[int]latency{}
	cannot := false
	for _, rate := range l.o.rates {
		if cannot { // at less already
			at[rate] = latency{cannot: true}
			continue
		}
		if err := l.caughtUp(ctx, j); err != nil {
			return at, err
		}
		measured, err := consumertest.MeasureLatency(ctx, consumertest.LatencyOptions{
			Brokers: j.brokers, Input: j.input, Output: j.output, PerSecond: rate, Duration: l.o.latencyFor, Warm: l.o.warm,
			ByOrder: true, BehindMax: behindMax * rate,
		}, g)
		if cannot = errors.Is(err, consumertest.ErrBehind); err != nil && !cannot {
			return at, err
		}
		if measured.Unseen > 0 {
			return at, fmt.Errorf("at %d/s the results of %d events were not seen", rate, measured.Unseen)
		}
		at[rate] = latency{Latency: measured, cannot: cannot}
	}
	return at, nil
}

// caughtUp waits until the engine has nothing left to read.
func (l *lab) caughtUp(ctx context.Context, j job) error {
	for {
		lag, err := consumertest.Lag(ctx, j.brokers, j.group, j.input)
		if err != nil {
			return err
		}
		wait := 50 * time.Millisecond
		if lag == 0 {
			wait = settled
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %d more events are judged: %w", lag, ctx.Err())
		case <-time.After(wait):
		}
		if lag == 0 {
			return nil
		}
	}
}
