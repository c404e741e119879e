package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"slices"
)

// Header is a record's header to write. A nil value is null.
type Header struct {
	Key   string
	Value []byte
}

// Batch is one record batch in the making, for one partition. Records are
// encoded as they are appended; what only the producer knows (its id, epoch and
// sequence, compression, checksum) is filled in when it is sent. One goroutine
// at a time, and none while it is being sent.
type Batch struct {
	topic     string
	partition int32
	buf       []byte // Room for the header, then the records.
	packed    []byte // The compressed batch of the last sending.
	count     int32
	firstTime int64
	minTime   int64
	maxTime   int64
	base      int64 // See BaseOffset.
	lent      bool  // Somebody may still be sending the bytes: they must not change any more.

	// Of the record that Begin has begun.
	timeMillis int64
	valueAt    int // Where the length of its value stands.
	valueSize  int // The bytes of that length: those of the value before, or 0.
}

// batchKeepBytesMax is the largest buffer that a batch keeps for its next use:
// twice Kafka's default of the largest batch, since buffers grow by doubling.
const batchKeepBytesMax = 2 << 20

// growBytesMin is the room that a batch makes before a record begins: most
// results and copies fit.
const growBytesMin = 1 << 10

// NewBatch returns an empty batch.
func NewBatch(topic string, partition int32) *Batch {
	b := new(Batch)
	b.Reset(topic, partition)
	return b
}

// Reset empties the batch for another use and keeps its memory, unless that is
// more than a batch usually needs: one huge record must not occupy it for ever.
func (b *Batch) Reset(topic string, partition int32) {
	if b.lent || cap(b.buf) > batchKeepBytesMax {
		b.buf = nil
	}
	if b.lent || cap(b.packed) > batchKeepBytesMax {
		b.packed = nil
	}
	b.lent = false
	if cap(b.buf) < batchHeaderSize {
		b.buf = make([]byte, batchHeaderSize, 16<<10)
	}
	b.buf = b.buf[:batchHeaderSize]
	b.topic, b.partition = topic, partition
	b.count, b.firstTime, b.minTime, b.maxTime = 0, 0, 0, 0
	b.base = -1
}

// Topic returns the topic of the batch.
func (b *Batch) Topic() string { return b.topic }

// Partition returns the partition of the batch.
func (b *Batch) Partition() int32 { return b.partition }

// BaseOffset returns the offset of the first record, as the broker said when it
// took the batch, or -1. The others follow it without gaps.
func (b *Batch) BaseOffset() int64 { return b.base }

// Count returns the number of records.
func (b *Batch) Count() int { return int(b.count) }

// Len returns the size of the batch in bytes, its header included, before
// compression. This is what max.message.bytes of a topic speaks of.
func (b *Batch) Len() int { return len(b.buf) }

// Append adds a record. A nil key or value is null.
func (b *Batch) Append(timeMillis int64, key, value []byte, headers ...Header) {
	b.TryAppend(math.MaxInt, timeMillis, key, value, headers...)
}

// TryAppend adds a record unless Len would then be above limit, and reports
// whether it did. A nil key or value is null.
func (b *Batch) TryAppend(limit int, timeMillis int64, key, value []byte, headers ...Header) bool {
	buf := append(b.Begin(timeMillis, key), value...)
	buf = b.endValue(buf, len(buf)-len(value), value == nil, len(headers))
	for i := range headers {
		buf = AppendHeader(buf, headers[i].Key, headers[i].Value)
	}
	return b.End(buf, limit)
}

// Begin begins a record whose value, which is not null, and headers are written
// in their place, without a copy: the caller appends the value to what Begin
// returns, gives that to EndValue, appends the headers with AppendHeader to what
// EndValue returns, and gives that to End. Meanwhile the batch is as it was
// before, and no other method may be called. A nil key is null.
func (b *Batch) Begin(timeMillis int64, key []byte) []byte {
	delta := timeMillis - b.firstTime
	if b.count == 0 {
		delta = 0
	}
	b.timeMillis = timeMillis
	buf := b.buf
	if cap(buf)-len(buf) < growBytesMin {
		// By doubling: append would copy a large batch several times on its way to its size.
		buf = append(make([]byte, 0, 2*cap(buf)), buf...)
	}
	buf = append(buf, 0, 0, 0) // Its length, and attributes.
	buf = appendVarint(buf, delta)
	buf = appendVarint(buf, int64(b.count))
	buf = appendVarbytes(buf, key)
	b.valueAt = len(buf)
	if b.valueSize == 2 {
		return append(buf, 0, 0)
	}
	b.valueSize = 1
	return append(buf, 0)
}

