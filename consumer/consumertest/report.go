package consumertest

import (
	"errors"
	"fmt"
	"strings"
)

// problemsMax is how many faults a report describes.
const problemsMax = 20

// Report is what a check found. Each number counts input records, or what was written for them.
type Report struct {
	Records    int // visible input records: Events + dead letters due + Tombstones
	Events     int // of Records
	Tombstones int // of Records
	Results    int // found, each source once
	Dead       int // found, each source once
	Silent     int // rightly not published (AlertsOnly)
	Beyond     int // of Events: later than the rules' lateness, so that a sum of what is kept may be too low; the model keeps the same
	Alerts     int // codes in the results that were due
	Repeated   int // allowed repetitions (Repeats)
	Cut        int // of Results and Dead: shorter than in a topic that takes more, and marked
	Deleted    int // visible input records, beside Records, that were deleted before they were judged (Checker.Hole)
	States     int // users whose state was compared, those included who must have none

	Lost     int // due and not found
	Twice    int // found again
	Wrong    int // found, and other than due in any respect; or not due at all
	Disorder int // found after a later one of the same input partition
	// StatesWrong counts users whose state is not what the model says, users that no input has, and lanes whose checkpoint
	// is not at the end of the input.
	StatesWrong int
	// Problems describes the first 20 of the faults above. Of a user whose events come by several ways only the first wrong
	// result is described: others may follow from it.
	Problems []string
}

// Err returns nil if nothing was found to be wrong.
func (r Report) Err() error {
	if r.Lost+r.Twice+r.Wrong+r.Disorder+r.StatesWrong == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s\n\t%s", ErrReport, r, strings.Join(r.Problems, "\n\t"))
}

// ErrReport is the error of a report with faults.
var ErrReport = errors.New("consumertest: the output is not what the model says")

// String gives the numbers in one line.
func (r Report) String() string {
	return fmt.Sprintf("%d records, %d events, %d tombstones: %d results (%d alerts), %d dead letters, %d silent, %d repeated, %d too late, "+
		"%d deleted, %d states; %d lost, %d twice, %d wrong, %d disorder, %d states wrong",
		r.Records, r.Events, r.Tombstones, r.Results, r.Alerts, r.Dead, r.Silent, r.Repeated, r.Beyond, r.Deleted, r.States,
		r.Lost, r.Twice, r.Wrong, r.Disorder, r.StatesWrong)
}

func (r *Report) problem(count *int, format string, args ...any) {
	*count++
	if len(r.Problems) < problemsMax {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}
