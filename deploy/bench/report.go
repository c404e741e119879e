package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// report is what was measured, on what.
type report struct {
	about     []string // lines on machine, versions and command
	rates     []int
	repeat    int
	rows      []row
	starts    laneStarts
	startsErr error
}

// good says whether every run went well; missed targets do not count.
func (r *report) good() bool {
	return len(r.rows) > 0 && r.startsErr == nil && !slices.ContainsFunc(r.rows, func(row row) bool { return !row.complete() })
}

// find returns the row of an engine on an input; nil: it was not measured, or a run failed.
func (r *report) find(engine, input string) *row {
	for i := range r.rows {
		if r.rows[i].engine.name == engine && r.rows[i].input.name == input && r.rows[i].complete() {
			return &r.rows[i]
		}
	}
	return nil
}

// markdown is the whole report.
func (r *report) markdown() string {
	var b strings.Builder
	for _, line := range r.about {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	b.WriteString("\n" + r.figures().markdown())
	for _, t := range []table{r.ratios(), r.memory(), r.targets()} {
		if len(t.rows) > 0 {
			b.WriteString("\n" + t.markdown())
		}
	}
	if len(r.starts.all) > 0 {
		fmt.Fprintf(&b, "\nStart of a lane, from its assignment until it judges: %v\n", r.starts)
	}
	if r.startsErr != nil {
		fmt.Fprintf(&b, "\nStart of a lane FAILED: %v\n", r.startsErr)
	}
	for i := range r.rows {
		if err := r.rows[i].failed(); err != nil {
			fmt.Fprintf(&b, "\nFAILED: %s, %s: %v\n", r.rows[i].engine.name, r.rows[i].input.name, err)
		}
	}
	return b.String()
}

// figures is the table of what was measured.
func (r *report) figures() table {
	t := table{head: []string{"engine", "users", "events", "events/s", "CPU s per million: engine", "broker", "Redis", "peak MB"}}
	for _, rate := range r.rates {
		t.head = append(t.head, fmt.Sprintf("ms at %s/s: p50", thousands(float64(rate))), "p99", "p99.9", "max")
	}
	t.head = append(t.head, "output")
	for i := range r.rows {
		row := &r.rows[i]
		cells := []string{row.engine.about, row.input.name, thousands(float64(row.input.count))}
		for _, c := range []struct {
			figure func(*result) float64
			format func(float64) string
		}{{perSecond, thousands}, {engineCPU, decimals(2)}, {brokerCPU, decimals(2)}, {redisCPU, decimals(2)}, {peakMB, decimals(0)}} {
			cells = append(cells, cell(row.values(c.figure), c.format))
		}
		for _, rate := range r.rates {
			for _, figure := range []func(latency) time.Duration{p50, p99, p999, pMax} {
				values, cannot := row.at(rate, figure)
				if cannot {
					cells = append(cells, "cannot")
				} else {
					cells = append(cells, cell(values, decimals(1)))
				}
			}
		}
		t.rows = append(t.rows, append(cells, row.verdict()))
	}
	return t
}

// verdict says whether the output was right.
func (r *row) verdict() string {
	switch {
	case r.failed() != nil:
		return "FAILED"
	case len(r.results) == 0:
		return "not run"
	}
	return "right"
}

// cell is empty for a figure that nobody has measured.
func cell(values []float64, format func(float64) string) string {
	if len(values) == 0 || slices.Max(values) == 0 {
		return ""
	}
	return spread(values, format)
}

// ratios compares each row with Lapwing, exactly once, on the same users.
func (r *report) ratios() table {
	t := table{head: []string{"engine", "users", "events/s of Lapwing to its", "its CPU per event to Lapwing's", "its p50 to Lapwing's", "its p99 to Lapwing's"}}
	for i := range r.rows {
		row := &r.rows[i]
		own := r.find(nameLapwing, row.input.name)
		if own == nil || own == row || !row.complete() {
			continue
		}
		cells := []string{
			row.engine.about, row.input.name, ratio(own.values(perSecond), row.values(perSecond)), ratio(row.values(engineCPU), own.values(engineCPU)),
		}
		for _, figure := range []func(latency) time.Duration{p50, p99} {
			text := ""
			if len(r.rates) > 0 {
				its, _ := row.at(r.rates[0], figure)
				ours, _ := own.at(r.rates[0], figure)
				text = ratio(its, ours)
			}
			cells = append(cells, text)
		}
		t.rows = append(t.rows, cells)
	}
	return t
}

// ratio of two medians; empty where one is missing.
func ratio(of, to []float64) string {
	if median(of) == 0 || median(to) == 0 {
		return ""
	}
	return decimals(2)(median(of) / median(to))
}

// memory is the table of what users and the engine take.
func (r *report) memory() table {
	t := table{head: []string{"engine", "users", "keys in Redis", "bytes each of used_memory", "bytes by MEMORY USAGE, median", "engine's peak MB", "at the end MB"}}
	for i := range r.rows {
		row := &r.rows[i]
		if !row.engine.lapwing || !row.complete() {
			continue
		}
		t.rows = append(t.rows, []string{
			row.engine.about, row.input.name, thousands(float64(row.results[0].users.users)), cell(row.values(userMean), decimals(0)),
			cell(row.values(userUsage), decimals(0)), cell(row.values(peakMB), decimals(0)), cell(row.values(endMB), decimals(0)),
		})
	}
	return t
}
