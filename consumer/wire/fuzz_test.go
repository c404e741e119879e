package wire

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
)

// goldenBodies are the seeds: real answers in every codec.
func goldenBodies(f *testing.F) [][]byte {
	files, err := filepath.Glob(filepath.Join("testdata", "fetch-*.bin"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	var bodies [][]byte
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// mend corrects the length and the checksum of the first batches, so that the
// fuzzer gets past them.
func mend(b []byte) {
	for len(b) >= batchHeaderSize {
		size := int(int32(binary.BigEndian.Uint32(b[batchLengthAt:])))
		if size < batchHeaderSize-batchPrefixSize || size > len(b)-batchPrefixSize {
			size = len(b) - batchPrefixSize
			binary.BigEndian.PutUint32(b[batchLengthAt:], uint32(size))
		}
		size += batchPrefixSize
		b[batchMagicAt] = 2
		binary.BigEndian.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchAttributesAt:size], castagnoli))
		b = b[size:]
	}
}

// checkRead reads records and checks what must hold for any input.
func checkRead(t *testing.T, r *recordReader, b []byte, offset int64) {
	r.expand.limit = 1 << 16
	previous := offset - 1
	next, err := r.read(b, offset, func(r *Record) error {
		if r.Offset <= previous {
			t.Fatalf("offset %d after %d", r.Offset, previous)
		}
		previous = r.Offset
		n := 0
		for range r.Headers() {
			n++
		}
		if n != r.HeaderCount() {
			t.Fatalf("%d of %d headers", n, r.HeaderCount())
		}
		r.Header("h")
		return nil
	})
	if next <= previous && previous >= offset {
		t.Fatalf("next %d after a record at %d", next, previous)
	}
	if next < offset {
		t.Fatalf("next %d, asked from %d (%v)", next, offset, err)
	}
}

func FuzzFetchResponse(f *testing.F) {
	for _, body := range goldenBodies(f) {
		f.Add(body, int64(0))
	}
	f.Fuzz(func(t *testing.T, body []byte, offset int64) {
		if len(body) < 28 {
			return
		}
		fetcher := goldenFetcher(body)
		if records, err := fetcher.decode(body); err == nil {
			checkRead(t, &fetcher.reader, records, max(offset, 0))
		}
	})
}

func FuzzRecordBatch(f *testing.F) {
	for _, body := range goldenBodies(f) {
		fetcher := goldenFetcher(body)
		records, err := fetcher.decode(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(records, int64(0), true)
	}
	f.Add(marker(3, 1, false), int64(0), true)
	r := newReader(true)
	f.Fuzz(func(t *testing.T, b []byte, offset int64, committed bool) {
		b = bytes.Clone(b) // The fuzzer's own must stay as it is.
		mend(b)
		r.committed, r.aborted = committed, append(r.aborted[:0], abortedTransaction{producer: 1, first: 0})
		checkRead(t, r, b, max(offset, 0))
	})
}

// compactHeader is the start of a flexible answer: no tags, no throttling.
var compactHeader = []byte{0, 0, 0, 0, 0}

func FuzzMetadataResponse(f *testing.F) {
	f.Add(metadataSeed())
	f.Add([]byte{})
	f.Add(append(compactHeader, 0xff, 0xff, 0xff, 0xff, 0x0f))
	f.Fuzz(func(t *testing.T, body []byte) {
		topics, err := decodeMetadata(body)
		if err != nil && topics != nil {
			t.Fatal("topics beside an error")
		}
		for _, topic := range topics {
			if int(topic.Partitions) != len(topic.leaders) {
				t.Fatalf("%d partitions, %d leaders", topic.Partitions, len(topic.leaders))
			}
		}
	})
}

func FuzzOffsetFetchResponse(f *testing.F) {
	f.Add(offsetFetchSeed())
	f.Add([]byte{})
	f.Add(append(compactHeader, 0xff, 0xff, 0xff, 0xff, 0x0f))
	f.Fuzz(func(t *testing.T, body []byte) {
		offsets, err := decodeOffsetFetch(body, "events")
		if err != nil && offsets != nil {
			t.Fatal("offsets beside an error")
		}
	})
}

func FuzzProduceResponse(f *testing.F) {
	batches := []addressed{{sealed: sealed{batch: NewBatch("alerts", 1)}}}
	f.Add(produceSeed())
	f.Add([]byte{})
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		codes, err := decodeProduce(body, batches)
		if (err == nil) != (len(codes) == 1) {
			t.Fatalf("codes %v, error %v", codes, err)
		}
	})
}

func FuzzAPIVersionsResponse(f *testing.F) {
	f.Add(apiVersionsSeed(2))
	f.Add([]byte{0, 35})
	f.Add([]byte{0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, body []byte) {
		if a, err := decodeAPIVersions(body); err == nil && len(a.requests) > len(body)/7 {
			t.Fatalf("%d requests in %d bytes", len(a.requests), len(body))
		}
	})
}

func FuzzTxnOffsetCommitResponse(f *testing.F) {
	offsets := []TopicOffsets{{"events", map[int32]OffsetMeta{0: {}}}}
	f.Add(txnOffsetCommitSeed())
	f.Add([]byte{})
	f.Add(append(compactHeader, 0xff, 0xff, 0xff, 0xff, 0x0f))
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := decodeTxnOffsetCommit(body, offsets); err == nil && !bytes.Contains(body, []byte("events")) {
			t.Fatal("an answer about nothing is taken")
		}
	})
}

func FuzzEndTxnResponse(f *testing.F) {
	f.Add(endTxnSeed(1, 1))
	f.Add([]byte{})
	last := identity{1, 1}
	f.Fuzz(func(t *testing.T, body []byte) {
		next, err := decodeEndTxn(body, secondProtocol, last)
		if (err == nil) == (next == last) {
			t.Fatalf("%+v, %v", next, err)
		}
	})
}
