package wire

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// sample appends records of every kind that a batch can hold.
func sample(b *Batch, rng *rand.Rand, n int) {
	for range n {
		var key, value []byte
		if rng.IntN(4) > 0 {
			key = bytes.Repeat([]byte("k"), rng.IntN(90))
		}
		if rng.IntN(6) > 0 {
			value = bytes.Repeat([]byte("v"), rng.IntN(300))
		}
		var headers []Header
		for range rng.IntN(3) {
			h := Header{Key: fmt.Sprint("h", rng.IntN(200))}
			if rng.IntN(2) > 0 {
				h.Value = []byte("x")
			}
			headers = append(headers, h)
		}
		b.Append(1_700_000_000_000+rng.Int64N(200_000)-100_000, key, value, headers...)
	}
}

// decodeByFranz decodes a batch with franz-go's generated code.
func decodeByFranz(t *testing.T, raw []byte) (kmsg.RecordBatch, []kmsg.Record) {
	t.Helper()
	var batch kmsg.RecordBatch
	if err := batch.ReadFrom(raw); err != nil {
		t.Fatal(err)
	}
	if int(batch.Length) != len(raw)-12 {
		t.Fatalf("length %d of %d bytes", batch.Length, len(raw))
	}
	if crc := crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)); uint32(batch.CRC) != crc {
		t.Fatalf("crc %x, want %x", uint32(batch.CRC), crc)
	}
	data := batch.Records
	if c := Compression(batch.Attributes & 7); c != None {
		d := decompressor{limit: 1 << 20}
		var err error
		if data, err = d.expand(c, data); err != nil {
			t.Fatal(err)
		}
	}
	records := make([]kmsg.Record, batch.NumRecords)
	for i := range records {
		size, rest, ok := varint(data)
		if !ok {
			t.Fatal("record length")
		}
		n := len(data) - len(rest) + int(size)
		if err := records[i].ReadFrom(data[:n]); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	if len(data) != 0 {
		t.Fatalf("%d bytes left over", len(data))
	}
	return batch, records
}

func TestBatchHeader(t *testing.T) {
	for _, c := range allCompressions {
		b := NewBatch("t", 3)
		b.Append(1000, []byte("a"), bytes.Repeat([]byte("b"), 500))
		b.Append(1500, nil, nil)
		b.Append(900, []byte{}, []byte{}, Header{"h", nil})
		raw, err := b.seal(identity{77, 5}, 42, true, c)
		if err != nil {
			t.Fatal(err)
		}
		got, records := decodeByFranz(t, raw)
		if got.FirstOffset != 0 || got.PartitionLeaderEpoch != -1 || got.Magic != 2 || got.Attributes != int16(c)|0x10 ||
			got.LastOffsetDelta != 2 || got.FirstTimestamp != 1000 || got.MaxTimestamp != 1500 ||
			got.ProducerID != 77 || got.ProducerEpoch != 5 || got.FirstSequence != 42 || got.NumRecords != 3 {
			t.Fatalf("%v: %+v", c, got)
		}
		if records[0].TimestampDelta64 != 0 || records[1].TimestampDelta64 != 500 || records[2].TimestampDelta64 != -100 {
			t.Fatalf("%v: timestamps %+v", c, records)
		}
		if records[1].Key != nil || records[1].Value != nil || records[2].Key == nil || records[2].Value == nil {
			t.Fatalf("%v: null and empty are mixed up: %+v", c, records)
		}
		again, err := b.seal(identity{77, 5}, 42, true, c)
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("%v: another sealing gave other bytes (%v)", c, err)
		}
	}
}

// TestMergeIsAppending merges batches in every order of sizes and compares with
// one batch that got all the records.
func TestMergeIsAppending(t *testing.T) {
	for seed := range uint64(300) {
		merged, appended := NewBatch("t", 0), NewBatch("t", 0)
		sizes := rand.New(rand.NewPCG(seed, 0))
		for part := range uint64(4) {
			n := sizes.IntN(90)
			one := NewBatch("t", 0)
			sample(one, rand.New(rand.NewPCG(seed, part+1)), n)
			sample(appended, rand.New(rand.NewPCG(seed, part+1)), n)
			before := bytes.Clone(one.buf)
			merged.Merge(one)
			if !bytes.Equal(before, one.buf) {
				t.Fatalf("seed %d: Merge changed its argument", seed)
			}
		}
		if merged.Count() == 0 {
			continue
		}
		a, err := merged.seal(noProducer, -1, false, None)
		if err != nil {
			t.Fatal(err)
		}
		b, err := appended.seal(noProducer, -1, false, None)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Fatalf("seed %d: merged and appended batches differ", seed)
		}
		decodeByFranz(t, a)
	}
}

