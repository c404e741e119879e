package peer

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/rules/rulestest"
)

// TestJudge keeps states as the peers do, encoded between two events, and holds the results against the model.
func TestJudge(t *testing.T) {
	j, model := NewJudge("g"), rulestest.NewModel()
	g := consumertest.NewGenerator(consumertest.EventOptions{Seed: 9, Users: 20})
	stored := map[string][]byte{}
	alerts := 0
	for range 2000 {
		in := g.Next()
		ev, err := j.Event(in.Value)
		if err != nil {
			t.Fatal(err)
		}
		user, err := j.State(stored[j.Key(ev.UserID)])
		if err != nil {
			t.Fatal(err)
		}
		key, value := j.Result(&user, &ev)
		if stored[j.Key(ev.UserID)], err = j.Stored(&user); err != nil {
			t.Fatal(err)
		}

		var event struct {
			Type, Amount string
			Time         int64
		}
		var got struct {
			Alert bool  `json:"alert"`
			Codes []int `json:"alert_codes"`
			User  int64 `json:"user_id"`
		}
		if err := json.Unmarshal(in.Value, &event); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(value, &got); err != nil {
			t.Fatal(err)
		}
		want := model.Judge(rulestest.Event{Type: event.Type, Amount: event.Amount, UserID: in.User, Time: event.Time})
		alerts += len(want)
		if !slices.Equal(got.Codes, want) || got.Alert != (len(want) > 0) || got.User != in.User || string(key) != string(in.Key) {
			t.Fatalf("%s: key %s, %s, want codes %v", in.Value, key, value, want)
		}
	}
	if alerts == 0 || len(stored) != 20 {
		t.Errorf("%d alerts, %d users", alerts, len(stored))
	}
	for _, bad := range []string{"{}", "", `{"type":"deposit"}`} {
		if _, err := j.Event([]byte(bad)); err == nil {
			t.Errorf("%q is an event", bad)
		}
	}
	if _, err := j.State([]byte("x")); err == nil {
		t.Error("any bytes are a state")
	}
}
