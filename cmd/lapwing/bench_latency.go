package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// latencies are how long events took, in ascending order. They are all kept, so what is told of them is exact; --events
// bounds how many there are.
type latencies []time.Duration

func newLatencies(of []time.Duration) latencies {
	slices.Sort(of)
	return of
}

// quantile returns the least latency that so large a part of all does not exceed, 0 of none.
func (l latencies) quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(l))))
	return l[min(max(rank, 1), len(l))-1]
}

// max returns the largest.
func (l latencies) max() time.Duration { return l.quantile(1) }

// within counts those of at most d.
func (l latencies) within(d time.Duration) int64 {
	n, _ := slices.BinarySearch(l, d+1)
	return int64(n)
}

// latencySteps are the bounds of the histogram. What is above the last is only in the maximum.
var latencySteps = []time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second,
	10 * time.Second, 20 * time.Second, 50 * time.Second, 100 * time.Second,
}

// latencyBar is one bound of the histogram and how many events were within it.
type latencyBar struct {
	bound  time.Duration
	within int64
}

// histogram returns the bounds from the last that no event kept to the first that all kept.
func (l latencies) histogram() []latencyBar {
	var bars []latencyBar
	for _, bound := range latencySteps {
		bar := latencyBar{bound, l.within(bound)}
		if bar.within == 0 {
			continue
		}
		bars = append(bars, bar)
		if bar.within == int64(len(l)) {
			break
		}
	}
	return bars
}

// String gives the quantiles, then the histogram.
func (l latencies) String() string {
	if len(l) == 0 {
		return "no event was counted"
	}
	text := fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, max %s, of %s",
		round(l.quantile(.5)), round(l.quantile(.9)), round(l.quantile(.99)), round(l.quantile(.999)), round(l.max()), plural(int64(len(l)), "event"))
	var bars []string
	for _, b := range l.histogram() {
		bars = append(bars, fmt.Sprintf("%s %s", b.bound, share(b.within, int64(len(l)))))
	}
	if len(bars) > 0 {
		text += "; within " + strings.Join(bars, ", ")
	}
	return text
}
