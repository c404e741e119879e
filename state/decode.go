package state

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/lapwing/lapwing/rules"
)

// decodeHead reads everything of a record but its state, whose bytes it returns.
// So a record of another incarnation is recognised without decoding it.
func (c *Codec) decodeHead(b []byte) (r Record, state []byte, err error) {
	if len(b) == 0 {
		return r, nil, fmt.Errorf("%w: empty record", ErrCorrupt)
	}
	if b[0] < recordVersionV1 {
		return r, nil, fmt.Errorf("%w: there is no record version %d", ErrCorrupt, b[0])
	}
	if b[0] > RecordVersion {
		return r, nil, fmt.Errorf("%w: record version %d, this build reads 1 to %d; %s", ErrNewer, b[0], RecordVersion, RemedyNewer)
	}
	in := input{b: b[1:]}
	incarnation := in.uvarint(math.MaxUint32, "incarnation")
	lane := in.uvarint(math.MaxInt32, "lane")
	tag := in.uvarint(math.MaxInt64, "tag")
	if in.err != nil {
		return r, nil, in.err
	}
	r.Incarnation, r.Lane, r.Tag = uint32(incarnation), int32(lane), int64(tag)
	return r, in.b, checkHead(r.Lane, r.Tag)
}

// decodeState reads the state that makes up all of b, a part of a record of a
// version. It shares nothing with b, and uses the memory that st has. After an
// error, which wraps ErrCorrupt, st means nothing.
func (c *Codec) decodeState(version byte, b []byte, st *rules.UserState) error {
	in := input{b: b, version: version}
	st.RunType, st.RunLength, st.Types = 0, 0, st.Types[:0]
	if run := in.uvarint(math.MaxUint64, "run length"); run > 0 {
		if typ, known := c.decodeType(&in); known {
			st.RunType, st.RunLength = typ, run
		}
	}
	types := int(in.uvarint(rules.TypesMax, "number of types"))
	ascending := true
	var latest rules.Time
	for i := range types {
		typ, known := c.decodeType(&in)
		if i == 0 {
			latest = rules.Time(in.uvarint(math.MaxInt64, "latest time"))
		} else if latest += rules.Time(in.varint()); latest < 0 {
			in.fail("latest time is negative")
		}
		t := another(&st.Types)
		t.Type, t.Latest = typ, latest
		in.typeState(t)
		if in.err != nil {
			return in.err
		}
		n := len(st.Types)
		if !known {
			st.Types = st.Types[:n-1]
		} else if n > 1 && st.Types[n-2].Type >= typ {
			ascending = false
		}
	}
	if in.err != nil {
		return in.err
	}
	if len(in.b) > 0 {
		return fmt.Errorf("%w: %d bytes after the record", ErrCorrupt, len(in.b))
	}
	if !ascending { // the table has another order than when this was written
		slices.SortFunc(st.Types, func(a, b rules.TypeState) int { return int(a.Type) - int(b.Type) })
		for i := range st.Types[1:] {
			if typ := st.Types[i].Type; typ == st.Types[i+1].Type {
				return fmt.Errorf("%w: type %q is there twice", ErrCorrupt, c.types.Name(typ))
			}
		}
	}
	return checkState(st, c.types.Len())
}

// another makes a slice longer by one element and returns that: as it was left
// in the memory of the slice, whose own slices are used again, or a zero one.
func another[T any](s *[]T) *T {
	if n := len(*s); n < cap(*s) {
		*s = (*s)[:n+1]
	} else {
		var zero T
		*s = append(*s, zero)
	}
	return &(*s)[len(*s)-1]
}

// decodeType reads the identity of a type; known says whether it is configured.
func (c *Codec) decodeType(in *input) (typ rules.Type, known bool) {
	code := in.uvarint(uint64(len(codedNames)-1), "type code")
	if code != codeNamed {
		return c.coded[code].typ, c.coded[code].known
	}
	name := in.bytes(int(in.uvarint(rules.TypeNameBytesMax, "length of a type name")))
	if in.err == nil && (len(name) == 0 || slices.Contains(codedNames[:], string(name))) {
		in.fail("type name that is empty or has a code")
	}
	return c.types.Lookup(name)
}

// typeState reads what follows the latest time of a type.
func (in *input) typeState(t *rules.TypeState) {
	t.Rising = in.uvarint(math.MaxUint64, "rising run")
	last := int(min(t.Rising, rules.LastMax))
	t.Last = slices.Grow(t.Last[:0], last)[:last]
	for i := range t.Last {
		in.amount(&t.Last[i])
	}
	t.Series = t.Series[:0]
	resolution, more := int64(1), true
	for more && in.err == nil {
		var n uint64
		var alone bool
		n, more = in.flagged("number of buckets")
		if in.version > recordVersionV2 {
			n, alone = n>>1, n&1 == 1
		}
		if len(t.Series) > 0 {
			resolution = int64(in.uvarint(math.MaxInt64, "resolution"))
		}
		s := another(&t.Series)
		s.Resolution = resolution
		in.buckets(&s.Buckets, n, alone, t)
	}
}

