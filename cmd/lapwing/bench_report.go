package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
)

// What a load tells something of.
const (
	checkLoad         check = "load"
	checkResults      check = "results"
	checkConservation check = "conservation"
)

// benchOutcome is what came of a load.
type benchOutcome struct {
	bench   *bench
	loaded  benchLoaded
	took    time.Duration // until all was acknowledged
	drained benchDrained
	balance *benchBalance
}

// atLeastOnce reports whether a result may be there more than once.
func (o *benchOutcome) atLeastOnce() bool {
	return o.bench.target.config.Kafka.Guarantee == "at_least_once"
}

// sentPerSecond is the rate of acknowledged events, judgedPerSecond that of events of which it is known that they are
// judged: both from when the first counted event was created. They are 0 where that is not known.
func (o *benchOutcome) sentPerSecond() float64 {
	return perSecond(o.balance.counted, o.balance.lastAck-o.balance.from)
}

func (o *benchOutcome) judgedPerSecond() float64 {
	switch {
	case o.drained.judgedAt > 0:
		return perSecond(o.balance.counted, o.drained.judgedAt-o.balance.from)
	case o.drained.judged != nil:
		return 0
	}
	return perSecond(int64(len(o.balance.latencies)), o.balance.lastSeen-o.balance.from)
}

func perSecond(n int64, took time.Duration) float64 {
	if n == 0 || took <= 0 {
		return 0
	}
	return float64(n) / took.Seconds()
}

// report says in lines what came of the load.
func (o *benchOutcome) report() *report {
	var r report
	o.reportLoad(&r)
	o.reportResults(&r)
	o.reportConservation(&r)
	return &r
}

// faults returns how many of the lines say that something is wrong.
func (o *benchOutcome) faults() int { return o.report().count(levelFail) }

func (o *benchOutcome) reportLoad(r *report) {
	b, plan, loaded := o.balance, &o.bench.plan, &o.loaded
	const subject = "load"
	text := fmt.Sprintf("%s written in %s", plural(b.written, "event"), round(o.took))
	if rate := o.sentPerSecond(); rate > 0 {
		text += fmt.Sprintf(", %s/s after the warm-up", grouped(int64(rate)))
	}
	if plan.perSecond > 0 {
		text += fmt.Sprintf("; sent at most %s after their time", round(loaded.behind))
	}
	r.ok(checkLoad, subject, text+"; "+o.bench.users.String())
	switch {
	case loaded.err != nil:
		text := loaded.err.Error()
		if loaded.unsure > 0 {
			text += fmt.Sprintf("; whether %s of those that were sent are in the topic is not known", grouped(loaded.unsure))
		}
		r.fail(checkLoad, subject, text, "look at the brokers with lapwing doctor")
	case loaded.interrupted:
		r.note(checkLoad, subject, fmt.Sprintf("ended early: %s of %s were made", grouped(loaded.made), plural(plan.events, "event")), "")
	case loaded.made < plan.events:
		r.warn(checkLoad, subject, fmt.Sprintf("%s/s was not reached: %s of %s could not be written within %s of their time, and were left out",
			grouped(plan.perSecond), grouped(plan.events-loaded.made), plural(plan.events, "event"), shortDuration(benchLateMax)), "lower --rate, or find by --rate 0 what can be written")
	}
}

func (o *benchOutcome) reportResults(r *report) {
	b := o.balance
	const subject = "results"
	text := fmt.Sprintf("%s with a result, %s with a dead letter", plural(b.results, "event"), grouped(b.letters))
	if o.drained.judged != nil {
		text = fmt.Sprintf("%s with an alert, %s with a dead letter, %s judged silently (results: alerts)", plural(b.results, "event"), grouped(b.letters), grouped(b.silent))
	}
	if rate := o.judgedPerSecond(); rate > 0 {
		text += fmt.Sprintf(", judged %s/s after the warm-up", grouped(int64(rate)))
	}
	r.ok(checkResults, subject, text)
	if b.letters > 0 {
		var reasons []string
		for _, reason := range slices.Sorted(maps.Keys(b.reasons)) {
			reasons = append(reasons, fmt.Sprintf("%s %s", reason, grouped(b.reasons[reason])))
		}
		r.warn(checkResults, subject, "the dead letters' reasons: "+strings.Join(reasons, ", "), "look at the section events of the configuration, and at the clocks")
	}
	subjectLatency, text := "latency", b.latencies.String()
	if o.drained.judged != nil {
		text = "of alerts and dead letters only: " + text
	}
	r.ok(checkLatency, subjectLatency, text)
}

func (o *benchOutcome) reportConservation(r *report) {
	b := o.balance
	const subject = "conservation"
	before := r.count(levelFail)
	say := func(f benchFault, text, remedy string) {
		if f.count > 0 {
			r.fail(checkConservation, subject, fmt.Sprintf("%s %s, the first: %s", plural(f.count, "event"), text, sourceList(f.first)), remedy)
		}
	}
	say(b.missing, fmt.Sprintf("not judged %s after the load", round(o.drained.waited)), o.missingRemedy())
	say(b.both, "with a result and a dead letter", "")
	say(b.disordered, "whose result is before that of an earlier event of the user", "")
	if o.atLeastOnce() && b.repeated.count > 0 {
		r.note(checkConservation, subject, fmt.Sprintf("%s with more than one result, which at_least_once allows, the first: %s", plural(b.repeated.count, "event"), sourceList(b.repeated.first)), "")
	} else {
		say(b.repeated, "with more than one result", "")
	}
	switch {
	case o.drained.err != nil:
		r.fail(checkConservation, subject, fmt.Sprintf("whether all are judged cannot be said: %v", o.drained.err), "")
	case !o.drained.whole && b.missing.count == 0:
		r.fail(checkConservation, subject, fmt.Sprintf("what was written could not be read to its end in %s: an open transaction may hold it back", round(o.drained.waited)), "give it more time with --drain")
	}
	if r.count(levelFail) > before {
		return
	}
	text := "each event came out once, those of a user in their order"
	if o.atLeastOnce() {
		text = "each event came out, those of a user in their order"
	}
	if o.drained.judged != nil {
		text = "each event is judged, no alert is there twice, those of a user are in their order"
	}
	if b.written == 0 {
		text = "no event was written"
	}
	r.ok(checkConservation, subject, text)
}

