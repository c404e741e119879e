package contract

import (
	"errors"
	"math"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/lapwing/lapwing/rules"
)

func amount(t testing.TB, text string) rules.Amount {
	t.Helper()
	a, err := rules.ParseAmount([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func amounts(t testing.TB, texts ...string) []rules.Amount {
	t.Helper()
	var all []rules.Amount
	for _, text := range texts {
		all = append(all, amount(t, text))
	}
	return all
}

// alertOf has an alert of each kind, with numbers of its own.
func alertOf(t testing.TB) map[rules.Kind]rules.Alert {
	return map[rules.Kind]rules.Alert{
		rules.KindAmount: {
			Rule:  &rules.Rule{Code: 1100, Name: "large withdrawal", Kind: rules.KindAmount},
			Limit: amount(t, "100"), Amount: amount(t, "200.50"),
		},
		rules.KindStreak: {
			Rule:      &rules.Rule{Code: 30, Kind: rules.KindStreak},
			RunLength: 3,
		},
		rules.KindRising: {
			Rule:      &rules.Rule{Code: 300, Kind: rules.KindRising},
			RunLength: 3, Amounts: amounts(t, "10", "15.25", "20.10"),
		},
		rules.KindWindowSum: {
			Rule:  &rules.Rule{Code: 123, Kind: rules.KindWindowSum},
			Limit: amount(t, "200"), Sum: amount(t, "201.00"), Count: 2, From: -20, To: 10,
		},
		rules.KindWindowCount: {
			Rule:  &rules.Rule{Code: -7, Kind: rules.KindWindowCount},
			Limit: amount(t, "5"), Sum: amount(t, "0.6"), Count: 6, From: 40, To: 100,
		},
	}
}

func TestResultGolden(t *testing.T) {
	alert := alertOf(t)
	deposit := Event{Event: rules.Event{Type: 0, UserID: 1, Time: 10, Amount: amount(t, "42")}, AmountText: []byte("42.00")}
	withdraw := Event{Event: rules.Event{Type: 1, UserID: math.MaxInt64, Time: 0, Amount: amount(t, "200.5")}, AmountText: []byte("0200.50")}
	events := Source{"events", 3, 17}
	const event = `,"event":{"type":"deposit","amount":"42.00","time":10,"topic":"events","partition":3,"offset":17}`
	tests := []struct {
		name    string
		event   *Event
		verdict rules.Verdict
		minimal string // without the end of the object
		more    string // what full detail adds
	}{
		{"no alert", &deposit, rules.Verdict{}, `{"alert":false,"alert_codes":[],"user_id":1`, event},
		{"late", &deposit, rules.Verdict{LateBy: 5}, `{"alert":false,"alert_codes":[],"user_id":1`, event + `,"late_by":5`},
		{
			"amount", &withdraw, rules.Verdict{Alerts: []rules.Alert{alert[rules.KindAmount]}},
			`{"alert":true,"alert_codes":[1100],"user_id":9223372036854775807`,
			`,"event":{"type":"withdraw","amount":"0200.50","time":0,"topic":"events","partition":3,"offset":17}` +
				`,"evidence":[{"code":1100,"kind":"amount","limit":"100","amount":"200.5"}]`,
		},
		{
			"amount and streak", &deposit, rules.Verdict{Alerts: []rules.Alert{alert[rules.KindAmount], alert[rules.KindStreak]}},
			`{"alert":true,"alert_codes":[1100,30],"user_id":1`,
			event + `,"evidence":[{"code":1100,"kind":"amount","limit":"100","amount":"200.5"},{"code":30,"kind":"streak","run_length":3}]`,
		},
		{
			"rising and window_sum, late", &deposit,
			rules.Verdict{LateBy: 30, Alerts: []rules.Alert{alert[rules.KindRising], alert[rules.KindWindowSum]}},
			`{"alert":true,"alert_codes":[300,123],"user_id":1`,
			event + `,"late_by":30,"evidence":[{"code":300,"kind":"rising","run_length":3,"amounts":["10","15.25","20.1"]}` +
				`,{"code":123,"kind":"window_sum","limit":"200","sum":"201","count":2,"from":-20,"to":10}]`,
		},
		{
			"window_count", &deposit, rules.Verdict{Alerts: []rules.Alert{alert[rules.KindWindowCount]}},
			`{"alert":true,"alert_codes":[-7],"user_id":1`,
			event + `,"evidence":[{"code":-7,"kind":"window_count","limit":5,"sum":"0.6","count":6,"from":40,"to":100}]`,
		},
	}
	minimal := NewResultEncoder(rules.DefaultTypes(), DetailMinimal)
	full := NewResultEncoder(rules.DefaultTypes(), DetailFull)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			short := string(minimal.Append([]byte("x"), tt.event, events, &tt.verdict))
			if want := "x" + tt.minimal + "}"; short != want {
				t.Errorf("minimal\n%s, want\n%s", short, want)
			}
			long := full.Append(nil, tt.event, events, &tt.verdict)
			if want := tt.minimal + tt.more + "}"; string(long) != want {
				t.Errorf("full\n%s, want\n%s", long, want)
			}
			if !jsontext.Value(long).IsValid() {
				t.Errorf("not JSON: %s", long)
			}
			if cut, err := MinimalResult(long); err != nil || string(cut) != tt.minimal+"}" {
				t.Errorf("cut to %s, %v", cut, err)
			}
		})
	}
}

