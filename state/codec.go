package state

import (
	"encoding/binary"
	"fmt"

	"github.com/lapwing/lapwing/rules"
)

// Versions of the user record. Each begins with its version byte; the bytes of
// each version stand in testdata and stay readable.
//
// Version 3, numbers as unsigned varints unless said otherwise:
//
//	record   = 3 incarnation lane tag state
//	state    = run-length [type of the run, if the length is not 0] types {type-state}
//	type     = 1 (deposit) | 2 (withdraw) | 0 name-length name
//	type-state = type latest rising {amount} {series}
//
// Latest is the event time itself for the first type and the signed (zigzag)
// difference to the type before for each further one. The amounts are the last
// min(rising, 8) of the run, in the form of rules.Amount.AppendBinary.
//
//	series = buckets*4+alone*2+more [resolution] {bucket}
//	bucket = age*2+several [count] amount
//
// "more" says that another series follows; the first has resolution 1, unwritten.
// Buckets stand newest first; age is the distance to the bucket before, for the
// first one to latest. The count is written only where "several" says that it is
// more than 1. "Alone" says that before those written there is a bucket at latest
// which is the last amount alone, as the latest event of a type mostly is: it is
// not written where it can be left out, and buckets does not count it. Varints and
// amounts have one form only, the shortest.
//
// Types are stored by identity and not by position, so a record survives a
// changed order of the configured types. A stored type that is no longer
// configured is dropped, and a run of it counts as none.
//
// Version 2 has buckets*2+more and writes each bucket. Version 1 is version 2 with
// another form of amounts, see v1Amount.
const (
	recordVersionV3 = 3
	recordVersionV2 = 2
	recordVersionV1 = 1
)

// Versions that can be written. All from 1 to RecordVersion are read. The one
// before the newest is still written for whoever asks for it (Snapshot.Version),
// so that the release before can read the records.
const (
	RecordVersion      = recordVersionV3
	RecordVersionLeast = recordVersionV2
)

// Codes of event types in a record.
const (
	codeNamed    = 0 // the name follows
	codeDeposit  = 1
	codeWithdraw = 2
)

// codedNames holds the names that have a code of their own, by code.
var codedNames = [...]string{codeDeposit: "deposit", codeWithdraw: "withdraw"}

// Record is what is stored for one user.
type Record struct {
	Incarnation uint32 // of the lane's states, see Checkpoint
	Lane        int32  // the partition number whose offset Tag is
	Tag         int64  // the input offset after the last event that State includes
	State       rules.UserState
}

// AppendRecord appends the encoded record to dst. It returns an error that wraps
// ErrCorrupt, and dst as it was, if an invariant of the record does not hold.
func AppendRecord(dst []byte, types *rules.Types, r *Record) ([]byte, error) {
	c := NewCodec(types)
	return c.append(dst, RecordVersion, r.Incarnation, r.Lane, r.Tag, &r.State)
}

// DecodeRecord decodes a record, whose state shares nothing with b. It returns an
// error that wraps ErrCorrupt for any bytes that AppendRecord does not write; it
// allocates in proportion to len(b) at most.
func DecodeRecord(b []byte, types *rules.Types) (Record, error) {
	c := NewCodec(types)
	r, rest, err := c.decodeHead(b)
	if err != nil {
		return Record{}, err
	}
	if err := c.decodeState(b[0], rest, &r.State); err != nil {
		return Record{}, err
	}
	return r, nil
}

// Codec encodes and decodes states and records for one table of types. It is
// immutable and safe for concurrent use.
type Codec struct {
	types *rules.Types
	codes []byte                   // by type: its code
	coded [len(codedNames)]codedAs // by code: its type in the table
}

// codedAs is the type that a code stands for, if that is configured.
type codedAs struct {
	typ   rules.Type
	known bool
}

