package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/lapwing/lapwing/consumer/contract"
)

// evalLines runs lapwing eval and returns the lines that it printed.
func evalLines(t *testing.T, stdin string, args ...string) []string {
	t.Helper()
	code, stdout, stderr := lapwing(t, stdin, append([]string{"eval"}, args...)...)
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	return splitLines(stdout)
}

func splitLines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// TestEvalVectors judges every case of the vectors that the rules package holds, each as an input of its own.
func TestEvalVectors(t *testing.T) {
	f, err := os.Open("../../rules/testdata/rules.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	cases := 0
	for lines.Scan() {
		var c struct {
			Name            string
			Events, Results []json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases++
		var in strings.Builder
		for _, event := range c.Events {
			fmt.Fprintf(&in, "%s\n", event)
		}
		got := evalLines(t, in.String())
		if len(got) != len(c.Results) {
			t.Fatalf("%s: %d lines for %d events", c.Name, len(got), len(c.Results))
		}
		for i, want := range c.Results {
			if string(want) == `{"error":true}` { // Any error is meant.
				if reasonOf(t, got[i]) == "" {
					t.Errorf("%s: event %d is judged: %s", c.Name, i+1, got[i])
				}
			} else if got[i] != string(want) {
				t.Errorf("%s: event %d: got %s, want %s", c.Name, i+1, got[i], want)
			}
		}
	}
	if err := lines.Err(); err != nil || cases == 0 {
		t.Fatalf("%d cases, error %v", cases, err)
	}
}

// publishedEvents and publishedResults are the ten cases of issue 3, in one input.
const publishedEvents = `{"type":"withdraw","amount":"200.00","user_id":3,"time":10}
{"type":"withdraw","amount":"99.99","user_id":3,"time":20}
{"type":"withdraw","amount":"101","user_id":3,"time":30}
{"type":"withdraw","amount":"99.99","user_id":3,"time":40}
{"type":"deposit","amount":"10","user_id":4,"time":10}
{"type":"deposit","amount":"15","user_id":4,"time":20}
{"type":"deposit","amount":"20","user_id":4,"time":32}
{"type":"deposit","amount":"100","user_id":5,"time":40}
{"type":"deposit","amount":"101","user_id":5,"time":41}
{"type":"deposit","amount":"103","user_id":5,"time":42}
`

var publishedResults = []string{
	`{"alert":true,"alert_codes":[1100],"user_id":3}`,
	`{"alert":false,"alert_codes":[],"user_id":3}`,
	`{"alert":true,"alert_codes":[1100,30],"user_id":3}`,
	`{"alert":true,"alert_codes":[30],"user_id":3}`,
	`{"alert":false,"alert_codes":[],"user_id":4}`,
	`{"alert":false,"alert_codes":[],"user_id":4}`,
	`{"alert":true,"alert_codes":[300],"user_id":4}`,
	`{"alert":false,"alert_codes":[],"user_id":5}`,
	`{"alert":true,"alert_codes":[123],"user_id":5}`,
	`{"alert":true,"alert_codes":[300,123],"user_id":5}`,
}

func TestEvalPublishedCases(t *testing.T) {
	file := writeFile(t, t.TempDir(), "events.jsonl", publishedEvents)
	shipped := "../../deploy/config/"
	for name, got := range map[string][]string{
		"standard input":     evalLines(t, publishedEvents),
		"standard input (-)": evalLines(t, publishedEvents, "-"),
		"no last line end":   evalLines(t, strings.TrimSuffix(publishedEvents, "\n")),
		"Windows line ends":  evalLines(t, strings.ReplaceAll(publishedEvents, "\n", "\r\n")),
		"file":               evalLines(t, "", file),
		"shipped rules":      evalLines(t, publishedEvents, "--rules", shipped+"rules.yaml"),
		"shipped config":     evalLines(t, publishedEvents, "--config", shipped+"lapwing.yaml"),
	} {
		if strings.Join(got, "\n") != strings.Join(publishedResults, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(publishedResults, "\n"))
		}
	}
}

func TestEvalFullDetail(t *testing.T) {
	file := writeFile(t, t.TempDir(), "events.jsonl", "\n"+`{"type":"withdraw","amount":"100.010","user_id":7,"time":5}`+"\n")
	got := evalLines(t, "", "--detail", "full", file)
	want := `{"alert":true,"alert_codes":[1100],"user_id":7,` +
		`"event":{"type":"withdraw","amount":"100.010","time":5,"topic":"events.jsonl","partition":0,"offset":1},` +
		`"evidence":[{"code":1100,"kind":"amount","limit":"100","amount":"100.01"}]}`
	if len(got) != 2 || got[1] != want {
		t.Errorf("got %q, want the second line to be\n%s", got, want)
	}
	got = evalLines(t, `{"type":"deposit","amount":"1","user_id":7,"time":5}`, "--detail=full")
	want = `{"alert":false,"alert_codes":[],"user_id":7,"event":{"type":"deposit","amount":"1","time":5,"topic":"eval","partition":0,"offset":0}}`
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

func TestEvalErrorsAreAnswers(t *testing.T) {
	in := strings.Join([]string{
		``,
		`not json`,
		`{"type":"deposit","amount":"1","user_id":1}`,
		`{"type":"bo\"n<u>s","amount":"1","user_id":1,"time":1}`,
		"\xff",
		`{"type":"withdraw","amount":"101","user_id":1,"time":1}`,
	}, "\n")
	want := []contract.Reason{contract.ReasonNotJSON, contract.ReasonNotJSON, contract.ReasonMissingMember, contract.ReasonUnknownType, contract.ReasonNotUTF8, ""}
	got := evalLines(t, in)
	if len(got) != len(want) {
		t.Fatalf("%d lines for %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range got {
		if reason := reasonOf(t, got[i]); reason != want[i] {
			t.Errorf("line %d: reason %q, want %q: %s", i+1, reason, want[i], got[i])
		}
	}
	if want := `{"alert":true,"alert_codes":[1100],"user_id":1}`; got[5] != want {
		t.Errorf("after the errors: %s, want %s", got[5], want)
	}
}

// reasonOf returns the reason of an error line, which has a detail too, and "" for a result.
func reasonOf(t *testing.T, line string) contract.Reason {
	t.Helper()
	var answer struct {
		Error *struct {
			Reason contract.Reason
			Detail string
		}
		Alert *bool
	}
	if err := json.Unmarshal([]byte(line), &answer); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if (answer.Error == nil) == (answer.Alert == nil) {
		t.Errorf("neither a result nor an error, or both: %s", line)
	}
	if answer.Error == nil {
		return ""
	}
	if answer.Error.Detail == "" {
		t.Errorf("no detail: %s", line)
	}
	return answer.Error.Reason
}

// A line of just the limit is judged, a longer one is refused and the next line is judged again.
func TestEvalLineBound(t *testing.T) {
	const bytesMax = 64 << 10
	event := `{"type":"withdraw","amount":"101","user_id":1,"time":1}`
	const result = `{"alert":true,"alert_codes":[1100],"user_id":1}`
	atLimit := event + strings.Repeat(" ", bytesMax-len(event))
	tooLarge := func(n int) string {
		return fmt.Sprintf(`{"error":{"reason":"too_large","detail":"%d bytes, at most %d are allowed"}}`, n, bytesMax)
	}
	in := atLimit + "\n" + // judged
		atLimit + "\r\n" + // judged: a line end does not count
		atLimit + " \n" + // one byte too long
		strings.Repeat("x", 3<<20) + "\n" + // much too long
		strings.Repeat("y", bytesMax+2) + "\r\n" +
		`{"type":"deposit","amount":"1","user_id":1,"time":1}` + "\n" +
		event + "\n"
	want := []string{
		result, result, tooLarge(bytesMax + 1), tooLarge(3 << 20), tooLarge(bytesMax + 2),
		`{"alert":false,"alert_codes":[],"user_id":1}`, result,
	}
	if got := evalLines(t, in); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEvalFollowsTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "rules.yaml", "rules:\n  - {code: 7, kind: amount, types: [payout], at_least: 10}\n")
	config := writeFile(t, dir, "lapwing.yaml", `
events: {types: [payin, payout], time_unit: ms, accept_numeric_amount: true, strip_frame: true, bytes_max: 80, max_future: 1s}
rules: rules.yaml
detail: full
`)
	in := `{"type":"payout","amount":10,"user_id":1,"time":1700000000000}` + "\n" +
		`{"type":"payin","amount":"10","user_id":1,"time":1700000000000}` + "\n" +
		`{"type":"deposit","amount":"10","user_id":1,"time":1}` + "\n" +
		strings.Repeat(" ", 81) + "\n" +
		"\x00\x00\x00\x01\x02" + `{"type":"payout","amount":11,"user_id":1,"time":1700000000000}` + "\n"
	got := evalLines(t, in, "--config", config)
	want := []string{`{"alert":true,"alert_codes":[7],"user_id":1}`, `{"alert":false,"alert_codes":[],"user_id":1}`}
	if len(got) != 5 || got[4] != want[0] || got[0] != want[0] || got[1] != want[1] ||
		reasonOf(t, got[2]) != contract.ReasonUnknownType || reasonOf(t, got[3]) != contract.ReasonTooLarge {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	stricter := writeFile(t, dir, "stricter.yaml", "rules:\n  - {code: 8, kind: amount, types: [payin], over: 9.99}\n")
	got = evalLines(t, in, "--config", config, "--rules", stricter)
	if want := `{"alert":true,"alert_codes":[8],"user_id":1}`; got[1] != want {
		t.Errorf("with --rules: %s, want %s", got[1], want)
	}
}

func TestEvalFailures(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"missing input", []string{"missing.jsonl"}, "missing.jsonl"},
		{"input is a directory", []string{dir}, dir},
		{"missing rules", []string{"--rules", "missing.yaml"}, "missing.yaml"},
		{"bad rules", []string{"--rules", writeFile(t, dir, "rules.yaml", "rules: 1\n")}, "rules.yaml:1:8: rules must be a list"},
		{"missing configuration", []string{"--config", "missing.yaml"}, "missing.yaml"},
		{"bad configuration", []string{"--config", "testdata/several.bad.yaml"}, "3 problems in the configuration\ntestdata/several.bad.yaml:3:29"},
		{"record time", []string{"--config", writeFile(t, dir, "record.yaml", "events: {time_from: record}\n")}, errRecordTime.Error()},
		{"types without rules", []string{"--config", writeFile(t, dir, "types.yaml", "events: {types: [payin]}\n")}, "the built-in rules need the event types deposit, withdraw"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := lapwing(t, "", append([]string{"eval"}, c.args...)...)
			if code != exitFailure || stdout != "" || !strings.HasPrefix(stderr, "Error: ") || !strings.Contains(stderr, c.want) {
				t.Errorf("exit code %d, stdout %q, stderr %q; want 1 and %q", code, stdout, stderr, c.want)
			}
		})
	}
}