// buckets reads n buckets, which are stored newest first; the one of the type's
// last amount alone comes before them, unwritten.
func (in *input) buckets(into *[]rules.Bucket, n uint64, alone bool, t *rules.TypeState) {
	*into = (*into)[:0]
	total := n
	if alone {
		total++
	}
	if n > rules.BucketsMax || total > rules.BucketsMax {
		in.fail("too many buckets")
	}
	if alone && len(t.Last) == 0 {
		in.fail("bucket of a last amount that is not there")
	}
	if in.err != nil || total == 0 {
		return
	}
	const bucketBytesMin = 2 // so the allocation is bounded by the input
	if n > uint64(len(in.b)/bucketBytesMin) {
		in.fail("more buckets than bytes")
		return
	}
	buckets := slices.Grow(*into, int(total))[:total]
	if alone {
		buckets[n] = rules.Bucket{Time: t.Latest, Sum: t.Last[len(t.Last)-1], Count: 1}
	}
	latest := t.Latest
	for i := int(n) - 1; i >= 0; i-- {
		age, several := in.flagged("age of a bucket")
		if age > uint64(latest) {
			in.fail("bucket before time 0")
			return
		}
		latest -= rules.Time(age)
		count := uint64(1)
		if several {
			if count = in.uvarint(math.MaxUint64, "count of a bucket"); count < 2 {
				in.fail("several events in a bucket are less than 2")
			}
		}
		b := &buckets[i]
		b.Time, b.Count = latest, count
		in.amount(&b.Sum)
		if in.err != nil {
			return
		}
	}
	*into = buckets
}

// input reads the parts of a record. After the first failure err is set and
// every further read gives zero.
type input struct {
	b       []byte
	version byte // of the record
	err     error
}

// fail notes the first failure.
func (in *input) fail(what string) {
	if in.err == nil {
		in.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	in.b = nil
}

// uvarint reads a number up to limit in its shortest form.
func (in *input) uvarint(limit uint64, what string) uint64 {
	if len(in.b) > 0 && in.b[0] < 0x80 && uint64(in.b[0]) <= limit {
		v := uint64(in.b[0])
		in.b = in.b[1:]
		return v
	}
	return in.longUvarint(limit, what)
}

// longUvarint is uvarint for a number of several bytes, or none.
func (in *input) longUvarint(limit uint64, what string) uint64 {
	v, n := binary.Uvarint(in.b)
	if n <= 0 || v > limit || n > 1 && in.b[n-1] == 0 {
		in.fail("bad " + what)
		return 0
	}
	in.b = in.b[n:]
	return v
}

// varint reads a signed number in its shortest form.
func (in *input) varint() int64 {
	v := in.uvarint(math.MaxUint64, "time difference")
	return int64(v>>1) ^ -int64(v&1)
}

// flagged reads a number below 2^63 and a flag.
func (in *input) flagged(what string) (uint64, bool) {
	v := in.uvarint(math.MaxUint64, what)
	return v >> 1, v&1 == 1
}

// bytes reads n bytes, which alias the input.
func (in *input) bytes(n int) []byte {
	if n > len(in.b) {
		in.fail("record is cut")
		return nil
	}
	v := in.b[:n]
	in.b = in.b[n:]
	return v
}

// amount reads an amount.
func (in *input) amount(a *rules.Amount) {
	if in.err != nil {
		*a = rules.Amount{}
		return
	}
	if in.version == recordVersionV1 {
		*a = in.v1Amount()
		return
	}
	rest, err := a.DecodeBinary(in.b)
	if err != nil {
		in.err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		in.b = nil
		return
	}
	in.b = rest
}

// v1Amount reads an amount of version 1. Its first number is twice the
// hundredths, or 1 more than twice the size of a coefficient * 32 + its scale.
func (in *input) v1Amount() rules.Amount {
	const scaleBits, coefficientBytesMax = 5, 32
	head := in.uvarint(math.MaxUint64, "amount")
	if in.err != nil {
		return rules.Amount{}
	}
	if head&1 == 0 {
		return in.todays(binary.AppendUvarint(nil, head>>1+1))
	}
	size, scale := head>>(scaleBits+1), byte(head>>1)&(1<<scaleBits-1)
	if size > coefficientBytesMax {
		in.fail("amount is too large")
		return rules.Amount{}
	}
	coefficient := in.bytes(int(size))
	if scale == 2 && size == 8 { // of hundredths, in the long form from 2^63 on
		if n := binary.BigEndian.Uint64(coefficient); n >= 1<<63 && n < math.MaxUint64 {
			return in.todays(binary.AppendUvarint(nil, n+1))
		}
	}
	return in.todays(append([]byte{0, scale, byte(size)}, coefficient...))
}

// todays reads an amount in the form of today.
func (in *input) todays(b []byte) rules.Amount {
	if in.err != nil {
		return rules.Amount{}
	}
	a, _, err := rules.DecodeAmount(b)
	if err != nil {
		in.fail(err.Error())
	}
	return a
}
