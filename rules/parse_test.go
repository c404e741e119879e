package rules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRuleFiles compiles each testdata/*.yaml. A good one is compared as compiled, a bad one by its whole error.
func TestRuleFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rule files: %v", err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			set, err := Parse(name, text, DefaultTypes())
			if good := strings.HasSuffix(name, ".good.yaml"); good != (err == nil) {
				t.Fatalf("error %v, want one: %t", err, !good)
			}
			got := fmt.Sprintln(err)
			if err == nil {
				got = showSet(set)
			}
			wantFile := strings.TrimSuffix(file, ".yaml") + ".want"
			if *rewrite {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}

func showSet(s *Set) string {
	var b strings.Builder
	fmt.Fprintf(&b, "lateness %d horizon %d\n", s.Lateness(), s.Horizon())
	for _, r := range s.Rules() {
		var types []string
		for _, t := range r.Types {
			types = append(types, s.Types().Name(t))
		}
		fmt.Fprintf(&b, "%d %q %s %v limit %s inclusive %t count %d window %d resolution %d\n",
			r.Code, r.Name, r.Kind, types, r.Limit, r.Inclusive, r.Count, r.Window, r.Resolution)
	}
	return b.String()
}

// TestParseProblems: the error is the whole list, with its parts to use.
func TestParseProblems(t *testing.T) {
	text := "rules:\n  - {code: 5, name: n, kind: streak, types: [deposit], count: 1}\n  - {name: m, kind: amount, types: [x], over: 1}\n"
	_, err := Parse("f.yaml", []byte(text), DefaultTypes())
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Fatalf("%v, want three problems", err)
	}
	for i, want := range []Problem{
		{"f.yaml", 2, 63, `5 "n"`, `count "1" is out of range, want 2 to 1000000`},
		{"f.yaml", 3, 5, `"m"`, `key "code" is missing`},
		{"f.yaml", 3, 37, `"m"`, `unknown type "x", want one of deposit, withdraw`},
	} {
		if problems[i] != want {
			t.Errorf("problem %d: %+v, want %+v", i+1, problems[i], want)
		}
	}
}

// TestParseLimits: a file at each limit is taken, one beyond it is refused.
func TestParseLimits(t *testing.T) {
	rules := func(n int) string {
		var b strings.Builder
		b.WriteString("rules:\n")
		for i := range n {
			fmt.Fprintf(&b, "- {code: %d, kind: streak, types: [deposit], count: 2}\n", i+1)
		}
		return b.String()
	}
	padded := func(n int) string {
		text := rules(1)
		return text + "#" + strings.Repeat("x", n-len(text)-1)
	}
	named := func(n int) string {
		return fmt.Sprintf("rules: [{code: 1, name: %s, kind: streak, types: [deposit], count: 2}]", strings.Repeat("n", n))
	}
	for name, c := range map[string]struct{ at, beyond, want string }{
		"rules": {rules(RulesMax), rules(RulesMax + 1), "1001 rules, at most 1000 are allowed"},
		"bytes": {padded(FileBytesMax), padded(FileBytesMax + 1), "the file has 1048577 bytes, at most 1048576 are allowed"},
		"name":  {named(RuleNameBytesMax), named(RuleNameBytesMax + 1), "name has 129 bytes, want 1 to 128"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse("f", []byte(c.at), DefaultTypes()); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			if _, err := Parse("f", []byte(c.beyond), DefaultTypes()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("beyond it: %v, want %q", err, c.want)
			}
		})
	}
	if _, err := Parse("f", []byte("rules: \xff"), DefaultTypes()); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("bad UTF-8: %v", err)
	}
}

// TestHash: the hash follows what is judged, and nothing else.
func TestHash(t *testing.T) {
	const first = "{code: 1, kind: window_sum, types: [deposit, withdraw], window: 60s, over: 10}"
	const second = "{code: 2, kind: streak, types: [withdraw], count: 3}"
	file := func(lateness string, rules ...string) string {
		return "lateness: " + lateness + "\nrules: [" + strings.Join(rules, ", ") + "]\n"
	}
	hash := mustParse(t, file("60s", first, second)).Hash()
	if len(hash) != 12 || strings.Trim(hash, "0123456789abcdef") != "" {
		t.Errorf("hash %q, want 12 hexadecimal digits", hash)
	}
	for _, same := range []string{
		"rules:\n# The lateness is the longest window.\n- " + first + "\n- " + second + "\n",
		file("1m", strings.Replace(first, "60s", "1m", 1), second),
		file("60s", strings.Replace(first, "over: 10", `over: "010.00", name: n`, 1), second),
		file("60s", strings.Replace(first, "deposit, withdraw", "withdraw, deposit", 1), second),
		file("60s", strings.Replace(first, "over", "resolution: 1s, over", 1), second),
	} {
		if got := mustParse(t, same).Hash(); got != hash {
			t.Errorf("hash %s, want %s for\n%s", got, hash, same)
		}
	}
	seen := map[string]string{hash: "the first"}
	for _, other := range []string{
		file("61s", first, second),
		file("60s", second, first),
		file("60s", first),
		file("60s", strings.Replace(first, "over: 10", "over: 10.01", 1), second),
		file("60s", strings.Replace(first, "over", "at_least", 1), second),
		file("60s", strings.Replace(first, "code: 1", "code: 3", 1), second),
		file("60s", strings.Replace(first, ", withdraw", "", 1), second),
		file("60s", strings.Replace(first, "window: 60s", "window: 59s", 1), second),
		file("60s", strings.Replace(first, "over", "resolution: 2s, over", 1), second),
		file("60s", strings.Replace(first, "window_sum", "window_count", 1), second),
		file("60s", first, strings.Replace(second, "3", "4", 1)),
		file("60s", first, strings.Replace(second, "streak", "rising", 1)),
	} {
		got := mustParse(t, other).Hash()
		if before, ok := seen[got]; ok {
			t.Errorf("hash %s is the same for\n%s\nand\n%s", got, before, other)
		}
		seen[got] = other
	}
}

// TestBuiltinHash holds the hash that results carry: it must not change while the rules do not.
func TestBuiltinHash(t *testing.T) {
	if got := Builtin().Hash(); got != "168f88cf0e5e" {
		t.Errorf("hash %s", got)
	}
	if got := Builtin().Horizon(); got != 60 {
		t.Errorf("horizon %d, want the window of 30 s and as much lateness", got)
	}
}

// FuzzParse: any text gives a set or problems with a place in the file, never a panic.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := Parse("f.yaml", text, DefaultTypes())
		if err == nil {
			if len(set.Rules()) == 0 || len(set.Hash()) != 12 {
				t.Fatalf("set of %d rules, hash %q", len(set.Rules()), set.Hash())
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("error %T %v", err, err)
		}
		for _, p := range problems {
			if p.File != "f.yaml" || p.Line < 1 || p.Column < 1 || p.Message == "" {
				t.Fatalf("problem %+v", p)
			}
		}
	})
}
