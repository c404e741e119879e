package consumertest

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/lapwing/lapwing/consumer/contract"
)

func TestGeneratorRepeats(t *testing.T) {
	a, b := NewGenerator(everything), NewGenerator(everything)
	other := everything
	other.Seed++
	c := NewGenerator(other)
	differs := false
	for i := range 5000 {
		x, y := a.Next(), b.Next()
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("record %d differs under one seed: %+v %+v", i, x, y)
		}
		differs = differs || !reflect.DeepEqual(x, c.Next())
	}
	if !differs {
		t.Error("another seed made the same records")
	}
}

// TestGeneratorKeepsItsPromises checks shares, users, lateness and the stability of earlier slices.
func TestGeneratorKeepsItsPromises(t *testing.T) {
	const n = 30_000
	g := NewGenerator(EventOptions{Seed: 3, Users: 50, UserFirst: 100, Bad: 0.1, Tombstones: 0.05, Headers: 0.5})
	latest := map[string]int64{}
	var bad, tombstones, withHeaders, late int
	users := map[int64]bool{}
	var first []Input
	var copies []string
	for i := range n {
		in := g.Next()
		if i < 1000 {
			first, copies = append(first, in), append(copies, string(in.Key)+" "+string(in.Value))
		}
		switch in.Kind {
		case KindBad:
			bad++
			continue
		case KindTombstone:
			tombstones++
			continue
		}
		if len(in.Headers) > 0 {
			withHeaders++
		}
		var ev inputEvent
		if err := json.Unmarshal(in.Value, &ev); err != nil {
			t.Fatalf("%s: %v", in.Value, err)
		}
		users[*ev.UserID] = true
		by := latest[*ev.Type]
		if behind := by - *ev.Time; behind > 30 {
			t.Fatalf("%s is %d s behind the latest", in.Value, behind)
		} else if behind > 0 {
			late++
		}
		latest[*ev.Type] = max(by, *ev.Time)
	}
	for i := range first {
		if got := string(first[i].Key) + " " + string(first[i].Value); got != copies[i] {
			t.Fatalf("record %d changed from %s to %s", i, copies[i], got)
		}
	}
	near := func(what string, got, want int) {
		if got < want*9/10 || got > want*11/10 {
			t.Errorf("%s: %d of %d records, want about %d", what, got, n, want)
		}
	}
	near("bad", bad, n/10)
	near("tombstones", tombstones, n/20)
	near("headers", withHeaders, (n-bad-tombstones)/2)
	if len(users) != 50 || users[99] || users[150] {
		t.Errorf("%d users, want 100..149", len(users))
	}
	if late < n/6 {
		t.Errorf("only %d events are late", late)
	}
}

func TestGeneratorZipf(t *testing.T) {
	g := NewGenerator(EventOptions{Seed: 1, Users: 1000, Zipf: 1.2})
	count := map[int64]int{}
	for range 10_000 {
		count[g.Next().User]++
	}
	if count[0] < 1000 {
		t.Errorf("the most frequent user has %d of 10000 events, want far more than the mean of 10", count[0])
	}
}

func TestGeneratorHot(t *testing.T) {
	const n = 10_000
	g := NewGenerator(EventOptions{Seed: 1, Users: 100, UserFirst: 7, Hot: 0.5})
	count := map[int64]int{}
	for range n {
		count[g.Next().User]++
	}
	// Half of all, and its part of a hundred of the others.
	if count[7] < 4850 || count[7] > 5250 {
		t.Errorf("the hot user has %d of %d events, want about 5050", count[7], n)
	}
	if len(count) != 100 {
		t.Errorf("%d users, want 100", len(count))
	}
}

// TestBadVariants holds each planted value against the decoder that names the reasons.
func TestBadVariants(t *testing.T) {
	g := NewGenerator(EventOptions{Seed: 1})
	decoder := contract.NewDecoder(contract.DecoderOptions{})
	for _, reason := range BadReasons() {
		for variant := range BadVariants(reason) {
			for _, user := range []int64{0, 1, 999} {
				in := g.Bad(reason, variant, user)
				var ev contract.Event
				refusal := decoder.Decode(in.Value, -1, &ev)
				if refusal == nil || string(refusal.Reason) != reason {
					t.Errorf("%.200q: %v, want %s", in.Value, refusal, reason)
				}
			}
		}
	}
	var known []string
	for _, reason := range contract.Reasons() {
		if reason != contract.ReasonWrongPartition {
			known = append(known, string(reason))
		}
	}
	planted := BadReasons()
	slices.Sort(known)
	slices.Sort(planted)
	if !slices.Equal(known, planted) {
		t.Errorf("planted reasons %v are not all of %v", planted, known)
	}
}

func BenchmarkGenerator(b *testing.B) {
	g := NewGenerator(EventOptions{Users: 100_000})
	b.ReportAllocs()
	for b.Loop() {
		g.Next()
	}
}

// TestGeneratorOrdinary: every amount has two decimals, there is no unknown member, and the times ascend.
func TestGeneratorOrdinary(t *testing.T) {
	g := NewGenerator(EventOptions{Ordinary: true, LatenessMax: -1})
	form := regexp.MustCompile(`^\{"type":"(deposit|withdraw)","amount":"[0-9]+\.[0-9]{2}","user_id":[0-9]+,"time":([0-9]+)\}$`)
	last := 0
	for range 10_000 {
		value := g.Next().Value
		m := form.FindSubmatch(value)
		if m == nil {
			t.Fatalf("%s", value)
		}
		at, err := strconv.Atoi(string(m[2]))
		if err != nil || at < last {
			t.Fatalf("time %d after %d, %v", at, last, err)
		}
		last = at
	}
}
