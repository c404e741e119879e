package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Layout of a record batch of magic 2
// (https://kafka.apache.org/documentation/#recordbatch).
const (
	batchLengthAt      = 8
	batchLeaderEpochAt = 12
	batchMagicAt       = 16
	batchCRCAt         = 17
	batchAttributesAt  = 21
	batchLastDeltaAt   = 23
	batchFirstTimeAt   = 27
	batchMaxTimeAt     = 35
	batchProducerIDAt  = 43
	batchEpochAt       = 51
	batchSequenceAt    = 53
	batchCountAt       = 57
	batchHeaderSize    = 61

	// batchPrefixSize is what the batch's length does not count.
	batchPrefixSize = 12
)

// Attributes of a record batch.
const (
	attributeCompression   = 0x07
	attributeLogAppendTime = 0x08
	attributeTransactional = 0x10
	attributeControl       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// abortedTransaction is one that a fetch answer names: the transactional
// batches of the producer from first on, up to its next abort marker.
type abortedTransaction struct{ producer, first int64 }

// recordReader reads the record batches of one fetch answer.
type recordReader struct {
	committed bool // Skip what aborted transactions wrote.
	aborted   []abortedTransaction
	expand    decompressor
	record    Record
	refused   bool // The error of the last read came from its fn.
}

// batchView is one whole record batch whose header was checked.
type batchView struct {
	bytes      []byte // From the base offset to the end.
	base, last int64
	attributes int16
	producer   int64
	count      int
}

// read calls fn for every visible record at or after offset. next is where to
// go on: after the last whole batch, past markers, aborted records and offsets
// that compaction removed; after an error, the first offset not handed over.
func (r *recordReader) read(b []byte, offset int64, fn func(*Record) error) (next int64, err error) {
	next = offset
	r.refused = false
	whole := 0
	for len(b) >= batchPrefixSize {
		size := int64(int32(binary.BigEndian.Uint32(b[batchLengthAt:])))
		if size < 0 {
			return next, fmt.Errorf("%w: record batch with a length of %d", ErrMalformed, size)
		}
		if size += batchPrefixSize; size > int64(len(b)) {
			break // The broker cut the last batch at the limit of the request.
		}
		v, err := viewBatch(b[:size])
		if err != nil {
			return next, err
		}
		b = b[size:]
		whole++
		if next, err = r.readBatch(&v, next, fn); err != nil {
			return next, err
		}
	}
	if whole == 0 && len(b) > 0 {
		// A broker sends the first batch whole whatever the limit is.
		return next, fmt.Errorf("%w: the first record batch is cut after %d bytes", ErrMalformed, len(b))
	}
	return next, nil
}

// viewBatch checks the header of the batch that fills b.
func viewBatch(b []byte) (batchView, error) {
	if len(b) > batchMagicAt && b[batchMagicAt] < 2 {
		return batchView{}, fmt.Errorf("%w (magic %d)", ErrOldFormat, b[batchMagicAt])
	}
	if len(b) < batchHeaderSize || b[batchMagicAt] != 2 {
		return batchView{}, fmt.Errorf("%w: record batch of %d bytes is no batch of magic 2", ErrMalformed, len(b))
	}
	if crc32.Checksum(b[batchAttributesAt:], castagnoli) != binary.BigEndian.Uint32(b[batchCRCAt:]) {
		return batchView{}, ErrChecksum
	}
	v := batchView{
		bytes:      b,
		base:       int64(binary.BigEndian.Uint64(b)),
		attributes: int16(binary.BigEndian.Uint16(b[batchAttributesAt:])),
		producer:   int64(binary.BigEndian.Uint64(b[batchProducerIDAt:])),
		count:      int(int32(binary.BigEndian.Uint32(b[batchCountAt:]))),
	}
	delta := int64(int32(binary.BigEndian.Uint32(b[batchLastDeltaAt:])))
	if v.base < 0 || delta < 0 || v.base > math.MaxInt64-delta-1 || v.count < 0 {
		return batchView{}, fmt.Errorf("%w: record batch at offset %d with last delta %d and %d records", ErrMalformed, v.base, delta, v.count)
	}
	v.last = v.base + delta
	return v, nil
}

func (r *recordReader) readBatch(v *batchView, offset int64, fn func(*Record) error) (next int64, err error) {
	switch {
	case v.attributes&attributeControl != 0:
		// Also of a batch before offset: it may end a transaction that the
		// answer names.
		if err := r.readMarker(v); err != nil {
			return offset, err
		}
	case v.last < offset:
		return offset, nil
	case r.committed && v.attributes&attributeTransactional != 0 && r.isAborted(v):
	default:
		if offset, err = r.readRecords(v, offset, fn); err != nil {
			return offset, err
		}
	}
	return max(offset, v.last+1), nil
}

// isAborted reports whether the batch belongs to an aborted transaction.
func (r *recordReader) isAborted(v *batchView) bool {
	for _, a := range r.aborted {
		if a.producer == v.producer && a.first <= v.last {
			return true
		}
	}
	return false
}

// readMarker reads a control batch. An abort marker ends the earliest of its
// producer's aborted transactions; other markers end none.
func (r *recordReader) readMarker(v *batchView) error {
	if !r.committed || v.count == 0 {
		return nil
	}
	size, b, ok := varint(v.bytes[batchHeaderSize:])
	if !ok || size != int64(len(b)) {
		return fmt.Errorf("%w: control batch at offset %d", ErrMalformed, v.base)
	}
	var marker Record
	if _, ok := marker.parse(b, v.base, 0); !ok || len(marker.Key) < 4 {
		return fmt.Errorf("%w: control record at offset %d", ErrMalformed, v.base)
	}
	// The key is a version and a type: 0 abort, 1 commit.
	if binary.BigEndian.Uint16(marker.Key[2:]) != 0 {
		return nil
	}
	for i, a := range r.aborted {
		if a.producer == v.producer && a.first <= v.last {
			r.aborted = append(r.aborted[:i], r.aborted[i+1:]...)
			break
		}
	}
	return nil
}

// readRecords hands over the records of a batch from offset on.
func (r *recordReader) readRecords(v *batchView, offset int64, fn func(*Record) error) (next int64, err error) {
	b := v.bytes[batchHeaderSize:]
	if c := Compression(v.attributes & attributeCompression); c != None {
		defer r.expand.letGo()
		if b, err = r.expand.expand(c, b); err != nil {
			if errors.Is(err, ErrTooLarge) {
				return offset, fmt.Errorf("record batch at offsets %d to %d: %w", v.base, v.last, err)
			}
			return offset, fmt.Errorf("record batch at offset %d: %w", v.base, err)
		}
	}
	first := int64(binary.BigEndian.Uint64(v.bytes[batchFirstTimeAt:]))
	appended := v.attributes&attributeLogAppendTime != 0
	previous := int64(-1)
	record := &r.record
	for i := range v.count {
		size, rest, ok := varint(b)
		if !ok || size < 0 || size > int64(len(rest)) {
			return offset, fmt.Errorf("%w: record %d of the batch at offset %d", ErrMalformed, i, v.base)
		}
		b = rest[size:]
		delta, ok := record.parse(rest[:size], v.base, first)
		if !ok || delta <= previous || delta > v.last-v.base {
			return offset, fmt.Errorf("%w: record %d of the batch at offset %d", ErrMalformed, i, v.base)
		}
		previous = delta
		if record.Offset < offset {
			continue
		}
		if appended {
			record.TimeMillis = int64(binary.BigEndian.Uint64(v.bytes[batchMaxTimeAt:]))
		}
		if err := fn(record); err != nil {
			r.refused = true
			return record.Offset, err
		}
		offset = record.Offset + 1
	}
	if len(b) != 0 {
		return offset, fmt.Errorf("%w: %d bytes after the last record of the batch at offset %d", ErrMalformed, len(b), v.base)
	}
	return offset, nil
}
