package main

import "time"

// target is a figure that Lapwing has to reach.
type target struct {
	what    string
	atLeast bool // otherwise at most
	limit   float64
	// figure returns what was measured; false: nothing was.
	figure func(r *report) (float64, bool)
}

// targetRate is the rate that the targets of latency are for.
const targetRate = 5000

// targetList are the targets for the engine in exactly_once with detail: minimal, where they do not say otherwise.
var targetList = []target{
	{"events/s to the fastest Kafka Streams exactly_once_v2, uniform users", true, 10, againstStreams(uniform)},
	{"events/s to the fastest Kafka Streams exactly_once_v2, zipf users", true, 6, againstStreams(zipf)},
	{"events/s to the empty relay with a transaction for each poll, uniform users", true, 1, between(perSecond, nameLapwing, uniform, nameRelayTransactions, uniform)},
	{"events/s to the empty relay with a transaction for each poll, zipf users", true, 1, between(perSecond, nameLapwing, zipf, nameRelayTransactions, zipf)},
	{"CPU seconds of the engine per million events, uniform users", false, 1.0, of(engineCPU, nameLapwing, uniform)},
	{"CPU seconds of the engine per million events, zipf users", false, 1.0, of(engineCPU, nameLapwing, zipf)},
	{"CPU of the engine to that of the empty relay with a transaction for each poll, uniform users", false, 1, between(engineCPU, nameLapwing, uniform, nameRelayTransactions, uniform)},
	{"CPU seconds of Redis per million events, uniform users", false, 0.5, of(redisCPU, nameLapwing, uniform)},
	{"bytes of Redis memory of a typical user, key included (MEMORY USAGE)", false, 140, of(userUsage, nameLapwing, uniform)},
	{"latency at 5,000/s, p50, ms", false, 8, latencyOf(p50, nameLapwing)},
	{"latency at 5,000/s, p99, ms", false, 25, latencyOf(p99, nameLapwing)},
	{"latency at 5,000/s, at least once, p50, ms", false, 3, latencyOf(p50, nameLapwingAtLeastOnce)},
	{"latency at 5,000/s, at least once, p99, ms", false, 12, latencyOf(p99, nameLapwingAtLeastOnce)},
	{"CPU of detail: full to that of minimal", false, 1.3, between(engineCPU, nameLapwingFull, uniform, nameLapwing, uniform)},
	{"resident memory at its peak, all users cached, MB", false, 150, of(peakMB, nameLapwing, uniform)},
	{"CPU per event with many users (cache misses) to that with few, in order", false, 1.5, between(engineCPU, nameLapwing, manyUsers, nameLapwing, fewUsers)},
	{"CPU of 100 rules to that of 4", false, 1.5, between(engineCPU, nameLapwingRules, uniform, nameLapwing, uniform)},
	{"events/s with a hot user, half of all events, to uniform users", true, 1, between(perSecond, nameLapwing, hotUser, nameLapwing, uniform)},
	{"start of a lane, from its assignment until it judges, p99, ms", false, 200, startOfLane},
}

// met says whether a figure is on the right side of the limit.
func (t target) met(figure float64) bool {
	if t.atLeast {
		return figure >= t.limit
	}
	return figure <= t.limit
}

// of returns the median of a figure.
func of(figure func(*result) float64, engine, input string) func(*report) (float64, bool) {
	return func(r *report) (float64, bool) {
		row := r.find(engine, input)
		if row == nil {
			return 0, false
		}
		m := median(row.values(figure))
		return m, m != 0 // a figure that is not known is 0
	}
}

// between returns the ratio of two medians.
func between(figure func(*result) float64, engine, input, toEngine, toInput string) func(*report) (float64, bool) {
	return func(r *report) (float64, bool) {
		a, ok1 := of(figure, engine, input)(r)
		b, ok2 := of(figure, toEngine, toInput)(r)
		if !ok1 || !ok2 {
			return 0, false
		}
		return a / b, true
	}
}

// againstStreams compares with the fastest of those that were measured.
func againstStreams(input string) func(*report) (float64, bool) {
	return func(r *report) (float64, bool) {
		fastest := 0.0
		for i := range r.rows {
			row := &r.rows[i]
			if row.engine.streams && row.engine.exactlyOnce && row.input.name == input && row.complete() {
				fastest = max(fastest, median(row.values(perSecond)))
			}
		}
		own, ok := of(perSecond, nameLapwing, input)(r)
		if !ok || fastest == 0 {
			return 0, false
		}
		return own / fastest, true
	}
}

func latencyOf(figure func(latency) time.Duration, engine string) func(*report) (float64, bool) {
	return func(r *report) (float64, bool) {
		for i := range r.rows {
			if r.rows[i].engine.name != engine || !r.rows[i].complete() {
				continue
			}
			if values, cannot := r.rows[i].at(targetRate, figure); len(values) > 0 && !cannot {
				return median(values), true
			}
		}
		return 0, false
	}
}

func startOfLane(r *report) (float64, bool) {
	return r.starts.at(0.99).Seconds() * 1000, len(r.starts.all) > 0
}

// targets is the table of those that this run says something about.
func (r *report) targets() table {
	t := table{head: []string{"target", "limit", "measured", "met"}}
	for _, target := range targetList {
		figure, ok := target.figure(r)
		if !ok {
			continue
		}
		limit, met := "at most ", "no"
		if target.atLeast {
			limit = "at least "
		}
		if target.met(figure) {
			met = "yes"
		}
		t.rows = append(t.rows, []string{target.what, limit + trimmed(target.limit), decimals(2)(figure), met})
	}
	return t
}
