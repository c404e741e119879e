package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// runbook is the document whose commands are run.
const runbook = "deploy/README.md"

// runbookSteps returns the blocks of commands by the heading that they stand under, and the names of the variables that the
// document has set before.
func runbookSteps(t *testing.T) (steps map[string][]string, variables []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(rootDir, runbook))
	if err != nil {
		t.Fatal(err)
	}
	steps = map[string][]string{}
	heading, fenced := "", false
	var block strings.Builder
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "```"):
			if fenced {
				steps[heading] = append(steps[heading], block.String())
				block.Reset()
			}
			fenced = strings.TrimSpace(line) == "```sh"
		case fenced:
			block.WriteString(line)
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		case heading == "Runbook" && strings.HasPrefix(line, "    "):
			for _, m := range regexp.MustCompile(`\b([A-Z]+)=`).FindAllStringSubmatch(line, -1) {
				variables = append(variables, m[1])
			}
		}
	}
	return steps, variables
}

// operator follows the runbook at a system with one engine.
type operator struct {
	*goneRig
	steps  map[string][]string // by section
	env    []string
	dir    string               // where commands run
	calls  chan func()          // what systemctl asks for, for the test's goroutine
	engine *consumertest.Engine // that systemctl starts and stops
	set    map[string]string    // variables for its next start
}

// kafkaTools are the shell scripts of Kafka's distribution, and the words by which deploy/local/kafka knows them.
var kafkaTools = map[string]string{
	"kafka-topics.sh": "topics", "kafka-consumer-groups.sh": "groups", "kafka-delete-records.sh": "delete-records",
}

