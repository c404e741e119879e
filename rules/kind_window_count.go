package rules

import "cmp"

// windowCountSpec: the number of events in the window that ends with the event reaches a limit.
var windowCountSpec = kindSpec{
	kind: KindWindowCount,
	name: "window_count",
	keys: []string{keyWindow, keyResolution, keyOver, keyAtLeast},
	read: func(f *fields, r *Rule) {
		f.window(r)
		f.limit(r, func(key string) Amount {
			r.Count = f.number(key, 1, WindowCountMax)
			return newAmount(0, r.Count, 0)
		})
	},
}

func (r *Rule) judgeWindowCount(st *UserState, ev *Event, v *Verdict) {
	if total := v.total(st, ev, r); r.reached(cmp.Compare(total.count, r.Count)) {
		v.raiseWindow(r, ev, total)
	}
}
