package consumer

import (
	"errors"
	"reflect"
	"testing"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/state"
)

// TestDecideLane goes through what the two sources of a lane can have between them.
func TestDecideLane(t *testing.T) {
	ours := newLayout([]source{{topic: "events"}}, 6, contract.Murmur2, "settings")
	const topic = "abcd"
	meta := func(offset, at int64) string { return mark{ours, topic, offset, at}.String() }
	type source struct {
		m, c       int64
		metadata   string
		start, end int64
	}
	input := source{m: 80, c: 100, metadata: meta(100, 100), end: 150}
	for name, c := range map[string]struct {
		rekey         source
		input         source
		reset         OffsetReset
		replay, judge []int64
		read          int64 // of the rekey topic
		quiet         int64
		stop          cause
	}{
		"both go on":                          {input: input, rekey: source{m: 5, c: 9, metadata: meta(9, 9), end: 20}, replay: []int64{80, 5}, judge: []int64{100, 9}, read: 5, quiet: 9},
		"boundaries behind the last copy":     {input: input, rekey: source{m: 9, c: 12, metadata: meta(12, 9), end: 20}, replay: []int64{80, 9}, judge: []int64{100, 9}, read: 9, quiet: 12},
		"and they are deleted":                {input: input, rekey: source{m: 9, c: 12, metadata: meta(12, 9), start: 11, end: 20}, replay: []int64{80, 9}, judge: []int64{100, 9}, read: 11, quiet: 12},
		"a copy is deleted before its replay": {input: input, rekey: source{m: 5, c: 12, metadata: meta(12, 9), start: 11, end: 20}, stop: causeDataLoss},
		"a copy is deleted before its result": {input: input, rekey: source{m: 9, c: 12, metadata: meta(12, 9), start: 13, end: 20}, stop: causeDataLoss},
		"from a version that did not forward": {input: input, rekey: source{m: 0, c: -1, start: 3, end: 20}, replay: []int64{80, 3}, judge: []int64{100, 3}, read: 3, quiet: 3},
		"the topic was made again":            {input: input, rekey: source{m: 5, c: 9, metadata: meta(9, 9), end: 2}, stop: causeTruncated},
		"its offset is gone":                  {input: input, rekey: source{m: 5, c: -1, end: 20}, stop: causeNoOffset},
		"Redis was wiped": {input: source{m: -1, c: 100, metadata: meta(100, 100), start: 20, end: 150}, rekey: source{m: -1, c: 9, metadata: meta(9, 9), start: 2, end: 20},
			replay: []int64{20, 2}, judge: []int64{100, 9}, read: 2, quiet: 9},
		"a rebuild replays both": {input: source{m: 80, c: 60, end: 150}, rekey: source{m: 5, c: 9, metadata: meta(9, 9), start: 1, end: 20}, reset: OffsetResetRebuild,
			replay: []int64{0, 1}, judge: []int64{60, 9}, read: 1, quiet: 9},
	} {
		t.Run(name, func(t *testing.T) {
			var found []finding
			for i, s := range []source{c.input, c.rekey} {
				found = append(found, finding{topic: []string{"events", "rekey"}[i], identity: topic, rekey: i == 1, stored: s.m >= 0,
					checkpoint: state.Checkpoint{Offset: s.m, Layout: ours.String(), Incarnation: 1, Owner: "id"},
					committed:  s.c, metadata: s.metadata, logStart: s.start, logEnd: s.end})
			}
			l, err := decideLane(found, c.reset, false)
			if c.stop != "" {
				var stop *stopError
				if !errors.As(err, &stop) || stop.cause != c.stop {
					t.Fatalf("%v, want a stop for %s", err, c.stop)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			replay := l.offsets(func(s *sourcePlan) int64 { return s.replayFrom })
			judge := l.offsets(func(s *sourcePlan) int64 { return s.judgeFrom })
			if !reflect.DeepEqual(replay, c.replay) || !reflect.DeepEqual(judge, c.judge) {
				t.Errorf("replays from %d and judges from %d, want %d and %d", replay, judge, c.replay, c.judge)
			}
			if l.replayFrom != sum(c.replay) || l.judgeFrom != sum(c.judge) || l.rekeyEnd != c.rekey.end {
				t.Errorf("places %d and %d, end %d", l.replayFrom, l.judgeFrom, l.rekeyEnd)
			}
			if r := l.sources[1]; r.readFrom != c.read || r.quiet != c.quiet {
				t.Errorf("reads from %d, quiet up to %d, want %d and %d", r.readFrom, r.quiet, c.read, c.quiet)
			}
		})
	}
}
