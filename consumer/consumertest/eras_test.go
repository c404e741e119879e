package consumertest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/state"
)

// fixedLineage is a store's text.
type fixedLineage string

func (f fixedLineage) Lineage(context.Context) (string, error) { return string(f), nil }

// TestErasInherit asks which records count for a user of lane 0 of 1, who is then in some lane of 2.
func TestErasInherit(t *testing.T) {
	const user = 7
	lane := contract.Murmur2.UserPartition(user, 2)
	lineage := func(ended int) *eras {
		e, err := readEras(t.Context(), fixedLineage(fmt.Sprintf(`{"version":9,"present":{"number":8,"layout":"t.2.murmur2.s",
			"sources":[{"topic":"in"},{"topic":"g.rekey"}],"began":[20,20]},
			"former":[{"number":3,"layout":"t.1.murmur2.s","sources":[{"topic":"in"}],"ended":[%d]}]}`, ended)))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, c := range []struct {
		name            string
		ended           int
		now, lane, from uint32 // incarnation of the present lane; lane and incarnation of the record
		want            bool
	}{
		{"of the former lane", 5, 20, 0, 5, true},
		{"before the former lane lost all", 5, 20, 0, 4, false},
		{"of a lane that the user was not in", 5, 20, 1, 5, false},
		{"the former lane ended with nothing", 0, 20, 0, 0, false},
		{"the present lane has lost all since", 5, 21, 0, 5, false},
	} {
		if got := lineage(c.ended).inherited(lane, c.now, []byte("7"), int32(c.lane), c.from); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	e := lineage(5)
	for text, want := range map[string]string{"t.2.murmur2.s": "in 4 true, rekey 6 true", "settled.3": "in 4 true, rekey 0 false", "settled.2": "in 0 false, rekey 0 false"} {
		c := state.Checkpoint{Layout: text, Offset: 10, Sources: []int64{4, 6}, Incarnation: 3}
		in, known := e.offset(c, "in")
		copies, also := e.offset(c, "g.rekey")
		if got := fmt.Sprintf("in %d %t, rekey %d %t", in, known, copies, also); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if got := e.incarnation(1, state.Checkpoint{Layout: "settled.3", Incarnation: 3}); got != 20 {
		t.Errorf("a lane that was not judged in the present era has incarnation %d", got)
	}
	for _, bad := range []string{"x", `{"present":{"layout":"a.b"}}`, `{"present":{"layout":"a.x.murmur2.s"}}`, `{"present":{"layout":"a.1.md5.s"}}`} {
		if _, err := readEras(t.Context(), fixedLineage(bad)); err == nil || !strings.Contains(err.Error(), "consumertest: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
