package consumer

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/lapwing/lapwing/rules"
)

// The compact form of a usual state, in an entry: numbers at fixed places, so that opening it for an event is a handful
// of loads, and only of the part that the event's type has. It holds two types with a single series each, whole seconds
// and hundredths. A state that does not fit has the form of state.Codec.
//
//	compact = run-length:4 run-type:1 types:1 unused:2 section section
//	section = latest:8 rising:4 type:1 lasts:1 buckets:1 unused:1 last:4*5 bucket:8*9
//	bucket  = sum:4 count:2 age:2
//
// Little-endian. Sections are in the order in which their types came; an age is the distance to latest.
const (
	compactTypes   = 2
	compactLasts   = 5
	compactBuckets = 9

	compactRunTypeAt = 4
	compactTypesAt   = 5
	compactHead      = 8

	sectionRisingAt  = 8
	sectionTypeAt    = 12
	sectionLastsAt   = 13
	sectionBucketsAt = 14
	sectionLastAt    = 16
	sectionBucketAt  = sectionLastAt + 4*compactLasts
	sectionSize      = sectionBucketAt + 8*compactBuckets

	compactSize = compactHead + compactTypes*sectionSize
)

type (
	compact [compactSize]byte
	section [sectionSize]byte
)

func (c *compact) section(i int) *section {
	if i == 0 {
		return (*section)(c[compactHead:])
	}
	return (*section)(c[compactHead+sectionSize:])
}

func (s *section) typ() rules.Type { return rules.Type(s[sectionTypeAt]) }

// open reads what an event of a type needs into st: all types, or, where the rules judge it alone, its own if there is one.
func (c *compact) open(st *rules.UserState, typ rules.Type, alone bool) {
	st.RunLength, st.RunType = uint64(binary.LittleEndian.Uint32(c[:])), rules.Type(c[compactRunTypeAt])
	st.Types = st.Types[:0]
	n := int(c[compactTypesAt])
	if alone {
		for i := range n {
			if s := c.section(i); s.typ() == typ {
				s.open(&grow(&st.Types, 1)[0])
			}
		}
		return
	}
	types := grow(&st.Types, n)
	for i := range n {
		at := i
		if n == 2 && c.section(0).typ() > c.section(1).typ() {
			at = 1 - i
		}
		c.section(at).open(&types[i])
	}
}

// complete adds the types that open has left out.
func (c *compact) complete(st *rules.UserState) {
	for i := range int(c[compactTypesAt]) {
		s := c.section(i)
		at, found := slices.BinarySearchFunc(st.Types, s.typ(), func(ts rules.TypeState, t rules.Type) int { return int(ts.Type) - int(t) })
		if !found {
			var ts rules.TypeState
			s.open(&ts)
			st.Types = slices.Insert(st.Types, at, ts)
		}
	}
}

// update writes what st has and reports whether it fits. If not, the types that st does not have are as they were.
func (c *compact) update(st *rules.UserState) bool {
	if st.RunLength > math.MaxUint32 {
		return false
	}
	types := int(c[compactTypesAt])
	for i := range st.Types {
		ts := &st.Types[i]
		at := 0
		for at < types && c.section(at).typ() != ts.Type {
			at++
		}
		if at == compactTypes || !c.section(at).close(ts) {
			return false
		}
		types = max(types, at+1)
	}
	c[compactTypesAt] = byte(types)
	binary.LittleEndian.PutUint32(c[:], uint32(st.RunLength))
	c[compactRunTypeAt] = byte(st.RunType)
	return true
}

func (s *section) open(ts *rules.TypeState) {
	e := binary.LittleEndian
	ts.Type, ts.Latest, ts.Rising = s.typ(), rules.Time(e.Uint64(s[:])), uint64(e.Uint32(s[sectionRisingAt:]))
	last := grow(&ts.Last, int(s[sectionLastsAt]))
	for i := range last {
		last[i].SetHundredths(uint64(e.Uint32(s[sectionLastAt+4*i:])))
	}
	series := grow(&ts.Series, 1)
	series[0].Resolution = 1
	buckets := grow(&series[0].Buckets, int(s[sectionBucketsAt]))
	for i := range buckets {
		packed, b := e.Uint64(s[sectionBucketAt+8*i:]), &buckets[i]
		b.Time = ts.Latest - rules.Time(packed>>48)
		b.Count = packed >> 32 & math.MaxUint16
		b.Sum.SetHundredths(packed & math.MaxUint32)
	}
}

// close writes a type's state and reports whether it fits; if not, s means nothing.
func (s *section) close(ts *rules.TypeState) bool {
	if len(ts.Series) != 1 || ts.Series[0].Resolution != 1 || len(ts.Last) > compactLasts || ts.Rising > math.MaxUint32 {
		return false
	}
	buckets := ts.Series[0].Buckets
	if len(buckets) > compactBuckets {
		return false
	}
	e := binary.LittleEndian
	var over uint64
	for i := range ts.Last {
		n, ok := ts.Last[i].Hundredths()
		if !ok {
			return false
		}
		over |= n >> 32
		e.PutUint32(s[sectionLastAt+4*i:], uint32(n))
	}
	for i := range buckets {
		b := &buckets[i]
		n, ok := b.Sum.Hundredths()
		if !ok {
			return false
		}
		age := uint64(ts.Latest - b.Time)
		over |= n>>32 | age>>16 | b.Count>>16
		e.PutUint64(s[sectionBucketAt+8*i:], age<<48|b.Count<<32|n)
	}
	e.PutUint64(s[:], uint64(ts.Latest))
	e.PutUint32(s[sectionRisingAt:], uint32(ts.Rising))
	s[sectionTypeAt], s[sectionLastsAt], s[sectionBucketsAt] = byte(ts.Type), byte(len(ts.Last)), byte(len(buckets))
	return over == 0
}

// grow makes a slice n long and returns it. Its elements keep what they had, so that their memory is used again.
func grow[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = slices.Grow((*s)[:cap(*s)], n-cap(*s))
	}
	*s = (*s)[:n]
	return *s
}
