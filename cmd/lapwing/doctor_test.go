package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// diagnosis is what lapwing doctor --json printed.
type diagnosis struct {
	t        *testing.T
	code     int
	stdout   string
	OK       bool           `json:"ok"`
	Counts   map[string]int `json:"counts"`
	Findings []finding      `json:"findings"`
}

// examined runs lapwing doctor --json.
func examined(t *testing.T, args ...string) *diagnosis {
	t.Helper()
	code, stdout, stderr := lapwing(t, "", append([]string{"doctor", "--json"}, args...)...)
	g := &diagnosis{t: t, code: code, stdout: stdout}
	decoder := json.NewDecoder(strings.NewReader(stdout))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(g); err != nil {
		t.Fatalf("%v; printed %q, %q", err, stdout, stderr)
	}
	if g.OK != (code == exitOK) || g.OK != (g.Counts["fail"] == 0) || (code == exitFailure) == g.OK {
		t.Errorf("exit code %d with ok %v and %v", code, g.OK, g.Counts)
	}
	for _, l := range levels {
		n := 0
		for _, f := range g.Findings {
			if f.Level == l {
				n++
			}
		}
		if n != g.Counts[string(l)] {
			t.Errorf("%d findings are %s, counted are %d", n, l, g.Counts[string(l)])
		}
	}
	return g
}

// has makes sure that there is a finding with all of these texts in its words or its remedy.
func (g *diagnosis) has(l level, c check, subject string, texts ...string) {
	g.t.Helper()
	for _, f := range g.Findings {
		if f.Level != l || f.Check != c || f.Subject != subject {
			continue
		}
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(f.Finding+"; "+f.Remedy, text) }) {
			return
		}
	}
	g.t.Errorf("no %s %s of %q with %q in\n%s", l, c, subject, texts, g.lines())
}

// only makes sure that these are all of the checks with findings of a level.
func (g *diagnosis) only(l level, checks ...check) {
	g.t.Helper()
	var found []check
	for _, f := range g.Findings {
		if f.Level == l {
			found = append(found, f.Check)
		}
	}
	if !slices.Equal(found, checks) {
		g.t.Errorf("%s are %v, want %v, in\n%s", l, found, checks, g.lines())
	}
}

func (g *diagnosis) lines() string {
	var b bytes.Buffer
	if err := (&report{g.Findings}).write(&b, false); err != nil {
		g.t.Fatal(err)
	}
	return b.String()
}

