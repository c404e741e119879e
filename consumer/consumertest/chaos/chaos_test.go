package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func plan(t *testing.T, o Options) [tracks][]step {
	t.Helper()
	p, err := schedule(o.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func text(p [tracks][]step) string {
	var b strings.Builder
	for _, steps := range p {
		for _, s := range steps {
			fmt.Fprintln(&b, s, s.pick)
		}
	}
	return b.String()
}

// TestScheduleIsTheSeeds compares schedules of equal and of different seeds, and with fewer faults.
func TestScheduleIsTheSeeds(t *testing.T) {
	o := Options{Seed: 7, Duration: 10 * time.Minute}
	first := plan(t, o)
	if again := plan(t, o); text(first) != text(again) {
		t.Errorf("the same seed gives\n%s\nand\n%s", text(first), text(again))
	}
	o.Seed = 8
	if other := plan(t, o); text(first) == text(other) {
		t.Error("another seed gives the same schedule")
	}
	o.Seed, o.Faults = 7, []string{"redis-empty", "redis-restart", "redis-older", "kill"}
	fewer := plan(t, o)
	if fmt.Sprint(first[trackRedis]) != fmt.Sprint(fewer[trackRedis]) {
		t.Error("the faults of Redis depend on those of other tracks")
	}
	if len(fewer[trackNetwork])+len(fewer[trackBroker])+len(fewer[trackData]) > 0 {
		t.Error("faults were planned that nobody asked for")
	}
}

// TestScheduleHasEveryFault looks for each fault in a long schedule, and for overlaps within a track.
func TestScheduleHasEveryFault(t *testing.T) {
	for _, brokers := range []int{1, 3} {
		o := Options{Seed: 1, Duration: 8 * time.Minute, Brokers: brokers}
		times := map[string]int{}
		for _, steps := range plan(t, o) {
			for i, s := range steps {
				times[s.fault.name]++
				if s.at+s.hold > o.Duration || s.at < o.withDefaults().Warm {
					t.Errorf("%v is not within the load", s)
				}
				if i > 0 && steps[i-1].at+steps[i-1].hold > s.at {
					t.Errorf("%v begins before %v has ended", s, steps[i-1])
				}
				if s.hold < s.fault.hold[0] || s.hold > s.fault.hold[1] {
					t.Errorf("%v should last from %v to %v", s, s.fault.hold[0], s.fault.hold[1])
				}
			}
		}
		for _, f := range catalogue {
			if planned := times[f.name] > 0; planned != (brokers >= f.brokersMin) {
				t.Errorf("with %d brokers fault %s is planned %d times", brokers, f.name, times[f.name])
			}
		}
	}
}

func TestOptionsNameWhatIsWrong(t *testing.T) {
	for want, o := range map[string]Options{
		`unknown fault "kil"`:      {Faults: []string{"kil"}},
		"broker-kill needs 3":      {Faults: []string{"broker-kill"}, Brokers: 1},
		"2 brokers":                {Brokers: 2},
		"a duration of 1ms":        {Duration: time.Millisecond},
		"rate -1, members 3":       {Rate: -1},
		"members -1":               {Members: -1},
		"there are all, none, kil": {Faults: []string{"all", "x"}},
	} {
		if err := o.withDefaults().validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, which should have %q", o, err, want)
		}
	}
	if err := (Options{Faults: []string{"none"}}).withDefaults().validate(); err != nil {
		t.Error(err)
	}
}

// TestWatchFindsTheLongestGap gives a watch results at known times.
func TestWatchFindsTheLongestGap(t *testing.T) {
	w := &watch{last: make([]time.Time, 2), gaps: make([][]gap, 2)}
	start := time.Now().Add(-time.Minute)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for ms := 0; ms <= 60_000; ms += 10 {
		if ms < 5000 || ms > 6200 {
			w.seen(0, at(ms))
		}
		if ms < 30_000 || ms > 30_300 {
			w.seen(1, at(ms))
		}
	}
	for _, c := range []struct{ from, to, want, lane int }{
		{4000, 10_000, 1220, 0}, {5500, 10_000, 1220, 0}, {7000, 20_000, 0, 0}, {29_000, 31_000, 320, 1}, {0, 59_000, 1220, 0},
	} {
		if lane, got := w.longest(at(c.from), at(c.to)); got.length() != time.Duration(c.want)*time.Millisecond || c.want > 0 && lane != c.lane {
			t.Errorf("between %d and %d ms: lane %d %v, want lane %d %d ms", c.from, c.to, lane, got.length(), c.lane, c.want)
		}
	}
}

func TestLaneOfAResult(t *testing.T) {
	for value, want := range map[string]int{"events/5/12": 5, "events/0/0": 0, "events/5": -1, "events/x/1": -1, "events/-1/1": -1} {
		lane, ok := laneOf(&kgo.Record{Headers: []kgo.RecordHeader{{Key: "lapwing-alert"}, {Key: "lapwing-source", Value: []byte(value)}}})
		if !ok {
			lane = -1
		}
		if lane != want {
			t.Errorf("%s: lane %d, want %d", value, lane, want)
		}
	}
}

// TestReportedLossIsCountedOnce reads a log in which a start was cut off and reported its hole again.
func TestReportedLossIsCountedOnce(t *testing.T) {
	r := Result{lost: map[lostKey]bool{}}
	r.addLost(`{"msg":"x","partition":1,"lost_replay":4,"lost_unjudged":7,"judge_from":50}
{"msg":"x","partition":1,"lost_replay":4,"lost_unjudged":7,"judge_from":50}
not JSON lost_unjudged
{"msg":"x","partition":2,"lost_unjudged":5,"judge_from":50}
`)
	r.addLost(`{"msg":"x","partition":1,"lost_unjudged":3,"judge_from":90}`)
	if r.Unjudged != 15 {
		t.Errorf("%d records, want 15", r.Unjudged)
	}
}
