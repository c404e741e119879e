package consumer

import "testing"

// TestParcelReset checks that a parcel used again knows nothing of its former life.
func TestParcelReset(t *testing.T) {
	p := newParcel()
	p.reset(5)
	p.resultBatch("out", 1).Append(1, []byte("k"), []byte("value"))
	p.deadBatch("dead", 0).Append(1, nil, []byte("a longer value"))
	p.counts.dead["not_json"]++
	p.counts.alerts[30]++
	p.counts.events++
	p.to = 7
	if p.empty() || p.records() != 2 || len(p.batches) != 2 {
		t.Fatalf("%+v", p)
	}
	if p.resultBatch("out", 1).Count() != 1 {
		t.Fatal("a second record of the partition starts a second batch")
	}
	p.reset(7)
	if !p.empty() || p.records() != 0 || p.bytesMax() != 0 || len(p.batches) != 0 || p.counts.alerts[30] != 0 {
		t.Fatalf("after reset: %+v", p)
	}
	if b := p.resultBatch("other", 3); b.Count() != 0 || b.Topic() != "other" || b.Partition() != 3 {
		t.Fatalf("a spare batch remembers %s/%d with %d records", b.Topic(), b.Partition(), b.Count())
	}
}
