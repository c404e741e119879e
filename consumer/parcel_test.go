package consumer

import (
	"slices"
	"testing"
)

// TestParcelReset checks that a parcel used again knows nothing of its former life.
func TestParcelReset(t *testing.T) {
	p := newParcel()
	p.reset(5)
	out, dead := limitOf("out", 1000, 1000), limitOf("dead", 1000, 1000)
	result := &message{timeMillis: 1, key: []byte("k"), value: []byte("value")}
	if !p.addResult(1, out, 1000, result) || !p.addDead(0, dead, 1000, &message{timeMillis: 1, value: []byte("a longer value")}) {
		t.Fatal("a small record is refused")
	}
	p.counts.dead["not_json"]++
	p.counts.buried++
	p.counts.alerts[30]++
	p.counts.events++
	p.to = 7
	if p.empty() || p.records() != 2 || len(p.batches) != 2 {
		t.Fatalf("%+v", p)
	}
	if !p.addResult(1, out, 1000, result) || len(p.batches) != 2 || p.results[1].Count() != 2 {
		t.Fatal("a second record of the partition starts a second batch")
	}
	p.reset(7)
	if !p.empty() || p.records() != 0 || p.bytes() != 0 || len(p.batches) != 0 || p.counts.alerts[30] != 0 {
		t.Fatalf("after reset: %+v", p)
	}
	if !p.addResult(3, limitOf("other", 1000, 1000), 1000, result) {
		t.Fatal("a small record is refused")
	}
	if b := p.results[3]; b.Count() != 1 || b.Topic() != "other" || b.Partition() != 3 {
		t.Fatalf("a spare batch remembers %s/%d with %d records", b.Topic(), b.Partition(), b.Count())
	}
}

// limitOf is a topic that takes so many bytes in a batch of several records and in one of a single record.
func limitOf(topic string, joint, takes int) *topicLimit {
	l := &topicLimit{topic: topic, joint: joint}
	l.takes.Store(int64(takes))
	return l
}

// TestParcelSplits checks that a destination gets a second batch where the first is full, and that order is kept.
func TestParcelSplits(t *testing.T) {
	p := newParcel()
	p.reset(0)
	limit := limitOf("out", 1000, 8000)
	add := func(bytes int) bool {
		return p.addResult(1, limit, limit.single(), &message{timeMillis: 1, value: make([]byte, bytes)})
	}
	for range 7 {
		add(300)
	}
	if add(9000) {
		t.Error("a record is taken that is larger than the topic takes")
	}
	if !add(5000) { // larger than a batch of several may be: alone
		t.Error("a record that the topic takes is refused")
	}
	add(300)
	var counts []int
	for _, b := range p.batches {
		counts = append(counts, b.Count())
	}
	// A record of 300 bytes takes 310, the header of a batch 61.
	if want := []int{3, 3, 1, 1, 1}; !slices.Equal(counts, want) || p.further != 4 {
		t.Fatalf("records by batch: %v, want %v; %d follow another, want 4", counts, want, p.further)
	}
}

// TestLend fills parcels of lanes that may have 10 records each: what all together leave of half is lent to those that are
// full.
func TestLend(t *testing.T) {
	for _, test := range []struct {
		taken []int // records, by lane; -1: nothing taken
		want  []int
	}{
		{[]int{9, 9, 0, 0}, []int{10, 10, 10, 10}},                   // none is full
		{[]int{10, 10, 10, 10}, []int{10, 10, 10, 10}},               // more than half
		{[]int{10, 0, 0, 0, 0, 0}, []int{20, 10, 10, 10, 10, 10}},    // at most twice as many
		{[]int{20, 4, -1, 0, -1, -1}, []int{16, 10, 10, 10, 10, 10}}, // 6 of 30 are left, and still lent
		{[]int{10, 10, 3, 0, 0, 0}, []int{13, 13, 10, 10, 10, 10}},   // 7 for two
		{[]int{10}, []int{10}},                                       // nobody to lend from
	} {
		var loads []load
		var all []*tenure
		for _, n := range test.taken {
			tn := idleTenure(t, idleEngine(t, 1), 0)
			tn.openMax = 10
			all = append(all, tn)
			if n >= 0 {
				loads = append(loads, load{tn, &parcel{counts: parcelCounts{events: n}}})
			}
		}
		for range lendAfter - 1 {
			lend(loads, len(all), 10)
		}
		for i, tn := range all {
			if tn.openMax != 10 {
				t.Errorf("taken %d: lane %d may have %d after %d transactions", test.taken, i, tn.openMax, lendAfter-1)
			}
		}
		lend(loads, len(all), 10)
		for i, tn := range all {
			if tn.openMax != test.want[i] {
				t.Errorf("taken %d: lane %d may have %d, want %d", test.taken, i, tn.openMax, test.want[i])
			}
		}
	}
}
