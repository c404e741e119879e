package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Set is an immutable, compiled set of rules, safe for concurrent use.
type Set struct {
	types    *Types
	rules    []Rule
	lateness int64
	horizon  int64
	hash     string
	// windows is how many different windows the rules have: Rule.window is below it.
	windows int
	byType  []typeRules // by Type
}

// typeRules is what a Set needs to know for an event of one type.
type typeRules struct {
	rules []*Rule // those that take the type, in the order of the file
	// groups are those of the rules, and group has for each rule the number of its own.
	groups []group
	group  []int
	// resolutions are those of the series to keep, ascending; 1 is always there.
	resolutions []int64
	// peers are the other types that some window rule sums together with this one, ascending.
	peers []Type
}

// newSet compiles rules that have been checked.
func newSet(types *Types, rules []Rule, lateness int64) *Set {
	s := &Set{types: types, rules: rules, lateness: lateness, horizon: longestWindow(rules) + lateness}
	s.byType = make([]typeRules, types.Len())
	for i := range s.byType {
		s.byType[i] = compileType(Type(i), rules)
	}
	s.numberWindows()
	s.hash = s.computeHash()
	return s
}

// longestWindow is 0 when no rule has a window.
func longestWindow(rules []Rule) int64 {
	var longest int64
	for i := range rules {
		longest = max(longest, rules[i].Window)
	}
	return longest
}

func compileType(t Type, rules []Rule) typeRules {
	c := typeRules{resolutions: []int64{1}}
	for i := range rules {
		r := &rules[i]
		if !r.takes(t) {
			continue
		}
		c.rules = append(c.rules, r)
		c.join(r)
		if r.Window == 0 {
			continue
		}
		c.resolutions = append(c.resolutions, r.Resolution)
		for _, peer := range r.Types {
			if peer != t {
				c.peers = append(c.peers, peer)
			}
		}
	}
	c.resolutions = sortUnique(c.resolutions)
	c.peers = sortUnique(c.peers)
	return c
}

// join adds the rule to the first group that takes it, or to one of its own.
func (c *typeRules) join(r *Rule) {
	own := r.groupOf()
	at := slices.IndexFunc(c.groups, func(g group) bool { return g.takes(&own) })
	if at < 0 {
		at = len(c.groups)
		c.groups = append(c.groups, own)
	}
	c.groups[at].join(&own)
	c.group = append(c.group, at)
}

// numberWindows gives rules with the same types, window and resolution the same window number, so that an event sums
// each window once.
func (s *Set) numberWindows() {
	numbers := map[string]int{}
	for i := range s.rules {
		r := &s.rules[i]
		if r.Window == 0 {
			continue
		}
		key := fmt.Sprint(sortUnique(slices.Clone(r.Types)), r.Window, r.Resolution)
		if _, ok := numbers[key]; !ok {
			numbers[key] = len(numbers)
		}
		r.window = numbers[key]
	}
	s.windows = len(numbers)
}

// Alone reports whether an event of this type is judged without a look at what the user's state holds of other types.
func (s *Set) Alone(t Type) bool { return len(s.byType[t].peers) == 0 }

// Types is the table that the types of the set's events index into.
func (s *Set) Types() *Types { return s.types }

// Rules returns a copy of the rules, in the order of the file.
func (s *Set) Rules() []Rule {
	rules := slices.Clone(s.rules)
	for i := range rules {
		rules[i].Types = slices.Clone(rules[i].Types)
	}
	return rules
}

// Horizon is the longest window plus the lateness, in seconds: how far behind an event buckets are kept.
func (s *Set) Horizon() int64 { return s.horizon }

// Lateness is how many seconds an event may be behind the latest of its user and type and be judged exactly.
func (s *Set) Lateness() int64 { return s.lateness }

// Hash is 12 hexadecimal digits that stand for what is judged: codes, kinds, types, limits, windows and resolutions,
// their order, and the lateness. Names of rules, comments and the way a file is written do not change it.
func (s *Set) Hash() string { return s.hash }

// computeHash hashes a canonical text of the set. The text must not change: results carry the hash.
func (s *Set) computeHash() string {
	var b strings.Builder
	fmt.Fprintf(&b, "lapwing rules 1\nlateness %d\n", s.lateness)
	for i := range s.rules {
		r := &s.rules[i]
		names := make([]string, 0, len(r.Types))
		for _, t := range r.Types {
			names = append(names, s.types.Name(t))
		}
		slices.Sort(names)
		fmt.Fprintf(&b, "%d %s %q limit %s inclusive %t count %d window %d resolution %d\n",
			r.Code, r.Kind, names, r.Limit, r.Inclusive, r.Count, r.Window, r.Resolution)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:6])
}

// sortUnique sorts s in place and drops what is there twice.
func sortUnique[T int64 | Type](s []T) []T {
	slices.Sort(s)
	return slices.Compact(s)
}
