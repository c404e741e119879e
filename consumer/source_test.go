package consumer

import (
	"bytes"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// TestBoundaryText writes boundaries and reads them back, and refuses everything else.
func TestBoundaryText(t *testing.T) {
	b := boundary{from: []int64{100, 5}, segments: []segment{{0, 110}, {1, 9}, {0, 120}}}
	const text = "100,5 0:110 1:9 0:120"
	if got := string(b.append(nil)); got != text {
		t.Errorf("written as %q, want %q", got, text)
	}
	if got, err := parseBoundary(text); err != nil || !reflect.DeepEqual(got, b) {
		t.Errorf("read as %+v, %v", got, err)
	}
	for _, bad := range []string{
		"", "100,5", "100 0:110", "100,5,1 3:110", "100,5 2:110", "100,5 0:100", "100,5 0:99", "100,5 0:110 0:105", "100,5 0:x",
		"100,5 :110", "100,5 0", "100,-5 0:110", "100,5  0:110", "100,5 0:110 ", "100,5 -1:110", "100,5 0:9223372036854775808",
		"100,5" + strings.Repeat(" 0:101", segmentsMax+1),
	} {
		if got, err := parseBoundary(bad); err == nil {
			t.Errorf("%.60q is read as %+v", bad, got)
		}
	}
}

// strayTenure is a tenure of lane 0 of two, which also reads the rekey topic.
func strayTenure(t *testing.T) *tenure {
	e := idleEngine(t, 2)
	e.sources = []source{{topic: "events"}, {topic: "lapwing.rekey", rekey: true}}
	return idleTenure(t, e, 0)
}

// feed has a tenure judge records of a source, from an offset on, and the place after them.
func feed(t *testing.T, tn *tenure, source int, next int64, records ...*wire.Record) {
	t.Helper()
	c := &chunk{source: source, next: next}
	for i, rec := range records {
		c.records = append(c.records, record{offset: rec.Offset, source: int8(source)})
		tn.readers[source].decode(c, &c.records[i], rec)
	}
	if err := tn.consume(t.Context(), c, 1<<62); err != nil {
		t.Fatal(err)
	}
}

// written returns what a parcel writes to a topic, by partition.
func written(p *parcel, topic string) map[int32]int {
	n := map[int32]int{}
	for _, b := range p.batches {
		if b.Topic() == topic {
			n[b.Partition()] += b.Count()
		}
	}
	return n
}

// TestBoundaries counts the boundaries of parcels: none as long as the input alone is judged, one where the source changes,
// and none for a boundary that is read.
func TestBoundaries(t *testing.T) {
	tn := strayTenure(t)
	// By murmur2 user 1 belongs to partition 0 of 2 (Java: toPositive(murmur2("1".getBytes())) % 2).
	mine := int64(1)
	for contract.Murmur2.UserPartition(mine, 2) != 0 {
		mine++
	}
	at := func(offset int64) *wire.Record {
		return &wire.Record{Offset: offset, Value: []byte(event("deposit", "1", int(mine), 1))}
	}
	take := func(boundaries int) {
		t.Helper()
		p := tn.take()
		if p == nil {
			t.Fatal("nothing is taken")
		}
		if n := written(p, "lapwing.rekey"); n[0] != boundaries || n[1] != 0 {
			t.Errorf("%d boundaries, want %d", n[0], boundaries)
		}
		tn.settle()
	}
	feed(t, tn, 0, 10, at(8), at(9))
	take(0)
	feed(t, tn, 0, 12, at(10), at(11))
	feed(t, tn, 1, 3, at(1)) // what was in between were boundaries and markers
	take(1)
	if want := []int64{12, 2}; !reflect.DeepEqual(tn.at, want) || tn.reached[1] != 3 {
		t.Errorf("the place is %d (reached %d), want %d and 3", tn.at, tn.reached, want)
	}
	read := &chunk{source: 1, next: 5, records: []record{{offset: 3, source: 1, kind: kindBoundary}}}
	if err := tn.consume(t.Context(), read, 1<<62); err != nil {
		t.Fatal(err)
	}
	take(0) // only the committed offset moves
	if tn.position != 14 || tn.committed.quiet != 5 {
		t.Errorf("a boundary has moved the lane to %d, and the committed offset to %d, want 14 and 5", tn.position, tn.committed.quiet)
	}
	feed(t, tn, 0, 13, at(12))
	take(1)
	feed(t, tn, 0, 14, at(13))
	take(0)
}

// TestForward sends a record that another lane owns to it, with all that it has, and reads it there.
func TestForward(t *testing.T) {
	tn := strayTenure(t)
	other := int64(1)
	for contract.Murmur2.UserPartition(other, 2) != 1 {
		other++
	}
	feed(t, tn, 0, 8, &wire.Record{Offset: 7, TimeMillis: 5000, Value: []byte(event("deposit", "1", int(other), 1))})
	p := tn.take()
	if n := written(p, "lapwing.rekey"); n[1] != 1 || n[0] != 0 || len(p.batches) != 1 || p.counts.forwarded != 1 || p.counts.events != 0 {
		t.Fatalf("written %v, %+v", n, p.counts)
	}
	if p.records() != 1 {
		t.Errorf("%d records, want 1", p.records())
	}
}

// TestQuietIsNoLag starts a lane behind whose last copy only boundaries and markers stand: to the watch it has nothing to do.
func TestQuietIsNoLag(t *testing.T) {
	e := idleEngine(t, 2)
	e.sources = []source{{topic: "events"}, {topic: "lapwing.rekey", rekey: true}}
	fence, err := e.options.Store.Claim(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	p := lanePlan{sources: []sourcePlan{{plan: plan{judgeFrom: 100}}, {plan: plan{judgeFrom: 9}, quiet: 12}}}
	p.sum()
	tn := newTenure(e, heldLane(e, fence, 0), func() {}, p, state.Checkpoint{Layout: e.layout.String(), Incarnation: 1})
	if n := tn.progress.committed.Load(); n != 112 || tn.committedOffset() != 109 {
		t.Errorf("committed %d, with what is quiet behind it %d, want 109 and 112", tn.committedOffset(), n)
	}
}

// TestFit counts what the records fit and says it once.
func TestFit(t *testing.T) {
	key := func(user int64) []byte { return strconv.AppendInt(nil, user, 10) }
	for name, c := range map[string]struct {
		by   contract.Partitioner
		keys bool
		want string // "": nothing is said
	}{
		"the configured one": {by: contract.Murmur2, keys: true},
		"another":            {by: contract.CRC32, keys: true, want: "kafka.partitioner: crc32 would spare forwarding"},
		"no keys":            {by: contract.CRC32, want: "are forwarded"},
	} {
		t.Run(name, func(t *testing.T) {
			e := idleEngine(t, 6)
			var log bytes.Buffer
			e.log = slog.New(slog.NewTextHandler(&log, nil))
			for user := range int64(fitRecords + 100) {
				lane := c.by.UserPartition(user, 6)
				k := key(user)
				if !c.keys {
					k = nil
				}
				e.fit.note(&reader{engine: e, layout: e.layout, lane: lane}, k, contract.Murmur2.UserPartition(user, 6) != lane)
			}
			switch text := log.String(); {
			case c.want == "" && text != "":
				t.Errorf("it says %q", text)
			case strings.Count(text, "\n") > 1 || !strings.Contains(text, c.want):
				t.Errorf("it says %q, want one line with %q", text, c.want)
			}
			if e.fit.events != fitRecords {
				t.Errorf("%d events counted", e.fit.events)
			}
		})
	}
}
