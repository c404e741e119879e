package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// lapwing runs the program and returns its exit code and what it printed.
func lapwing(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	inspectCommand(t, args, out.String(), errs.String())
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		errors string
		try    string
	}{
		{"no command", nil, "expected one of", "lapwing --help"},
		{"unknown command", []string{"judge"}, "unexpected argument judge", "lapwing --help"},
		{"unknown flag", []string{"eval", "--detial", "full"}, "unknown flag --detial", "lapwing eval --help"},
		{"flag without a value", []string{"check", "--config"}, "--config", "lapwing check --help"},
		{"word that is not allowed", []string{"eval", "--detail", "all"}, "--detail must be one of", "lapwing eval --help"},
		{"too many arguments", []string{"version", "now"}, "unexpected argument now", "lapwing version --help"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := lapwing(t, "", c.args...)
			if code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if stdout != "" {
				t.Errorf("printed %q on standard output", stdout)
			}
			lines := strings.Split(strings.TrimSpace(stderr), "\n")
			if len(lines) != 2 || !strings.HasPrefix(lines[0], "Error: ") || !strings.Contains(lines[0], c.errors) || lines[1] != "Try: "+c.try {
				t.Errorf("got\n%s\nwant an Error: line with %q and the line Try: %s", stderr, c.errors, c.try)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"eval", "--help"}, {"check", "-h"}, {"doctor", "--help"}, {"version", "--help"}} {
		code, stdout, stderr := lapwing(t, "", args...)
		if code != exitOK || !strings.HasPrefix(stdout, "Usage: lapwing") || stderr != "" {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q; want 0 and the usage", args, code, stdout, stderr)
		}
	}
}

// A command that is asked for help does not run: eval would wait for its input.
func TestHelpDoesNotRun(t *testing.T) {
	_, stdout, _ := lapwing(t, "not an event\n", "eval", "--help")
	if strings.Contains(stdout, "not_json") {
		t.Errorf("eval --help judged its input:\n%s", stdout)
	}
}

func TestCancelledContextEndsACommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if code := run(ctx, []string{"eval"}, strings.NewReader("{}\n"), &out, &errs); code != exitFailure {
		t.Errorf("exit code %d, want %d", code, exitFailure)
	}
	if !strings.Contains(errs.String(), context.Canceled.Error()) {
		t.Errorf("stderr %q does not say why", errs.String())
	}
}
