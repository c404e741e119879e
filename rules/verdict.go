package rules

import "slices"

// Verdict is what Set.Judge found for one event. The caller reuses it; the zero value is ready.
type Verdict struct {
	// Alerts are in the order of the rules.
	Alerts []Alert
	// LateBy is how many seconds the event is behind the latest of its user and type; 0: it is not late.
	LateBy int64
	// Beyond: the event is later than the set's lateness, so that it was judged on what is kept, and sums may be
	// too low. Where a rule sums several types, the latest of any of them counts.
	Beyond bool

	amounts []Amount // what the Amounts of the alerts point into
	may     []bool   // by group of the event's type
	totals  []total  // by Rule.window; what has been summed for this event
}

// Alert is one rule raised by one event, with the numbers that raised it. Which fields are set depends on the kind:
//
//	amount                     Limit, Amount
//	streak                     RunLength
//	rising                     RunLength, Amounts
//	window_sum, window_count   Limit, Sum, Count, From, To
type Alert struct {
	Rule *Rule
	// Limit is the rule's own limit; for window_count a whole number.
	Limit Amount
	// Amount is the event's.
	Amount Amount
	// RunLength is the length of the run that ends with the event.
	RunLength uint64
	// Amounts are the last amounts of the run, at most LastMax, oldest first, the event's own last. They are valid
	// until the next Judge with this Verdict.
	Amounts []Amount
	// Sum and Count are the total of the window (From, To].
	Sum      Amount
	Count    uint64
	From, To Time
}

// total is the sum and number of events in a window.
type total struct {
	sum   Amount
	count uint64 // 0: not summed yet, since a window holds at least the event itself
}

// reset makes v ready for the next event, and keeps its memory.
func (v *Verdict) reset() {
	v.Alerts, v.LateBy, v.Beyond = v.Alerts[:0], 0, false
	v.amounts, v.may = v.amounts[:0], v.may[:0]
}

// resetTotals makes room for the sums of so many windows.
func (v *Verdict) resetTotals(windows int) {
	v.totals = slices.Grow(v.totals[:0], windows)[:windows]
	clear(v.totals)
}

// total sums the rule's window that ends with this event, once for all rules with the same window.
func (v *Verdict) total(st *UserState, ev *Event, r *Rule) *total {
	t := &v.totals[r.window]
	if t.count > 0 {
		return t
	}
	for _, typ := range r.Types {
		ts := st.lookup(typ)
		if ts == nil {
			continue
		}
		if series := ts.series(r.Resolution); series != nil {
			t.count += series.total(ev.Time, r.Window, &t.sum)
		}
	}
	return t
}

// raise adds an alert of this rule for the caller to fill in.
func (v *Verdict) raise(r *Rule) *Alert {
	v.Alerts = append(v.Alerts, Alert{Rule: r})
	return &v.Alerts[len(v.Alerts)-1]
}
