package consumer

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// idleEngine is an engine whose client is never asked: for the parts between reading and committing.
func idleEngine(tb testing.TB, lanes int32) *Engine {
	tb.Helper()
	client, err := wire.New(wire.Options{Brokers: []string{"127.0.0.1:1"}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.Close)
	o := DefaultOptions()
	o.Client, o.Store, o.Rules, o.Brokers = client, state.NewMemory(), rules.Builtin(), []string{"127.0.0.1:1"}
	o.Logger = slog.New(slog.DiscardHandler)
	e, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	e.sources = []source{{topic: o.Inputs[0]}}
	e.topics = topicFacts{outputs: lanes, dead: lanes}
	e.layout = newLayout(e.sources, lanes, o.Partitioner, e.options.settingsText())
	e.cacheMax, e.dirtyMax = 1000, 1000
	return e
}

// idleTenure is a tenure of a claimed lane that nothing runs.
func idleTenure(tb testing.TB, e *Engine, lane int32) *tenure {
	tb.Helper()
	fence, err := e.options.Store.Claim(context.Background(), lane)
	if err != nil {
		tb.Fatal(err)
	}
	return newTenure(e, heldLane(e, fence, lane), func() {}, lanePlan{incarnation: 1, sources: make([]sourcePlan, len(e.sources))},
		state.Checkpoint{Layout: e.layout.String(), Incarnation: 1})
}

// heldLane is a lane of the only era.
func heldLane(e *Engine, fence state.Lane, lane int32) claimedLane {
	first := lineage{}.restarted(newEra(e.layout, e.sources))
	return claimedLane{number: lane, fence: fence, lineage: &first, layout: e.layout}
}

// FuzzConservation feeds arbitrary keys and values through decoding and judging: whatever comes, nothing crashes, and
// each input record becomes exactly one result, dead letter, copy or tombstone.
func FuzzConservation(f *testing.F) {
	f.Add([]byte("1"), []byte(`{"type":"deposit","amount":"1","user_id":1,"time":1}`), true)
	f.Add([]byte(nil), []byte(`{"type":"withdraw","amount":"1e9","user_id":1,"time":1}`), false)
	f.Add([]byte{0xff}, []byte{0, 0, 0, 0, 7, '{', '}'}, true)
	f.Add([]byte("k"), bytes.Repeat([]byte("x"), 70_000), false)
	e := idleEngine(f, 2)
	e.sources = append(e.sources, source{topic: e.options.rekeyTopic(), rekey: true})
	f.Fuzz(func(t *testing.T, key, value []byte, null bool) {
		tn := idleTenure(t, e, 0)
		tn.open.reset(0, 0)
		values := [][]byte{value, []byte(event("deposit", "1", 1, 1)), value}
		if null {
			values = append(values, nil)
		}
		c := new(chunk)
		for i, v := range values {
			rec := &wire.Record{Offset: int64(i), TimeMillis: 5, Key: key, Value: v}
			c.records = append(c.records, record{offset: rec.Offset})
			tn.readers[0].decode(c, &c.records[i], rec)
		}
		c.next = int64(len(values))
		if err := tn.consume(t.Context(), c, math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		p := tn.take()
		dead := 0
		for _, n := range p.counts.dead {
			dead += n
		}
		published, buried, copies := 0, 0, 0
		for _, b := range p.batches {
			switch b.Topic() {
			case e.options.Output:
				published += b.Count()
			case e.options.DeadLetters:
				buried += b.Count()
			case e.options.rekeyTopic():
				copies += b.Count()
			}
		}
		if published != p.counts.results || buried != dead || copies != p.counts.forwarded ||
			p.counts.results+dead+copies+p.counts.tombstones != len(values) || p.to != c.next {
			t.Fatalf("%d records: %d results (%d written), %d dead letters (%d written), %d copies (%d written), %d tombstones, next %d",
				len(values), p.counts.results, published, dead, buried, p.counts.forwarded, copies, p.counts.tombstones, p.to)
		}
	})
}

// TestParcelLimits checks that no batch grows beyond its limit except by a single dead letter, and that the judge waits
// for the committer then.
func TestParcelLimits(t *testing.T) {
	e := idleEngine(t, 1)
	e.limits.output.joint, e.limits.dead.joint = 4<<10, 4<<10
	e.options.LaneBytesMax = 8 << 10
	tn := idleTenure(t, e, 0)
	c := new(chunk)
	big := bytes.Repeat([]byte("x"), 100_000)
	for i := range 300 {
		v := []byte(event("withdraw", "150", i, 1))
		if i%50 == 49 {
			v = big
		}
		rec := &wire.Record{Offset: int64(i), Value: v}
		c.records = append(c.records, record{offset: rec.Offset})
		tn.readers[0].decode(c, &c.records[i], rec)
	}
	c.next = 300
	judged := make(chan error, 1)
	go func() { judged <- tn.consume(t.Context(), c, math.MaxInt64) }()
	records, parcels := 0, 0
	for deadline := time.Now().Add(10 * time.Second); records < 300; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 300 records after 10s", records)
		}
		p := tn.take()
		if p == nil {
			continue
		}
		parcels++
		records += p.records()
		for _, b := range p.batches {
			if b.Len() > 4<<10 && b.Count() > 1 {
				t.Errorf("a batch of %d records has %d bytes", b.Count(), b.Len())
			}
		}
		tn.settle()
	}
	if err := <-judged; err != nil {
		t.Fatal(err)
	}
	if parcels < 10 {
		t.Errorf("%d parcels: the limit was not met", parcels)
	}
}

// TestDeadLetterIsCut checks that a record larger than the topic takes is cut to fit and says so.
func TestDeadLetterIsCut(t *testing.T) {
	e := idleEngine(t, 1)
	e.limits.dead.takes.Store(10_000)
	tn := idleTenure(t, e, 0)
	c := &chunk{next: 1, records: []record{{}}}
	tn.readers[0].decode(c, &c.records[0], &wire.Record{Key: []byte("key"), Value: bytes.Repeat([]byte("x"), 100_000)})
	if err := tn.consume(t.Context(), c, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	p := tn.take()
	if p.dead == nil || p.dead.Count() != 1 || p.dead.Len() > 10_000 || p.dead.Len() < 9_000-contract.DeadLetterReserve {
		t.Fatalf("the dead letter's batch has %d bytes, want just below 10000", p.dead.Len())
	}
}
