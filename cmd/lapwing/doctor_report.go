package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// level says how bad a finding is.
type level string

// The levels. Only levelFail makes the exit code 1.
const (
	levelOK   level = "ok"
	levelNote level = "note" // good to know
	levelWarn level = "warn" // it works, but somebody should look at it
	levelFail level = "fail" // it has to be mended
)

// levels are all, the harmless first.
var levels = []level{levelOK, levelNote, levelWarn, levelFail}

// check is the fixed word for what was looked at. Programs may go by it: words are never renamed.
type check string

// What is looked at.
const (
	checkConfiguration check = "configuration"
	checkBroker        check = "broker"
	checkTopic         check = "topic"
	checkPartitions    check = "partitions"
	checkReplication   check = "replication"
	checkRetention     check = "retention"
	checkCleanup       check = "cleanup"
	checkMessageBytes  check = "message_bytes"
	checkPermission    check = "permission"
	checkRedis         check = "redis"
	checkEviction      check = "eviction"
	checkMemory        check = "memory"
	checkPersistence   check = "persistence"
	checkLatency       check = "latency"
	checkGroup         check = "group"
	checkLayout        check = "layout"
	checkOffsets       check = "offsets"
	checkClock         check = "clock"
	checkRecords       check = "records"
	checkEvents        check = "events"
	checkTime          check = "time"
	checkKeys          check = "keys"
	checkPartitioner   check = "partitioner"
)

// finding is one line of the report.
type finding struct {
	Level   level  `json:"level"`
	Check   check  `json:"check"`
	Subject string `json:"subject"`
	Finding string `json:"finding"`
	Remedy  string `json:"remedy"` // what to do; "" where there is nothing
}

// report collects findings in the order in which they are printed.
type report struct{ findings []finding }

func (r *report) add(l level, c check, subject, text, remedy string) {
	r.findings = append(r.findings, finding{l, c, oneLine(subject), oneLine(text), oneLine(remedy)})
}

func (r *report) ok(c check, subject, text string) { r.add(levelOK, c, subject, text, "") }

func (r *report) note(c check, subject, text, remedy string) {
	r.add(levelNote, c, subject, text, remedy)
}

func (r *report) warn(c check, subject, text, remedy string) {
	r.add(levelWarn, c, subject, text, remedy)
}

func (r *report) fail(c check, subject, text, remedy string) {
	r.add(levelFail, c, subject, text, remedy)
}

// count returns how many findings have a level.
func (r *report) count(l level) int {
	n := 0
	for i := range r.findings {
		if r.findings[i].Level == l {
			n++
		}
	}
	return n
}

// write prints the findings as aligned lines, or as one JSON document.
func (r *report) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return r.writeJSON(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.findings {
		text := f.Finding
		if f.Remedy != "" {
			text += "; " + f.Remedy
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Level, f.Subject, text)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	counts := make([]string, 0, len(levels))
	for _, l := range levels {
		counts = append(counts, fmt.Sprintf("%d %s", r.count(l), l))
	}
	_, err := fmt.Fprintln(w, strings.Join(counts, ", "))
	return err
}

func (r *report) writeJSON(w io.Writer) error {
	document := struct {
		OK       bool          `json:"ok"` // nothing has to be mended
		Counts   map[level]int `json:"counts"`
		Findings []finding     `json:"findings"`
	}{r.count(levelFail) == 0, map[level]int{}, r.findings}
	for _, l := range levels {
		document.Counts[l] = r.count(l)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(document)
}

// oneLine makes a text fit a line: errors may have several, and repeat what came from outside.
func oneLine(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// plural is a number with its noun.
func plural(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(n) + " " + noun
}

// grouped writes a number with commas between thousands.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// share is a part in percent. What is neither none nor all is never shown as such.
func share(part, whole int64) string {
	switch tenths := part * 1000 / max(whole, 1); {
	case part > 0 && tenths == 0:
		return "below 0.1 %"
	case tenths%10 == 0:
		return fmt.Sprintf("%d %%", tenths/10)
	default:
		return fmt.Sprintf("%d.%d %%", tenths/10, tenths%10)
	}
}

// round leaves of a duration what a person looks at.
func round(d time.Duration) string {
	switch a := d.Abs(); {
	case a < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case a < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case a < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return shortDuration(d.Round(time.Second))
}

// span is a long duration: in whole days from two on, in whole minutes from an hour on.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day {
		return plural(int64(d/day), "day")
	}
	if d >= time.Hour {
		d = d.Truncate(time.Minute)
	}
	return round(d)
}
