package chaos

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// Result is what a run has shown.
type Result struct {
	Options  Options
	Wall     time.Duration // from the first event to the last judged
	Report   consumertest.Report
	Unjudged int   // deleted before they were judged, by what the engines have logged
	Replayed int64 // by the engines that run at the end, since their starts
	Faults   []FaultResult
	Longest  string // the longest time of all that a lane showed no result under load, in seconds since the load began

	lost map[lostKey]bool
}

// FaultResult is what a subscriber of the output saw of one kind of fault.
type FaultResult struct {
	Name  string
	Count int
	// Stalls are, sorted, the longest times that a lane showed no result, one for each time that the fault came: from its
	// beginning until the next fault of any kind.
	Stalls []time.Duration
}

// Faulty says whether anything is lost, doubled or wrong.
func (r Result) Faulty() bool { return r.Report.Lost+r.Report.Twice+r.wrong() > 0 }

func (r Result) wrong() int { return r.Report.Wrong + r.Report.Disorder + r.Report.StatesWrong }

// String gives the verdict in one line.
func (r Result) String() string {
	return fmt.Sprintf("chaos: seed=%d events=%d dead=%d lost=%d twice=%d wrong=%d",
		r.Options.Seed, r.Report.Events, r.Report.Dead, r.Report.Lost, r.Report.Twice, r.wrong())
}

// Table gives what the faults did, a line each. Stalls stand in it where there was one kind of fault: of several that
// overlap nobody could say which it was.
func (r Result) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d records in %v: %v\n", r.Report.Records, r.Wall.Round(time.Second), r.Report)
	fmt.Fprintf(&b, "%d states compared; %d records deleted unjudged, and reported as such; replayed by the last engines: %d\n",
		r.Report.States, r.Unjudged, r.Replayed)
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "%3d times %s", f.Count, f.Name)
		if n := len(f.Stalls); len(r.Faults) == 1 {
			fmt.Fprintf(&b, ": the longest time a lane showed no result is %.2f s at the median, %.2f s at most",
				f.Stalls[n/2].Seconds(), f.Stalls[n-1].Seconds())
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "the longest time without a result: %s\n", r.Longest)
	return b.String()
}

// stallGrace is how long after its end a fault may still show.
const stallGrace = 20 * time.Second

func newResult(o Options, began, ended time.Time, done []doneStep, w *watch) Result {
	r := Result{Options: o, lost: map[lostKey]bool{}}
	slices.SortFunc(done, func(a, b doneStep) int { return a.began.Compare(b.began) })
	for i, d := range done {
		until := d.ended.Add(stallGrace)
		if i+1 < len(done) && done[i+1].began.Before(until) {
			until = done[i+1].began
		}
		at := slices.IndexFunc(r.Faults, func(f FaultResult) bool { return f.Name == d.fault.name })
		if at < 0 {
			at = len(r.Faults)
			r.Faults = append(r.Faults, FaultResult{Name: d.fault.name})
		}
		f := &r.Faults[at]
		f.Count++
		_, longest := w.longest(d.began, until)
		f.Stalls = append(f.Stalls, longest.length())
	}
	for _, f := range r.Faults {
		slices.Sort(f.Stalls)
	}
	lane, longest := w.longest(began, ended)
	r.Longest = fmt.Sprintf("lane %d from %.2f s to %.2f s", lane, longest.from.Sub(began).Seconds(), longest.to.Sub(began).Seconds())
	return r
}

// lostKey names a hole that an engine has reported. A lane whose start was cut off reports it again.
type lostKey struct {
	Partition int32 `json:"partition"`
	JudgeFrom int64 `json:"judge_from"`
}

// addLost adds what an engine has logged as deleted before it was judged.
func (r *Result) addLost(log string) {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "lost_unjudged") {
			continue
		}
		var entry struct {
			lostKey
			Unjudged int `json:"lost_unjudged"`
		}
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Unjudged == 0 || r.lost[entry.lostKey] {
			continue
		}
		r.lost[entry.lostKey] = true
		r.Unjudged += entry.Unjudged
	}
}
