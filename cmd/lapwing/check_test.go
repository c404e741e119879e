package main

import (
	"os"
	"strings"
	"testing"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

func TestCheckOK(t *testing.T) {
	code, stdout, stderr := lapwing(t, "", "check", "--config", "testdata/edges.good.yaml")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	want, err := os.ReadFile("testdata/check.txt")
	if err != nil {
		t.Fatal(err)
	}
	if stdout != string(want) {
		t.Errorf("got\n%s\nwant\n%s", stdout, want)
	}
	if strings.Contains(stdout, consumertest.SecretMarker) {
		t.Errorf("the password is shown in\n%s", stdout)
	}
}

func TestCheckSeveralInputs(t *testing.T) {
	code, stdout, stderr := lapwing(t, "", "check", "--config", "testdata/inputs.good.yaml")
	const want = "topics         payments.in,rekey,refunds -> alerts, dead letters events.dead\n               lapwing gateway writes to payments.in, the first\n"
	if code != exitOK || stderr != "" || !strings.Contains(stdout, want) {
		t.Errorf("exit code %d, stderr %q, printed\n%s\nwant\n%s", code, stderr, stdout, want)
	}
}

func TestCheckDescribesEveryKind(t *testing.T) {
	file := writeFile(t, t.TempDir(), "rules.yaml", `
lateness: 10s
rules:
  - {code: 1, kind: amount, types: [withdraw, deposit], at_least: "10.50"}
  - {code: 2, kind: streak, types: [withdraw], count: 4}
  - {code: 3, kind: rising, types: [deposit], count: 5, name: climbing}
  - {code: 4, kind: window_sum, types: [deposit], window: 24h, resolution: 60s, over: "1000"}
  - {code: 5, kind: window_count, types: [deposit], window: 90s, at_least: 6}
`)
	code, stdout, stderr := lapwing(t, "", "check", "--rules", file)
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	for _, want := range []string{
		"amount: withdraw, deposit at least 10.5\n",
		"streak: withdraw 4 times in a row\n",
		"rising: deposit 5 amounts, each above the one before (climbing)\n",
		"window_sum: deposit over 1000 in 24h, whole after one window of events\n",
		"window_count: deposit at least 6 events in 1m30s, whole after one window of events\n",
		"exact for events up to 10s late\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

func TestCheckFindsAllProblems(t *testing.T) {
	dir := t.TempDir()
	rules := writeFile(t, dir, "rules.yaml", "rules:\n  - {code: 1, kind: amuont}\n  - {code: 1, kind: streak, types: [deposit], count: 1}\n")
	config := writeFile(t, dir, "lapwing.yaml", "kafka: {group: \"\"}\nrules: rules.yaml\nresults: some\n")
	code, stdout, stderr := lapwing(t, "", "check", "--config", config)
	if code != exitFailure || stdout != "" {
		t.Errorf("exit code %d, stdout %q; want 1 and nothing", code, stdout)
	}
	lines := splitLines(stderr)
	for i, want := range []string{
		"Error: 2 problems in the configuration",
		config + `:1:16: kafka.group: must not be empty (got "")`,
		config + `:3:10: results: must be all or alerts (got "some")`,
		"problems in the rules",
		rules + ":2:",
	} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Fatalf("line %d is not %q in\n%s", i+1, want, stderr)
		}
	}
	if n := strings.Count(stderr, rules+":"); n < 3 { // unknown kind, code twice, count out of range
		t.Errorf("%d problems of the rules, want at least 3:\n%s", n, stderr)
	}
}

func TestCheckProblems(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no file", []string{"--config", "missing.yaml"}, "Error: read the configuration: open missing.yaml: "},
		{"no rules", []string{"--rules", "missing.yaml"}, "Error: read the rules: open missing.yaml: "},
		{"syntax alone", []string{"--config", "testdata/bracket.bad.yaml", "--rules", "missing.yaml"},
			"Error: 1 problem in the configuration\ntestdata/bracket.bad.yaml:3:1: not YAML: ',' or ']' must be specified\n"},
		{"types once", []string{"--config", writeFile(t, dir, "types.yaml", "events: {types: []}\n")},
			"Error: 1 problem in the configuration\n" + dir + "/types.yaml:1:17: events.types: 0 names, want 1 to 64 (got \"\")\n"},
		{"types without rules", []string{"--config", writeFile(t, dir, "payin.yaml", "events: {types: [payin]}\n")},
			"Error: the built-in rules need the event types deposit, withdraw, and events.types is payin; name a rule file with the key rules\n"},
		{"one problem of the rules", []string{"--rules", writeFile(t, dir, "one.yaml", "rules: 7\n")},
			"Error: 1 problem in the rules\n" + dir + "/one.yaml:1:8: rules must be a list\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := lapwing(t, "", append([]string{"check"}, c.args...)...)
			if code != exitFailure || stdout != "" || !strings.HasPrefix(stderr, c.want) {
				t.Errorf("exit code %d, stdout %q, stderr\n%s\nwant 1 and\n%s", code, stdout, stderr, c.want)
			}
		})
	}
}

func TestCheckSeesTheEnvironment(t *testing.T) {
	t.Setenv("LAPWING_KAFKA_GROUP", "of-the-environment")
	_, stdout, _ := lapwing(t, "", "check")
	if !strings.Contains(stdout, "group of-the-environment,") || !strings.Contains(stdout, "defaults and environment") {
		t.Errorf("got\n%s", stdout)
	}
}
