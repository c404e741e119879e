package rules

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// apply judges an event of the default types for a user.
func apply(t testing.TB, s *Set, user *UserState, typ, amount string, at Time) string {
	t.Helper()
	var v Verdict
	ev := event(t, s, typ, amount, at)
	s.Judge(user, &ev, &v)
	return show(&v)
}

// TestStateOfNewUser holds what two events leave behind, field by field.
func TestStateOfNewUser(t *testing.T) {
	set := mustParse(t, "rules: [{code: 1, kind: window_sum, types: [withdraw], window: 60s, resolution: 10s, over: 1}]")
	var user UserState
	apply(t, set, &user, "withdraw", "5", 17)
	apply(t, set, &user, "deposit", "3", 12)
	apply(t, set, &user, "withdraw", "7", 19)
	five, seven, sum := mustAmount(t, "5"), mustAmount(t, "7"), mustAmount(t, "12")
	want := UserState{RunType: 1, RunLength: 1, Types: []TypeState{
		{Type: 0, Latest: 12, Rising: 1, Last: []Amount{mustAmount(t, "3")}, Series: []Series{
			{Resolution: 1, Buckets: []Bucket{{12, mustAmount(t, "3"), 1}}},
		}},
		{Type: 1, Latest: 19, Rising: 2, Last: []Amount{five, seven}, Series: []Series{
			{Resolution: 1, Buckets: []Bucket{{17, five, 1}, {19, seven, 1}}},
			{Resolution: 10, Buckets: []Bucket{{10, sum, 2}}},
		}},
	}}
	if !user.Equal(&want) {
		t.Errorf("got %+v\nwant %+v", user, want)
	}
}

// TestEqual changes each field of a state in turn.
func TestEqual(t *testing.T) {
	var user UserState
	for i, at := range []Time{1, 2, 5} {
		apply(t, Builtin(), &user, "deposit", fmt.Sprint(i+1), at)
	}
	same := user.Clone()
	same.Types[0].Last[0] = mustAmount(t, "1.000")
	if !user.Equal(&same) {
		t.Error("states with equal amounts are not equal")
	}
	for name, change := range map[string]func(*UserState){
		"run type":   func(s *UserState) { s.RunType++ },
		"run length": func(s *UserState) { s.RunLength++ },
		"types":      func(s *UserState) { s.Types = nil },
		"type":       func(s *UserState) { s.Types[0].Type++ },
		"latest":     func(s *UserState) { s.Types[0].Latest++ },
		"rising":     func(s *UserState) { s.Types[0].Rising++ },
		"last":       func(s *UserState) { s.Types[0].Last[1] = mustAmount(t, "9") },
		"last count": func(s *UserState) { s.Types[0].Last = s.Types[0].Last[:2] },
		"series":     func(s *UserState) { s.Types[0].Series = nil },
		"resolution": func(s *UserState) { s.Types[0].Series[0].Resolution++ },
		"buckets":    func(s *UserState) { s.Types[0].Series[0].Buckets = nil },
		"time":       func(s *UserState) { s.Types[0].Series[0].Buckets[1].Time++ },
		"sum":        func(s *UserState) { s.Types[0].Series[0].Buckets[1].Sum = mustAmount(t, "9") },
		"count":      func(s *UserState) { s.Types[0].Series[0].Buckets[1].Count++ },
	} {
		other, before := user.Clone(), user.Clone()
		change(&other)
		if user.Equal(&other) || other.Equal(&user) {
			t.Errorf("%s: the states are equal", name)
		}
		if !user.Equal(&before) {
			t.Fatalf("%s: Clone shares it", name)
		}
	}
}

