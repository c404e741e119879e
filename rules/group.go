package rules

import "slices"

// group is the rules of one event type, of one kind, that one look can rule out together: of a hundred rules an event
// usually raises none, and then costs a look for each group.
type group struct {
	kind       Kind
	types      []Type // sorted; of a window's
	resolution int64  // of a window's
	rules      int

	// The rules need at least so much, each of them: an amount, a sum, or a number.
	least Amount
	count uint64
}

// groupOf returns the group that the rule may join: another with the same kind, and for windows also with the same
// buckets to look at.
func (r *Rule) groupOf() group {
	g := group{kind: r.Kind, least: r.Limit, count: r.Count}
	if r.Window > 0 {
		g.types, g.resolution = sortUnique(slices.Clone(r.Types)), r.Resolution
	}
	return g
}

func (g *group) takes(o *group) bool {
	return g.kind == o.kind && g.resolution == o.resolution && slices.Equal(g.types, o.types)
}

// join adds a rule's own group.
func (g *group) join(o *group) {
	g.rules++
	if g.rules == 1 || o.least.cmp(&g.least) < 0 {
		g.least = o.least
	}
	if g.rules == 1 || o.count < g.count {
		g.count = o.count
	}
}

// may reports whether the event may raise some rule of the group. A window holds at most what all buckets together do,
// whatever its length. Of a single rule it says true: asking the rule costs no more.
func (g *group) may(st *UserState, ts *TypeState, ev *Event) bool {
	if g.rules == 1 {
		return true
	}
	switch g.kind {
	case KindAmount:
		return ev.Amount.cmp(&g.least) >= 0
	case KindStreak:
		return st.RunLength >= g.count
	case KindRising:
		return ts.Rising >= g.count
	}
	var sum Amount
	var count uint64
	for _, typ := range g.types {
		peer := st.lookup(typ)
		if peer == nil {
			continue
		}
		if series := peer.series(g.resolution); series != nil {
			for i := range series.Buckets {
				sum.add(&series.Buckets[i].Sum)
				count += series.Buckets[i].Count
			}
		}
	}
	if g.kind == KindWindowSum {
		return sum.cmp(&g.least) >= 0
	}
	return count >= g.count
}
