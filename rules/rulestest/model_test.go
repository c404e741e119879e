package rulestest

import (
	"reflect"
	"slices"
	"strconv"
	"testing"
)

// TestModel checks the model by hand-made histories; the expected codes follow from the text of the rules.
func TestModel(t *testing.T) {
	type step struct {
		event Event
		want  []int
	}
	deposit := func(amount string, at int64, want ...int) step {
		return step{Event{"deposit", amount, 7, at}, want}
	}
	withdraw := func(amount string, at int64, want ...int) step {
		return step{Event{"withdraw", amount, 7, at}, want}
	}
	for name, steps := range map[string][]step{
		"published user 3": {
			withdraw("200.00", 10, 1100), withdraw("99.99", 11), withdraw("101", 12, 1100, 30), withdraw("99.99", 13, 30),
		},
		"published user 4": {deposit("10", 10), deposit("15", 20), deposit("20", 32, 300)},
		"published user 5": {deposit("100", 40), deposit("101", 41, 123), deposit("103", 42, 300, 123)},
		"limit is strict":  {withdraw("100", 0), withdraw("100.000000000000000001", 0, 1100)},
		"deposit ends the run": {
			withdraw("1", 0), withdraw("1", 0), deposit("1", 0), withdraw("1", 0), withdraw("1", 0), withdraw("1", 0, 30),
		},
		"withdraws do not end a rise":        {deposit("1", 0), deposit("2", 40), withdraw("1", 41), deposit("3", 80, 300)},
		"an equal amount ends a rise":        {deposit("1", 0), deposit("2", 40), deposit("2", 80), deposit("3", 120)},
		"the window's start is not in it":    {deposit("200", 10), deposit("2", 40), deposit("1", 39, 123)},
		"the window's end is in it":          {deposit("200", 10), deposit("1", 39, 123)},
		"a late event has its own window":    {deposit("150", 50), deposit("60", 45), deposit("1", 51, 123)},
		"a window of just the limit is none": {deposit("100", 1), deposit("100", 2), deposit("0.01", 2, 123)},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewModel()
			for i, s := range steps {
				other := s.event
				other.UserID, other.Time = 8, s.event.Time*1000 // Another user's history must not matter.
				m.Judge(other)
				if got := m.Judge(s.event); !slices.Equal(got, s.want) {
					t.Fatalf("step %d %+v: %v, want %v", i+1, s.event, got, s.want)
				}
			}
		})
	}
}

// TestModelExplains checks the numbers behind the codes by a history whose numbers were worked out by hand.
func TestModelExplains(t *testing.T) {
	m := NewModel()
	var got Verdict
	for _, e := range []Event{
		{"deposit", "3", 7, 100}, {"deposit", "001.50", 7, 90}, {"withdraw", "9", 7, 95}, {"deposit", "2", 7, 71}, {"deposit", "2.25", 8, 1},
		{"deposit", "100", 7, 70}, {"deposit", "199.250000000000000001", 7, 100},
	} {
		got = m.Explain(e)
	}
	want := Verdict{
		Codes: []int{300, 123}, Amount: "199.250000000000000001", Rising: 4,
		Amounts: []string{"1.5", "2", "100", "199.250000000000000001"}, Sum: "205.750000000000000001", Count: 4,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	got = m.Explain(Event{"withdraw", "100.010", 7, 91})
	want = Verdict{
		Codes: []int{1100}, LateBy: 4, Amount: "100.01", Withdraws: 1, Rising: 4, Amounts: want.Amounts, Sum: "103.5", Count: 3,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for i := range 10 {
		got = m.Explain(Event{"deposit", strconv.Itoa(1000 + i), 7, 200})
	}
	if got.Rising != 14 || len(got.Amounts) != 8 || got.Amounts[0] != "1002" || got.Amounts[7] != "1009" {
		t.Errorf("%+v, want a run of 14 with the amounts 1002 to 1009", got)
	}
}

// TestModelRefusesAmount: an amount that is no number is a mistake of the test that uses the model.
func TestModelRefusesAmount(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewModel().Judge(Event{Type: "deposit", Amount: "abc"})
}
