package rules

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the results that scenarios give into testdata/*.txt; keep only a difference that you understand")

// scenario is one file of testdata/*.txt; testdata/README.md describes the format.
type scenario struct {
	head  []string // comments and rules, up to the first case
	cases []scenarioCase
}

type scenarioCase struct {
	name          string
	events, wants []string
}

// TestScenarios judges the events of each scenario and compares the results, evidence included.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := readScenario(t, string(text))
			set := s.set(t)
			for i := range s.cases {
				t.Run(s.cases[i].name, func(t *testing.T) { s.cases[i].check(t, set) })
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(s.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func readScenario(t *testing.T, text string) *scenario {
	s := &scenario{}
	results := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		name, isCase := strings.CutPrefix(line, "case ")
		switch {
		case isCase:
			s.cases, results = append(s.cases, scenarioCase{name: name}), false
		case len(s.cases) == 0:
			s.head = append(s.head, line)
		case line == "----":
			results = true
		case line == "":
		case results:
			c := &s.cases[len(s.cases)-1]
			c.wants = append(c.wants, line)
		default:
			c := &s.cases[len(s.cases)-1]
			c.events = append(c.events, line)
		}
	}
	if len(s.cases) == 0 {
		t.Fatal("the file has no case")
	}
	return s
}

// String is the file's text.
func (s *scenario) String() string {
	lines := append([]string(nil), s.head...)
	for i, c := range s.cases {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, "case "+c.name)
		lines = append(append(append(lines, c.events...), "----"), c.wants...)
	}
	return strings.Join(lines, "\n") + "\n"
}

// set compiles the rules of the head, or takes the built-in ones.
func (s *scenario) set(t *testing.T) *Set {
	var text strings.Builder
	for _, line := range s.head {
		if !strings.HasPrefix(line, "#") {
			text.WriteString(line + "\n")
		}
	}
	if strings.TrimSpace(text.String()) == "" {
		return Builtin()
	}
	return mustParse(t, text.String())
}

// check judges the case's events for one user.
func (c *scenarioCase) check(t *testing.T, set *Set) {
	var user UserState
	var v Verdict
	var got []string
	for _, line := range c.events {
		word := strings.Fields(line)
		if len(word) != 3 || word[2][0] != '@' {
			t.Fatalf("event %q, want: type amount @time", line)
		}
		at, err := strconv.ParseInt(word[2][1:], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ev := event(t, set, word[0], word[1], Time(at))
		set.Judge(&user, &ev, &v)
		got = append(got, show(&v))
	}
	if *rewrite {
		c.wants = got
		return
	}
	if len(got) != len(c.wants) {
		t.Fatalf("%d events, %d results", len(got), len(c.wants))
	}
	for i := range got {
		if got[i] != c.wants[i] {
			t.Errorf("event %d %q:\n got %s\nwant %s", i+1, c.events[i], got[i], c.wants[i])
		}
	}
}

// show prints a verdict as scenarios do.
func show(v *Verdict) string {
	var parts []string
	for i := range v.Alerts {
		a := &v.Alerts[i]
		text := strconv.Itoa(a.Rule.Code)
		switch a.Rule.Kind {
		case KindAmount:
			text += fmt.Sprintf(" amount %s limit %s", a.Amount, a.Limit)
		case KindStreak:
			text += fmt.Sprintf(" run %d", a.RunLength)
		case KindRising:
			text += fmt.Sprintf(" run %d amounts %v", a.RunLength, a.Amounts)
		case KindWindowSum, KindWindowCount:
			text += fmt.Sprintf(" sum %s count %d in (%d,%d] limit %s", a.Sum, a.Count, a.From, a.To, a.Limit)
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		parts = append(parts, "-")
	}
	if v.LateBy > 0 {
		parts = append(parts, fmt.Sprintf("late %d", v.LateBy))
	}
	if v.Beyond {
		parts = append(parts, "beyond")
	}
	return strings.Join(parts, "; ")
}
