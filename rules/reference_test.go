package rules

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lapwing/lapwing/rules/rulestest"
)

// TestBuiltinAgainstModel compares the built-in rules with the naive model on random histories of many users, with
// late events up to the lateness. LAPWING_TEST_SEED repeats a failure.
func TestBuiltinAgainstModel(t *testing.T) {
	const events, users, lateness = 60_000, 400, 30
	seed := rand.Uint64()
	if text := os.Getenv("LAPWING_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	model := rulestest.NewModel()
	states := make([]UserState, users)
	histories := make([][]string, users)
	latest := make([]map[string]Time, users)
	fired, late := map[int]int{}, 0
	var v Verdict
	for range events {
		user := int(random.ExpFloat64()*users/8) % users // Some users have many events.
		if latest[user] == nil {
			latest[user] = map[string]Time{}
		}
		typ := []string{"deposit", "deposit", "withdraw"}[random.IntN(3)]
		before, seen := latest[user][typ]
		at := before + Time(random.IntN(3)*random.IntN(30))
		if seen && random.IntN(4) == 0 {
			at = max(0, before-Time(random.IntN(lateness+1)))
		}
		latest[user][typ] = max(before, at)

		e := rulestest.Event{Type: typ, Amount: everydayAmount(random), UserID: int64(user), Time: int64(at)}
		histories[user] = append(histories[user], fmt.Sprintf("%s %s @%d", e.Type, e.Amount, e.Time))
		want := model.Judge(e)
		ev := event(t, Builtin(), e.Type, e.Amount, at)
		Builtin().Judge(&states[user], &ev, &v)
		if wantLate := int64(max(0, before-at)); v.Beyond || v.LateBy != wantLate {
			t.Fatalf("LAPWING_TEST_SEED=%d: late by %d, beyond %t, want %d:\n%s", seed, v.LateBy, v.Beyond, wantLate, strings.Join(histories[user], "\n"))
		}
		if got := codes(&v); !slices.Equal(got, want) {
			t.Fatalf("LAPWING_TEST_SEED=%d: codes %v, want %v, after the last event of\n%s", seed, got, want, strings.Join(histories[user], "\n"))
		}
		for _, code := range want {
			fired[code]++
		}
		if v.LateBy > 0 {
			late++
		}
	}
	for _, code := range []int{1100, 30, 300, 123} {
		if fired[code] < events/100 || fired[code] > events/2 {
			t.Errorf("LAPWING_TEST_SEED=%d: code %d fired %d times in %d events: the histories test little", seed, code, fired[code], events)
		}
	}
	if late < events/10 {
		t.Errorf("LAPWING_TEST_SEED=%d: %d of %d events were late", seed, late, events)
	}
}

// everydayAmount is a text that meets the limits of the built-in rules often.
func everydayAmount(r *rand.Rand) string {
	switch r.IntN(12) {
	case 0:
		return []string{"100", "100.00", "100.01", "99.99", "200", "200.000000000000000001"}[r.IntN(6)]
	case 1:
		return randomAmount(r)
	}
	return fmt.Sprintf("%d.%02d", r.IntN(110), 1+r.IntN(99))
}

// history is the whole past of one user, and the second reference: any rules, judged from the start each time.
type history struct {
	lateness int64
	rules    []Rule
	past     []Event
}

// judge adds the event and returns what the verdict must show. exact is false where the event is so late that windows
// may lack something; then only the other kinds are in it.
func (h *history) judge(ev Event) (want []string, lateBy int64, exact bool) {
	lateBy = max(0, h.latest(ev.Type, ev.Time)-int64(ev.Time))
	exact = lateBy <= h.lateness
	for _, r := range h.rules {
		if r.Window > 0 && r.takes(ev.Type) {
			for _, peer := range r.Types {
				exact = exact && h.latest(peer, ev.Time)-int64(ev.Time) <= h.lateness
			}
		}
	}
	h.past = append(h.past, ev)
	for _, r := range h.rules {
		if text, fires := h.fires(r, ev); fires && r.takes(ev.Type) && (exact || r.Window == 0) {
			want = append(want, text)
		}
	}
	return want, lateBy, exact
}

// latest is the latest time of a type; that of the event itself where there was none yet.
func (h *history) latest(t Type, at Time) int64 {
	latest, seen := int64(0), false
	for _, p := range h.past {
		if p.Type == t {
			latest, seen = max(latest, int64(p.Time)), true
		}
	}
	if !seen {
		return int64(at)
	}
	return latest
}

func (h *history) fires(r Rule, ev Event) (string, bool) {
	limit, _ := new(big.Rat).SetString(r.Limit.String())
	over := func(v *big.Rat) bool { return v.Cmp(limit) > 0 || r.Inclusive && v.Cmp(limit) == 0 }
	switch r.Kind {
	case KindAmount:
		return fmt.Sprint(r.Code, " ", ev.Amount), over(rat(ev.Amount))
	case KindStreak:
		run := 0
		for i := len(h.past) - 1; i >= 0 && h.past[i].Type == ev.Type; i-- {
			run++
		}
		return fmt.Sprint(r.Code, " ", run), run >= int(r.Count)
	case KindRising:
		amounts := h.rising(ev.Type)
		shown := amounts[max(0, len(amounts)-8):]
		return fmt.Sprint(r.Code, " ", len(amounts), " ", shown), len(amounts) >= int(r.Count)
	}
	sum, count := new(big.Rat), int64(0)
	for _, p := range h.past {
		bucket := int64(p.Time) - int64(p.Time)%r.Resolution
		inWindow := bucket <= int64(ev.Time) && bucket+r.Resolution-1 > int64(ev.Time)-r.Window
		if r.takes(p.Type) && inWindow {
			sum.Add(sum, rat(p.Amount))
			count++
		}
	}
	value := sum
	if r.Kind == KindWindowCount {
		value = new(big.Rat).SetInt64(count)
	}
	return fmt.Sprint(r.Code, " ", sum.RatString(), " ", count, " ", int64(ev.Time)-r.Window, " ", ev.Time), over(value)
}

// rising is the strictly rising run of a type that the history ends with.
func (h *history) rising(t Type) []string {
	var run []string
	var before *big.Rat
	for i := len(h.past) - 1; i >= 0; i-- {
		if h.past[i].Type != t {
			continue
		}
		amount := rat(h.past[i].Amount)
		if before != nil && amount.Cmp(before) >= 0 {
			break
		}
		run, before = append(run, h.past[i].Amount.String()), amount
	}
	slices.Reverse(run)
	return run
}

func rat(a Amount) *big.Rat {
	r, ok := new(big.Rat).SetString(a.String())
	if !ok {
		panic(a.String())
	}
	return r
}

// shownAs prints a verdict as history does, without the windows unless they are exact.
func shownAs(v *Verdict, exact bool) []string {
	var got []string
	for i := range v.Alerts {
		a := &v.Alerts[i]
		switch a.Rule.Kind {
		case KindAmount:
			got = append(got, fmt.Sprint(a.Rule.Code, " ", a.Amount))
		case KindStreak:
			got = append(got, fmt.Sprint(a.Rule.Code, " ", a.RunLength))
		case KindRising:
			got = append(got, fmt.Sprint(a.Rule.Code, " ", a.RunLength, " ", a.Amounts))
		default:
			if exact {
				got = append(got, fmt.Sprint(a.Rule.Code, " ", rat(a.Sum).RatString(), " ", a.Count, " ", a.From, " ", a.To))
			}
		}
	}
	return got
}

// TestRandomRulesAgainstHistory compares random rule sets over three types with the full history. Meanwhile it checks
// the bounds of the state, that Apply changes it as Judge does, and that a verdict does not depend on what the Verdict
// held before.
func TestRandomRulesAgainstHistory(t *testing.T) {
	types, err := NewTypes("a", "b", "c")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := drawRules(t)
		set, err := Parse("drawn.yaml", []byte(text), types)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		h := &history{lateness: set.Lateness(), rules: set.Rules()}
		var judged, applied UserState
		var reused Verdict
		now := Time(rapid.IntRange(0, 100).Draw(t, "start"))
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			ev := drawEvent(t, &now)
			before := judged.Clone()
			want, lateBy, exact := h.judge(ev)
			set.Judge(&judged, &ev, &reused)
			if got := shownAs(&reused, exact); !slices.Equal(got, want) || reused.LateBy != lateBy || reused.Beyond == exact {
				t.Fatalf("%+v of\n%s\nafter %+v:\n got %q late %d beyond %t\nwant %q late %d beyond %t",
					ev, text, h.past, got, reused.LateBy, reused.Beyond, want, lateBy, !exact)
			}
			set.Apply(&applied, &ev)
			var fresh Verdict
			set.Judge(&before, &ev, &fresh)
			if !applied.Equal(&judged) || !before.Equal(&judged) || show(&fresh) != show(&reused) {
				t.Fatalf("Judge, Apply and a second Judge differ:\n%+v\n%+v\n%+v", judged, applied, before)
			}
			checkState(t, set, &judged)
		}
	})
}

