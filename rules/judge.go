package rules

// Judge applies the event to the state, in place, and fills v with what the rules say about it. The event's type must
// be of s.Types() and its amount one of ParseAmount; the state is the event's user's. The result depends on nothing
// but the arguments. Nothing is allocated unless the state has something new to keep.
func (s *Set) Judge(st *UserState, ev *Event, v *Verdict) {
	v.reset()
	ts, lateBy := s.advance(st, ev)
	v.LateBy = lateBy
	v.Beyond = lateBy > s.lateness || s.behindPeer(st, ev)
	c := &s.byType[ev.Type]
	some := false
	for i := range c.groups {
		may := c.groups[i].may(st, ts, ev)
		v.may = append(v.may, may)
		some = some || may
	}
	if !some {
		return
	}
	v.resetTotals(s.windows)
	for i, r := range c.rules {
		if v.may[c.group[i]] {
			r.judge(st, ts, ev, v)
		}
	}
}

// Apply changes the state as Judge does, without a verdict: a replay of the same events gives the same states.
func (s *Set) Apply(st *UserState, ev *Event) { s.advance(st, ev) }

// advance is the one place that changes a state. It returns the state of the event's type and how many seconds the
// event is behind the latest of that type.
func (s *Set) advance(st *UserState, ev *Event) (ts *TypeState, lateBy int64) {
	if st.RunLength > 0 && st.RunType == ev.Type {
		st.RunLength++
	} else {
		st.RunType, st.RunLength = ev.Type, 1
	}
	ts = st.typeState(ev.Type)
	if ev.Time < ts.Latest { // Never so for a new type: its Latest is 0.
		lateBy = ts.behind(ev.Time)
	} else {
		ts.Latest = ev.Time
	}
	ts.rise(ev.Amount)
	ts.keepSeries(s.byType[ev.Type].resolutions)
	for i := range ts.Series {
		ts.Series[i].add(ev.Time, ev.Amount, s.horizon)
	}
	return ts, lateBy
}

// behindPeer reports whether a type that some rule sums together with the event's is more than the lateness ahead of
// the event, so that buckets of the event's window may be gone there.
func (s *Set) behindPeer(st *UserState, ev *Event) bool {
	for _, peer := range s.byType[ev.Type].peers {
		if ts := st.lookup(peer); ts != nil && ts.behind(ev.Time) > s.lateness {
			return true
		}
	}
	return false
}