// newOperator makes a system whose engine runs binary (empty: this tree's), and is not started.
func newOperator(t *testing.T, binary string) *operator {
	t.Helper()
	for _, tool := range []string{"bash", "curl", "redis-cli", "java"} {
		consumertest.Tool(t, tool)
	}
	steps, variables := runbookSteps(t)
	o := &operator{goneRig: newGoneRig(t, systemOptions{partitions: 2}), steps: steps, dir: t.TempDir(), calls: make(chan func()), set: map[string]string{}}
	if binary == "" {
		binary = consumertest.Binary(t)
	}
	installed := filepath.Join(o.dir, "lapwing") // where "install" puts another one
	copyFile(t, binary, installed)
	o.http = "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
	o.binary = installed
	o.goneRig.system.http = o.http
	o.engine = o.goneRig.system.engine("engine")
	o.now = &engineView{Engine: o.engine, t: t, http: o.http}
	control := httptest.NewServer(o)
	t.Cleanup(control.Close)
	tools := t.TempDir()
	script := func(name, text string) {
		if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/usr/bin/env bash\nset -euo pipefail\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	script("systemctl", fmt.Sprintf("curl -fsS --max-time 120 --data-urlencode \"do=$1\" --data-urlencode \"on=${2:-}\" %s\n", control.URL))
	root, err := filepath.Abs(rootDir)
	if err != nil {
		t.Fatal(err)
	}
	for name, word := range kafkaTools {
		script(name, fmt.Sprintf("[ \"$1 $2\" = '--bootstrap-server %s' ]\nshift 2\nKAFKA_PORT=%s exec %s/deploy/local/kafka %s \"$@\"\n",
			o.broker, o.broker[strings.LastIndexByte(o.broker, ':')+1:], root, word))
	}
	values := map[string]string{
		"KAFKA": o.broker, "PARTITIONS": strconv.Itoa(int(o.partitions)), "GROUP": o.group, "INPUT": o.input, "OUTPUT": o.output,
		"REDIS": "redis://" + o.redisAddr, "HTTP": "http://" + o.http, "BIN": installed, "CONFIG": o.engine.ConfigFile(), "NEW": consumertest.Binary(t),
	}
	o.env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"))
	for _, name := range variables {
		if values[name] == "" {
			t.Fatalf("%s sets %s, which the test does not know", runbook, name)
		}
		o.env = append(o.env, name+"="+values[name])
	}
	return o
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ServeHTTP does what systemctl was asked for, on the goroutine of the test.
func (o *operator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	do, on := r.FormValue("do"), r.FormValue("on")
	name, _, _ := strings.Cut(on, "=")
	known := map[string]func(){
		"start": o.startEngine, "stop": o.stopEngine, "restart": func() { o.stopEngine(); o.startEngine() },
		"set-environment": func() { o.set[name] = on }, "unset-environment": func() { delete(o.set, name) },
	}
	if known[do] == nil || on == "" || (strings.HasSuffix(do, "environment")) == (on == "lapwing") {
		http.Error(w, fmt.Sprintf("systemctl %s %s is not known here", do, on), http.StatusBadRequest)
		return
	}
	done := make(chan struct{})
	select {
	case o.calls <- func() { known[do](); close(done) }:
		<-done
	case <-r.Context().Done():
	}
}

func (o *operator) startEngine() {
	var env []string
	for _, v := range o.set {
		env = append(env, v)
	}
	o.engine.SetEnv(env...)
	o.engine.Start()
}

func (o *operator) stopEngine() {
	if o.engine.Running() {
		term(o.t, o.engine)
	}
}

// follow runs blocks of a section, those from one on and before another, and returns what they print.
func (o *operator) follow(section string, from, to int) string {
	o.t.Helper()
	script := strings.Join(o.steps[section][from:to], "\n")
	ctx := o.context(2 * time.Minute)
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	command.Dir, command.Env, command.WaitDelay = o.dir, o.env, time.Second
	var output strings.Builder
	command.Stdout, command.Stderr = &output, &output
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- command.Run() }() // ends with the command, which ctx bounds
	for {
		select {
		case call := <-o.calls:
			call()
		case err := <-done:
			if err != nil {
				o.t.Fatalf("%s\nfails after %v: %v\n%s", script, time.Since(began), errors.Join(err, context.Cause(ctx)), output.String())
			}
			o.t.Logf("%s, blocks %d to %d: %v", section, from+1, to, time.Since(began).Round(10*time.Millisecond))
			return output.String()
		}
	}
}

// begin starts the engine with some events to judge.
func (o *operator) begin() {
	o.t.Helper()
	o.add(600)
	o.startEngine()
	o.engine.WaitReady(readyTimeout)
	o.drain(readyTimeout)
}

// says fails the test unless the output of commands has a line.
func (o *operator) says(output, line string) {
	o.t.Helper()
	if !slices.Contains(strings.Split(output, "\n"), line) {
		o.t.Errorf("the commands should print %q, and print\n%s", line, output)
	}
}

// goesOn has more events judged and compares all results with the model; repeats: some are published twice.
func (o *operator) goesOn(repeats bool) consumertest.Report {
	o.t.Helper()
	o.add(300)
	o.drain(readyTimeout)
	return o.check(consumertest.CheckOptions{Repeats: repeats})
}

// runbookTests has how each section of the runbook is tried, and how many blocks of commands it has.
var runbookTests = []struct {
	name     string
	sections map[string]int
	try      func(t *testing.T)
}{
	{"upgrade", map[string]int{"Upgrade": 3, "Rollback": 1, "Rollback too late": 3}, tryUpgrade},
	{"redis lost", map[string]int{"Redis has lost its data": 1}, tryRedisLost},
	{"input gone", map[string]int{"The input topic is gone": 1}, tryInputGone},
	{"output gone", map[string]int{"The output topic is gone": 1}, tryOutputGone},
	{"judge again", map[string]int{"Judge again": 3}, tryJudgeAgain},
	{"offsets set", map[string]int{"Offsets were set by mistake": 3}, tryOffsetsSet},
	{"offsets gone", map[string]int{"Offsets are gone": 1}, tryOffsetsGone},
	{"member lost", map[string]int{"A member is lost": 1}, tryMemberLost},
	{"unreadable", map[string]int{"A record that cannot be judged": 1}, tryUnreadable},
}

// TestRunbook runs the commands of the runbook as they stand in the document, each section after what it is for.
func TestRunbook(t *testing.T) {
	steps, variables := runbookSteps(t)
	if len(variables) == 0 {
		t.Errorf("%s sets no variables", runbook)
	}
	for _, test := range runbookTests {
		for section, blocks := range test.sections {
			if len(steps[section]) != blocks {
				t.Fatalf("%s has %d blocks of commands under %q, and the test runs %d", runbook, len(steps[section]), section, blocks)
			}
			delete(steps, section)
		}
	}
	for section := range steps {
		t.Errorf("%s has commands under %q that no test runs", runbook, section)
	}
	for _, test := range runbookTests {
		t.Run(test.name, test.try)
	}
}

// tryUpgrade goes from the previous build to this one, back, forward again, for good, and back when it is too late.
func tryUpgrade(t *testing.T) {
	previous := previousBinary(t)
	o := newOperator(t, previous)
	if previous == "" {
		t.Logf("previous: this tree's build")
		previous = consumertest.Binary(t)
	}
	size := func(name string) int64 {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	versions := func(want ...byte) {
		t.Helper()
		found := o.recordVersions()
		for _, v := range want {
			if found[v] == 0 || len(found) != len(want) {
				t.Errorf("records by version: %v, want %v", found, want)
			}
		}
	}
	runs := func(binary string) {
		t.Helper()
		if !o.engine.Running() || size(o.binary) != size(binary) {
			t.Errorf("what runs has %d bytes, want %s with %d", size(o.binary), binary, size(binary))
		}
	}
	tooLate := previous != consumertest.Binary(t)
	o.begin()
	o.follow("Upgrade", 0, 2)
	runs(consumertest.Binary(t))
	o.goesOn(false)
	if tooLate {
		versions(2)
	}
	o.follow("Rollback", 0, 1)
	runs(previous)
	o.goesOn(false)
	o.follow("Upgrade", 0, 3)
	o.goesOn(false)
	// A user's record is written anew by the first flush after an event, which some users may not have had.
	for deadline := time.Now().Add(readyTimeout); len(o.recordVersions()) > 1 && time.Now().Before(deadline); {
		o.goesOn(false)
	}
	versions(3)
	if tooLate {
		o.stopEngine()
		copyFile(t, o.binary+".previous", o.binary)
		o.startEngine()
		o.add(100)
		if code, ended := o.engine.Wait(readyTimeout); !ended || code != 1 {
			t.Errorf("ended %t with code %d, want 1", ended, code)
		}
		o.engine.WaitLog(time.Second, "a newer Lapwing may have written it")
	}
	committed := int64(0)
	for _, c := range o.offsets() {
		committed += c.At
	}
	output := o.follow("Rollback too late", 0, 3)
	runs(previous)
	o.says(output, fmt.Sprintf("lapwing_replayed_events_total %d", committed))
	o.says(output, `lapwing_lost_records_total{use="rebuild"} 0`)
	o.goesOn(false)
	o.stopEngine()
	if tooLate {
		versions(2)
	}
	o.checkStates()
}

func tryRedisLost(t *testing.T) {
	o := newOperator(t, "")
	o.begin()
	o.deleteKeys("*")
	o.add(100)
	o.engine.WaitLog(readyTimeout, "no checkpoint in Redis: states are rebuilt from what is kept")
	output := o.follow("Redis has lost its data", 0, 1)
	if !regexp.MustCompile(`(?m)^lapwing_replayed_events_total [1-9]`).MatchString(output) {
		t.Errorf("nothing was replayed:\n%s", output)
	}
	o.says(output, `lapwing_lost_records_total{use="rebuild"} 0`)
	o.goesOn(false)
	o.stopEngine()
	o.checkStates()
}

func tryInputGone(t *testing.T) {
	o := newOperator(t, "")
	o.begin()
	if err := consumertest.DeleteTopics(o.context(time.Minute), o.brokers(), o.input); err != nil {
		t.Fatal(err)
	}
	o.await("the engine says so", func() bool { return strings.Contains(o.now.problems(), "Unknown Topic Or Partition") })
	o.follow("The input topic is gone", 0, 1)
	o.now.metrics(map[string]int64{`recoveries_total{cause="recreated"}`: 2, "replayed_events_total": 0})
	o.output += "2" // sources of results are ambiguous from now on
	if err := consumertest.CreateTopics(o.context(time.Minute), o.brokers(), consumertest.TopicSpec{Name: o.output, Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(o.engine.ConfigFile())
	if err == nil {
		err = os.WriteFile(o.engine.ConfigFile(), []byte(strings.Replace(string(config), o.input+".alerts", o.output, 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	o.stopEngine()
	o.startEngine()
	o.ledger = ledger{}
	o.events = consumertest.NewGenerator(consumertest.EventOptions{Seed: 7, Users: 40})
	o.goesOn(false)
	o.stopEngine()
	o.checkStates()
}

func tryOutputGone(t *testing.T) {
	o := newOperator(t, "")
	o.begin()
	o.verify(nil)
	if err := consumertest.DeleteTopics(o.context(time.Minute), o.brokers(), o.output); err != nil {
		t.Fatal(err)
	}
	before := o.offsets()
	o.add(200)
	o.await("the engine says so", func() bool { return strings.Contains(o.now.problems(), "metadata of "+o.output) })
	for lane, c := range o.offsets() {
		if c.At != before[lane].At {
			t.Errorf("lane %d went on from %d to %d", lane, before[lane].At, c.At)
		}
	}
	o.follow("The output topic is gone", 0, 1)
	o.drain(readyTimeout)
	found := o.results()
	for lane := range o.ledger {
		want := o.ledger.codes(lane)
		for offset := range int64(len(want)) {
			got := found[lane][offset]
			if offset < before[lane].At && got != nil || offset >= before[lane].At && !slices.Equal(got, []string{want[offset]}) {
				t.Fatalf("lane %d, offset %d: results %v; those before %d are gone, all others once: %s", lane, offset, got, before[lane].At, want[offset])
			}
		}
	}
	o.stopEngine()
}

func tryJudgeAgain(t *testing.T) {
	o := newOperator(t, "")
	o.begin()
	o.follow("Judge again", 0, 3)
	o.drain(readyTimeout)
	if report := o.goesOn(true); report.Repeated != 600 {
		t.Errorf("%d results are published twice, want 600", report.Repeated)
	}
	o.stopEngine()
	o.checkStopped(true)
}

func tryOffsetsSet(t *testing.T) {
	o := newOperator(t, "")
	o.begin()
	o.stopEngine()
	c := o.offsets()
	o.setOffset(0, 0, "")
	o.setOffset(1, c[1].At-7, "")
	o.startEngine()
	for lane := range int32(2) {
		o.now.waitProblem(lane, "was not set by Lapwing")
	}
	o.follow("Offsets were set by mistake", 0, 3)
	o.now.metrics(map[string]int64{`recoveries_total{cause="foreign_offset"}`: 2, "replayed_events_total": 0})
	o.goesOn(false)
	o.stopEngine()
	o.checkStates()
}

func tryOffsetsGone(t *testing.T) {
	o := newOperator(t, "")
	o.begin()
	o.kill()
	o.deleteGroup()
	o.startEngine()
	for lane := range int32(2) {
		o.now.waitProblem(lane, "the group has no committed offset although the checkpoint in Redis is")
	}
	o.follow("Offsets are gone", 0, 1)
	o.drain(readyTimeout)
	report := o.goesOn(true)
	t.Logf("%d results are published twice", report.Repeated)
	o.stopEngine()
	o.checkStopped(true)
}

func tryMemberLost(t *testing.T) {
	o := newOperator(t, "")
	o.begin()
	o.add(100)
	o.engine.Kill()
	output := o.follow("A member is lost", 0, 1)
	if n := strings.Count(output, o.group); n < 2 { // one line at least beside the heading"s
		t.Logf("members:\n%s", output)
	}
	if !strings.Contains(output, "127.0.0.1") {
		t.Errorf("no member is listed:\n%s", output)
	}
	o.drain(readyTimeout)
	o.goesOn(false)
	o.stopEngine()
	o.checkStates()
}

func tryUnreadable(t *testing.T) {
	o := newOperator(t, "")
	config, err := os.ReadFile(o.engine.ConfigFile())
	if err == nil {
		err = os.WriteFile(o.engine.ConfigFile(), []byte(strings.Replace(string(config), "kafka:\n", "kafka:\n  decompressed_bytes_max: 4MiB\n", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	o.begin()
	bomb, err := consumertest.Bomb("gzip", 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	at := o.produceBatch(o.client(), 1, bomb)
	o.now.waitProblem(1, "record batch is too large when decompressed")
	o.follow("A record that cannot be judged", 0, 1)
	o.now.metrics(map[string]int64{`lost_records_total{use="judge"}`: 1, `recoveries_total{cause="data_loss"}`: 1})
	o.produce(300, consumertest.EventOptions{Seed: 8, Users: 40, UserFirst: 1000})
	o.drain(readyTimeout)
	if c := o.offsets()[1].At; c <= at {
		t.Errorf("lane 1 is at %d, the batch was at %d", c, at)
	}
	o.stopEngine()
	if n := o.count(o.output); n != 900 {
		t.Errorf("%d results of 900 events", n)
	}
}
