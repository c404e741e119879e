package consumer

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// judged decodes and judges records of one lane, none of which is null, and calls fn for each of their parcels.
func judged(t *testing.T, e *Engine, records []*wire.Record, fn func(*parcel)) {
	t.Helper()
	tn := idleTenure(t, e, 0)
	c := &chunk{next: int64(len(records))}
	for i, rec := range records {
		rec.Offset = int64(i)
		c.records = append(c.records, record{offset: rec.Offset})
		tn.readers[0].decode(c, &c.records[i], rec)
	}
	done := make(chan error, 1)
	go func() { done <- tn.consume(t.Context(), c, math.MaxInt64) }() // ends when all parcels are taken, or with the test
	deadline := time.Now().Add(10 * time.Second)
	for taken := 0; taken < len(records); {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d records after 10s", taken, len(records))
		}
		p := tn.take()
		if p == nil {
			runtime.Gosched()
			continue
		}
		taken += p.records()
		fn(p)
		tn.settle()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestLeastFits lets every result and dead letter be cut to its least: none is larger than the limit below which a lane
// stops, whatever user, amount and reason it has.
func TestLeastFits(t *testing.T) {
	e := idleEngine(t, 1)
	e.limits.output.takes.Store(int64(e.limits.output.least))
	e.limits.dead.takes.Store(int64(e.limits.dead.least))
	if err := e.limits.check(); err != nil {
		t.Fatal(err)
	}
	var records []*wire.Record
	for i := range 200 { // the same user rises, withdraws and sums up: all rules are raised by the end
		text := event("withdraw", "100.000000000000000001", 1<<60, 1000)
		if i%4 != 3 {
			text = event("deposit", fmt.Sprintf("%d.000000000000000001", 1000+i), 1<<60, 1000)
		}
		if i%10 == 9 {
			text = strings.Repeat("x", 70_000)
		}
		records = append(records, &wire.Record{Key: bytes.Repeat([]byte("k"), 3000), Value: []byte(text)})
	}
	results, dead, parcels := 0, 0, 0
	judged(t, e, records, func(p *parcel) {
		parcels++
		results += p.counts.results
		dead += p.records() - p.counts.events
		for _, b := range p.batches {
			if limit := e.limits.of(b.Topic()); b.Len() > limit.least {
				t.Errorf("a batch of %d records of %s has %d bytes, the least that it must take is %d", b.Count(), b.Topic(), b.Len(), limit.least)
			}
		}
		if p.further > furtherMax {
			t.Errorf("%d batches of a parcel follow another", p.further)
		}
	})
	if results != 180 || dead != 20 || parcels < 3 {
		t.Fatalf("%d results and %d dead letters in %d parcels, want 180 and 20 in 3 at least", results, dead, parcels)
	}
	if e.limits.dead.least > contract.DeadLetterReserve {
		t.Errorf("the least dead letter has %d bytes, the reserve is %d", e.limits.dead.least, contract.DeadLetterReserve)
	}
}

// TestTopicTakesTooLittle checks that a lane stops, with a message that says why, before it judges what it could not
// write.
func TestTopicTakesTooLittle(t *testing.T) {
	for _, topic := range []string{"alerts", "events.dead"} {
		e := idleEngine(t, 1)
		limit := e.limits.of(topic)
		limit.takes.Store(int64(limit.least) - 1)
		tn := idleTenure(t, e, 0)
		c := &chunk{next: 1, records: []record{{}}}
		tn.readers[0].decode(c, &c.records[0], &wire.Record{Value: []byte(event("deposit", "1", 1, 1))})
		err := tn.consume(t.Context(), c, math.MaxInt64)
		var stop *stopError
		if !errors.As(err, &stop) || stop.cause != causeTakesLess || !strings.Contains(err.Error(), "topic "+topic+" takes") {
			t.Errorf("%s: %v", topic, err)
		}
		if tn.position != 0 || tn.take() != nil {
			t.Errorf("%s: something was judged", topic)
		}
	}
}

// TestChunkBounds fills a chunk with the smallest records and with those that are kept whole: it is full before it takes
// much more than its bounds.
func TestChunkBounds(t *testing.T) {
	e := idleEngine(t, 1)
	r := newReader(e, e.layout, 0, 0, make(chan struct{}, 1))
	for name, rec := range map[string]*wire.Record{
		"small": {Value: []byte(event("deposit", "1", 1, 1))},
		"large": {Value: bytes.Repeat([]byte("x"), 100_000)},
	} {
		c := new(chunk)
		for i := 0; !c.full(); i++ {
			if i > chunkRecordsMax {
				t.Fatalf("%s: %d records are not enough", name, i)
			}
			c.records = append(c.records, record{offset: int64(i)})
			r.decode(c, &c.records[i], rec)
		}
		if len(c.records) > chunkRecordsMax || len(c.bytes) > chunkBytesMax+100_000 {
			t.Errorf("%s: %d records, %d bytes", name, len(c.records), len(c.bytes))
		}
		c.reset()
		if c.full() || len(c.records) != 0 || cap(c.bytes) > 2*chunkBytesMax {
			t.Errorf("%s: after reset %d records, room for %d bytes", name, len(c.records), cap(c.bytes))
		}
	}
}
