package consumertest

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkChecker takes records, judges them and compares perfect results in full detail, without a broker. It measures
// CPU time, since the machine may have other work; "peak" is the largest heap while pasts of users are known.
func BenchmarkChecker(b *testing.B) {
	const lanes, users, batch = 6, 100_000, 10_000
	o := CheckOptions{Inputs: []string{testInput}, Output: testOutput, DeadLetters: testDead}
	c := offlineChecker(o, lanes)
	g := NewGenerator(EventOptions{Seed: 1, Users: users})
	place := placer{topic: testInput, partitions: lanes, byKey: newKeyPartitioner()}
	records := make([]*kgo.Record, 0, batch)
	used := takeAndJudge(b, c, lanes, batch, func(int) *kgo.Record { return place.record(g.Next()) })
	var peak uint64
	records = records[:0]
	compare := func() {
		used += cpuTime(func() {
			for _, r := range records {
				c.record(r)
			}
		})
		records = records[:0]
	}
	for _, l := range c.x.lanes {
		if err := c.x.walk(l).to(l.end(), func(offset int64, e *expected, found []judged) {
			if records = append(records, c.perfect(l, offset, e, found)); len(records) == batch {
				compare()
			}
			if offset == l.end()-1 {
				peak = max(peak, heap())
			}
		}); err != nil {
			b.Fatal(err)
		}
	}
	compare()
	if err := c.report.Err(); err != nil || c.report.Results != b.N {
		b.Fatal(c.report, err)
	}
	b.ReportMetric(float64(peak)/float64(b.N), "peak-B/record")
	b.ReportMetric(float64(heap())/float64(b.N), "kept-B/record")
	b.ReportMetric(float64(b.N)/used.Seconds(), "records/CPU-s")
	runtime.KeepAlive(c)
}

// takeAndJudge has the checker take b.N records, which next makes and each of seen is told, and judge them. It returns the CPU
// time of the checker's part.
func takeAndJudge(b *testing.B, c *Checker, lanes, batch int, next func(made int) *kgo.Record, seen ...func(*kgo.Record)) (used time.Duration) {
	offsets := make([]int64, lanes)
	records := make([]*kgo.Record, 0, batch)
	for made := 0; made < b.N; {
		for records = records[:0]; len(records) < batch && made < b.N; made++ {
			r := next(made)
			r.Offset = offsets[r.Partition]
			offsets[r.Partition]++
			for _, tell := range seen {
				tell(r)
			}
			records = append(records, r)
		}
		used += cpuTime(func() {
			for _, r := range records {
				if err := c.x.add(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	used += cpuTime(func() {
		if err := c.sortUsers(); err != nil {
			b.Fatal(err)
		}
		for _, l := range c.x.lanes {
			if _, err := c.judge(l); err != nil {
				b.Fatal(err)
			}
		}
	})
	return used
}

// BenchmarkCheckerForwarded is BenchmarkChecker with every record in another partition than its user's: the pasts of all
// users are kept for the whole check, which "kept" holds.
func BenchmarkCheckerForwarded(b *testing.B) {
	const lanes, users, batch = 6, 100_000, 10_000
	c := offlineChecker(CheckOptions{Inputs: []string{testInput}, Output: testOutput, DeadLetters: testDead}, lanes)
	g := NewGenerator(EventOptions{Seed: 1, Users: users})
	to := placer{topic: testInput, partitions: lanes, byKey: newKeyPartitioner()}
	type at struct {
		partition int32
		offset    int64
	}
	var order []at
	records := make([]*kgo.Record, 0, batch)
	used := takeAndJudge(b, c, lanes, batch, func(made int) *kgo.Record {
		in := g.Next()
		in.Shift = 1 + made%(lanes-1)
		return to.record(in)
	}, func(r *kgo.Record) { order = append(order, at{r.Partition, r.Offset}) })
	pasts := map[int64]*history{}
	for from := range slices.Chunk(order, batch) {
		records = records[:0]
		for _, of := range from {
			l := c.x.lanes[of.partition]
			e := l.at(of.offset)
			if pasts[e.user] == nil {
				pasts[e.user] = new(history)
			}
			v, err := pasts[e.user].judge(int(e.typ), c.x.amounts[e.amount].value, e.time, of.offset)
			if err != nil {
				b.Fatal(err)
			}
			records = append(records, c.perfect(l, of.offset, e, []judged{{verdict: v}}))
		}
		used += cpuTime(func() {
			for _, r := range records {
				c.record(r)
			}
		})
	}
	pasts, order, records = nil, nil, nil
	if err := c.report.Err(); err != nil || c.report.Results != b.N || len(c.ordered) == 0 {
		b.Fatal(c.report, err)
	}
	b.ReportMetric(float64(heap())/float64(b.N), "kept-B/record")
	b.ReportMetric(float64(b.N)/used.Seconds(), "records/CPU-s")
	runtime.KeepAlive(c)
}

// heap returns the bytes in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// cpuTime returns what this process has used of all processors meanwhile.
func cpuTime(fn func()) time.Duration {
	used := func() (d time.Duration) {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			panic(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	fn()
	return used() - before
}

// offlineChecker is one that reads nothing.
func offlineChecker(o CheckOptions, partitions int32) *Checker {
	x, err := newExpectation(o, partitions)
	if err != nil {
		panic(err)
	}
	byOutput, err := newPartitioner("murmur2", partitions)
	if err != nil {
		panic(err)
	}
	return &Checker{
		o: o, x: x, partitions: map[string]int32{o.Output: partitions}, byOutput: byOutput, last: map[route]int64{},
	}
}

// perfect is the record of a result.
func (c *Checker) perfect(l *lane, offset int64, e *expected, found []judged) *kgo.Record {
	value := c.x.appendDue(nil, l, offset, e, &found[0].verdict)
	var alert byte = '0'
	if found[0].codes != 0 {
		alert = '1'
	}
	key := fmt.Append(nil, e.user)
	return &kgo.Record{
		Topic: c.o.Output, Partition: c.byOutput(key), Key: key, Value: value,
		Headers: []kgo.RecordHeader{
			{Key: headerAlert, Value: []byte{alert}}, {Key: headerRules, Value: []byte("0123456789ab")},
			{Key: headerSource, Value: fmt.Appendf(nil, "%s/%d/%d", l.topic, l.partition, offset)},
		},
	}
}