var errBroken = errors.New("broken pipe of the test")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestEvalBrokenInputAndOutput(t *testing.T) {
	var out, errs bytes.Buffer
	in := io.MultiReader(strings.NewReader(publishedEvents+"{"), iotest.ErrReader(errBroken))
	if code := run(t.Context(), []string{"eval"}, in, &out, &errs); code != exitFailure {
		t.Errorf("broken input: exit code %d, want 1", code)
	}
	if got := splitLines(out.String()); strings.Join(got, "\n") != strings.Join(publishedResults, "\n") {
		t.Errorf("broken input: what was read before must be answered, got\n%s", out.String())
	}
	if want := "Error: read events: line 11: " + errBroken.Error() + "\n"; errs.String() != want {
		t.Errorf("broken input: stderr %q, want %q", errs.String(), want)
	}
	errs.Reset()
	if code := run(t.Context(), []string{"eval"}, strings.NewReader(publishedEvents), brokenWriter{}, &errs); code != exitFailure {
		t.Errorf("broken output: exit code %d, want 1", code)
	}
	if want := "Error: write results: " + errBroken.Error() + "\n"; errs.String() != want {
		t.Errorf("broken output: stderr %q, want %q", errs.String(), want)
	}
}

// A program that writes an event and waits for its result gets it, though its pipe stays open.
func TestEvalAnswersBeforeTheEndOfInput(t *testing.T) {
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), []string{"eval"}, inRead, outWrite, io.Discard)
		outWrite.Close()
	}()
	answers := bufio.NewReader(outRead)
	for i, event := range splitLines(publishedEvents) {
		if _, err := io.WriteString(inWrite, event+"\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := answers.ReadString('\n')
		if err != nil || strings.TrimSuffix(answer, "\n") != publishedResults[i] {
			t.Fatalf("event %d: %q, error %v; want %s", i+1, answer, err, publishedResults[i])
		}
	}
	inWrite.Close()
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d, want 0", got)
	}
}

func TestEvalSourceOfAPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "of events")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, dir, `a"b.jsonl`, `{"type":"deposit","amount":"1","user_id":1,"time":1}`)
	got := evalLines(t, "", "--detail=full", file)
	var result struct{ Event struct{ Topic string } }
	if err := json.Unmarshal([]byte(got[0]), &result); err != nil || result.Event.Topic != `a"b.jsonl` {
		t.Errorf("topic %q, error %v; want the file's name in %s", result.Event.Topic, err, got[0])
	}
}

// Whatever comes in: a line out for each line in, each of them a result or an error.
func FuzzEval(f *testing.F) {
	f.Add([]byte(publishedEvents))
	f.Add([]byte("\n\r\n\x00\x00\x00\x00\x01{}\n{\"type\":"))
	f.Add([]byte(`{"type":"deposit","amount":"1","user_id":1,"time":1}` + "\n" + strings.Repeat("z", 200)))
	config := filepath.Join(f.TempDir(), "lapwing.yaml")
	if err := os.WriteFile(config, []byte("events: {bytes_max: 100}\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := (&evalCmd{Config: config}).evaluator(&console{})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := e.run(t.Context(), bytes.NewReader(in), &out); err != nil {
			t.Fatal(err)
		}
		want := bytes.Count(in, []byte("\n"))
		if len(in) > 0 && in[len(in)-1] != '\n' {
			want++
		}
		got := splitLines(out.String())
		if len(got) != want {
			t.Fatalf("%d lines out for %d lines in", len(got), want)
		}
		for _, line := range got {
			reasonOf(t, line)
		}
	})
}

func BenchmarkEval(b *testing.B) {
	in := []byte(strings.Repeat(publishedEvents, 100))
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		e, err := (&evalCmd{}).evaluator(&console{})
		if err != nil {
			b.Fatal(err)
		}
		if err := e.run(b.Context(), bytes.NewReader(in), io.Discard); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "events/s")
}
