package rules

// streakSpec: at least count events of one type in a row, with no other type between them.
var streakSpec = kindSpec{
	kind:    KindStreak,
	name:    "streak",
	keys:    []string{keyCount},
	oneType: true,
	read:    func(f *fields, r *Rule) { r.Count = f.run() },
}

// judgeStreak needs no look at the event: the run is of its type.
func (r *Rule) judgeStreak(st *UserState, v *Verdict) {
	if st.RunLength >= r.Count {
		v.raise(r).RunLength = st.RunLength
	}
}
