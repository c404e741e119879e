package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawRecord is a record with deltas chosen by the test.
type rawRecord struct {
	delta int32
	time  int64
	key   []byte
	value []byte
}

// rawBatch encodes a batch by franz-go's generated code, and so can encode what
// Batch cannot: gaps, control batches, any attributes.
func rawBatch(base int64, attributes int16, producer int64, records ...rawRecord) []byte {
	b := kmsg.RecordBatch{
		FirstOffset: base, PartitionLeaderEpoch: -1, Magic: 2, Attributes: attributes,
		FirstTimestamp: 1000, MaxTimestamp: 9000,
		ProducerID: producer, ProducerEpoch: 0, FirstSequence: 0, NumRecords: int32(len(records)),
	}
	for _, r := range records {
		k := kmsg.Record{TimestampDelta64: r.time, OffsetDelta: r.delta, Key: r.key, Value: r.value}
		k.Length = int32(len(k.AppendTo(nil)) - 1)
		b.Records = k.AppendTo(b.Records)
		b.LastOffsetDelta = r.delta
	}
	return seal(b)
}

// seal sets length and checksum.
func seal(b kmsg.RecordBatch) []byte {
	b.Length = int32(49 + len(b.Records))
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

func values(base int64, producer int64, transactional bool, vs ...string) []byte {
	var records []rawRecord
	for i, v := range vs {
		records = append(records, rawRecord{delta: int32(i), value: []byte(v)})
	}
	attributes := int16(0)
	if transactional {
		attributes = attributeTransactional
	}
	return rawBatch(base, attributes, producer, records...)
}

func marker(base, producer int64, commit bool) []byte {
	kind := byte(0)
	if commit {
		kind = 1
	}
	return rawBatch(base, attributeTransactional|attributeControl, producer, rawRecord{key: []byte{0, 0, 0, kind}, value: []byte{0, 0, 0, 0, 0, 0}})
}

func newReader(committed bool, aborted ...abortedTransaction) *recordReader {
	return &recordReader{committed: committed, aborted: aborted, expand: decompressor{limit: 1 << 20}}
}

func collect(r *recordReader, b []byte, offset int64) (got []string, next int64, err error) {
	next, err = r.read(b, offset, func(r *Record) error {
		got = append(got, fmt.Sprintf("%d=%s", r.Offset, r.Value))
		return nil
	})
	return got, next, err
}

func TestReadRecords(t *testing.T) {
	// The log of two producers: 7 aborts (10..14, marker 15), 8 commits, then 7
	// commits, and a compacted batch with gaps ends it.
	log := slices.Concat(
		values(10, 7, true, "a", "b"), values(12, 8, true, "c"), values(13, 7, true, "d", "e"),
		marker(15, 7, false), values(16, 7, true, "f"), marker(17, 8, true), marker(18, 7, true),
		rawBatch(20, 0, -1, rawRecord{delta: 2, value: []byte("g")}, rawRecord{delta: 5, value: []byte("h")}, rawRecord{delta: 6, value: []byte("i")}),
	)
	aborted := abortedTransaction{producer: 7, first: 10}
	for _, c := range []struct {
		name      string
		committed bool
		offset    int64
		cut       int // Bytes cut from the end.
		want      []string
		next      int64
	}{
		{"all", false, 10, 0, []string{"10=a", "11=b", "12=c", "13=d", "14=e", "16=f", "22=g", "25=h", "26=i"}, 27},
		{"committed", true, 10, 0, []string{"12=c", "16=f", "22=g", "25=h", "26=i"}, 27},
		{"within an aborted batch", true, 14, 0, []string{"16=f", "22=g", "25=h", "26=i"}, 27},
		{"within a batch with gaps", true, 24, 0, []string{"25=h", "26=i"}, 27},
		{"last batch cut", true, 10, 1, []string{"12=c", "16=f"}, 19},
		{"last batch cut to less than a header", true, 10, len(values(0, 0, false, "x")), []string{"12=c", "16=f"}, 19},
		{"past everything", true, 40, 0, nil, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReader(c.committed, aborted)
			got, next, err := collect(r, log[:len(log)-c.cut], c.offset)
			if err != nil || !reflect.DeepEqual(got, c.want) || next != c.next {
				t.Fatalf("got %v next %d err %v, want %v next %d", got, next, err, c.want, c.next)
			}
		})
	}
}

func TestReadBatchesWithoutRecords(t *testing.T) {
	// The cleaner keeps an emptied batch for its sequence number.
	b := kmsg.RecordBatch{FirstOffset: 5, LastOffsetDelta: 3, Magic: 2, ProducerID: 1}
	got, next, err := collect(newReader(true), seal(b), 5)
	if err != nil || got != nil || next != 9 {
		t.Fatalf("got %v next %d err %v", got, next, err)
	}
	b.Attributes = attributeControl | attributeTransactional
	if got, next, err = collect(newReader(true), seal(b), 5); err != nil || got != nil || next != 9 {
		t.Fatalf("control batch: got %v next %d err %v", got, next, err)
	}
}

