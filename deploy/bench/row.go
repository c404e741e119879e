package main

import "time"

// row is what is known of a subject: the results of its runs.
type row struct {
	subject
	results []result
}

// values returns a figure of each run that gave it, failed ones left out.
func (r *row) values(figure func(*result) float64) []float64 {
	var values []float64
	for i := range r.results {
		if r.results[i].err == nil {
			values = append(values, figure(&r.results[i]))
		}
	}
	return values
}

// failed returns the error of the first run that failed.
func (r *row) failed() error {
	for i := range r.results {
		if r.results[i].err != nil {
			return r.results[i].err
		}
	}
	return nil
}

// complete says whether every run went well, and there was one.
func (r *row) complete() bool { return len(r.results) > 0 && r.failed() == nil }

// Figures of a run.
func perSecond(r *result) float64 { return r.perSecond }
func engineCPU(r *result) float64 { return r.engine }
func brokerCPU(r *result) float64 { return r.broker }
func redisCPU(r *result) float64  { return r.redis }
func peakMB(r *result) float64    { return megabytes(r.memory.peak) }
func endMB(r *result) float64     { return megabytes(r.memory.resident) }
func userMean(r *result) float64  { return r.users.mean }
func userUsage(r *result) float64 { return r.users.usage }

// at returns a figure of the latency at a rate, in milliseconds, of each run that could.
func (r *row) at(rate int, figure func(latency) time.Duration) (values []float64, cannot bool) {
	for i := range r.results {
		l, measured := r.results[i].latencies[rate]
		switch {
		case !measured || r.results[i].err != nil:
		case l.cannot:
			cannot = true
		default:
			values = append(values, figure(l).Seconds()*1000)
		}
	}
	return values, cannot
}

func p50(l latency) time.Duration  { return l.P50 }
func p99(l latency) time.Duration  { return l.P99 }
func p999(l latency) time.Duration { return l.P999 }
func pMax(l latency) time.Duration { return l.Max }
