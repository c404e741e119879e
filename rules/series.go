package rules

import (
	"cmp"
	"slices"
)

// lookup finds the state of a type; nil: no event of it was seen.
func (s *UserState) lookup(t Type) *TypeState {
	for i := range s.Types {
		if s.Types[i].Type == t {
			return &s.Types[i]
		}
	}
	return nil
}

// typeState finds the state of a type, or makes an empty one in its place (Rising is 0 there).
func (s *UserState) typeState(t Type) *TypeState {
	if ts := s.lookup(t); ts != nil {
		return ts
	}
	// The memory of an entry that was there before is used again.
	n := len(s.Types)
	if n == cap(s.Types) {
		s.Types = append(s.Types, TypeState{})
	}
	s.Types = s.Types[:n+1]
	added := s.Types[n]
	for ; n > 0 && s.Types[n-1].Type > t; n-- {
		s.Types[n] = s.Types[n-1]
	}
	s.Types[n] = TypeState{Type: t, Last: added.Last[:0], Series: added.Series[:0]}
	return &s.Types[n]
}

// behind is how many seconds t is behind the latest event; negative: it is ahead.
func (ts *TypeState) behind(t Time) int64 { return int64(ts.Latest - t) }

// rise continues or restarts the strictly rising run with this amount.
func (ts *TypeState) rise(amount Amount) {
	if n := len(ts.Last); n == 0 || amount.cmp(&ts.Last[n-1]) <= 0 {
		ts.Rising, ts.Last = 1, append(ts.Last[:0], amount)
		return
	}
	ts.Rising++
	if len(ts.Last) == LastMax {
		ts.Last = ts.Last[:copy(ts.Last, ts.Last[1:])]
	}
	ts.Last = append(ts.Last, amount)
}

// keepSeries makes the series those of exactly these resolutions. One that a new rule brings starts with what the
// finest series holds, so that the rule is warm; one that no rule uses any more goes.
func (ts *TypeState) keepSeries(resolutions []int64) {
	if slices.EqualFunc(ts.Series, resolutions, func(s Series, r int64) bool { return s.Resolution == r }) {
		return
	}
	if len(ts.Series) == 0 && len(resolutions) <= cap(ts.Series) { // a new type: the memory of another is used again
		ts.Series = ts.Series[:len(resolutions)]
		for i := range ts.Series {
			ts.Series[i] = Series{Resolution: resolutions[i], Buckets: ts.Series[i].Buckets[:0]}
		}
		return
	}
	kept := make([]Series, 0, len(resolutions))
	for _, resolution := range resolutions {
		s := Series{Resolution: resolution}
		if from := ts.series(resolution); from != nil && from.Resolution == resolution {
			s = *from
		} else if from != nil {
			s.fill(from)
		}
		kept = append(kept, s)
	}
	ts.Series = kept
}

// series is the one of this resolution. Where a new rule's is not there yet, since no event of the type has come since,
// it is the finest one, which holds all that the other would. Nil: there is none at all.
func (ts *TypeState) series(resolution int64) *Series {
	for i := range ts.Series {
		if ts.Series[i].Resolution == resolution {
			return &ts.Series[i]
		}
	}
	if len(ts.Series) == 0 {
		return nil
	}
	return &ts.Series[0]
}

// fill puts the buckets of a finer series into an empty one.
func (s *Series) fill(from *Series) {
	for i := range from.Buckets {
		b := from.Buckets[i]
		b.Time = s.bucketTime(b.Time)
		if n := len(s.Buckets); n > 0 && s.Buckets[n-1].Time == b.Time {
			s.Buckets[n-1].merge(&b)
		} else {
			s.Buckets = append(s.Buckets, b)
		}
	}
}

// add drops the buckets that end at or before t - horizon and counts an event.
func (s *Series) add(t Time, amount Amount, horizon int64) {
	s.expire(t, horizon)
	at := s.bucketTime(t)
	n := len(s.Buckets)
	i, found := n, false
	if n > 0 && at <= s.Buckets[n-1].Time {
		i, found = slices.BinarySearchFunc(s.Buckets, at, func(b Bucket, at Time) int { return cmp.Compare(b.Time, at) })
	}
	event := Bucket{Time: at, Sum: amount, Count: 1}
	if found {
		s.Buckets[i].merge(&event)
		return
	}
	s.Buckets = slices.Insert(s.Buckets, i, event)
	if len(s.Buckets) > BucketsMax {
		s.Buckets[1].merge(&s.Buckets[0])
		s.drop(1)
	}
}

// expire drops the buckets whose last second is at or before t - horizon.
func (s *Series) expire(t Time, horizon int64) {
	last := s.lastBefore(t, horizon)
	k := 0
	for k < len(s.Buckets) && s.Buckets[k].Time <= last {
		k++
	}
	if k > 0 {
		s.drop(k)
	}
}

// total adds up the buckets that have a second in (t-window, t] and returns the number of their events. For resolution
// 1 that is exactly the events of the window; a wider bucket at either end is counted whole, so that a sum is never too
// low. Of a full series the first bucket may be a merged one. It holds times before its own, so it counts for an
// earlier t too. (Where it is not a merged one, an event of the type at such a t would have its bucket before it.)
func (s *Series) total(t Time, window int64, sum *Amount) (count uint64) {
	last := s.lastBefore(t, window)
	for i := len(s.Buckets) - 1; i >= 0 && s.Buckets[i].Time > last; i-- {
		b := &s.Buckets[i]
		if b.Time > t && (i > 0 || len(s.Buckets) < BucketsMax) {
			continue
		}
		sum.add(&b.Sum)
		count += b.Count
	}
	return count
}

// lastBefore is the latest bucket time of which every second is at or before t - seconds.
func (s *Series) lastBefore(t Time, seconds int64) Time {
	return t - Time(seconds+s.Resolution-1)
}

// bucketTime is t rounded down to the resolution.
func (s *Series) bucketTime(t Time) Time { return t - t%Time(s.Resolution) }

// drop removes the first k buckets. A short series is moved to the front of its memory, which then lasts for good; of
// a long one only the slice moves, so that a full series does not copy itself for every event: append copies it when
// its room is used up.
func (s *Series) drop(k int) {
	const copiedMax = 256
	rest := s.Buckets[k:]
	if len(rest) <= copiedMax {
		rest = s.Buckets[:copy(s.Buckets, rest)]
	}
	s.Buckets = rest
}

// merge adds what o holds to b.
func (b *Bucket) merge(o *Bucket) {
	b.Sum.add(&o.Sum)
	b.Count += o.Count
}
