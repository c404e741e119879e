package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/rules"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-only", "lapwing,streams-*", "-rates", "20000,5000", "-events", "3000000"}, io.Discard)
	if err != nil || !slices.Equal(o.rates, []int{5000, 20000}) {
		t.Fatalf("%+v, %v", o, err)
	}
	for name, want := range map[string]bool{"lapwing": true, nameLapwingAtLeastOnce: false, "streams-exactly-once-v2-memory-10ms": true} {
		if o.selected(name) != want {
			t.Errorf("%s selected: %v", name, !want)
		}
	}
	if slow, whole := o.spec(zipf, true), o.spec(zipf, false); slow.count != 30_000 || whole.count != 3_000_000 || whole.events.Zipf != 1.1 {
		t.Errorf("%+v, %+v", slow, whole)
	}
	for _, args := range []string{"-rates fast", "-distributions normal", "-zipf 1", "-redis a:1", "-events 1", "-only [", "extra", "-distributions ,"} {
		if _, err := parseOptions(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
}

func TestSelectSubjects(t *testing.T) {
	o, err := parseOptions([]string{"-only", "lapwing,kafkago-plain"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	subjects, err := selectSubjects(o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range subjects {
		text := s.engine.name + " " + s.input.name
		if s.latency {
			text += " latency"
		}
		got = append(got, text)
	}
	if want := []string{"lapwing uniform latency", "kafkago-plain uniform latency", "lapwing zipf", "kafkago-plain zipf"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	o.only = []string{"nobody"}
	if _, err := selectSubjects(o); err == nil {
		t.Error("nothing is selected without an error")
	}
	for _, s := range scenarios(o) {
		if s.engine.argv == nil {
			t.Errorf("a scenario on %s has no engine", s.input.name)
		}
	}
}

// TestHundredRules: the rules are 100, and the limits of those that are added are out of reach.
func TestHundredRules(t *testing.T) {
	set, err := rules.Parse("rules.yaml", []byte(hundredRules()), rules.DefaultTypes())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(set.Rules()); n != 100 || set.Horizon() != rules.Builtin().Horizon() {
		t.Fatalf("%d rules, horizon %d", n, set.Horizon())
	}
	var user rules.UserState
	var verdict rules.Verdict
	amount, err := rules.ParseAmount([]byte("12000"))
	if err != nil {
		t.Fatal(err)
	}
	codes := map[int]bool{}
	for i := range 5000 {
		set.Judge(&user, &rules.Event{Type: rules.Type(i % 2), Time: rules.Time(1000 + i/100), Amount: amount}, &verdict)
		for _, a := range verdict.Alerts {
			codes[a.Rule.Code] = true
		}
	}
	if len(codes) != 2 || !codes[1100] || !codes[123] {
		t.Errorf("codes %v, want 1100 and 123 alone", codes)
	}
}

func TestReadStarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	const text = `{"time":"2026-11-28T01:00:00.000Z","level":"INFO","msg":"generation","generation":1,"lanes":[0,1]}
{"time":"2026-11-28T01:00:00.500Z","level":"INFO","msg":"lane judges","partition":0}
{"time":"2026-11-28T01:00:01.000Z","level":"INFO","msg":"generation","generation":2,"lanes":[0,1]}
{"time":"2026-11-28T01:00:01.020Z","level":"INFO","msg":"lane judges","partition":1}
{"time":"2026-11-28T01:00:01.0405Z","level":"INFO","msg":"lane judges","partition":0}
{"time":"2026-11-28T01:00:0`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readStarts(file)
	if want := []time.Duration{20 * time.Millisecond, 40500 * time.Microsecond}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

func TestProgram(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		says   string
	}{
		"ended by the signal":      {"exec sleep 60", ""},
		"ends well":                {"trap 'exit 0' TERM; sleep 2 & wait", ""},
		"as Java does":             {"trap 'exit 143' TERM; sleep 2 & wait", ""},
		"has failed before":        {"echo cannot go on >&2; exit 3", "cannot go on"},
		"fails when it has to end": {"trap 'echo lost >&2; exit 1' TERM; sleep 2 & wait", "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := start([]string{"sh", "-c", tc.script}, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond) // the shell sets its trap
			err = p.stop()
			if (err != nil) != (tc.says != "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want it to say %q", err, tc.says)
			}
		})
	}
}
