package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
)

// vector is one case of testdata/rules.jsonl: events, and for each its result or that it is no event.
type vector struct {
	Name    string
	Events  []json.RawMessage
	Results []struct {
		Error      bool
		Alert      bool
		AlertCodes []int `json:"alert_codes"`
		UserID     int64 `json:"user_id"`
	}
}

// TestVectors passes every case of the service that Lapwing grew from, and those that were added to them.
func TestVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/rules.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for line := range bytes.Lines(text) {
		cases++
		var c vector
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("case %d: %v", cases, err)
		}
		t.Run(c.Name, func(t *testing.T) { checkVector(t, &c) })
	}
	if cases != 194 {
		t.Errorf("%d cases were read, want 194", cases)
	}
}

func checkVector(t *testing.T, c *vector) {
	if len(c.Results) != len(c.Events) {
		t.Fatalf("%d results for %d events", len(c.Results), len(c.Events))
	}
	users := map[int64]*UserState{}
	var v Verdict
	for i, raw := range c.Events {
		want := c.Results[i]
		ev, err := readEvent(raw)
		if want.Error != (err != nil) {
			t.Fatalf("event %d %s: error %v, want one: %t", i+1, raw, err, want.Error)
		}
		if err != nil {
			continue
		}
		if users[ev.UserID] == nil {
			users[ev.UserID] = new(UserState)
		}
		Builtin().Judge(users[ev.UserID], &ev, &v)
		if got := codes(&v); !slices.Equal(got, want.AlertCodes) || want.Alert != (len(got) > 0) || want.UserID != ev.UserID {
			t.Fatalf("event %d %s: codes %v, want %v", i+1, raw, got, want.AlertCodes)
		}
	}
}

// readEvent reads the JSON of a vector. The real decoder, which is stricter, is not of this package.
func readEvent(raw []byte) (Event, error) {
	var e struct {
		Type, Amount *string
		UserID       *int64 `json:"user_id"`
		Time         *Time
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return Event{}, err
	}
	if e.Type == nil || e.Amount == nil || e.UserID == nil || e.Time == nil || *e.UserID < 0 || *e.Time < 0 {
		return Event{}, errors.New("a member is missing or negative")
	}
	typ, ok := DefaultTypes().Lookup([]byte(*e.Type))
	if !ok {
		return Event{}, fmt.Errorf("unknown type %q", *e.Type)
	}
	amount, err := ParseAmount([]byte(*e.Amount))
	return Event{Type: typ, UserID: *e.UserID, Time: *e.Time, Amount: amount}, err
}