// TestResultOfJudge encodes what the built-in rules find in the assignment's example of user 3.
func TestResultOfJudge(t *testing.T) {
	set := rules.Builtin()
	d := NewDecoder(DecoderOptions{Types: set.Types()})
	e := NewResultEncoder(set.Types(), DetailMinimal)
	var state rules.UserState
	var verdict rules.Verdict
	for i, want := range []string{
		`{"alert":true,"alert_codes":[1100],"user_id":3}`,
		`{"alert":false,"alert_codes":[],"user_id":3}`,
		`{"alert":true,"alert_codes":[1100,30],"user_id":3}`,
		`{"alert":true,"alert_codes":[30],"user_id":3}`,
	} {
		text := []string{"200.00", "99.99", "101", "99.99"}[i]
		var ev Event
		if r := d.Decode([]byte(`{"type":"withdraw","amount":"`+text+`","user_id":3,"time":10}`), 0, &ev); r != nil {
			t.Fatal(r)
		}
		set.Judge(&state, &ev.Event, &verdict)
		if got := string(e.Append(nil, &ev, Source{}, &verdict)); got != want {
			t.Errorf("event %d: %s, want %s", i, got, want)
		}
	}
}

func TestResultEscapes(t *testing.T) {
	types, err := rules.NewTypes(`a"b\c`, "żółw\u2028")
	if err != nil {
		t.Fatal(err)
	}
	e := NewResultEncoder(types, DetailFull)
	ev := Event{AmountText: []byte("1")}
	got := string(e.Append(nil, &ev, Source{Topic: "x\"\n\x1f\xff"}, &rules.Verdict{}))
	want := `{"alert":false,"alert_codes":[],"user_id":0,"event":{"type":"a\"b\\c","amount":"1","time":0,` +
		`"topic":"x\"\u000a\u001f` + "\ufffd" + `","partition":0,"offset":0}}`
	if got != want || !jsontext.Value(got).IsValid() {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	ev.Type = 1
	got = string(e.Append(nil, &ev, Source{Topic: "t"}, &rules.Verdict{}))
	want = `{"alert":false,"alert_codes":[],"user_id":0,"event":{"type":"żółw` + "\u2028" + `","amount":"1","time":0,` +
		`"topic":"t","partition":0,"offset":0}}`
	if got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

func TestResultAllocatesNothing(t *testing.T) {
	ev := Event{Event: rules.Event{UserID: 123456789, Time: 1700000000}, AmountText: []byte("42.00")}
	var verdict rules.Verdict
	for _, a := range alertOf(t) {
		verdict.Alerts = append(verdict.Alerts, a)
	}
	for _, detail := range []Detail{DetailMinimal, DetailFull} {
		e := NewResultEncoder(rules.DefaultTypes(), detail)
		dst := make([]byte, 0, 1<<10)
		n := testing.AllocsPerRun(100, func() { dst = e.Append(dst[:0], &ev, Source{"events", 3, 17}, &verdict) })
		if n != 0 {
			t.Errorf("detail %d: %v allocations", detail, n)
		}
	}
}

func TestMinimalResult(t *testing.T) {
	value := []byte(`{"alert":true,"alert_codes":[1100,-30,0],"user_id":3,"event":{"type":"x"}}`)
	before := string(value)
	got, err := MinimalResult(value)
	if want := `{"alert":true,"alert_codes":[1100,-30,0],"user_id":3}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	if string(value) != before {
		t.Errorf("the value was changed to %s", value)
	}
	short := []byte(`{"alert":false,"alert_codes":[],"user_id":0}`)
	if got, err = MinimalResult(short); err != nil || string(got) != string(short) {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestMinimalResultRefuses(t *testing.T) {
	for _, value := range []string{
		"", "{}", "null", `{"alert":true}`,
		`{"alert":true,"alert_codes":[],"user_id":3}`,
		`{"alert":false,"alert_codes":[1],"user_id":3}`,
		`{"alert":true,"alert_codes":[1`,
		`{"alert":true,"alert_codes":[1,],"user_id":3}`,
		`{"alert":true,"alert_codes":[1 ,2],"user_id":3}`,
		`{"alert":true,"alert_codes":["1"],"user_id":3}`,
		`{"alert":false,"alert_codes":[],"user_id":}`,
		`{"alert":false,"alert_codes":[],"user_id":"3"}`,
		`{"alert":false,"alert_codes":[],"user_id":3`,
		`{"alert":false,"alert_codes":[],"user_id":3.5}`,
		`{"alert":false,"alert_codes":[],"user_id":3,"event":`,
		`{"alert":false,"alert_codes":[],"user_id":3}}`,
		`{"alert_codes":[],"alert":false,"user_id":3}`,
	} {
		if got, err := MinimalResult([]byte(value)); !errors.Is(err, ErrResult) {
			t.Errorf("MinimalResult(%s) = %s, %v", value, got, err)
		}
	}
}

func TestAppendResultCut(t *testing.T) {
	for _, tt := range []struct {
		detail, traceparent, requestID bool
		want                           string
	}{
		{true, false, false, "detail"},
		{true, true, false, "detail, traceparent"},
		{true, true, true, "detail, traceparent, lapwing-request-id"},
		{false, false, true, "lapwing-request-id"},
		{false, false, false, ""},
	} {
		if got := string(AppendResultCut(nil, tt.detail, tt.traceparent, tt.requestID)); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	if got := string(AppendResultCut([]byte("x"), true, true, false)); got != "xdetail, traceparent" {
		t.Errorf("appended: %q", got)
	}
}
