package consumertest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestProgram compares what a program does on success, failure, skip and panic with what a test does.
func TestProgram(t *testing.T) {
	cases := []struct {
		name string
		fn   func(tb testing.TB)
		ok   bool
		says string
	}{
		{"success", func(tb testing.TB) { tb.Log("fine") }, true, "fine\n"},
		{"error goes on", func(tb testing.TB) { tb.Errorf("wrong %d", 1); tb.Log("after") }, false, "after\n"},
		{"fatal", func(tb testing.TB) { tb.Fatal("over"); tb.Log("never") }, false, "over\n"},
		{"skip", func(tb testing.TB) { tb.Skip("no services"); tb.Log("never") }, false, "no services\n"},
		{"panic", func(testing.TB) { panic("oops") }, false, "panic: oops\n"},
		{"fatal in a cleanup", func(tb testing.TB) { tb.Cleanup(func() { tb.Fatal("late") }) }, false, "late\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			var order []int
			var dir string
			ok := Program("program", &out, func(tb testing.TB) {
				dir = tb.TempDir()
				t.Cleanup(func() { _ = os.RemoveAll(dir) }) // kept after a failure
				tb.Cleanup(func() { order = append(order, 1) })
				tb.Cleanup(func() { order = append(order, 2); tb.Cleanup(func() { order = append(order, 3) }) })
				c.fn(tb)
			})
			if ok != c.ok || !strings.Contains(out.String(), c.says) || strings.Contains(out.String(), "never") {
				t.Errorf("ok %v, want %v; it printed %q, and %q should be there", ok, c.ok, out.String(), c.says)
			}
			if !slices.Equal(order, []int{2, 3, 1}) {
				t.Errorf("cleanups ran in the order %v", order)
			}
			if _, err := os.Stat(dir); os.IsNotExist(err) != c.ok {
				t.Errorf("ok %v, and the files: %v", ok, err)
			}
		})
	}
}
