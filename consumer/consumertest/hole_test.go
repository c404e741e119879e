package consumertest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/rules/rulestest"
)

// holeRig is a checker of one lane without brokers, and the events of its input.
type holeRig struct {
	t      *testing.T
	c      *Checker
	inputs []*kgo.Record
}

// newHoleRig has events of two users in turn: withdraws of 1, so that nothing but the run of a user's withdraws raises an
// alert, from the third on.
func newHoleRig(t *testing.T, o CheckOptions, events int) *holeRig {
	t.Helper()
	o.Inputs, o.Output, o.DeadLetters = []string{testInput}, testOutput, testDead
	rig := &holeRig{t: t, c: offlineChecker(o, 1)}
	for i := range int64(events) {
		value := fmt.Appendf(nil, `{"type":"withdraw","amount":"1","user_id":%d,"time":%d}`, i%2, i)
		rig.inputs = append(rig.inputs, &kgo.Record{Topic: testInput, Offset: i, Value: value})
	}
	for _, r := range rig.inputs {
		if err := rig.c.x.add(r); err != nil {
			t.Fatal(err)
		}
	}
	return rig
}

func (h *holeRig) hole(from, to, start int64) {
	h.t.Helper()
	if err := h.c.HoleBetween(0, from, to, start); err != nil {
		h.t.Fatal(err)
	}
}

// check judges the results that an engine writes for which, at each offset, the events of a user begin as told; -1: it
// writes none.
func (h *holeRig) check(begin func(offset, user int64) int64) Report {
	h.t.Helper()
	for _, told := range h.c.holes {
		if err := h.c.x.lanes[0].holes.add(told.from, told.to, told.start); err != nil {
			h.t.Fatal(err)
		}
	}
	l := h.c.x.lanes[0]
	if _, err := h.c.judge(l); err != nil {
		h.t.Fatal(err)
	}
	for i, r := range h.inputs {
		if from := begin(int64(i), int64(i%2)); from >= 0 {
			out := h.result(r, from)
			out.Offset = int64(i)
			h.c.record(out)
		}
	}
	l.left = h.c.settle(l)
	h.c.countLost(l)
	h.c.finished = true
	return h.c.report
}

func (h *holeRig) result(r *kgo.Record, from int64) *kgo.Record {
	h.t.Helper()
	model := rulestest.NewModel()
	var ev inputEvent
	var v rulestest.Verdict
	for _, r := range h.inputs[from : r.Offset+1] {
		if err := json.Unmarshal(r.Value, &ev); err != nil {
			h.t.Fatal(err)
		}
		v = model.Explain(rulestest.Event{Type: *ev.Type, Amount: *ev.Amount, UserID: *ev.UserID, Time: *ev.Time})
	}
	source := kgo.RecordHeader{Key: headerSource, Value: fmt.Appendf(nil, "%s/0/%d", testInput, r.Offset)}
	out := resultRecord(r, &ev, v, source, h.c.o.Minimal, newKeyPartitioner())
	out.Partition = 0
	return out
}

// always says that events begin so wherever the offset is below the end, and as next says from there on.
func always(begin, end int64, next func(offset, user int64) int64) func(offset, user int64) int64 {
	return func(offset, user int64) int64 {
		if next == nil || offset < end {
			return begin
		}
		return next(offset, user)
	}
}

