package rules

import (
	"fmt"
	"testing"
)

// everyKind is a set with one rule of each kind.
const everyKind = `
rules:
  - {code: 1, kind: amount, types: [deposit, withdraw], over: "100"}
  - {code: 2, kind: streak, types: [withdraw], count: 3}
  - {code: 3, kind: rising, types: [deposit], count: 3}
  - {code: 4, kind: window_sum, types: [deposit, withdraw], window: 30s, over: "1000"}
  - {code: 5, kind: window_count, types: [deposit], window: 10m, resolution: 10s, at_least: 100}
`

// BenchmarkJudge judges deposits and withdraws of 1000 users that come every 5 to 15 seconds of a user's time, by sets
// of one rule each and by whole sets.
func BenchmarkJudge(b *testing.B) {
	for name, text := range map[string]string{
		"kind=amount":       `rules: [{code: 1, kind: amount, types: [deposit, withdraw], over: "100"}]`,
		"kind=streak":       `rules: [{code: 1, kind: streak, types: [withdraw], count: 3}]`,
		"kind=rising":       `rules: [{code: 1, kind: rising, types: [deposit], count: 3}]`,
		"kind=window_sum":   `rules: [{code: 1, kind: window_sum, types: [deposit, withdraw], window: 30s, over: "200"}]`,
		"kind=window_count": `rules: [{code: 1, kind: window_count, types: [deposit, withdraw], window: 30s, at_least: 4}]`,
		"set=builtin":       string(BuiltinText()),
		"set=every_kind":    everyKind,
	} {
		b.Run(name, func(b *testing.B) { benchmarkJudge(b, mustParse(b, text)) })
	}
}

func benchmarkJudge(b *testing.B, set *Set) {
	const users = 1000
	var events [64]Event
	for i := range events {
		typ := []string{"deposit", "withdraw"}[i*7%11%2]
		events[i] = event(b, set, typ, fmt.Sprintf("%d.%02d", 1+i*37%120, i*53%100), Time(5+i*29%11))
	}
	states := make([]UserState, users)
	now := make([]Time, users)
	var v Verdict
	n, alerts := 0, 0
	step := func() {
		user, ev := n%users, events[n*31/users%len(events)]
		now[user] += ev.Time
		ev.Time = now[user]
		set.Judge(&states[user], &ev, &v)
		alerts += len(v.Alerts)
		n++
	}
	for range 4 * users * len(events) {
		step()
	}
	n, alerts = 0, 0
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
	b.ReportMetric(float64(alerts)/float64(b.N), "alerts/op")
}

// BenchmarkJudgeBuckets judges an event a second, so that a window of so many seconds has as many buckets.
func BenchmarkJudgeBuckets(b *testing.B) {
	for _, seconds := range []int{30, 300, BucketsMax / 2, 2 * BucketsMax} {
		b.Run(fmt.Sprint("window=", seconds), func(b *testing.B) {
			set := mustParse(b, fmt.Sprintf(`rules: [{code: 1, kind: window_sum, types: [deposit], window: %ds, over: "1000000"}]`, seconds))
			ev := event(b, set, "deposit", "12.34", 0)
			var user UserState
			var v Verdict
			for range 4 * seconds {
				ev.Time++
				set.Judge(&user, &ev, &v)
			}
			b.ReportAllocs()
			for b.Loop() {
				ev.Time++
				set.Judge(&user, &ev, &v)
			}
		})
	}
}

func BenchmarkParseAmount(b *testing.B) {
	for _, text := range []string{"42.00", "9999999999.99", nines + "." + nines} {
		b.Run(fmt.Sprint("bytes=", len(text)), func(b *testing.B) {
			in := []byte(text)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseAmount(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAmountBinary(b *testing.B) {
	for _, text := range []string{"42.00", "0.12345", nines + "." + nines} {
		a := mustAmount(b, text)
		buffer := a.AppendBinary(nil)
		b.Run("append="+text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				buffer = a.AppendBinary(buffer[:0])
			}
		})
		b.Run("decode="+text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := DecodeAmount(buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
