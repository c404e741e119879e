package rules

// risingSpec: the last count events of one type strictly increase; events of other types between them do not matter.
var risingSpec = kindSpec{
	kind:    KindRising,
	name:    "rising",
	keys:    []string{keyCount},
	oneType: true,
	read:    func(f *fields, r *Rule) { r.Count = f.run() },
}

func (r *Rule) judgeRising(ts *TypeState, v *Verdict) {
	if ts.Rising < r.Count {
		return
	}
	// The state goes on changing while the verdict is read, hence the copy. Where the memory for it moves, earlier
	// alerts keep the old one.
	from := len(v.amounts)
	v.amounts = append(v.amounts, ts.Last...)
	a := v.raise(r)
	a.RunLength, a.Amounts = ts.Rising, v.amounts[from:len(v.amounts):len(v.amounts)]
}
