package main

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/lapwing/lapwing/rules"
)

const exampleFile = "../../deploy/config/lapwing.yaml"

// The example gives every key, and each value is the default but that of rules.
func TestExampleIsTheDefaults(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	l := newLoader(exampleFile)
	if !l.readYAML(text) || len(l.problems) > 0 {
		t.Fatal(l.problems)
	}
	if l.check(); len(l.problems) > 0 {
		t.Fatal(l.problems)
	}
	for _, f := range l.fields {
		if _, ok := l.given[f.path]; !ok {
			t.Errorf("%s is not in %s", f.path, exampleFile)
		}
	}
	if want := File("../../deploy/config/rules.yaml"); l.config.Rules != want {
		t.Errorf("rules are %q, want %q", l.config.Rules, want)
	}
	l.config.Rules = ""
	defaults := fieldsOf(NewConfig())
	for i, f := range l.fields {
		if got, want := f.value.Interface(), defaults[i].value.Interface(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v in %s, but %v by default", f.path, got, exampleFile, want)
		}
	}
}

func TestExampleExplainsEveryKey(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	leaf := regexp.MustCompile(`^ *[a-z_]+: *[^ #\n]`)
	keys := 0
	for line := range strings.Lines(string(text)) {
		if !leaf.MatchString(line) {
			continue
		}
		keys++
		if !strings.Contains(line, " # ") {
			t.Errorf("no comment: %s", line)
		}
	}
	if want := len(fieldsOf(NewConfig())); keys != want {
		t.Errorf("%d keys were found, there are %d", keys, want)
	}
}

// The shipped rules are the built-in ones, and the examples among them that are commented out can be used.
func TestExampleRules(t *testing.T) {
	c := NewConfig()
	c.Rules = "../../deploy/config/rules.yaml"
	set, err := c.RuleSet()
	if err != nil {
		t.Fatal(err)
	}
	if set.Hash() != rules.Builtin().Hash() {
		t.Errorf("the shipped rules have the hash %s, the built-in ones %s", set.Hash(), rules.Builtin().Hash())
	}
	text, err := os.ReadFile(string(c.Rules))
	if err != nil {
		t.Fatal(err)
	}
	uncommented := regexp.MustCompile(`(?m)^  # - \{`).ReplaceAllString(string(text), "  - {")
	if set, err = rules.Parse("uncommented", []byte(uncommented), rules.DefaultTypes()); err != nil {
		t.Fatal(err)
	}
	kinds := map[rules.Kind]bool{}
	for _, r := range set.Rules() {
		kinds[r.Kind] = true
	}
	for _, kind := range []rules.Kind{rules.KindAmount, rules.KindStreak, rules.KindRising, rules.KindWindowSum, rules.KindWindowCount} {
		if !kinds[kind] {
			t.Errorf("no example of the kind %v", kind)
		}
	}
	if got, want := len(set.Rules()), 8; got != want {
		t.Errorf("%d rules with the examples, want %d", got, want)
	}
}