// EndValue ends the value of the record that Begin has begun, and says how many
// headers follow.
func (b *Batch) EndValue(buf []byte, headers int) []byte {
	return b.endValue(buf, b.valueAt+b.valueSize, false, headers)
}

// endValue ends the value that begins at from.
func (b *Batch) endValue(buf []byte, from int, null bool, headers int) []byte {
	size := int64(len(buf) - from)
	if null {
		size = -1
	}
	if n := varintSize(size); n != b.valueSize {
		buf = resize(buf, b.valueAt, b.valueSize, n)
		b.valueSize = n
	}
	putVarint(buf[b.valueAt:], size)
	return appendVarint(buf, int64(headers))
}

// End adds the record that Begin has begun unless Len would then be above limit,
// and reports whether it did.
func (b *Batch) End(buf []byte, limit int) bool {
	at := len(b.buf)
	size := int64(len(buf) - at - 2)
	if n := varintSize(size); n != 2 { // Nearly all records take 64 to 8191 bytes.
		buf = resize(buf, at, 2, n)
	}
	if len(buf) > limit {
		b.buf = buf[:at] // The room that was made may serve others.
		return false
	}
	putVarint(buf[at:], size)
	b.admit(b.timeMillis)
	b.buf = buf
	b.count++
	return true
}

// resize makes what takes from bytes at a place take to, and moves what follows.
func resize(buf []byte, at, from, to int) []byte {
	end := len(buf)
	if to > from {
		buf = append(buf, make([]byte, to-from)...)
	}
	copy(buf[at+to:], buf[at+from:end])
	return buf[:end+to-from]
}

// AppendHeader appends a header. A nil value is null.
func AppendHeader(dst []byte, key string, value []byte) []byte {
	return appendVarbytes(AppendHeaderKey(dst, key), value)
}

// AppendHeaderKey begins a header; AppendHeaderValue ends it.
func AppendHeaderKey(dst []byte, key string) []byte {
	dst = appendVarint(dst, int64(len(key)))
	return append(dst, key...)
}

// AppendHeaderValue ends a header. A nil value is null.
func AppendHeaderValue(dst, value []byte) []byte { return appendVarbytes(dst, value) }

// admit takes the timestamp of the next record into account and returns its
// distance to the first.
func (b *Batch) admit(timeMillis int64) (delta int64) {
	if b.count == 0 {
		b.firstTime, b.minTime, b.maxTime = timeMillis, timeMillis, timeMillis
	}
	b.minTime = min(b.minTime, timeMillis)
	b.maxTime = max(b.maxTime, timeMillis)
	return timeMillis - b.firstTime
}

// MergedLenMax bounds what Len would be after a Merge of o. Places and times
// are written as distances to the batch's first record, so a record may take
// more bytes in b than in o.
func (b *Batch) MergedLenMax(o *Batch) int {
	if b.count == 0 {
		return len(o.buf)
	}
	delta := max(varintSize(o.firstTime-b.firstTime), varintSize(o.maxTime-b.firstTime), varintSize(o.minTime-b.firstTime))
	each := delta - 1 + varintSize(int64(b.count)+int64(o.count)) - 1
	each += varintSize(int64(each)) // The record's own length may take more, too.
	return len(b.buf) + len(o.buf) - batchHeaderSize + each*int(o.count)
}