// drawRules draws a rule file over the types a, b and c.
func drawRules(t *rapid.T) string {
	var b strings.Builder
	fmt.Fprintf(&b, "lateness: %ds\nrules:\n", rapid.IntRange(0, 40).Draw(t, "lateness"))
	for code := range rapid.IntRange(1, 5).Draw(t, "rules") {
		limit := rapid.SampledFrom([]string{"over", "at_least"}).Draw(t, "limit")
		list := rapid.SampledFrom([]string{"[a]", "[b]", "[a, b]", "[c, a]", "[a, b, c]"}).Draw(t, "types")
		one := rapid.SampledFrom([]string{"[a]", "[b]"}).Draw(t, "type")
		number := rapid.IntRange(2, 10).Draw(t, "number")
		resolution := rapid.SampledFrom([]int{1, 1, 2, 5, 7}).Draw(t, "resolution")
		window := resolution * rapid.IntRange(1, 10).Draw(t, "window")
		fmt.Fprintf(&b, "- {code: %d, kind: ", code+1)
		switch rapid.SampledFrom([]Kind{KindAmount, KindStreak, KindRising, KindWindowSum, KindWindowCount}).Draw(t, "kind") {
		case KindAmount:
			fmt.Fprintf(&b, "amount, types: %s, %s: %d}\n", list, limit, number)
		case KindStreak:
			fmt.Fprintf(&b, "streak, types: %s, count: %d}\n", one, number)
		case KindRising:
			fmt.Fprintf(&b, "rising, types: %s, count: %d}\n", one, number)
		case KindWindowSum:
			fmt.Fprintf(&b, "window_sum, types: %s, window: %ds, resolution: %ds, %s: %d.5}\n", list, window, resolution, limit, number)
		case KindWindowCount:
			fmt.Fprintf(&b, "window_count, types: %s, window: %ds, resolution: %ds, %s: %d}\n", list, window, resolution, limit, number)
		}
	}
	return b.String()
}