// TestFullSeriesIsNeverTooLow fills series far beyond BucketsMax, with late events among them, and compares each sum
// with the whole history: exact while nothing has merged, never lower afterwards.
func TestFullSeriesIsNeverTooLow(t *testing.T) {
	set := mustParse(t, `rules: [{code: 1, kind: window_count, types: [deposit], window: 24h, at_least: 1}]`)
	random := rand.New(rand.NewPCG(5, 6))
	var user UserState
	var v Verdict
	times := []Time{}
	now, merged, higher := Time(0), false, 0
	for i := range 3 * BucketsMax {
		at := now
		switch {
		case i%8 == 3:
			at = max(0, now-Time(random.IntN(20_000))) // Before the merged bucket too, and within the lateness.
		default:
			now += 1 + Time(random.IntN(3))
			at = now
		}
		times = append(times, at)
		if i%8 != 3 && i%40 != 0 { // The whole history takes its time: all late events, and some others.
			ev := event(t, set, "deposit", "1", at)
			set.Apply(&user, &ev)
			continue
		}
		var want uint64
		for _, p := range times {
			if p > at-86400 && p <= at {
				want++
			}
		}
		ev := event(t, set, "deposit", "1", at)
		set.Judge(&user, &ev, &v)
		got := v.Alerts[0].Count
		buckets := len(user.Types[0].Series[0].Buckets)
		merged = merged || buckets == BucketsMax
		switch {
		case got < want:
			t.Fatalf("event %d at %d: %d events in the window, want at least %d", i, at, got, want)
		case got > want && !merged:
			t.Fatalf("event %d at %d: %d events in the window before any merge, want %d", i, at, got, want)
		case got > want:
			higher++
		}
		if v.Alerts[0].Sum.Cmp(newAmount(0, got, 0)) != 0 {
			t.Fatalf("sum %s of %d events of 1", v.Alerts[0].Sum, got)
		}
	}
	if !merged || higher == 0 {
		t.Errorf("merged: %t, sums above the exact one: %d; the test tests nothing", merged, higher)
	}
}

// TestFullSeries holds what a merge leaves: the two earliest buckets in the later time.
func TestFullSeries(t *testing.T) {
	set := mustParse(t, `rules: [{code: 1, kind: window_sum, types: [deposit], window: 24h, over: "1"}]`)
	var user UserState
	for i := range BucketsMax {
		apply(t, set, &user, "deposit", "1", Time(10+2*i))
	}
	buckets := func() []Bucket { return user.Types[0].Series[0].Buckets }
	check := func(first, second Bucket, last Time) {
		t.Helper()
		b := buckets()
		got := UserState{Types: []TypeState{{Series: []Series{{Buckets: b[:2]}}}}}
		want := UserState{Types: []TypeState{{Series: []Series{{Buckets: []Bucket{first, second}}}}}}
		if len(b) != BucketsMax || !got.Equal(&want) || b[len(b)-1].Time != last {
			t.Fatalf("%d buckets %v ... %v, want %v %v ... %d", len(b), b[:2], b[len(b)-1], first, second, last)
		}
	}
	one, two, three, four := mustAmount(t, "1"), mustAmount(t, "2"), mustAmount(t, "3"), mustAmount(t, "4")
	end := Time(10 + 2*(BucketsMax-1))
	check(Bucket{10, one, 1}, Bucket{12, one, 1}, end)
	apply(t, set, &user, "deposit", "1", end+2)
	check(Bucket{12, two, 2}, Bucket{14, one, 1}, end+2)
	apply(t, set, &user, "deposit", "1", 5) // Before the merged bucket: it goes into that.
	check(Bucket{12, three, 3}, Bucket{14, one, 1}, end+2)
	apply(t, set, &user, "deposit", "1", 13) // Behind it: that moves on to it.
	check(Bucket{13, four, 4}, Bucket{14, one, 1}, end+2)
	apply(t, set, &user, "deposit", "1", end+2) // A known time merges nothing.
	check(Bucket{13, four, 4}, Bucket{14, one, 1}, end+2)
	apply(t, set, &user, "deposit", "1", 13+2*86400) // horizon: window and as much lateness
	if b := buckets(); b[0].Time != 14 {
		t.Errorf("the first bucket is at %d, want 14: what ends at the horizon goes", b[0].Time)
	}
}

// TestRulesChange takes a user from one set to others: a new window and a new resolution are warm as far as the state
// reaches, and what no rule uses any more goes.
func TestRulesChange(t *testing.T) {
	old := mustParse(t, "lateness: 100s\nrules: [{code: 1, kind: streak, types: [deposit], count: 9}]")
	warm := mustParse(t, `
lateness: 0s
rules:
  - {code: 2, kind: window_sum, types: [deposit, withdraw], window: 60s, resolution: 10s, over: 1}
  - {code: 3, kind: window_count, types: [deposit], window: 100s, over: 1}
  - {code: 4, kind: rising, types: [deposit], count: 3}`)
	var user UserState
	apply(t, old, &user, "withdraw", "4", 100)
	apply(t, old, &user, "deposit", "1", 105)
	apply(t, old, &user, "deposit", "2", 109)
	// The withdraw's series of 10 s is not there yet; its finest stands in for it, and there 100 is outside (100,160].
	want := "2 sum 7 count 3 in (100,160] limit 1; 3 sum 7 count 3 in (60,160] limit 1; 4 run 3 amounts [1 2 4]"
	if got := apply(t, warm, &user, "deposit", "4", 160); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	resolutions := func(i int) (r []int64) {
		for _, s := range user.Types[i].Series {
			r = append(r, s.Resolution)
		}
		return r
	}
	if got := resolutions(0); !slices.Equal(got, []int64{1, 10}) {
		t.Errorf("resolutions %v", got)
	}
	if got := user.Types[0].Series[1].Buckets; len(got) != 2 || got[0].Time != 100 || got[0].Count != 2 || got[1].Time != 160 {
		t.Errorf("buckets of 10 s: %v", got)
	}
	apply(t, old, &user, "deposit", "1", 161)
	if got := resolutions(0); !slices.Equal(got, []int64{1}) {
		t.Errorf("resolutions %v, want only 1 again", got)
	}
}

