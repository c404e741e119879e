package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// testRow is a row of runs with these rates.
func testRow(e engine, input string, rates ...float64) row {
	r := row{subject: subject{engine: e, input: inputSpec{name: input, count: 1000}}}
	for _, rate := range rates {
		r.results = append(r.results, result{
			perSecond: rate, engine: 1e6 / rate, memory: memory{peak: 100e6, resident: 90e6},
			latencies: map[int]latency{5000: {Latency: consumertest.Latency{P50: 7 * time.Millisecond, P99: 30 * time.Millisecond}}},
		})
	}
	return r
}

func byName(t *testing.T, name string) engine {
	t.Helper()
	for _, e := range append(engines(), ownEngines()...) {
		if e.name == name {
			return e
		}
	}
	t.Fatalf("there is no engine %s", name)
	return engine{}
}

func TestRatiosAndTargets(t *testing.T) {
	r := report{rates: []int{5000}, rows: []row{
		testRow(byName(t, nameLapwing), uniform, 400_000, 500_000, 1_000_000),
		testRow(byName(t, nameRelayTransactions), uniform, 600_000, 100_000, 625_000),
		testRow(byName(t, "streams-exactly-once-v2-memory-100ms"), uniform, 50_000),
		testRow(byName(t, "streams-exactly-once-v2-rocksdb-100ms"), uniform, 40_000),
		testRow(byName(t, "streams-at-least-once-memory-100ms"), uniform, 90_000),
		testRow(byName(t, nameLapwing), zipf, 100_000),
	}}
	cannot := testRow(byName(t, "kafkago-plain"), uniform, 2000)
	cannot.results[0].latencies[5000] = latency{cannot: true}
	r.rows = append(r.rows, cannot)

	ratios := map[string][]string{}
	for _, row := range r.ratios().rows {
		ratios[row[0]] = row[2:]
	}
	if got := strings.Join(ratios[byName(t, nameRelayTransactions).about], " "); got != "0.83 0.83 1.00 1.00" {
		t.Errorf("ratios of the relay %q", got) // 500,000 to 600,000; 1e6/600,000 to 1e6/500,000 seconds
	}
	if got := strings.Join(ratios[cannot.engine.about], " "); got != "250.00 250.00  " {
		t.Errorf("ratios of the plain peer %q", got)
	}
	measured := map[string][]string{}
	for _, row := range r.targets().rows {
		measured[row[0]] = row[1:]
	}
	for what, want := range map[string]string{
		targetList[0].what: "at least 10 10.00 yes",
		targetList[2].what: "at least 1 0.83 no",
		targetList[4].what: "at most 1 2.00 no",
		targetList[9].what: "at most 8 7.00 yes",
		"resident memory at its peak, all users cached, MB": "at most 150 100.00 yes",
	} {
		if got := strings.Join(measured[what], " "); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	if _, ok := measured[targetList[1].what]; ok {
		t.Error("zipf users are compared with Kafka Streams, which did not run with them")
	}
	text := r.markdown()
	for _, want := range []string{"500,000 (400,000..1,000,000)", "cannot", "| right "} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not have %q:\n%s", want, text)
		}
	}
	if !r.good() {
		t.Error("the report is not good")
	}
}

// TestFailedRun: a run that failed shows, gives no figures, and makes the report bad.
func TestFailedRun(t *testing.T) {
	own := testRow(byName(t, nameLapwing), uniform, 400_000, 500_000)
	own.results[1].err = errors.New("output: 1 wrong")
	r := report{rates: []int{5000}, rows: []row{own, testRow(byName(t, nameRelayTransactions), uniform, 100)}}
	text := r.markdown()
	if r.good() || !strings.Contains(text, "| FAILED") || !strings.Contains(text, "output: 1 wrong") {
		t.Errorf("good %v:\n%s", r.good(), text)
	}
	if len(r.ratios().rows) != 0 || len(r.targets().rows) != 0 {
		t.Error("a failed run is compared with")
	}
	if (&report{}).good() || (&report{rows: []row{{}}}).good() {
		t.Error("nothing measured is good")
	}
}

func TestTableIsAligned(t *testing.T) {
	got := table{head: []string{"a", "long"}, rows: [][]string{{"x|y", "µ"}}}.markdown()
	if want := "| a    | long |\n|------|------|\n| x\\|y | µ    |\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
