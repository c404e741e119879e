package consumertest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"testing"

	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/rules/rulestest"
	"github.com/lapwing/lapwing/state"
)

// testSeed returns LAPWING_TEST_SEED, or a random number.
func testSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("LAPWING_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("LAPWING_TEST_SEED=%d", seed)
	return seed
}

// TestHistoryAgainstModel compares every number of the checker's own model, which forgets what no rule needs any more, with
// the naive one that keeps everything, and its states with those that the rules keep, over random events of few users.
func TestHistoryAgainstModel(t *testing.T) {
	const events, users = 20_000, 12
	seed := testSeed(t)
	g := NewGenerator(EventOptions{Seed: seed, Users: users, GapSeconds: 4})
	random := rand.New(rand.NewPCG(seed, 1))
	model := rulestest.NewModel()
	var histories [users]history
	var states [users]rules.UserState
	alerted, late := map[uint8]int{}, 0
	for i := range int64(events) {
		var ev inputEvent
		if err := json.Unmarshal(g.Next().Value, &ev); err != nil {
			t.Fatal(err)
		}
		if random.IntN(4) == 0 { // rising runs of more than 8, and sums beyond 2^64
			*ev.Amount = fmt.Sprintf("%d.5", 1_000_000*i)
		} else if random.IntN(50) == 0 {
			*ev.Amount = "999999999999999999.999999999999999999"
		}
		typ := typeDeposit
		if *ev.Type == "withdraw" {
			typ = typeWithdraw
		}
		amount, err := parseMoney(*ev.Amount)
		if err != nil {
			t.Fatal(err)
		}
		h := &histories[*ev.UserID]
		v, err := h.judge(typ, amount, *ev.Time, i)
		if err != nil {
			t.Fatal(err)
		}
		want := model.Explain(rulestest.Event{Type: *ev.Type, Amount: *ev.Amount, UserID: *ev.UserID, Time: *ev.Time})
		got := rulestest.Verdict{Codes: []int{}, LateBy: v.lateBy, Amount: amount.String(), Withdraws: int(v.run)}
		for bit, code := range codes {
			if v.codes&(1<<bit) != 0 {
				got.Codes = append(got.Codes, code)
			}
		}
		if typ == typeDeposit {
			got.Rising, got.Sum, got.Count = int(v.rising), v.sum.String(), int(v.count)
			for _, m := range v.last {
				got.Amounts = append(got.Amounts, m.String())
			}
		} else { // of a withdraw only its own numbers are in its result
			want.Rising, want.Amounts, want.Sum, want.Count = 0, nil, "", 0
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("event %d, %s %s of user %d at %d:\n%+v, want\n%+v", i, *ev.Type, *ev.Amount, *ev.UserID, *ev.Time, got, want)
		}
		compareState(t, h, &states[*ev.UserID], rules.Type(typ), &ev, i)
		alerted[v.codes]++
		if v.lateBy > 0 {
			late++
		}
	}
	if late < events/20 || len(alerted) < 5 {
		t.Errorf("%d late, combinations of codes %v: the events test little", late, alerted)
	}
}

// compareState applies the event to the state as an engine does, and compares.
func compareState(t *testing.T, h *history, st *rules.UserState, typ rules.Type, ev *inputEvent, offset int64) {
	t.Helper()
	amount, err := rules.ParseAmount([]byte(*ev.Amount))
	if err != nil {
		t.Fatal(err)
	}
	rules.Builtin().Apply(st, &rules.Event{Type: typ, UserID: *ev.UserID, Time: rules.Time(*ev.Time), Amount: amount})
	stored := state.Stored{Found: true, Tag: offset + 1, State: *st}
	if what := stateDifference(&stored, nil, h, true); what != "" {
		t.Fatalf("event %d, user %d: %s", offset, *ev.UserID, what)
	}
}

func TestMoney(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "007.50": "7.5", "100": "100", "0.000000000000000001": "0.000000000000000001", "1.10": "1.1",
		"999999999999999999.999999999999999999": "999999999999999999.999999999999999999",
	} {
		m, err := parseMoney(text)
		if err != nil || m.String() != want {
			t.Errorf("%s: %s, %v, want %s", text, m, err, want)
		}
	}
	for _, text := range []string{"", ".5", "-1", "1e3", "1234567890123456789", "0.1234567890123456789", "1.+5"} {
		if m, err := parseMoney(text); err == nil {
			t.Errorf("%q is %s", text, m)
		}
	}
	sum, most := money{}, money{lo: 999_999_999_999_999_999, fraction: 999_999_999_999_999_999}
	for range 1000 {
		sum = sum.add(most)
	}
	if want := "999999999999999999999.999999999999999"; sum.String() != want {
		t.Errorf("1000 times the largest: %s, want %s", sum, want)
	}
	if sum.cmp(most) <= 0 || most.cmp(sum) >= 0 || most.cmp(most) != 0 || wholeMoney(1).cmp(money{fraction: 9}) <= 0 {
		t.Error("the order is wrong")
	}
}