// drawEvent draws an event near now, sometimes late, rarely far ahead, and moves now along.
func drawEvent(t *rapid.T, now *Time) Event {
	at := *now
	switch rapid.IntRange(0, 19).Draw(t, "when") {
	case 0:
		at = 99_999_999_999
	case 1, 2, 3, 4, 5:
		at = max(0, at-Time(rapid.IntRange(0, 80).Draw(t, "late")))
	default:
		at += Time(rapid.IntRange(0, 12).Draw(t, "later"))
		*now = at
	}
	amount, err := ParseAmount(rapid.SampledFrom([][]byte{
		[]byte("1"), []byte("1.5"), []byte("2"), []byte("2.5"), []byte("3"), []byte("0.000000000000000001"), []byte("10.50"),
	}).Draw(t, "amount"))
	if err != nil {
		t.Fatal(err)
	}
	return Event{Type: Type(rapid.IntRange(0, 2).Draw(t, "type")), UserID: 1, Time: at, Amount: amount}
}

// fataler is what tests of this package and of rapid have in common.
type fataler interface {
	Fatalf(format string, args ...any)
}

// checkState checks the invariants that UserState states.
func checkState(t fataler, set *Set, s *UserState) {
	if s.RunLength == 0 || !slices.IsSortedFunc(s.Types, func(a, b TypeState) int { return int(a.Type) - int(b.Type) }) {
		t.Fatalf("run %d, types %+v", s.RunLength, s.Types)
	}
	for _, ts := range s.Types {
		if ts.Rising == 0 || uint64(len(ts.Last)) != min(ts.Rising, LastMax) {
			t.Fatalf("rising %d with %d amounts", ts.Rising, len(ts.Last))
		}
		for i := 1; i < len(ts.Last); i++ {
			if ts.Last[i-1].Cmp(ts.Last[i]) >= 0 {
				t.Fatalf("amounts %v do not rise", ts.Last)
			}
		}
		var resolutions []int64
		for _, series := range ts.Series {
			resolutions = append(resolutions, series.Resolution)
			if n := len(series.Buckets); n == 0 || n > BucketsMax {
				t.Fatalf("%d buckets", n)
			}
			for i, b := range series.Buckets {
				if b.Count == 0 || int64(b.Time)%series.Resolution != 0 || i > 0 && b.Time <= series.Buckets[i-1].Time {
					t.Fatalf("bucket %d of resolution %d: %+v", i, series.Resolution, b)
				}
			}
		}
		if !slices.Equal(resolutions, set.byType[ts.Type].resolutions) || resolutions[0] != 1 {
			t.Fatalf("type %d has resolutions %v", ts.Type, resolutions)
		}
	}
}