// TestTryAppend compares with the size that Append brings about: a record is refused exactly when it would be above the
// limit, and leaves the batch as it was.
func TestTryAppend(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		b := NewBatch("t", 0)
		sample(b, rng, rng.IntN(200))
		value, header := make([]byte, rng.IntN(300)), Header{"h", make([]byte, rng.IntN(80))}
		at := 1_700_000_000_000 + rng.Int64N(1<<40)
		whole := NewBatch("t", 0)
		whole.Merge(b)
		whole.Append(at, []byte("key"), value, header)
		before := bytes.Clone(b.buf)
		if b.TryAppend(whole.Len()-1, at, []byte("key"), value, header) || !bytes.Equal(b.buf, before) || b.Count() != whole.Count()-1 {
			t.Fatalf("a record is taken that makes %d bytes, the limit is one less", whole.Len())
		}
		if !b.TryAppend(whole.Len(), at, []byte("key"), value, header) || b.Len() != whole.Len() || b.Count() != whole.Count() {
			t.Fatalf("a record is refused that makes %d bytes, just the limit", whole.Len())
		}
		want, err := whole.seal(noProducer, -1, false, None)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.seal(noProducer, -1, false, None); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("a refused record has left something behind (%v)", err)
		}
	}
}

// TestMergedLenMax checks that the bound holds, also for batches whose times lie far apart and out of order, and that it
// is not far off.
func TestMergedLenMax(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for range 1000 {
		a, b := NewBatch("t", 0), NewBatch("t", 0)
		for _, one := range []*Batch{a, b} {
			base := 1_700_000_000_000 + rng.Int64N(int64(1)<<rng.IntN(40))
			for range rng.IntN(300) {
				one.Append(base+rng.Int64N(2000)-1000, nil, make([]byte, rng.IntN(100)))
			}
		}
		bound := a.MergedLenMax(b)
		n := b.Count()
		a.Merge(b)
		if a.Len() > bound || bound-a.Len() > 10*n {
			t.Fatalf("%d bytes after the merge of %d records, the bound is %d", a.Len(), n, bound)
		}
	}
}

// TestSealNeverGrows has content that no codec makes smaller: the batch is as large as Len says, since a topic might not
// take more.
func TestSealNeverGrows(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	random := make([]byte, 300<<10)
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	for _, c := range allCompressions {
		b := NewBatch("t", 0)
		b.Append(1, nil, random)
		raw, err := b.seal(noProducer, -1, false, c)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > b.Len() {
			t.Errorf("%v: %d bytes are sent of a batch of %d", c, len(raw), b.Len())
		}
		got, records := decodeByFranz(t, raw)
		if got.Attributes != 0 || !bytes.Equal(records[0].Value, random) {
			t.Errorf("%v: attributes %d", c, got.Attributes)
		}
	}
}

// TestBatchLetsGo gives a batch one huge record: its memory is not kept for the next use.
func TestBatchLetsGo(t *testing.T) {
	b := NewBatch("t", 0)
	b.Append(1, nil, make([]byte, 10<<20))
	if _, err := b.seal(noProducer, -1, false, LZ4); err != nil {
		t.Fatal(err)
	}
	b.Reset("t", 0)
	if kept := cap(b.buf) + cap(b.packed); kept > 2*batchKeepBytesMax {
		t.Errorf("%d bytes are kept", kept)
	}
}

func TestMergeOfAnotherPartitionPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	NewBatch("t", 0).Merge(NewBatch("t", 1))
}

func TestBatchIsReusable(t *testing.T) {
	b := NewBatch("t", 0)
	sample(b, rand.New(rand.NewPCG(1, 1)), 50)
	want, err := b.seal(noProducer, -1, false, Zstd)
	if err != nil {
		t.Fatal(err)
	}
	want = bytes.Clone(want)
	b.Reset("u", 2)
	if b.Count() != 0 || b.Len() != batchHeaderSize || b.Topic() != "u" || b.Partition() != 2 {
		t.Fatalf("after Reset: %d records, %d bytes, %s/%d", b.Count(), b.Len(), b.Topic(), b.Partition())
	}
	sample(b, rand.New(rand.NewPCG(1, 1)), 50)
	got, err := b.seal(noProducer, -1, false, Zstd)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("a used batch encodes otherwise (%v)", err)
	}
}