// TestExtremeTimes: no time makes a sum wrap around or a state break.
func TestExtremeTimes(t *testing.T) {
	set := mustParse(t, `
lateness: 8784h
rules:
  - {code: 1, kind: window_count, types: [deposit, withdraw], window: 8784h, resolution: 24h, at_least: 1}
  - {code: 2, kind: window_count, types: [deposit], window: 30s, at_least: 1}`)
	extremes := []Time{0, 1, 4_000_000_000, 99_999_999_999, 100_000_000_000, math.MaxInt64 - 1, math.MaxInt64}
	for _, first := range extremes {
		for _, second := range extremes {
			var user UserState
			var v Verdict
			for _, at := range []Time{first, second, second} {
				ev := event(t, set, "deposit", "1", at)
				set.Judge(&user, &ev, &v)
				if n := len(v.Alerts); n != 2 || v.Alerts[1].Count < 1 || v.Alerts[1].To != at || v.Alerts[1].From > at {
					t.Fatalf("%d then %d: at %d %s", first, second, at, show(&v))
				}
				if v.LateBy < 0 || v.LateBy > 0 && at >= first {
					t.Fatalf("%d then %d: late by %d", first, second, v.LateBy)
				}
			}
			if got := v.Alerts[1].Count; got < 2 || first != second && got != 2 && (first > second || second-first >= 30) {
				t.Fatalf("%d then %d twice: count %d", first, second, got)
			}
		}
	}
}