// missingRemedy says what to look at when events are not judged.
func (o *benchOutcome) missingRemedy() string {
	b := o.balance
	if b.results+b.letters+b.silent == 0 {
		return "does an engine run with this configuration? lapwing doctor says"
	}
	return "wait longer with --drain, and look at the engines' logs and /readyz"
}

func sourceList(sources []contract.Source) string {
	texts := make([]string, len(sources))
	for i, s := range sources {
		texts[i] = string(contract.AppendSource(nil, s))
	}
	return strings.Join(texts, ", ")
}

// write prints the outcome as aligned lines, or as one JSON document.
func (o *benchOutcome) write(w io.Writer, asJSON bool) error {
	if !asJSON {
		return o.report().write(w, false)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(o.document())
}

// benchDocument is the outcome for programs. Members are never renamed.
type benchDocument struct {
	OK          bool      `json:"ok"`
	Interrupted bool      `json:"interrupted"`
	Findings    []finding `json:"findings"`

	Topic      string  `json:"topic"`
	Partitions int32   `json:"partitions"`
	Group      string  `json:"group"`
	Guarantee  string  `json:"guarantee"`
	Results    string  `json:"results"`
	Rate       int64   `json:"rate"`
	Users      int64   `json:"users"`
	UserFirst  int64   `json:"user_first"`
	Zipf       float64 `json:"zipf"`
	Seed       uint64  `json:"seed"`

	Planned       int64   `json:"planned"`
	Written       int64   `json:"written"`
	Unsure        int64   `json:"unsure"` // sent and not acknowledged
	Counted       int64   `json:"counted"`
	SentPerSecond float64 `json:"sent_per_second"`
	BehindMs      float64 `json:"behind_ms"`

	WithResult        int64            `json:"with_result"`
	WithDeadLetter    int64            `json:"with_dead_letter"`
	JudgedSilently    int64            `json:"judged_silently"`
	DeadLetterReasons map[string]int64 `json:"dead_letter_reasons"`
	JudgedPerSecond   float64          `json:"judged_per_second"`
	Foreign           int64            `json:"foreign"` // results and dead letters of other producers' events
	Latency           latencyDocument  `json:"latency"`

	Missing    faultDocument `json:"missing"`
	Repeated   faultDocument `json:"repeated"`
	Both       faultDocument `json:"both"`
	Disordered faultDocument `json:"disordered"`
}

// latencyDocument is the latency of the counted events, in milliseconds.
type latencyDocument struct {
	Count     int           `json:"count"`
	P50       float64       `json:"p50_ms"`
	P90       float64       `json:"p90_ms"`
	P99       float64       `json:"p99_ms"`
	P999      float64       `json:"p99_9_ms"`
	Max       float64       `json:"max_ms"`
	Histogram []barDocument `json:"histogram"`
}

// barDocument is how many events took at most so long.
type barDocument struct {
	Ms     float64 `json:"ms"`
	Within int64   `json:"within"`
}

// faultDocument is a kind of fault.
type faultDocument struct {
	Count int64    `json:"count"`
	First []string `json:"first"`
}

func (o *benchOutcome) document() benchDocument {
	b, config, users, found := o.balance, o.bench.target.config, o.bench.users, o.report()
	return benchDocument{
		OK: found.count(levelFail) == 0, Interrupted: o.loaded.interrupted, Findings: found.findings,
		Topic: o.bench.target.input.Name, Partitions: o.bench.target.input.Partitions,
		Group: config.Kafka.Group, Guarantee: config.Kafka.Guarantee, Results: config.Results,
		Rate: o.bench.plan.perSecond, Users: users.count, UserFirst: users.first, Zipf: users.zipf, Seed: users.seed,
		Planned: o.bench.plan.events, Written: b.written, Unsure: o.loaded.unsure, Counted: b.counted,
		SentPerSecond: o.sentPerSecond(), BehindMs: milliseconds(o.loaded.behind),
		WithResult: b.results, WithDeadLetter: b.letters, JudgedSilently: b.silent, DeadLetterReasons: b.reasons,
		JudgedPerSecond: o.judgedPerSecond(), Foreign: b.foreign, Latency: b.latencies.document(),
		Missing: b.missing.document(), Repeated: b.repeated.document(), Both: b.both.document(), Disordered: b.disordered.document(),
	}
}

func (l latencies) document() latencyDocument {
	d := latencyDocument{
		Count: len(l), P50: milliseconds(l.quantile(.5)), P90: milliseconds(l.quantile(.9)), P99: milliseconds(l.quantile(.99)),
		P999: milliseconds(l.quantile(.999)), Max: milliseconds(l.max()), Histogram: []barDocument{},
	}
	for _, b := range l.histogram() {
		d.Histogram = append(d.Histogram, barDocument{milliseconds(b.bound), b.within})
	}
	return d
}

func (f *benchFault) document() faultDocument {
	d := faultDocument{Count: f.count, First: []string{}}
	for _, s := range f.first {
		d.First = append(d.First, string(contract.AppendSource(nil, s)))
	}
	return d
}

// milliseconds is a duration to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
