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
