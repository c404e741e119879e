package rulestest

import (
	"slices"
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

// TestModelRefusesAmount: an amount that is no number is a mistake of the test that uses the model.
func TestModelRefusesAmount(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewModel().Judge(Event{Type: "deposit", Amount: "abc"})
}
