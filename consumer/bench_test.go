package consumer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/trace"
	"github.com/lapwing/lapwing/consumer/wire"
)

// BenchmarkLane measures an event's way through a lane without the network: decode, judge, encode the result. Users are
// uniform, which is the worst case for the processor's caches. With 10,000 users states are as in most groups: compact, with
// three buckets a type; with 1,000 they are packed or large.
func BenchmarkLane(b *testing.B) {
	for _, detail := range []contract.Detail{contract.DetailMinimal, contract.DetailFull} {
		for _, users := range []int{1_000, 10_000, 100_000} {
			name := "minimal"
			if detail == contract.DetailFull {
				name = "full"
			}
			b.Run(fmt.Sprintf("%s/users=%d", name, users), func(b *testing.B) { benchmarkLane(b, detail, users, nil) })
		}
	}
}

// BenchmarkLaneTraced is the same with a share of the events traced. None: what tracing costs those who have it off is in
// BenchmarkLane, by deploy/bench/instructions.
func BenchmarkLaneTraced(b *testing.B) {
	for _, ratio := range []float64{0, 0.001, 0.01, 1} {
		b.Run(fmt.Sprintf("ratio=%v", ratio), func(b *testing.B) {
			benchmarkLane(b, contract.DetailMinimal, 10_000, &trace.Tracer{Sink: new(lostSpans), Ratio: ratio, BatchEventsMax: 100})
		})
	}
}

// lostSpans is a sink that keeps nothing.
type lostSpans struct{}

func (*lostSpans) Take([]trace.Span) {}
func (*lostSpans) Drop(int)          {}

func benchmarkLane(b *testing.B, detail contract.Detail, users int, tracer *trace.Tracer) {
	e := idleEngine(b, 1)
	e.options.Detail, e.options.Tracer = detail, tracer
	e.cacheMax, e.dirtyMax = 1<<30, 1<<30
	e.options.BatchRecordsMax, e.options.FlushInterval = 1<<30, 1<<40
	e.options.LaneBytesMax = 1 << 40
	t := idleTenure(b, e, 0)
	const chunkRecords = 5_000
	rng := rand.New(rand.NewPCG(1, 1))
	events := make([][]byte, 8*chunkRecords) // without their times, which go on and on
	for i := range events {
		kind := "deposit"
		if rng.IntN(2) == 0 {
			kind = "withdraw"
		}
		whole := event(kind, fmt.Sprintf("%d.%02d", 1+rng.IntN(130), rng.IntN(100)), rng.IntN(users), 0)
		events[i] = []byte(strings.TrimSuffix(whole, "0}"))
	}
	var value []byte
	b.ReportAllocs()
	c := new(chunk)
	offset := int64(0)
	for b.Loop() {
		c.records, c.bytes, c.done = c.records[:0], c.bytes[:0], 0
		for i := range chunkRecords {
			value = append(value[:0], events[offset%int64(len(events))]...)
			value = append(strconv.AppendInt(value, 1_700_000_000+offset/1000, 10), '}')
			rec := wire.Record{Offset: offset, Value: value}
			c.records = append(c.records, record{offset: offset})
			t.readers[0].decode(c, &c.records[i], &rec)
			offset++
		}
		c.next = offset
		if err := t.consume(b.Context(), c, math.MaxInt64); err != nil {
			b.Fatal(err)
		}
		p := t.take()
		if p == nil {
			b.Fatal("nothing judged")
		}
		e.traceCommit([]load{{t, p}}, time.Now())
		t.settle()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(offset), "ns/event")
}
