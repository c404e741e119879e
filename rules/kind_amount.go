package rules

// amountSpec: a single event's amount passes a limit.
var amountSpec = kindSpec{
	kind: KindAmount,
	name: "amount",
	keys: []string{keyOver, keyAtLeast},
	read: func(f *fields, r *Rule) { f.limit(r, f.amount) },
}

func (r *Rule) judgeAmount(ev *Event, v *Verdict) {
	if !r.reached(ev.Amount.cmp(&r.Limit)) {
		return
	}
	a := v.raise(r)
	a.Limit, a.Amount = r.Limit, ev.Amount
}
