package rules

import "slices"

// Kind is what a rule looks at.
type Kind uint8

// The kinds of rules; doc.go says when each fires.
const (
	KindAmount Kind = iota + 1
	KindStreak
	KindRising
	KindWindowSum
	KindWindowCount
)

// Rule is one compiled rule. The fields after Types depend on the kind.
type Rule struct {
	// Code is what a result names the rule by; unique in its Set.
	Code int
	// Name is for people; it may be empty.
	Name string
	Kind Kind
	// Types are the event types that count and that raise the rule, in the order of the file. Read only.
	Types []Type
	// Limit belongs to the kinds amount, window_sum and window_count (a whole number there).
	Limit Amount
	// Inclusive: the limit itself is enough (at_least); otherwise it must be exceeded (over).
	Inclusive bool
	// Count is the length of the run of the kinds streak and rising, and the limit of window_count as a number.
	Count uint64
	// Window is the length of the window of the kinds window_sum and window_count, in seconds.
	Window int64
	// Resolution is the width of the buckets that the window is summed from, in seconds; 1: exact.
	Resolution int64

	window int // which of the set's windows; see Set.numberWindows
}

// String is the kind's name in a rule file.
func (k Kind) String() string {
	if spec := k.spec(); spec != nil {
		return spec.name
	}
	return "invalid"
}

// judge raises the rule if the event does. The state includes the event already; ts is that of the event's type.
func (r *Rule) judge(st *UserState, ts *TypeState, ev *Event, v *Verdict) {
	switch r.Kind {
	case KindAmount:
		r.judgeAmount(ev, v)
	case KindStreak:
		r.judgeStreak(st, v)
	case KindRising:
		r.judgeRising(ts, v)
	case KindWindowSum:
		r.judgeWindowSum(st, ev, v)
	case KindWindowCount:
		r.judgeWindowCount(st, ev, v)
	}
}

// reached reports whether a value that compares to the limit like this is over it, or at least it.
func (r *Rule) reached(cmp int) bool { return cmp > 0 || cmp == 0 && r.Inclusive }

// takes reports whether events of this type count for the rule.
func (r *Rule) takes(t Type) bool { return slices.Contains(r.Types, t) }