func TestReadTimestamps(t *testing.T) {
	for _, c := range []struct {
		attributes int16
		want       int64
	}{{0, 1000 - 250}, {attributeLogAppendTime, 9000}} {
		_, err := newReader(false).read(rawBatch(0, c.attributes, -1, rawRecord{time: -250}), 0, func(r *Record) error {
			if r.TimeMillis != c.want {
				t.Errorf("attributes %x: time %d, want %d", c.attributes, r.TimeMillis, c.want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadStopsWhereTheCallbackDoes(t *testing.T) {
	log := slices.Concat(values(0, -1, false, "a", "b", "c"), values(3, -1, false, "d"))
	stop := errors.New("stop")
	r := newReader(false)
	next, err := r.read(log, 0, func(r *Record) error {
		if r.Offset == 1 {
			return stop
		}
		return nil
	})
	if next != 1 || err != stop || !r.refused {
		t.Fatalf("next %d err %v", next, err)
	}
}

func TestReadRefusesHostileBatches(t *testing.T) {
	whole := values(100, 1, false, "one", "two")
	change := func(f func(b *kmsg.RecordBatch)) []byte {
		var b kmsg.RecordBatch
		if err := b.ReadFrom(whole); err != nil {
			t.Fatal(err)
		}
		f(&b)
		return seal(b)
	}
	patch := func(at int, v ...byte) []byte {
		b := bytes.Clone(whole)
		copy(b[at:], v)
		return b
	}
	for _, c := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"bit flipped in a value", patch(len(whole)-2, 'X'), ErrChecksum},
		{"checksum changed", patch(17, whole[17]^1), ErrChecksum},
		{"magic 0", patch(16, 0), ErrOldFormat},
		{"magic 1", patch(16, 1), ErrOldFormat},
		{"magic 3", patch(16, 3), ErrMalformed},
		{"negative length", patch(8, 0xff, 0xff, 0xff, 0xff), ErrMalformed},
		{"length of a part of the header", patch(8, 0, 0, 0, 20), ErrMalformed},
		{"first batch cut", whole[:len(whole)-1], ErrMalformed},
		{"cut within the length", whole[:11], ErrMalformed},
		{"negative offset", change(func(b *kmsg.RecordBatch) { b.FirstOffset = -5 }), ErrMalformed},
		{"offset at the end of numbers", change(func(b *kmsg.RecordBatch) { b.FirstOffset = math.MaxInt64 }), ErrMalformed},
		{"negative last delta", change(func(b *kmsg.RecordBatch) { b.LastOffsetDelta = -1 }), ErrMalformed},
		{"record past the last delta", change(func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 0 }), ErrMalformed},
		{"negative count", change(func(b *kmsg.RecordBatch) { b.NumRecords = -1 }), ErrMalformed},
		{"count of two thousand million", change(func(b *kmsg.RecordBatch) { b.NumRecords = math.MaxInt32 }), ErrMalformed},
		{"fewer records than bytes", change(func(b *kmsg.RecordBatch) { b.NumRecords = 1 }), ErrMalformed},
		{"unknown codec", change(func(b *kmsg.RecordBatch) { b.Attributes = 5 }), ErrMalformed},
		{"record length past the end", change(func(b *kmsg.RecordBatch) { b.Records = []byte{0x7e, 0, 0} }), ErrMalformed},
		{"negative record length", change(func(b *kmsg.RecordBatch) { b.Records = []byte{0x03, 0, 0} }), ErrMalformed},
		{"varint without end", change(func(b *kmsg.RecordBatch) { b.Records = bytes.Repeat([]byte{0xff}, 20) }), ErrMalformed},
		{"key past the record", change(func(b *kmsg.RecordBatch) { b.Records = []byte{12, 0, 0, 0, 0x7e, 0, 0} }), ErrMalformed},
		{"key of length -2", change(func(b *kmsg.RecordBatch) { b.Records = []byte{12, 0, 0, 0, 3, 0, 0} }), ErrMalformed},
		{"header count of a million", change(func(b *kmsg.RecordBatch) {
			b.Records = append([]byte{16, 0, 0, 0, 1, 1}, binary.AppendVarint(nil, 1_000_000)...)
		}), ErrMalformed},
		{"header with a null name", change(func(b *kmsg.RecordBatch) { b.Records = []byte{16, 0, 0, 0, 1, 1, 2, 1, 1} }), ErrMalformed},
		{"bytes after the headers", change(func(b *kmsg.RecordBatch) { b.Records = []byte{14, 0, 0, 0, 1, 1, 0, 9} }), ErrMalformed},
		{"same offset twice", change(func(b *kmsg.RecordBatch) { b.Records = bytes.Repeat([]byte{12, 0, 0, 0, 1, 1, 0}, 2) }), ErrMalformed},
		{"control batch without a type", rawBatch(0, attributeControl, 1, rawRecord{key: []byte{0, 0}}), ErrMalformed},
		{"control batch of two records", change(func(b *kmsg.RecordBatch) { b.Attributes = attributeControl }), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, next, err := collect(newReader(true), c.raw, 0)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v next %d err %v, want %v", got, next, err, c.want)
			}
		})
	}
}

// TestReadTruncated cuts a log of all kinds of batches at every byte: whatever
// is whole is read, nothing else.
func TestReadTruncated(t *testing.T) {
	log := slices.Concat(values(0, -1, false, "a", "b"), marker(2, 5, true), values(3, -1, false, "c"))
	ends := []int{len(values(0, -1, false, "a", "b")), len(values(0, -1, false, "a", "b")) + len(marker(2, 5, true)), len(log)}
	for cut := range len(log) + 1 {
		_, next, err := collect(newReader(true), log[:cut], 0)
		want := int64(0)
		switch {
		case cut >= ends[2]:
			want = 4
		case cut >= ends[1]:
			want = 3
		case cut >= ends[0]:
			want = 2
		}
		if next != want {
			t.Fatalf("cut at %d: next %d, want %d", cut, next, want)
		}
		if failed := cut > 0 && cut < ends[0]; failed != (err != nil) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

func TestRecordHeaders(t *testing.T) {
	b := NewBatch("t", 0)
	b.Append(0, nil, nil, Header{"a", []byte("1")}, Header{"b", nil}, Header{"a", []byte("2")}, Header{"", []byte{}})
	b.Append(0, nil, nil)
	raw, err := b.seal(noProducer, -1, false, None)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	_, err = newReader(false).read(raw, 0, func(r *Record) error {
		n++
		if r.Offset == 1 {
			if _, ok := r.Header("a"); ok || r.HeaderCount() != 0 {
				t.Error("headers of another record")
			}
			return nil
		}
		if v, ok := r.Header("a"); !ok || string(v) != "2" {
			t.Errorf("the last header wins: %q %v", v, ok)
		}
		if v, ok := r.Header("b"); !ok || v != nil {
			t.Errorf("null header: %q %v", v, ok)
		}
		if v, ok := r.Header(""); !ok || v == nil || len(v) != 0 {
			t.Errorf("empty header: %q %v", v, ok)
		}
		if v, ok := r.Header("c"); ok {
			t.Errorf("header that is not there: %q", v)
		}
		var names []string
		for k := range r.Headers() {
			names = append(names, string(k))
			if len(names) == 3 {
				break
			}
		}
		if !slices.Equal(names, []string{"a", "b", "a"}) || r.HeaderCount() != 4 {
			t.Errorf("names %q, count %d", names, r.HeaderCount())
		}
		return nil
	})
	if err != nil || n != 2 {
		t.Fatalf("%d records, %v", n, err)
	}
}

func TestReadDoesNotAllocatePerRecord(t *testing.T) {
	for _, c := range allCompressions {
		b := NewBatch("t", 0)
		for range 1000 {
			b.Append(3, []byte("12345"), []byte(`{"type":"deposit","amount":"42.00","user_id":1,"time":10}`), Header{"a", []byte("b")})
		}
		raw, err := b.seal(noProducer, -1, false, c)
		if err != nil {
			t.Fatal(err)
		}
		r := newReader(true)
		count := 0
		fn := func(r *Record) error {
			if _, ok := r.Header("a"); ok {
				count++
			}
			return nil
		}
		read := func() {
			if _, err := r.read(raw, 0, fn); err != nil {
				t.Fatal(err)
			}
		}
		read()
		if n := testing.AllocsPerRun(20, read); n > 4 {
			t.Errorf("%v: %v allocations for 1000 records", c, n)
		}
		if count%1000 != 0 {
			t.Errorf("%v: %d headers", c, count)
		}
	}
}

func TestVarint(t *testing.T) {
	values := []int64{0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8192, -8193, 1 << 20, -1 << 40, math.MaxInt64, math.MinInt64}
	for _, v := range values {
		b := binary.AppendVarint(nil, v)
		if got, rest, ok := varint(append(b, 7)); !ok || got != v || !bytes.Equal(rest, []byte{7}) {
			t.Errorf("%d: %d, rest %v, %v", v, got, rest, ok)
		}
		for cut := range b {
			if _, _, ok := varint(b[:cut]); ok {
				t.Errorf("%d cut at %d is taken", v, cut)
			}
		}
	}
	if _, _, ok := varint(bytes.Repeat([]byte{0xff}, 11)); ok {
		t.Error("an endless varint is taken")
	}
}