// NewCodec returns the codec of a table of types.
func NewCodec(types *rules.Types) Codec {
	c := Codec{types: types, codes: make([]byte, types.Len())}
	for code := codeNamed + 1; code < len(codedNames); code++ {
		if typ, ok := types.Lookup([]byte(codedNames[code])); ok {
			c.coded[code] = codedAs{typ, true}
			c.codes[typ] = byte(code)
		}
	}
	return c
}

// append appends the record of a user in a version.
func (c *Codec) append(dst []byte, version byte, incarnation uint32, lane int32, tag int64, st *rules.UserState) ([]byte, error) {
	if err := checkHead(lane, tag); err != nil {
		return dst, err
	}
	if err := checkState(st, c.types.Len()); err != nil {
		return dst, err
	}
	return c.appendState(appendHead(dst, version, incarnation, lane, tag), version, st), nil
}

// appendHead appends all of a record but its state.
func appendHead(dst []byte, version byte, incarnation uint32, lane int32, tag int64) []byte {
	dst = append(dst, version)
	dst = binary.AppendUvarint(dst, uint64(incarnation))
	dst = binary.AppendUvarint(dst, uint64(lane))
	return binary.AppendUvarint(dst, uint64(tag))
}

// AppendState appends what a record of the newest version has of a state: the
// compact form in which states are kept in memory, too. The state must be one that
// Set.Judge and Set.Apply made of a new one or of a decoded one.
func (c *Codec) AppendState(dst []byte, st *rules.UserState) []byte {
	return c.appendState(dst, RecordVersion, st)
}

func (c *Codec) appendState(dst []byte, version byte, st *rules.UserState) []byte {
	dst = binary.AppendUvarint(dst, st.RunLength)
	if st.RunLength > 0 {
		dst = c.appendType(dst, st.RunType)
	}
	dst = binary.AppendUvarint(dst, uint64(len(st.Types)))
	for i := range st.Types {
		t := &st.Types[i]
		dst = c.appendType(dst, t.Type)
		if i == 0 {
			dst = binary.AppendUvarint(dst, uint64(t.Latest))
		} else {
			dst = binary.AppendVarint(dst, int64(t.Latest-st.Types[i-1].Latest))
		}
		dst = appendTypeState(dst, version, t)
	}
	return dst
}

// appendType appends the identity of a type.
func (c *Codec) appendType(dst []byte, typ rules.Type) []byte {
	code := c.codes[typ]
	dst = append(dst, code)
	if code != codeNamed {
		return dst
	}
	name := c.types.Name(typ)
	dst = binary.AppendUvarint(dst, uint64(len(name)))
	return append(dst, name...)
}

// appendTypeState appends what follows the latest time of a type.
func appendTypeState(dst []byte, version byte, t *rules.TypeState) []byte {
	dst = binary.AppendUvarint(dst, t.Rising)
	for i := range t.Last {
		dst = t.Last[i].AppendBinary(dst)
	}
	for i := range t.Series {
		series := &t.Series[i]
		buckets := series.Buckets
		alone := version > recordVersionV2 && lastAlone(t, buckets)
		if alone {
			buckets = buckets[:len(buckets)-1]
		}
		n := uint64(len(buckets))
		if version > recordVersionV2 {
			n = withFlag(n, alone)
		}
		dst = binary.AppendUvarint(dst, withFlag(n, i+1 < len(t.Series)))
		if i > 0 {
			dst = binary.AppendUvarint(dst, uint64(series.Resolution))
		}
		later := t.Latest
		for j := len(buckets) - 1; j >= 0; j-- {
			b := &buckets[j]
			dst = binary.AppendUvarint(dst, withFlag(uint64(later-b.Time), b.Count > 1))
			if b.Count > 1 {
				dst = binary.AppendUvarint(dst, b.Count)
			}
			dst = b.Sum.AppendBinary(dst)
			later = b.Time
		}
	}
	return dst
}

