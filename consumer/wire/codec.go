package wire

import (
	"encoding/binary"
	"fmt"
)

// decoder reads Kafka's primitive types from an answer. After the first value
// that does not fit it returns zeros, and err says what was wrong; so a
// decoding function checks once, before it uses what it read. Returned slices
// alias the input.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) err(what string) error {
	if !d.bad {
		return nil
	}
	return fmt.Errorf("%w: %s answer is cut or has an impossible length", ErrMalformed, what)
}

func (d *decoder) fail() {
	d.bad = true
	d.rest = nil
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.fail()
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) int16() int16 {
	if b := d.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (d *decoder) int32() int32 {
	if b := d.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (d *decoder) int64() int64 {
	if b := d.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// string reads a string with a length of two bytes; null reads as empty.
func (d *decoder) string() []byte {
	if n := d.int16(); n != -1 {
		return d.take(int(n))
	}
	return nil
}

// count reads the length of an array whose elements take at least size bytes
// each, so that a count larger than the input is refused at once. Null is 0.
func (d *decoder) count(size int) int {
	n := d.int32()
	if n == -1 {
		return 0
	}
	return d.plausible(int64(n), size)
}

func (d *decoder) plausible(n int64, size int) int {
	if n < 0 || n > int64(len(d.rest)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// compactString reads a string of a flexible version; null reads as empty.
func (d *decoder) compactString() []byte {
	n := d.uvarint()
	if n == 0 {
		return nil
	}
	if n-1 > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	return d.take(int(n - 1))
}

// compactCount is count for a flexible version.
func (d *decoder) compactCount(size int) int {
	n := d.uvarint()
	if n == 0 {
		return 0
	}
	if n-1 > uint64(len(d.rest)) {
		d.fail()
		return 0
	}
	return d.plausible(int64(n-1), size)
}

// tags skips the tagged fields of a flexible version.
func (d *decoder) tags() { d.eachTag(func(uint64, *decoder) {}) }

// eachTag gives fn the tagged fields of a flexible version. What fn leaves of a
// field is skipped.
func (d *decoder) eachTag(fn func(tag uint64, field *decoder)) {
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		tag := d.uvarint()
		size := d.uvarint()
		if size > uint64(len(d.rest)) {
			d.fail()
			return
		}
		field := decoder{rest: d.take(int(size))}
		if fn(tag, &field); field.bad {
			d.fail()
		}
	}
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func appendCompactString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s))+1)
	return append(b, s...)
}

func appendCompactCount(b []byte, n int) []byte {
	return binary.AppendUvarint(b, uint64(n)+1)
}

func appendInt16(b []byte, v int16) []byte { return binary.BigEndian.AppendUint16(b, uint16(v)) }
func appendInt32(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }
func appendInt64(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }
