package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// TestBenchRealEngine puts a load on real services while an engine runs that is killed in the middle of it: every event
// comes out once, and a witness that knows nothing of the command finds the same events and the same results.
func TestBenchRealEngine(t *testing.T) {
	for _, guarantee := range []string{"exactly_once", "at_least_once"} {
		t.Run(guarantee, func(t *testing.T) {
			s := newSystem(t, systemOptions{})
			s.extra = "  guarantee: " + guarantee
			e := s.engine("engine")
			e.Start()
			e.WaitReady(readyTimeout)
			config := writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf("kafka: {brokers: [%q], group: %s, input: [%s], output: %s, dead_letters: %s, guarantee: %s}\n",
				s.broker, s.group, s.input, s.output, s.dead, guarantee))
			type ended struct {
				code int
				out  string
				errs string
			}
			done := make(chan ended, 1)
			ctx := s.context(systemTimeout)
			go func() { // ends with its load, or with ctx
				var out, errs bytes.Buffer
				code := run(ctx, []string{"bench", "--config", config, "--rate", "1000", "--warm", "500ms", "--for", "4s", "--users", "500", "--json"}, strings.NewReader(""), &out, &errs)
				inspectCommand(t, []string{"bench", "--config", config}, out.String(), errs.String())
				done <- ended{code, out.String(), errs.String()}
			}()
			for { // until the load is under way
				if n, err := consumertest.Committed(ctx, s.brokers(), s.group, s.input); err != nil {
					t.Fatal(err)
				} else if n > 500 {
					break
				}
			}
			e.Kill()
			e.Start()
			e.WaitReady(readyTimeout)
			got := <-done
			var d benchDocument
			if err := json.Unmarshal([]byte(got.out), &d); err != nil {
				t.Fatalf("%v: %s%s", err, got.out, got.errs)
			}
			t.Logf("%s", got.out)
			if got.code != exitOK || d.Written != 4500 || d.WithResult != 4500 || d.Counted != 4000 || d.Latency.Count != 4000 || strings.Contains(got.errs, "no member") {
				t.Errorf("exit code %d, %s", got.code, got.errs)
			}
			report := s.check(consumertest.CheckOptions{Repeats: guarantee == "at_least_once"})
			if report.Records != 4500 {
				t.Errorf("the input has %d records", report.Records)
			}
			term(t, e)
		})
	}
}
