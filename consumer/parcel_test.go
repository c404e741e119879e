package consumer

import (
	"slices"
	"testing"
)

// TestParcelReset checks that a parcel used again knows nothing of its former life.
func TestParcelReset(t *testing.T) {
	p := newParcel()
	p.reset(5)
	p.resultBatch("out", 1, 10, 1000).Append(1, []byte("k"), []byte("value"))
	p.deadBatch("dead", 0, 10, 1000).Append(1, nil, []byte("a longer value"))
	p.counts.dead["not_json"]++
	p.counts.alerts[30]++
	p.counts.events++
	p.to = 7
	if p.empty() || p.records() != 2 || len(p.batches) != 2 {
		t.Fatalf("%+v", p)
	}
	if p.resultBatch("out", 1, 10, 1000).Count() != 1 {
		t.Fatal("a second record of the partition starts a second batch")
	}
	p.reset(7)
	if !p.empty() || p.records() != 0 || p.bytes() != 0 || len(p.batches) != 0 || p.counts.alerts[30] != 0 {
		t.Fatalf("after reset: %+v", p)
	}
	if b := p.resultBatch("other", 3, 10, 1000); b.Count() != 0 || b.Topic() != "other" || b.Partition() != 3 {
		t.Fatalf("a spare batch remembers %s/%d with %d records", b.Topic(), b.Partition(), b.Count())
	}
}

// TestParcelSplits checks that a destination gets a second batch where the first is full, and that order is kept.
func TestParcelSplits(t *testing.T) {
	p := newParcel()
	p.reset(0)
	value := make([]byte, 300)
	for range 7 {
		p.resultBatch("out", 1, len(value)+50, 1000).Append(1, nil, value)
	}
	p.resultBatch("out", 1, 5000, 1000).Append(1, nil, make([]byte, 5000)) // larger than the limit: alone
	p.resultBatch("out", 1, len(value)+50, 1000).Append(1, nil, value)
	var counts []int
	for _, b := range p.batches {
		counts = append(counts, b.Count())
	}
	if want := []int{2, 2, 2, 1, 1, 1}; !slices.Equal(counts, want) {
		t.Fatalf("records by batch: %v, want %v", counts, want)
	}
}
