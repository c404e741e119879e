package rules

import "slices"

const (
	// LastMax is how many amounts of a rising run a state keeps.
	LastMax = 8
	// BucketsMax is how many buckets a series keeps. Beyond it the two earliest merge into the later time.
	BucketsMax = 4096
)

// UserState is all that the rules remember of a user. Its zero value is a new user. It has one shape for all rules,
// so that a new rule is warm at once as far as the state reaches. The fields are plain data for package state to
// encode; only Set.Judge and Set.Apply change them, in place. It belongs to one goroutine at a time.
type UserState struct {
	// RunType is the type of the latest events in a row and RunLength their number; 0: there was no event yet.
	RunType   Type
	RunLength uint64
	// Types has an entry for each type seen, ascending by Type.
	Types []TypeState
}

// TypeState is what is remembered of a user's events of one type.
type TypeState struct {
	Type Type
	// Latest is the latest event time seen.
	Latest Time
	// Rising is the length of the strictly rising run that ends with the last event: 1 or more.
	Rising uint64
	// Last holds the last amounts of that run, oldest first.
	// Invariant: len(Last) == min(Rising, LastMax).
	Last []Amount
	// Series has an entry for each resolution in use for this type, ascending; resolution 1 is always there.
	Series []Series
}

// Series sums a user's events of one type in buckets of Resolution seconds.
type Series struct {
	Resolution int64
	// Buckets are ascending by Time, each time once.
	// Invariant: len(Buckets) <= BucketsMax, and only in a full series may the first be a merged one.
	Buckets []Bucket
}

// Bucket is the sum and number of the events with a time in [Time, Time+resolution). A merged bucket, the first of a
// full series, holds events of earlier times too.
type Bucket struct {
	Time  Time
	Sum   Amount
	Count uint64
}

// Equal reports whether two states hold the same.
func (s *UserState) Equal(o *UserState) bool {
	return s.RunType == o.RunType && s.RunLength == o.RunLength && slices.EqualFunc(s.Types, o.Types, equalType)
}

func equalType(a, b TypeState) bool {
	return a.Type == b.Type && a.Latest == b.Latest && a.Rising == b.Rising &&
		slices.EqualFunc(a.Last, b.Last, func(x, y Amount) bool { return x.Cmp(y) == 0 }) &&
		slices.EqualFunc(a.Series, b.Series, equalSeries)
}

func equalSeries(a, b Series) bool {
	return a.Resolution == b.Resolution && slices.EqualFunc(a.Buckets, b.Buckets, func(x, y Bucket) bool {
		return x.Time == y.Time && x.Count == y.Count && x.Sum.Cmp(y.Sum) == 0
	})
}

// Clone returns a copy that shares nothing that could change.
func (s *UserState) Clone() UserState {
	c := *s
	c.Types = slices.Clone(s.Types)
	for i := range c.Types {
		t := &c.Types[i]
		t.Last = slices.Clone(t.Last)
		t.Series = slices.Clone(t.Series)
		for j := range t.Series {
			t.Series[j].Buckets = slices.Clone(t.Series[j].Buckets)
		}
	}
	return c
}