func TestDoctorReport(t *testing.T) {
	r := &report{}
	r.ok(checkBroker, "broker a:1", "fine")
	r.fail(checkTopic, "topic events", "does not\nexist\x1b[31m", "make it")
	r.note(checkGroup, "group g", "no member", "")
	var b bytes.Buffer
	if err := r.write(&b, false); err != nil {
		t.Fatal(err)
	}
	want := "ok    broker a:1    fine\n" +
		"fail  topic events  does not; exist\uFFFD[31m; make it\n" +
		"note  group g       no member\n" +
		"1 ok, 1 note, 0 warn, 1 fail\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := (&report{r.findings[:1]}).write(&b, true); err != nil {
		t.Fatal(err)
	}
	want = `{
  "ok": true,
  "counts": {
    "fail": 0,
    "note": 0,
    "ok": 1,
    "warn": 0
  },
  "findings": [
    {
      "level": "ok",
      "check": "broker",
      "subject": "broker a:1",
      "finding": "fine",
      "remedy": ""
    }
  ]
}
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestDoctorNumbers(t *testing.T) {
	for got, want := range map[string]string{
		share(0, 10): "0 %", share(10, 10): "100 %", share(1, 3): "33.3 %", share(1, 5000): "below 0.1 %", share(9999, 10000): "99.9 %", share(0, 0): "0 %",
		plural(1, "record"): "1 record", plural(0, "record"): "0 records", plural(1234567, "record"): "1,234,567 records", grouped(-1234): "-1,234", grouped(999): "999",
		span(49 * time.Hour): "2 days", span(36 * time.Hour): "36h", span(90 * time.Minute): "1h30m", span(5*time.Hour + 59*time.Second): "5h", round(1234567 * time.Nanosecond): "1.2ms",
		partitionList([]int32{3}): "partition 3", partitionList([]int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}): "partitions 0, 1, 2, 3, 4, 5, 6, 7 and 2 more",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNewestQuotas(t *testing.T) {
	for _, c := range []struct {
		start, end []int64
		total      int64
		want       []int64
	}{
		{[]int64{0, 0, 0}, []int64{100, 100, 100}, 30, []int64{10, 10, 10}},
		{[]int64{0, 50, 0}, []int64{100, 54, 100}, 30, []int64{13, 4, 13}}, // what the short one leaves goes to the others
		{[]int64{5, 7}, []int64{6, 9}, 1000, []int64{1, 2}},
		{[]int64{0}, []int64{100}, 0, []int64{0}},
		{[]int64{9}, []int64{9}, 10, []int64{0}},
		{nil, nil, 10, []int64{}},
	} {
		if got := newestQuotas(c.start, c.end, c.total); !slices.Equal(got, c.want) {
			t.Errorf("%v to %v, %d: got %v, want %v", c.start, c.end, c.total, got, c.want)
		}
	}
}

// TestSurveyCountsKeys: what is counted of records whose places and keys are known.
func TestSurveyCountsKeys(t *testing.T) {
	// Partitions of the keys 1 to 3 among 4 by the clients themselves: murmur2 as in the vectors of package contract.
	const partitions = 4
	s := newSurvey(contract.DecoderOptions{}, contract.Murmur2, partitions, time.UnixMilli(1_000_000))
	event := func(user string) []byte {
		return []byte(`{"type":"deposit","amount":"1","user_id":` + user + `,"time":10}`)
	}
	right := contract.Murmur2.Partition([]byte("1"), partitions)
	s.add(right, &wire.Record{Key: []byte("1"), Value: event("1")})
	s.add((right+1)%partitions, &wire.Record{Key: []byte("1"), Value: event("1")})
	s.add(right, &wire.Record{Value: event("1")})
	s.add(right, &wire.Record{Key: []byte{}, Value: event("1")})
	s.add(right, &wire.Record{Key: []byte("user-1"), Value: event("1")})
	s.add(right, &wire.Record{Key: []byte("1")})                                                                        // a tombstone
	s.add(right, &wire.Record{Key: []byte("1"), Value: []byte("{}")})                                                   // no event
	s.add(right, &wire.Record{Key: []byte("1"), Value: event("1"), TimeMillis: 1_000_000 + 5_000})                      // in time
	s.add(right, &wire.Record{Key: []byte("1"), Value: event("1"), TimeMillis: 1_000_000 + 3*time.Hour.Milliseconds()}) // not
	got := []int64{s.records, s.tombstones, s.events, s.noKey, s.otherKey, s.misplaced, s.keyed, int64(len(s.keys)), s.future, s.furthest}
	want := []int64{9, 1, 7, 2, 1, 1, 7, 2, 1, 3 * 3600 * 1000}
	if !slices.Equal(got, want) {
		t.Errorf("records, tombstones, events, without key, other key, misplaced, keyed, keys, future, furthest: %v, want %v", got, want)
	}
	if s.reasons[contract.ReasonMissingMember] != 1 || len(s.reasons) != 1 {
		t.Errorf("reasons %v", s.reasons)
	}
}

func TestSurveyTellsUnits(t *testing.T) {
	for _, c := range []struct {
		millis bool
		time   string
		wrong  int64
	}{
		{false, "0", 0},
		{false, "10", 0},
		{false, "1764058652", 0},
		{false, "1764058652000", 1},
		{false, "1764058652000000", 0}, // microseconds are neither
		{false, "-5", 0},
		{true, "10000", 0}, // ten seconds after 1970, as in examples
		{true, "1764058652000", 0},
		{true, "1764058652", 1},
	} {
		s := newSurvey(contract.DecoderOptions{TimeMillis: c.millis}, contract.Murmur2, 1, time.Now())
		s.add(0, &wire.Record{Key: []byte("1"), Value: []byte(`{"type":"deposit","amount":"1","user_id":1,"time":` + c.time + `}`)})
		if s.wrongUnit != c.wrong {
			t.Errorf("milliseconds %v, time %s: %d in the wrong unit, want %d", c.millis, c.time, s.wrongUnit, c.wrong)
		}
	}
}

// TestSurveyOfFutureEvents: an event that is refused for events.max_future is not in another unit.
func TestSurveyOfFutureEvents(t *testing.T) {
	s := newSurvey(contract.DecoderOptions{MaxFuture: time.Minute}, contract.Murmur2, 1, time.Now())
	for _, at := range []string{"2000", "1764058652000"} {
		s.add(0, &wire.Record{TimeMillis: 1_000_000, Value: []byte(`{"type":"deposit","amount":"1","user_id":1,"time":` + at + `}`)})
	}
	if s.reasons[contract.ReasonTimeRange] != 2 || s.wrongUnit != 1 {
		t.Errorf("%d refused, %d of them in the wrong unit; want 2 and 1", s.reasons[contract.ReasonTimeRange], s.wrongUnit)
	}
}

// TestSurveyOfBrokerTimestamps: timestamps that the brokers set tell of their clock, others of the producers'.
func TestSurveyOfBrokerTimestamps(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	s := newSurvey(contract.DecoderOptions{TimeFromRecord: true}, contract.Murmur2, 1, now)
	s.add(0, &wire.Record{TimeMillis: now.Add(time.Minute).UnixMilli()})
	for timestamps, want := range map[string]string{"LogAppendTime": "their clock is ahead", "CreateTime": "clocks of the producers"} {
		d := &doctor{}
		d.surveyedTimes("topic x", s, timestamps)
		g := &diagnosis{t: t, Findings: d.findings}
		g.has(levelWarn, checkClock, "topic x", "100 % have a timestamp in the future, by up to 1m", want)
		g.has(levelOK, checkTime, "topic x", timestamps)
	}
}

func TestDoctorUsage(t *testing.T) {
	for _, args := range [][]string{{"--timeout", "0s"}, {"--records", "-1"}, {"--records", "many"}, {"--yaml"}} {
		if code, stdout, _ := lapwing(t, "", append([]string{"doctor"}, args...)...); code != exitUsage || stdout != "" {
			t.Errorf("%v: exit code %d, printed %q", args, code, stdout)
		}
	}
}

func TestDoctorConfiguration(t *testing.T) {
	file := writeFile(t, t.TempDir(), "lapwing.yaml", "kafka: {group: \"\"}\nresults: some\n")
	g := examined(t, "--config", file)
	g.only(levelFail, checkConfiguration, checkConfiguration)
	g.has(levelFail, checkConfiguration, "configuration", file+":1:16: kafka.group: must not be empty")
	g.has(levelFail, checkConfiguration, "configuration", file+":2:10: results: must be all or alerts")
}
