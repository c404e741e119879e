package state

import (
	"encoding/binary"
	"slices"

	"github.com/lapwing/lapwing/rules"
)

// ReopenState reads into st, whose memory it uses, a state that AppendState of
// this Codec has written, and that nobody else has touched. It takes half the
// instructions that reading a record does, and checks nothing: other bytes give a
// wrong state, or a panic.
func (c *Codec) ReopenState(b []byte, st *rules.UserState) {
	w := written{b}
	st.RunType, st.RunLength, st.Types = 0, w.uvarint(), st.Types[:0]
	if st.RunLength > 0 {
		st.RunType = c.reopenType(&w)
	}
	var latest rules.Time
	for i := range w.uvarint() {
		t := another(&st.Types)
		t.Type = c.reopenType(&w)
		if i == 0 {
			latest = rules.Time(w.uvarint())
		} else {
			v := w.uvarint()
			latest += rules.Time(int64(v>>1) ^ -int64(v&1))
		}
		t.Latest = latest
		w.typeState(t)
	}
}

func (c *Codec) reopenType(w *written) rules.Type {
	code := w.b[0]
	w.b = w.b[1:]
	if code != codeNamed {
		return c.coded[code].typ
	}
	n := w.uvarint()
	typ, _ := c.types.Lookup(w.b[:n])
	w.b = w.b[n:]
	return typ
}

// written is what is left of a state to reopen.
type written struct{ b []byte }

func (w *written) uvarint() uint64 {
	if v := w.b[0]; v < 0x80 {
		w.b = w.b[1:]
		return uint64(v)
	}
	return w.longUvarint()
}

func (w *written) longUvarint() uint64 {
	if w.b[1] < 0x80 {
		v := uint64(w.b[0]&0x7f) | uint64(w.b[1])<<7
		w.b = w.b[2:]
		return v
	}
	v, n := binary.Uvarint(w.b)
	w.b = w.b[n:]
	return v
}

func (w *written) amount(a *rules.Amount) {
	rest, err := a.DecodeBinary(w.b)
	if err != nil {
		panic("state: " + err.Error())
	}
	w.b = rest
}

// typeState reads what follows the latest time of a type.
func (w *written) typeState(t *rules.TypeState) {
	t.Rising = w.uvarint()
	last := int(min(t.Rising, rules.LastMax))
	t.Last = slices.Grow(t.Last[:0], last)[:last]
	for i := range t.Last {
		w.amount(&t.Last[i])
	}
	t.Series = t.Series[:0]
	for more := true; more; {
		v := w.uvarint()
		more = v&1 == 1
		n, total := int(v>>2), int(v>>2)+int(v>>1&1)
		resolution := uint64(1)
		if len(t.Series) > 0 {
			resolution = w.uvarint()
		}
		s := another(&t.Series)
		s.Resolution = int64(resolution)
		s.Buckets = slices.Grow(s.Buckets[:0], total)[:total]
		if total > n {
			s.Buckets[n] = rules.Bucket{Time: t.Latest, Sum: t.Last[last-1], Count: 1}
		}
		at := t.Latest
		for i := n - 1; i >= 0; i-- {
			b := &s.Buckets[i]
			age := w.uvarint()
			at -= rules.Time(age >> 1)
			b.Time, b.Count = at, 1
			if age&1 == 1 {
				b.Count = w.uvarint()
			}
			w.amount(&b.Sum)
		}
	}
}