func TestHoles(t *testing.T) {
	type holeArgs struct{ from, to, start int64 }
	// In all cases 40 events; the first hole is at 20.
	exact, partial := holeArgs{20, 20, 26}, holeArgs{20, 20, 15}
	for name, tc := range map[string]struct {
		holes   []holeArgs
		o       CheckOptions
		begin   func(offset, user int64) int64
		deleted int
		lost    int
		wrong   int
		says    string
	}{
		"none":                   {begin: always(0, 0, nil)},
		"nobody told of it":      {begin: always(0, 20, always(15, 0, nil)), wrong: 20, says: "out/0/20 of in/0/20, user 0: evidence[0].run_length is 3, not 11"},
		"exact":                  {holes: []holeArgs{exact}, begin: always(0, 20, always(-1, 26, always(26, 0, nil))), deleted: 6},
		"exact, not fresh":       {holes: []holeArgs{exact}, begin: always(0, 20, always(-1, 26, always(0, 0, nil))), deleted: 6, wrong: 14, says: "out/0/26 of in/0/26, user 0"},
		"exact, deleted, judged": {holes: []holeArgs{exact}, begin: always(0, 22, always(-1, 26, always(26, 0, nil))), deleted: 6, wrong: 2, says: "out/0/20 of in/0/20, user 0: its source was deleted before it was judged"},
		"exact, lost after it":   {holes: []holeArgs{exact}, begin: always(0, 20, always(-1, 28, always(26, 0, nil))), deleted: 6, lost: 2, says: "the result of in/0/26, user 0"},
		"exact at the end":       {holes: []holeArgs{{38, 38, 40}}, begin: always(0, 38, always(-1, 0, nil)), deleted: 2},
		"partial, fresh":         {holes: []holeArgs{partial}, begin: always(0, 20, always(15, 0, nil))},
		"partial, full":          {holes: []holeArgs{partial}, begin: always(0, 0, nil)},
		"partial, too fresh":     {holes: []holeArgs{partial}, begin: always(0, 20, always(16, 0, nil)), wrong: 10, says: "out/0/21 of in/0/21, user 1: evidence[0].run_length is 3, not 11"},
		"partial, back again":    {holes: []holeArgs{partial}, begin: always(0, 20, always(15, 30, always(0, 0, nil))), wrong: 10, says: "out/0/30 of in/0/30, user 0: it is right only if users begin at [0], but earlier results say that users begin at [15]"},
		"partial, late":          {holes: []holeArgs{partial}, begin: always(0, 30, always(15, 0, nil)), wrong: 10, says: "out/0/30 of in/0/30, user 0: it is right only if users begin at [15], but earlier results say that users begin at [0]"},
		"partial, one user only": {
			holes: []holeArgs{partial}, wrong: 10, says: "out/0/21 of in/0/21, user 1: it is right only if users begin at [0]",
			begin: always(0, 20, func(_, user int64) int64 { return 15 * (1 - user) }),
		},
		"between":                 {holes: []holeArgs{{20, 30, 15}}, begin: always(0, 25, always(15, 0, nil))},
		"between, at its end":     {holes: []holeArgs{{20, 30, 15}}, begin: always(0, 30, always(15, 0, nil))},
		"between, too late":       {holes: []holeArgs{{20, 30, 15}}, begin: always(0, 31, always(15, 0, nil)), wrong: 9, says: "out/0/31 of in/0/31, user 1: it is right only if"},
		"two, both":               {holes: []holeArgs{partial, {30, 30, 28}}, begin: always(0, 20, always(15, 30, always(28, 0, nil)))},
		"two, the second":         {holes: []holeArgs{partial, {30, 30, 28}}, begin: always(0, 30, always(28, 0, nil))},
		"two, the first":          {holes: []holeArgs{partial, {30, 30, 28}}, begin: always(0, 20, always(15, 0, nil))},
		"two, the first too late": {holes: []holeArgs{partial, {30, 30, 28}}, begin: always(0, 30, always(15, 0, nil)), wrong: 10, says: "out/0/30 of in/0/30, user 0: it is right only if users begin at [15]"},
		"two of one beginning":    {holes: []holeArgs{exact, {32, 32, 26}}, begin: always(0, 20, always(-1, 26, always(26, 0, nil))), deleted: 6},
		"partial, then exact":     {holes: []holeArgs{partial, {30, 30, 33}}, begin: always(0, 20, always(15, 30, always(-1, 33, always(33, 0, nil)))), deleted: 3},
		"exact, then partial":     {holes: []holeArgs{exact, {34, 34, 30}}, begin: always(0, 20, always(-1, 26, always(26, 34, always(30, 0, nil)))), deleted: 6},
		"exact, then not partial": {holes: []holeArgs{exact, {34, 34, 30}}, begin: always(0, 20, always(-1, 26, always(26, 0, nil))), deleted: 6},
		"exact, then too full":    {holes: []holeArgs{exact, {34, 34, 30}}, begin: always(0, 20, always(-1, 26, always(26, 34, always(0, 0, nil)))), deleted: 6, wrong: 6, says: "out/0/34 of in/0/34, user 0"},
		"silent, fresh": { // the first results after the hole are no alerts: none is published
			holes: []holeArgs{{20, 20, 20}}, o: CheckOptions{AlertsOnly: true},
			begin: always(-1, 4, always(0, 20, always(-1, 24, always(20, 0, nil)))),
		},
		"silent, full": {holes: []holeArgs{{20, 20, 20}}, o: CheckOptions{AlertsOnly: true}, begin: always(-1, 4, always(0, 0, nil))},
		"silent, then full": {
			holes: []holeArgs{{20, 20, 20}}, o: CheckOptions{AlertsOnly: true}, begin: always(-1, 4, always(0, 20, always(-1, 22, always(0, 0, nil)))),
			wrong: 18, says: "out/0/22 of in/0/22, user 0: it is right only if users begin at [0]",
		},
		"full, then silent": {
			holes: []holeArgs{{20, 20, 20}}, o: CheckOptions{AlertsOnly: true}, begin: always(-1, 4, always(0, 22, always(-1, 24, always(0, 0, nil)))),
			lost: 2, says: "the result of in/0/22, user 0: none is due only if users begin at [20]",
		},
		"minimal": {holes: []holeArgs{partial}, o: CheckOptions{Minimal: true}, begin: always(0, 20, always(15, 0, nil))},
	} {
		t.Run(name, func(t *testing.T) {
			rig := newHoleRig(t, tc.o, 40)
			for _, h := range tc.holes {
				rig.hole(h.from, h.to, h.start)
			}
			report := rig.check(tc.begin)
			if report.Deleted != tc.deleted || report.Lost != tc.lost || report.Wrong != tc.wrong || report.Twice+report.Disorder != 0 {
				t.Errorf("want %d deleted, %d lost, %d wrong: %v\n%s", tc.deleted, tc.lost, tc.wrong, report, strings.Join(report.Problems, "\n"))
			}
			if report.Records != 40-tc.deleted || report.Results+report.Silent+report.Lost < report.Events {
				t.Errorf("records do not add up: %v", report)
			}
			if tc.says != "" && (len(report.Problems) == 0 || !strings.Contains(report.Problems[0], tc.says)) {
				t.Errorf("problems do not begin with %q:\n%s", tc.says, strings.Join(report.Problems, "\n"))
			}
		})
	}
}

// TestHolesRefused: what cannot have happened is a mistake of the caller, and is not taken.
func TestHolesRefused(t *testing.T) {
	c := offlineChecker(CheckOptions{Inputs: []string{testInput}}, 1)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := func(err error) {
		t.Helper()
		if err == nil {
			t.Error("taken")
		}
	}
	ok(c.Hole(0, 10, 20))
	refused(c.Hole(1, 10, 20))
	refused(c.Hole(0, 9, 20))
	refused(c.Hole(0, 30, 19))
	refused(c.HoleBetween(0, 30, 29, 20))
	refused(c.HoleBetween(0, 30, 40, 31))
	ok(c.HoleBetween(0, 30, 40, 30))
	for i := int64(31); i < 92; i++ {
		ok(c.Hole(0, i, i))
	}
	refused(c.Hole(0, 92, 92)) // the 64th beginning
	ok(c.Hole(0, 92, 91))
	c.ended = true
	refused(c.Hole(0, 100, 91))
}
