package consumertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// CheckOptions says what is compared. Brokers and the three topics are required.
type CheckOptions struct {
	Brokers                    []string
	Input, Output, DeadLetters string
	// Minimal: results have only the three members (detail: minimal).
	Minimal bool
	// AlertsOnly: only alerts, and results that somebody waits for, are published (results: alerts).
	AlertsOnly bool
	// Repeats allows a result or dead letter again, with the same bytes, key and source (guarantee: at_least_once).
	Repeats bool
	// Settle is how long nothing may have moved before the output is taken for what it is, complete or not; 0: 20 s, which
	// is longer than a broker takes to abort a dead producer's transaction.
	Settle time.Duration
}

const (
	settleDefault = 20 * time.Second
	problemsMax   = 20
)

// Report is what Check found. Each number counts input records, or what was written for them.
type Report struct {
	Records    int // visible input records: Events + dead letters due + Tombstones
	Events     int // of Records
	Tombstones int // of Records
	Results    int // found, each source once
	Dead       int // found, each source once
	Silent     int // rightly not published (AlertsOnly)
	Beyond     int // of Events: so late that no exact result is due, and the model's may be another; a test should have none
	Alerts     int // codes in the results that were due
	Repeated   int // allowed repetitions (Repeats)
	Cut        int // of Dead: rightly shorter than the input, and marked

	Lost     int // due and not found
	Twice    int // found again
	Wrong    int // found, and other than due in any respect; or not due at all
	Disorder int // found after a later one of the same input partition
	// Problems describes the first 20 of the faults above.
	Problems []string
}

// Err returns nil if nothing was found to be wrong.
func (r Report) Err() error {
	if r.Lost+r.Twice+r.Wrong+r.Disorder == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s\n\t%s", ErrReport, r, strings.Join(r.Problems, "\n\t"))
}

// ErrReport is the error of a report with faults.
var ErrReport = errors.New("consumertest: the output is not what the model says")

// String gives the numbers in one line.
func (r Report) String() string {
	return fmt.Sprintf("%d records, %d events, %d tombstones: %d results (%d alerts), %d dead letters, %d silent, %d repeated, %d too late; "+
		"%d lost, %d twice, %d wrong, %d disorder",
		r.Records, r.Events, r.Tombstones, r.Results, r.Alerts, r.Dead, r.Silent, r.Repeated, r.Beyond, r.Lost, r.Twice, r.Wrong, r.Disorder)
}

func (r *Report) problem(count *int, format string, args ...any) {
	*count++
	if len(r.Problems) < problemsMax {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Check reads the input as far as it is committed now, recomputes by the naive model (package rulestest) what must be in
// the output and the dead letters, and compares all that a read_committed consumer finds there, following these topics
// until they are complete and read to their ends, or until nothing has moved for a while. An error says that the check
// itself failed; what is wrong with the output stands in the report.
func Check(ctx context.Context, o CheckOptions) (Report, error) {
	if o.Settle <= 0 {
		o.Settle = settleDefault
	}
	var report Report
	x, err := readInput(ctx, o, &report)
	if err != nil {
		return report, err
	}
	f, err := newFollower(o.Brokers, o.Output, o.DeadLetters)
	if err != nil {
		return report, err
	}
	defer f.close()
	ends, err := f.ends(ctx)
	if err != nil {
		return report, err
	}
	c := &checker{o: o, x: x, report: &report, partitions: map[string]int32{}, last: map[route]int64{}}
	for at := range ends {
		c.partitions[at.topic] = max(c.partitions[at.topic], at.partition+1)
	}
	if err := c.follow(ctx, f); err != nil {
		return report, err
	}
	c.countLost()
	return report, nil
}

// readInput makes the expectation of the whole input.
func readInput(ctx context.Context, o CheckOptions, report *Report) (*expectation, error) {
	partitions, err := partitionCount(ctx, o.Brokers, o.Input)
	if err != nil {
		return nil, err
	}
	f, err := newFollower(o.Brokers, o.Input)
	if err != nil {
		return nil, err
	}
	defer f.close()
	x := newExpectation(partitions, o.AlertsOnly)
	var addErr error
	if _, err := f.readAll(ctx, func(r *kgo.Record) {
		if addErr == nil {
			addErr = x.add(r)
		}
	}); err != nil {
		return nil, err
	}
	if addErr != nil {
		return nil, addErr
	}
	report.Beyond = x.beyond
	for _, l := range x.lanes {
		for i := range l.records {
			report.countDue(&l.records[i])
		}
	}
	return x, nil
}

func (r *Report) countDue(e *expected) {
	switch e.outcome {
	case outcomeNone:
		return
	case outcomeTombstone:
		r.Tombstones++
	case outcomeSilent:
		r.Silent++
		r.Events++
	case outcomeResult:
		r.Events++
		r.Alerts += e.alerts()
	case outcomeDead:
	}
	r.Records++
}

// route is the way of records from an input partition to a partition of another topic; along it order is kept.
type route struct {
	input int32
	to    place
}

// checker compares records of the output and the dead letters with the expectation.
type checker struct {
	o          CheckOptions
	x          *expectation
	report     *Report
	partitions map[string]int32 // of each topic
	last       map[route]int64  // the largest input offset so far
	rules      string           // the hash of the rule set that judged the first result; all have the same
	scratch    []byte
}

// follow reads until everything due was found and the ends of that moment are reached, or nothing moves any more.
func (c *checker) follow(ctx context.Context, f *follower) error {
	due := c.report.Records - c.report.Tombstones - c.report.Silent
	moved := time.Now()
	for {
		n, err := f.poll(ctx, c.record)
		if err != nil {
			return err
		}
		if n > 0 {
			moved = time.Now()
		}
		if c.report.Results+c.report.Dead >= due || time.Since(moved) > c.o.Settle {
			break
		}
	}
	_, err := f.readAll(ctx, c.record)
	return err
}

// countLost counts what is due and was not found, and the dead letters and results by kind.
func (c *checker) countLost() {
	partitions := make([]int32, 0, len(c.x.lanes))
	for p := range c.x.lanes {
		partitions = append(partitions, p)
	}
	slices.Sort(partitions)
	for _, p := range partitions {
		l := c.x.lanes[p]
		for i := range l.records {
			e := &l.records[i]
			if e.found || e.outcome != outcomeResult && e.outcome != outcomeDead {
				continue
			}
			what := "result"
			if e.outcome == outcomeDead {
				what = "dead letter"
			}
			c.report.problem(&c.report.Lost, "lost: the %s of %s/%d/%d, user %d", what, c.o.Input, p, l.first+int64(i), e.user)
		}
	}
}
