package wire

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const benchValue = `{"alert":false,"alert_codes":[],"user_id":12345,"event":{"type":"deposit","amount":"42.00","time":1700000000}}`

func benchBatch(n int) *Batch {
	b := NewBatch("t", 0)
	for i := range n {
		b.Append(1_700_000_000_000+int64(i), []byte("12345"), []byte(benchValue), Header{"lapwing-alert", []byte("0")})
	}
	return b
}

// BenchmarkFetchDecode decodes the record batches of an answer, per record.
func BenchmarkFetchDecode(b *testing.B) {
	const records = 1000
	for _, c := range allCompressions {
		b.Run(c.String(), func(b *testing.B) {
			raw, err := benchBatch(records).seal(noProducer, -1, false, c)
			if err != nil {
				b.Fatal(err)
			}
			r := newReader(true)
			bytes := 0
			fn := func(r *Record) error { bytes += len(r.Value); return nil }
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.read(raw, 0, fn); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
		})
	}
}

// BenchmarkBatchAppend encodes and seals batches, per record.
func BenchmarkBatchAppend(b *testing.B) {
	const records = 1000
	for _, c := range allCompressions {
		b.Run(c.String(), func(b *testing.B) {
			batch := NewBatch("t", 0)
			key, value, header := []byte("12345"), []byte(benchValue), Header{"lapwing-alert", []byte("0")}
			b.ReportAllocs()
			for b.Loop() {
				batch.Reset("t", 0)
				for i := range int64(records) {
					batch.Append(1_700_000_000_000+i, key, value, header)
				}
				if _, err := batch.seal(noProducer, -1, false, c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
		})
	}
}

// BenchmarkBatchMerge merges batches of several sizes, per record.
func BenchmarkBatchMerge(b *testing.B) {
	for _, records := range []int{10, 1000} {
		b.Run(fmt.Sprint(records), func(b *testing.B) {
			into, one := NewBatch("t", 0), benchBatch(records)
			b.ReportAllocs()
			for b.Loop() {
				into.Reset("t", 0)
				for range 4 {
					into.Merge(one)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*4*records), "ns/record")
		})
	}
}

// BenchmarkTransaction commits one record and one offset, on kfake and on the real
// broker, under both protocols.
func BenchmarkTransaction(b *testing.B) {
	for on, start := range map[string]func(testing.TB) broker{"kfake": func(b testing.TB) broker { return fakeBroker(b) }, "kafka": realBroker} {
		for name, first := range map[string]bool{"first": true, "second": false} {
			b.Run(on+"/"+name, func(b *testing.B) {
				k := start(b)
				k.firstProtocol = first
				c := k.client(b)
				topic := k.topic(b, c, 1)
				member := k.join(b, k.client(b), unique("group"), topic)
				p := k.ready(b, c, ProducerOptions{})
				batch := NewBatch(topic, 0)
				times := make([]time.Duration, 0, 1<<16)
				b.ReportAllocs()
				for b.Loop() {
					batch.Reset(topic, 0)
					batch.Append(1_700_000_000_000, []byte("12345"), []byte(benchValue))
					start := time.Now()
					err := p.Commit(b.Context(), &Transaction{Batches: []*Batch{batch}, Member: member,
						Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {1, ""}}}}})
					if err != nil {
						b.Fatal(err)
					}
					times = append(times, time.Since(start))
				}
				slices.Sort(times)
				for _, q := range []int{50, 99} {
					b.ReportMetric(float64(times[len(times)*q/100].Microseconds()), fmt.Sprintf("p%d-µs", q))
				}
			})
		}
	}
}
