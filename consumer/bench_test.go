package consumer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// BenchmarkLane measures an event's way through a lane without the network: decode, judge, encode the result. Users are
// uniform, which is the worst case for the processor's caches.
func BenchmarkLane(b *testing.B) {
	for _, detail := range []contract.Detail{contract.DetailMinimal, contract.DetailFull} {
		for _, users := range []int{1_000, 100_000} {
			name := "minimal"
			if detail == contract.DetailFull {
				name = "full"
			}
			b.Run(fmt.Sprintf("%s/users=%d", name, users), func(b *testing.B) { benchmarkLane(b, detail, users) })
		}
	}
}

func benchmarkLane(b *testing.B, detail contract.Detail, users int) {
	e := idleEngine(b, 1)
	e.options.Detail = detail
	e.cacheMax, e.dirtyMax = 1<<30, 1<<30
	e.options.BatchRecordsMax, e.options.FlushInterval = 1<<30, 1<<40
	e.options.LaneBytesMax = 1 << 40
	t := idleTenure(b, e, 0)
	const chunkRecords = 5_000
	rng := rand.New(rand.NewPCG(1, 1))
	values := make([][]byte, 64*chunkRecords)
	for i := range values {
		kind := "deposit"
		if rng.IntN(2) == 0 {
			kind = "withdraw"
		}
		values[i] = []byte(event(kind, fmt.Sprintf("%d.%02d", 1+rng.IntN(130), rng.IntN(100)), rng.IntN(users), 1_700_000_000+i/1000))
	}
	b.ReportAllocs()
	c := new(chunk)
	offset := int64(0)
	events := 0
	for b.Loop() {
		c.records, c.bytes, c.done = c.records[:0], c.bytes[:0], 0
		at := int(offset) % len(values)
		for i := range chunkRecords {
			rec := wire.Record{Offset: offset, Value: values[at+i]}
			c.records = append(c.records, record{offset: offset})
			t.readers[0].decode(c, &c.records[i], &rec)
			offset++
		}
		c.next = offset
		if err := t.consume(b.Context(), c, math.MaxInt64); err != nil {
			b.Fatal(err)
		}
		if t.take() == nil {
			b.Fatal("nothing judged")
		}
		t.settle()
		events += chunkRecords
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
}
