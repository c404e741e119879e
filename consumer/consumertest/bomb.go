package consumertest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Bombs are the forms of a compressed record batch: those of Kafka's codecs, snappy with the frame of the Java clients
// (xerial) and without.
func Bombs() []string { return []string{"gzip", "xerial", "snappy", "lz4", "zstd"} }

// Bomb returns a record batch, valid in every respect, of a single record without key whose value is so many zeros,
// compressed. It never holds that much in memory.
func Bomb(form string, valueBytes int64) ([]byte, error) {
	codes := map[string]uint16{"gzip": 1, "xerial": 2, "snappy": 2, "lz4": 3, "zstd": 4}
	code, ok := codes[form]
	if !ok {
		return nil, fmt.Errorf("consumertest: a bomb of form %q is none of %q", form, Bombs())
	}
	begin := []byte{0, 0, 0, 1} // attributes, time and offset deltas of 0, a null key
	begin = binary.AppendVarint(begin, valueBytes)
	size := int64(len(begin)) + valueBytes + 1
	begin = append(binary.AppendVarint(nil, size), begin...)

	const headerSize, lengthAt, crcAt, attributesAt = 61, 8, 17, 21
	var out bytes.Buffer
	out.Write(make([]byte, headerSize))
	if err := compressZeros(&out, form, begin, valueBytes+1); err != nil { // the last zero is the number of headers
		return nil, fmt.Errorf("consumertest: %s bomb: %w", form, err)
	}
	b, e := out.Bytes(), binary.BigEndian
	e.PutUint32(b[lengthAt:], uint32(len(b)-12))
	e.PutUint32(b[12:], ^uint32(0)) // leader epoch
	b[16] = 2                       // magic
	e.PutUint16(b[attributesAt:], code)
	e.PutUint64(b[27:], 1000) // first timestamp
	e.PutUint64(b[35:], 1000) // latest timestamp
	e.PutUint64(b[43:], ^uint64(0))
	e.PutUint16(b[51:], ^uint16(0))
	e.PutUint32(b[53:], ^uint32(0)) // no producer: id, epoch and sequence are -1
	e.PutUint32(b[57:], 1)          // records
	e.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], crc32.MakeTable(crc32.Castagnoli)))
	return b, nil
}

// compressZeros writes begin and a number of zeros, compressed.
func compressZeros(out *bytes.Buffer, form string, begin []byte, zeros int64) error {
	var w io.WriteCloser
	var err error
	switch form {
	case "gzip":
		w, err = gzip.NewWriterLevel(out, gzip.BestSpeed)
	case "zstd":
		w, err = zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	case "lz4":
		w = lz4.NewWriter(out)
	case "xerial":
		w = newXerialWriter(out)
	case "snappy":
		snappyZeros(out, begin, zeros)
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := w.Write(begin); err != nil {
		return err
	}
	block := make([]byte, xerialBlockBytes)
	for ; zeros > 0; zeros -= int64(len(block)) {
		if _, err := w.Write(block[:min(zeros, int64(len(block)))]); err != nil {
			return err
		}
	}
	return w.Close()
}

// snappyZeros writes one bare block: the bytes of begin as a literal, then copies of the byte before.
func snappyZeros(out *bytes.Buffer, begin []byte, zeros int64) {
	out.Write(binary.AppendUvarint(nil, uint64(len(begin))+uint64(zeros)))
	literal := append(bytes.Clone(begin), 0)
	zeros--
	out.WriteByte(byte(len(literal)-1) << 2) // a literal of fewer than 60 bytes
	out.Write(literal)
	for zeros > 0 {
		n := min(zeros, 64)
		out.Write([]byte{byte(n-1)<<2 | 2, 1, 0}) // a copy of n bytes from one byte before
		zeros -= n
	}
}

// xerialBlockBytes is the size of the blocks that snappy-java frames.
const xerialBlockBytes = 32 << 10

// xerialWriter writes the frame of snappy-java.
type xerialWriter struct {
	out  *bytes.Buffer
	room []byte
}

func newXerialWriter(out *bytes.Buffer) *xerialWriter {
	out.Write([]byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1})
	return &xerialWriter{out: out}
}

// Write frames p as one block.
func (w *xerialWriter) Write(p []byte) (int, error) {
	w.room = snappy.Encode(w.room[:cap(w.room)], p)
	w.out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(w.room))))
	w.out.Write(w.room)
	return len(p), nil
}

// Close does nothing: the frame has no end.
func (w *xerialWriter) Close() error { return nil }
