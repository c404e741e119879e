package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestManyRules judges by sets of many rules, so that they are ruled out in groups, and by each rule alone.
func TestManyRules(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 11))
		types := []string{"[deposit]", "[withdraw]", "[deposit, withdraw]", "[withdraw, deposit]"}
		var lines []string
		for code := 1; code <= 60; code++ {
			one, any := types[rng.IntN(2)], types[rng.IntN(len(types))]
			window := 1 + rng.IntN(90)
			// Limits from what many events reach to what none does, so that most groups are sometimes ruled out.
			scale := []int{1, 3, 100}[rng.IntN(3)]
			switch rng.IntN(5) {
			case 0:
				lines = append(lines, fmt.Sprintf(`{code: %d, kind: amount, types: %s, %s: "%d.5"}`, code, any, []string{"over", "at_least"}[rng.IntN(2)], scale*(1+rng.IntN(40))))
			case 1:
				lines = append(lines, fmt.Sprintf(`{code: %d, kind: streak, types: %s, count: %d}`, code, one, 2+rng.IntN(4)+scale/3))
			case 2:
				lines = append(lines, fmt.Sprintf(`{code: %d, kind: rising, types: %s, count: %d}`, code, one, 2+rng.IntN(4)+scale/3))
			case 3:
				lines = append(lines, fmt.Sprintf(`{code: %d, kind: window_sum, types: %s, window: %ds, resolution: %ds, at_least: "%d"}`, code, any, window, 1+rng.IntN(2)*(window-1), scale*(1+rng.IntN(200))))
			case 4:
				lines = append(lines, fmt.Sprintf(`{code: %d, kind: window_count, types: %s, window: %ds, over: %d}`, code, any, window, scale*(1+rng.IntN(6))))
			}
		}
		// The lateness makes up for the longest window, so that every set keeps buckets for the same time.
		file := func(lines ...string) *Set {
			return mustParse(t, "lateness: 1000s\nrules:\n  - "+strings.Join(lines, "\n  - "))
		}
		whole := file(lines...)
		var alone []*Set
		for _, line := range lines {
			alone = append(alone, file(line))
		}
		var state UserState
		states := make([]UserState, len(alone))
		var v, w Verdict
		raised, ruledOut := 0, 0
		for i := range 400 {
			ev := event(t, whole, []string{"deposit", "withdraw"}[rng.IntN(2)], fmt.Sprintf("%d.%d", rng.IntN(60), 1+rng.IntN(9)), Time(5000+3*i-rng.IntN(20)))
			if rng.IntN(200) == 0 {
				state, states = UserState{}, make([]UserState, len(alone))
			}
			whole.Judge(&state, &ev, &v)
			ruledOut += len(v.may) - len(slices.DeleteFunc(slices.Clone(v.may), func(may bool) bool { return !may }))
			var got, want []string
			for _, a := range v.Alerts {
				got = append(got, fmt.Sprint(a.Rule.Code, a.Amount, a.RunLength, a.Amounts, a.Sum, a.Count, a.From, a.To))
			}
			for j, set := range alone {
				set.Judge(&states[j], &ev, &w)
				for _, a := range w.Alerts {
					want = append(want, fmt.Sprint(a.Rule.Code, a.Amount, a.RunLength, a.Amounts, a.Sum, a.Count, a.From, a.To))
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, event %d: got\n%s\nwant\n%s", seed, i, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			raised += len(got)
		}
		if raised == 0 || ruledOut == 0 {
			t.Errorf("seed %d: %d alerts, %d groups ruled out", seed, raised, ruledOut)
		}
	}
}