// TestSharedWindows: rules with one window are summed once, and each has its own limit.
func TestSharedWindows(t *testing.T) {
	set := mustParse(t, `
rules:
  - {code: 1, kind: window_sum, types: [deposit, withdraw], window: 30s, over: 10}
  - {code: 2, kind: window_count, types: [withdraw, deposit], window: 30s, at_least: 2}
  - {code: 3, kind: window_sum, types: [withdraw], window: 30s, over: 10}
  - {code: 4, kind: window_sum, types: [deposit, withdraw], window: 30s, resolution: 10s, over: 10}
  - {code: 5, kind: window_sum, types: [deposit, withdraw], window: 20s, over: 10}`)
	if set.windows != 4 {
		t.Errorf("%d windows, want 4", set.windows)
	}
	var user UserState
	apply(t, set, &user, "deposit", "6", 100)
	want := "1 sum 12 count 2 in (99,129] limit 10; 2 sum 12 count 2 in (99,129] limit 2; 4 sum 12 count 2 in (99,129] limit 10"
	if got := apply(t, set, &user, "withdraw", "6", 129); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestVerdictIsReused: a verdict keeps nothing of the event before, and its amounts do not change with the state.
func TestVerdictIsReused(t *testing.T) {
	set := mustParse(t, `
rules:
  - {code: 1, kind: rising, types: [deposit], count: 2}
  - {code: 2, kind: rising, types: [deposit], count: 3}`)
	var user UserState
	var v Verdict
	judge := func(amount string, at Time) {
		ev := event(t, set, "deposit", amount, at)
		set.Judge(&user, &ev, &v)
	}
	judge("1", 50)
	judge("2", 50)
	judge("3", 40)
	if got := show(&v); got != "1 run 3 amounts [1 2 3]; 2 run 3 amounts [1 2 3]; late 10; beyond" {
		t.Fatal(got)
	}
	ev := event(t, set, "deposit", "0.5", 60)
	set.Apply(&user, &ev)
	if got := show(&v); got != "1 run 3 amounts [1 2 3]; 2 run 3 amounts [1 2 3]; late 10; beyond" {
		t.Errorf("the verdict changed with the state: %s", got)
	}
	judge("0.25", 60)
	if got := show(&v); got != "-" {
		t.Errorf("the verdict kept something: %s", got)
	}
	// A set with more windows than any before.
	ev = event(t, Builtin(), "deposit", "201", 60)
	Builtin().Judge(new(UserState), &ev, &v)
	if got := show(&v); got != "123 sum 201 count 1 in (30,60] limit 200" {
		t.Error(got)
	}
}

// TestHorizon: an event removes the buckets of its own type that end at or before its time - horizon, in each series,
// and no others.
func TestHorizon(t *testing.T) {
	set := mustParse(t, `
lateness: 10s
rules:
  - {code: 1, kind: window_sum, types: [deposit], window: 30s, over: 1000}
  - {code: 2, kind: window_sum, types: [deposit], window: 20s, resolution: 10s, over: 1000}`)
	var user UserState
	apply(t, set, &user, "withdraw", "1", 100)
	for _, at := range []Time{100, 109, 110} {
		apply(t, set, &user, "deposit", "1", at)
	}
	times := func() string {
		var text string
		for _, ts := range user.Types {
			for _, series := range ts.Series {
				for _, b := range series.Buckets {
					text += fmt.Sprint(b.Time, "x", b.Count, " ")
				}
				text += "/ "
			}
		}
		return text
	}
	for _, step := range []struct {
		at   Time
		want string
	}{
		{139, "100x1 109x1 110x1 139x1 / 100x2 110x1 130x1 / 100x1 / "},
		{140, "109x1 110x1 139x1 140x1 / 100x2 110x1 130x1 140x1 / 100x1 / "},
		{149, "110x1 139x1 140x1 149x1 / 110x1 130x1 140x2 / 100x1 / "},
		{105, "105x1 110x1 139x1 140x1 149x1 / 100x1 110x1 130x1 140x2 / 100x1 / "},
		{1000, "1000x1 / 1000x1 / 100x1 / "},
	} {
		apply(t, set, &user, "deposit", "1", step.at)
		if got := times(); got != step.want {
			t.Errorf("after %d: %s\nwant %s", step.at, got, step.want)
		}
	}
}

// TestReplay: Apply leaves the state that Judge does, over long random histories of one user.
func TestReplay(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 9))
		set := []*Set{Builtin(), mustParse(t, everyKind)}[seed%2]
		var judged, applied UserState
		var v Verdict
		now := Time(0)
		for range 1000 {
			now += Time(random.IntN(20))
			ev := event(t, set, []string{"deposit", "withdraw"}[random.IntN(2)], randomAmount(random), max(0, now-Time(random.IntN(100))))
			set.Judge(&judged, &ev, &v)
			set.Apply(&applied, &ev)
		}
		if !judged.Equal(&applied) {
			t.Errorf("seed %d: judged %+v\napplied %+v", seed, judged, applied)
		}
	}
}

// TestJudgeAllocates: a user whose state has its size costs no memory, alerts included.
func TestJudgeAllocates(t *testing.T) {
	set := mustParse(t, `
rules:
  - {code: 1, kind: amount, types: [deposit, withdraw], over: "100"}
  - {code: 2, kind: streak, types: [withdraw], count: 3}
  - {code: 3, kind: rising, types: [deposit], count: 2}
  - {code: 4, kind: window_sum, types: [deposit, withdraw], window: 30s, over: 1000}
  - {code: 5, kind: window_count, types: [deposit], window: 1m, resolution: 10s, at_least: 1}`)
	var user UserState
	var v Verdict
	var events []Event
	for i, amount := range []string{"50.00", "99.5", "101.25", "7"} {
		events = append(events, event(t, set, []string{"deposit", "withdraw"}[i/3], amount, 0))
	}
	now, alerts := Time(0), map[int]int{}
	history := func() {
		for i := range 4000 {
			ev := &events[i%len(events)]
			now += 2
			ev.Time = now - Time(i%7) // Late events too.
			set.Judge(&user, ev, &v)
			for j := range v.Alerts {
				alerts[v.Alerts[j].Rule.Code]++
			}
		}
	}
	// AllocsPerRun rounds down, hence one long run after one that warms up.
	if n := testing.AllocsPerRun(1, history); n != 0 {
		t.Errorf("%v allocations in 4000 events", n)
	}
	for _, code := range []int{1, 3, 4, 5} {
		if alerts[code] == 0 {
			t.Errorf("rule %d raised no alert, so that it was not measured", code)
		}
	}
}
