package rules

import "testing"

// event makes an event of a set's types.
func event(t testing.TB, s *Set, typ, amount string, at Time) Event {
	t.Helper()
	id, ok := s.Types().Lookup([]byte(typ))
	if !ok {
		t.Fatalf("type %q is not in %q", typ, s.Types().Names())
	}
	return Event{Type: id, UserID: 1, Time: at, Amount: mustAmount(t, amount)}
}

func mustAmount(t testing.TB, text string) Amount {
	t.Helper()
	a, err := ParseAmount([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// mustParse compiles a rule file of the default types.
func mustParse(t testing.TB, text string) *Set {
	t.Helper()
	s, err := Parse("test.yaml", []byte(text), DefaultTypes())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// codes are those of the alerts, never nil.
func codes(v *Verdict) []int {
	c := []int{}
	for i := range v.Alerts {
		c = append(c, v.Alerts[i].Rule.Code)
	}
	return c
}
