package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/snappy"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

func TestParseCompression(t *testing.T) {
	for _, c := range allCompressions {
		if got, err := ParseCompression(c.String()); err != nil || got != c {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	for _, bad := range []string{"", "GZIP", "lzma", "producer"} {
		if _, err := ParseCompression(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// texts are inputs of many sizes, compressible and not.
func texts() [][]byte {
	rng := rand.New(rand.NewPCG(4, 2))
	var all [][]byte
	for _, n := range []int{0, 1, 100, 64 << 10, 64<<10 + 1, 300 << 10} {
		random, even := make([]byte, n), make([]byte, n)
		for i := range random {
			random[i] = byte(rng.Uint32())
			even[i] = byte(i / 50)
		}
		all = append(all, random, even)
	}
	return all
}

func TestCompressionRoundTrip(t *testing.T) {
	for _, c := range allCompressions[1:] {
		d := decompressor{limit: 1 << 20}
		for _, want := range texts() {
			prefix := []byte("prefix")
			packed, err := appendCompressed(bytes.Clone(prefix), c, want)
			if err != nil || !bytes.HasPrefix(packed, prefix) {
				t.Fatalf("%v: %v", c, err)
			}
			got, err := d.expand(c, packed[len(prefix):])
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%v: %d bytes came back as %d: %v", c, len(want), len(got), err)
			}
		}
	}
}

// TestXerialSnappy reads what Java writes: blocks in a frame.
func TestXerialSnappy(t *testing.T) {
	want := bytes.Repeat([]byte("xerial "), 20000)
	framed := append(bytes.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for rest := want; len(rest) > 0; {
		n := min(32<<10, len(rest))
		block := snappy.Encode(nil, rest[:n])
		framed = binary.BigEndian.AppendUint32(framed, uint32(len(block)))
		framed = append(framed, block...)
		rest = rest[n:]
	}
	d := decompressor{limit: len(want)}
	if got, err := d.expand(Snappy, framed); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for _, cut := range []int{9, 17, 19, 25, len(framed) - 1} {
		if _, err := d.expand(Snappy, framed[:cut]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	d.limit--
	if _, err := d.expand(Snappy, framed); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte over the limit: %v", err)
	}
	huge := append(bytes.Clone(framed[:16]), 0xff, 0xff, 0xff, 0xff)
	if _, err := d.expand(Snappy, huge); !errors.Is(err, ErrMalformed) {
		t.Errorf("block of 4 GiB: %v", err)
	}
}

func TestDecompressionLimit(t *testing.T) {
	const limit = 200 << 10
	for _, c := range allCompressions[1:] {
		for _, size := range []int{limit - 1, limit, limit + 1, 10 * limit} {
			packed, err := appendCompressed(nil, c, make([]byte, size))
			if err != nil {
				t.Fatal(err)
			}
			d := decompressor{limit: limit}
			got, err := d.expand(c, packed)
			switch {
			case size <= limit && (err != nil || len(got) != size):
				t.Errorf("%v: %d of %d bytes: %v", c, len(got), size, err)
			case size > limit && !errors.Is(err, ErrTooLarge):
				t.Errorf("%v: %d bytes: %v", c, size, err)
			}
			// The decompressor goes on working.
			small, _ := appendCompressed(nil, c, []byte("small"))
			if got, err := d.expand(c, small); err != nil || string(got) != "small" {
				t.Errorf("%v: after %d bytes: %q, %v", c, size, got, err)
			}
		}
	}
}

// TestDecompressionBomb measures that a bomb costs no more memory than the limit.
func TestDecompressionBomb(t *testing.T) {
	const limit = 4 << 20
	bomb := make([]byte, 64<<20)
	for _, c := range allCompressions[1:] {
		packed, err := appendCompressed(nil, c, bomb)
		if err != nil {
			t.Fatal(err)
		}
		d := decompressor{limit: limit}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = d.expand(c, packed)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v: %v", c, err)
		}
		// Growing by doubling costs the limit twice; zstd and lz4 have windows.
		if used := after.TotalAlloc - before.TotalAlloc; used > 6*limit {
			t.Errorf("%v: a bomb of %d bytes made %d bytes be allocated, limit %d", c, len(packed), used, limit)
		}
	}
	// A block that only claims a size.
	d := decompressor{limit: 1 << 30}
	claim := binary.AppendUvarint(nil, 1<<29)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := d.expand(Snappy, append(claim, 0, 0))
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrMalformed) || after.TotalAlloc-before.TotalAlloc > 1<<20 {
		t.Errorf("claim of 512 MiB: %v, %d bytes allocated", err, after.TotalAlloc-before.TotalAlloc)
	}
}

func TestDecompressDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	for _, c := range allCompressions[1:] {
		packed, err := appendCompressed(nil, c, bytes.Repeat([]byte("some text "), 500))
		if err != nil {
			t.Fatal(err)
		}
		d := decompressor{limit: 1 << 20}
		for range 300 {
			damaged := bytes.Clone(packed)[:rng.IntN(len(packed))+1]
			damaged[rng.IntN(len(damaged))] ^= byte(1 << rng.IntN(8))
			if _, err := d.expand(c, damaged); err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%v: %v", c, err)
			}
		}
		if got, err := d.expand(c, packed); err != nil || len(got) != 5000 {
			t.Fatalf("%v: does not recover: %v", c, err)
		}
	}
}

// TestReaderLetsGoOfHugeBuffers reads a batch that is huge when decompressed: a partition that is silent afterwards does
// not hold its memory.
func TestReaderLetsGoOfHugeBuffers(t *testing.T) {
	b := NewBatch("t", 0)
	b.Append(1, nil, make([]byte, keepBytesMax+1))
	raw, err := b.seal(noProducer, -1, false, Zstd)
	if err != nil {
		t.Fatal(err)
	}
	r := recordReader{expand: decompressor{limit: 64 << 20}}
	read := 0
	if next, err := r.read(raw, 0, func(rec *Record) error { read += len(rec.Value); return nil }); err != nil || next != 1 || read != keepBytesMax+1 {
		t.Fatalf("next %d, %d bytes, %v", next, read, err)
	}
	if cap(r.expand.buf) > keepBytesMax {
		t.Fatalf("keeps %d bytes", cap(r.expand.buf))
	}
}

// TestBombOfOneGiB reads batches of some kilobytes (snappy: megabytes) that hold a gibibyte. Each is refused before
// memory for it is taken.
func TestBombOfOneGiB(t *testing.T) {
	const limit, bombBytes = 8 << 20, 1 << 30
	for _, form := range consumertest.Bombs() {
		bomb, err := consumertest.Bomb(form, bombBytes)
		if err != nil {
			t.Fatal(err)
		}
		r := recordReader{expand: decompressor{limit: limit}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		next, err := r.read(bomb, 0, func(*Record) error { t.Errorf("%s: a record is handed over", form); return nil })
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTooLarge) || next != 0 {
			t.Errorf("%s: next %d, %v", form, next, err)
		}
		used := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: a batch of %d bytes that holds %d: %d bytes allocated", form, len(bomb), bombBytes, used)
		// A buffer that grows is copied on the way; at no time there are more than two.
		if used > 8*limit {
			t.Errorf("%s: %d bytes were allocated, the limit is %d", form, used, limit)
		}
	}
}

// TestBombIsValid reads small ones whole: what is refused above is refused for nothing but its size.
func TestBombIsValid(t *testing.T) {
	for _, form := range consumertest.Bombs() {
		bomb, err := consumertest.Bomb(form, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		r := recordReader{expand: decompressor{limit: 1 << 20}}
		read := -1
		next, err := r.read(bomb, 0, func(rec *Record) error { read = len(rec.Value); return nil })
		if err != nil || next != 1 || read != 100_000 {
			t.Errorf("%s: next %d, a value of %d bytes, %v", form, next, read, err)
		}
	}
}