// Merge appends the records of o, which must be of the same partition and
// stays as it is. Only what depends on the place in the batch is encoded anew.
func (b *Batch) Merge(o *Batch) {
	if o.topic != b.topic || o.partition != b.partition {
		panic(fmt.Sprintf("wire: merge of a batch of %s/%d into one of %s/%d", o.topic, o.partition, b.topic, b.partition))
	}
	if b.count == 0 {
		b.buf = append(b.buf[:batchHeaderSize], o.buf[batchHeaderSize:]...)
		b.count, b.firstTime, b.minTime, b.maxTime = o.count, o.firstTime, o.minTime, o.maxTime
		return
	}
	rest := o.buf[batchHeaderSize:]
	for range o.count {
		// These bytes were encoded by Append: they are well formed.
		size, n := binary.Varint(rest)
		record := rest[n : n+int(size)]
		rest = rest[n+int(size):]
		delta, n := binary.Varint(record[1:])
		_, m := binary.Varint(record[1+n:])
		tail := record[1+n+m:]

		delta = b.admit(o.firstTime + delta)
		buf := binary.AppendVarint(b.buf, int64(1+varintSize(delta)+varintSize(int64(b.count))+len(tail)))
		buf = append(buf, record[0])
		buf = binary.AppendVarint(buf, delta)
		buf = binary.AppendVarint(buf, int64(b.count))
		b.buf = append(buf, tail...)
		b.count++
	}
}

// identity is who sends a batch. noProducer stands for a producer without one.
type identity struct {
	producer int64
	epoch    int16
}

var noProducer = identity{producer: -1, epoch: -1}

// seal completes the batch and returns its bytes, at most Len, valid until the
// batch is changed or sealed again. The same arguments give the same bytes.
func (b *Batch) seal(who identity, sequence int32, transactional bool, c Compression) ([]byte, error) {
	if b.lent {
		b.buf, b.packed, b.lent = slices.Clone(b.buf), nil, false
	}
	out := b.buf
	if c != None {
		var err error
		out, err = appendCompressed(append(b.packed[:0], b.buf[:batchHeaderSize]...), c, b.buf[batchHeaderSize:])
		if err != nil {
			return nil, partitionError("compress batch for", b.topic, b.partition, -1, err)
		}
		b.packed = out
		if len(out) >= len(b.buf) {
			out, c = b.buf, None // Compressed it might be more than the topic takes.
		}
	}
	attributes := uint16(c)
	if transactional {
		attributes |= attributeTransactional
	}
	e := binary.BigEndian
	e.PutUint64(out, 0) // The broker assigns offsets.
	e.PutUint32(out[batchLengthAt:], uint32(len(out)-batchPrefixSize))
	e.PutUint32(out[batchLeaderEpochAt:], ^uint32(0))
	out[batchMagicAt] = 2
	e.PutUint16(out[batchAttributesAt:], attributes)
	e.PutUint32(out[batchLastDeltaAt:], uint32(b.count-1))
	e.PutUint64(out[batchFirstTimeAt:], uint64(b.firstTime))
	e.PutUint64(out[batchMaxTimeAt:], uint64(b.maxTime))
	e.PutUint64(out[batchProducerIDAt:], uint64(who.producer))
	e.PutUint16(out[batchEpochAt:], uint16(who.epoch))
	e.PutUint32(out[batchSequenceAt:], uint32(sequence))
	e.PutUint32(out[batchCountAt:], uint32(b.count))
	e.PutUint32(out[batchCRCAt:], crc32.Checksum(out[batchAttributesAt:], castagnoli))
	return out, nil
}

// varintSize returns the length of a zigzag varint.
func varintSize(v int64) int {
	return (bits.Len64(uint64(v<<1)^uint64(v>>63)|1) + 6) / 7
}

// appendVarint appends a zigzag varint. Nearly all have one byte.
func appendVarint(dst []byte, v int64) []byte {
	if u := uint64(v<<1) ^ uint64(v>>63); u < 0x80 {
		return append(dst, byte(u))
	}
	return binary.AppendVarint(dst, v)
}

// putVarint writes a zigzag varint over as many bytes as varintSize says.
func putVarint(b []byte, v int64) {
	u := uint64(v<<1) ^ uint64(v>>63)
	for i := 0; ; i++ {
		if u < 0x80 {
			b[i] = byte(u)
			return
		}
		b[i] = byte(u) | 0x80
		u >>= 7
	}
}

func appendVarbytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 1) // The varint of -1.
	}
	dst = appendVarint(dst, int64(len(b)))
	return append(dst, b...)
}