// lastAlone reports whether the newest bucket is the last amount alone at the
// latest time.
func lastAlone(t *rules.TypeState, buckets []rules.Bucket) bool {
	n := len(buckets)
	if n == 0 || len(t.Last) == 0 {
		return false
	}
	b := &buckets[n-1]
	return b.Time == t.Latest && b.Count == 1 && b.Sum.Cmp(t.Last[len(t.Last)-1]) == 0
}

// withFlag packs a number below 2^63 and a flag.
func withFlag(n uint64, flag bool) uint64 {
	if flag {
		return n<<1 | 1
	}
	return n << 1
}

// checkHead asserts the invariants of a record's head.
func checkHead(lane int32, tag int64) error {
	if lane < 0 {
		return fmt.Errorf("%w: lane %d is negative", ErrCorrupt, lane)
	}
	if tag < 0 {
		return fmt.Errorf("%w: tag %d is negative", ErrCorrupt, tag)
	}
	return nil
}

// checkState asserts the invariants of a state, where types is the number of
// configured types. It runs before each write and after each read.
func checkState(st *rules.UserState, types int) error {
	if st.RunLength > 0 && int(st.RunType) >= types {
		return fmt.Errorf("%w: run of type %d, there are %d types", ErrCorrupt, st.RunType, types)
	}
	next := 0
	for i := range st.Types {
		t := &st.Types[i]
		if int(t.Type) < next || int(t.Type) >= types {
			return fmt.Errorf("%w: entry %d is of type %d, from %d to %d expected", ErrCorrupt, i, t.Type, next, types-1)
		}
		next = int(t.Type) + 1
		if err := checkTypeState(t); err != nil {
			return err
		}
	}
	return nil
}

// checkTypeState asserts the invariants of what is kept for one type.
func checkTypeState(t *rules.TypeState) error {
	switch {
	case t.Latest < 0:
		return fmt.Errorf("%w: type %d: latest time %d is negative", ErrCorrupt, t.Type, t.Latest)
	case t.Rising == 0:
		return fmt.Errorf("%w: type %d: rising run of length 0", ErrCorrupt, t.Type)
	case uint64(len(t.Last)) != min(t.Rising, rules.LastMax):
		return fmt.Errorf("%w: type %d: %d last amounts of a rising run of %d", ErrCorrupt, t.Type, len(t.Last), t.Rising)
	case len(t.Series) == 0 || t.Series[0].Resolution != 1:
		return fmt.Errorf("%w: type %d: no series of resolution 1", ErrCorrupt, t.Type)
	}
	resolution := int64(0)
	for i := range t.Series {
		series := &t.Series[i]
		if series.Resolution <= resolution {
			return fmt.Errorf("%w: type %d: resolution %d follows %d", ErrCorrupt, t.Type, series.Resolution, resolution)
		}
		resolution = series.Resolution
		if err := checkBuckets(series.Buckets, t.Latest); err != nil {
			return fmt.Errorf("type %d, resolution %d: %w", t.Type, resolution, err)
		}
	}
	return nil
}

// checkBuckets asserts the invariants of a series: no more buckets than allowed,
// ascending, none empty, none later than the latest event.
func checkBuckets(buckets []rules.Bucket, latest rules.Time) error {
	if len(buckets) > rules.BucketsMax {
		return fmt.Errorf("%w: %d buckets, at most %d are allowed", ErrCorrupt, len(buckets), rules.BucketsMax)
	}
	before := rules.Time(-1)
	for i := range buckets {
		b := &buckets[i]
		if b.Time <= before || b.Time > latest {
			return fmt.Errorf("%w: bucket %d has time %d, after %d and up to %d expected", ErrCorrupt, i, b.Time, before, latest)
		}
		if b.Count == 0 {
			return fmt.Errorf("%w: bucket %d of time %d has no events", ErrCorrupt, i, b.Time)
		}
		before = b.Time
	}
	return nil
}
