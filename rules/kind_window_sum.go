package rules

// windowSumSpec: the amounts of the window that ends with the event sum to a limit.
var windowSumSpec = kindSpec{
	kind: KindWindowSum,
	name: "window_sum",
	keys: []string{keyWindow, keyResolution, keyOver, keyAtLeast},
	read: func(f *fields, r *Rule) {
		f.window(r)
		f.limit(r, f.amount)
	},
}

func (r *Rule) judgeWindowSum(st *UserState, ev *Event, v *Verdict) {
	if total := v.total(st, ev, r); r.reached(total.sum.cmp(&r.Limit)) {
		v.raiseWindow(r, ev, total)
	}
}

// raiseWindow adds the alert of a rule that looks at a window.
func (v *Verdict) raiseWindow(r *Rule, ev *Event, total *total) {
	a := v.raise(r)
	a.Limit, a.Sum, a.Count = r.Limit, total.sum, total.count
	a.From, a.To = ev.Time-Time(r.Window), ev.Time
}
