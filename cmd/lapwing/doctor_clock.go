package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// clockMax is how far the brokers' clock may be from this machine's before somebody should look at it, and
	// clockBroken before records are refused or deleted for it (message.timestamp.after.max.ms is 1 h by default).
	clockMax    = time.Second
	clockBroken = 10 * time.Minute
)

// clock compares this machine's clock with that of the cluster's controller.
func (d *doctor) clock(ctx context.Context) {
	const subject, remedy = "kafka clock", "keep both in time by NTP"
	sent := time.Now()
	clock, err := d.client.ControllerClock(ctx)
	took := time.Since(sent)
	if err != nil {
		d.note(checkClock, subject, fmt.Sprintf("the controller does not tell its time (that needs Kafka 3.3 and Describe on the cluster): %v", err),
			"compare the clocks of this machine and of the brokers by hand")
		return
	}
	ahead := clock.Sub(sent.Add(took / 2))
	text := fmt.Sprintf("the controller's clock is %s", aheadOf(ahead))
	switch {
	case ahead.Abs() >= clockBroken:
		d.fail(checkClock, subject, text+": records are refused for their time, or deleted too early", remedy)
	case ahead.Abs() > clockMax+took:
		d.warn(checkClock, subject, text, remedy)
	default:
		d.ok(checkClock, subject, fmt.Sprintf("the controller's clock is within %s of this machine's", round(max(ahead.Abs(), took))))
	}
}
