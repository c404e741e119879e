package gateway

import (
	"strings"
	"testing"
)

func TestWaiters(t *testing.T) {
	ours, others := newWaiters(), newWaiters()
	first, second := ours.add(), ours.add()
	foreign := others.add()
	if id := string(first.id); len(id) != 34 || !strings.HasSuffix(id, "-1") {
		t.Errorf("id %q, want 32 hex digits, a hyphen and 1", id)
	}
	value := []byte("result of the second")
	for _, step := range []struct {
		what string
		id   string
		want fate
	}{
		{"another gateway's", string(foreign.id), fateForeign},
		{"no id of a gateway", "order-7", fateForeign},
		{"empty", "", fateForeign},
		{"ours without a number", string(ours.prefix), fateForeign},
		{"ours with no number", string(ours.prefix) + "1x", fateForeign},
		{"never given", string(ours.prefix) + "99", fateLate},
		{"second", string(second.id), fateDelivered},
		{"second again", string(second.id), fateLate},
	} {
		if got := ours.deliver([]byte(step.id), value); got != step.want {
			t.Errorf("%s: %v, want %v", step.what, got, step.want)
		}
	}
	value[0] = 'X' // the reader's buffer is used again
	if got := string(<-second.result); got != "result of the second" {
		t.Errorf("the second got %q", got)
	}
	select {
	case got := <-first.result:
		t.Errorf("the first got %q", got)
	default:
	}
	ours.remove(first)
	ours.remove(second)
	if got := ours.deliver(first.id, value); got != fateLate {
		t.Errorf("after its removal: %v, want late", got)
	}
	if len(ours.results) != 0 {
		t.Errorf("%d waiters are left", len(ours.results))
	}
}

// Foreign results are most of what a gateway among many reads: they must cost nothing.
func TestForeignResultsAllocateNothing(t *testing.T) {
	w := newWaiters()
	id, late := newWaiters().add().id, w.add()
	w.remove(late)
	if n := testing.AllocsPerRun(100, func() {
		w.deliver(id, nil)
		w.deliver(late.id, nil)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