func TestBatchesDoNotAllocate(t *testing.T) {
	b, o := NewBatch("t", 0), NewBatch("t", 0)
	key, value := []byte("12345"), bytes.Repeat([]byte("v"), 100)
	for range 100 {
		o.Append(5, key, value, Header{"a", key}, Header{"b", value})
	}
	work := func() {
		b.Reset("t", 0)
		for range 100 {
			b.Append(5, key, value, Header{"a", key}, Header{"b", value})
		}
		b.Merge(o)
		if _, err := b.seal(noProducer, -1, false, None); err != nil {
			t.Fatal(err)
		}
	}
	work()
	if n := testing.AllocsPerRun(20, work); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestRoundsKeepTheOrderOfAPartition(t *testing.T) {
	batch := func(topic string, partition int32, n int) *Batch {
		b := NewBatch(topic, partition)
		for range n {
			b.Append(0, nil, nil)
		}
		return b
	}
	in := []*Batch{batch("a", 0, 1), batch("a", 1, 2), batch("a", 0, 3), batch("b", 0, 0), batch("a", 0, 4), batch("b", 0, 5), batch("a", 1, 6)}
	var got [][]int
	for _, round := range rounds(in) {
		var counts []int
		for _, b := range round {
			counts = append(counts, b.Count())
		}
		got = append(got, counts)
	}
	if want := [][]int{{1, 2, 5}, {3, 6}, {4}}; !reflect.DeepEqual(got, want) {
		t.Fatalf("rounds of %v records, want %v", got, want)
	}
}

func TestVarintSize(t *testing.T) {
	for _, c := range []struct {
		v    int64
		want int
	}{{0, 1}, {-1, 1}, {63, 1}, {64, 2}, {-64, 1}, {-65, 2}, {8191, 2}, {8192, 3}, {1<<62 - 1, 9}, {1<<63 - 1, 10}, {-1 << 63, 10}} {
		if got := varintSize(c.v); got != c.want {
			t.Errorf("%d takes %d bytes, want %d", c.v, got, c.want)
		}
	}
}

// TestLentBatch: bytes that somebody may still be sending stay as they are, whatever becomes of the batch.
func TestLentBatch(t *testing.T) {
	for _, codec := range []Compression{None, Zstd} {
		b := NewBatch("alerts", 0)
		for range 100 {
			b.Append(1, []byte("key"), []byte(strings.Repeat("value ", 30)))
		}
		sent, err := b.seal(identity{1, 2}, 3, true, codec)
		if err != nil {
			t.Fatal(err)
		}
		before := slices.Clone(sent)
		b.lent = true
		again, err := b.seal(identity{4, 5}, 6, true, codec)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(sent, before) || bytes.Equal(again, before) {
			t.Errorf("%v: sealing a lent batch changed its bytes, or did not seal", codec)
		}
		before = slices.Clone(again)
		b.lent = true
		b.Reset("alerts", 1)
		b.Append(1, []byte("other"), []byte(strings.Repeat("other ", 100)))
		if _, err := b.seal(identity{7, 8}, 9, true, codec); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, before) {
			t.Errorf("%v: using a lent batch again changed its bytes", codec)
		}
	}
}

// TestBatchGrows appends records that fit the room that a batch makes for one, and records around it.
func TestBatchGrows(t *testing.T) {
	testBatchGrows(t, growBytesMin/2, 7) // doubled from 16 KiB to 2 MiB
	testBatchGrows(t, 3*growBytesMin, 12)
}

func testBatchGrows(t *testing.T, sizeMax, growthsMax int) {
	b, grown := NewBatch("alerts", 0), 0
	var want []string
	for size := 0; b.Len() < 1<<20; size = (size + 97) % sizeMax {
		before := cap(b.buf)
		want = append(want, strings.Repeat("v", size))
		b.Append(int64(size), []byte("key"), []byte(want[len(want)-1]))
		if cap(b.buf) != before {
			grown++
		}
	}
	if grown > growthsMax {
		t.Errorf("with records of up to %d bytes grown %d times, want at most %d", sizeMax, grown, growthsMax)
	}
	out, err := b.seal(noProducer, -1, false, None)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	r := recordReader{expand: decompressor{limit: DefaultDecompressedBytesMax}}
	if _, err := r.read(out, 0, func(rec *Record) error { got = append(got, string(rec.Value)); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d records, want %d as they were appended", len(got), len(want))
	}
}
