// Package rules is the pure core of Lapwing: it judges events by rules over a bounded state of their user.
//
// It has no clock, no I/O and no goroutines: the same state and event give the same verdict and the same new state, on
// any machine and in any replay. Amounts of money are exact decimals.
//
//	set := rules.Builtin()
//	var user rules.UserState // a new user
//	var verdict rules.Verdict
//	set.Judge(&user, &event, &verdict)
//
// # What happens to an event
//
//  1. Its type's run goes on, or another type's ends.
//  2. How late it is: the seconds that it is behind the latest event of its user and type.
//  3. The strictly rising run of its type goes on or starts anew.
//  4. In each series of its type, buckets that end at or before its time - horizon go, and the event is counted in the
//     bucket of its time. The horizon is the longest window of the set plus the lateness.
//  5. The rules that take its type look at the new state, in the order of the file, and raise their alerts.
//
// Apply does 1 to 4, by the same code.
//
// # When a rule fires
//
// Only events of a rule's own types count for it and raise it. Events count in the order in which they arrive.
//
//	amount        this event's amount is over (or at_least) the limit
//	streak        this event is at least the count-th in a row of its type for the user, with no other type between;
//	              each further one fires again
//	rising        the user's last count events of the type, this one included, strictly increase; other types between
//	              do not matter, an equal amount starts a new run
//	window_sum    the amounts of the user's events of these types with a time in (t-window, t], where t is this
//	              event's, sum to over (or at_least) the limit
//	window_count  the same with their number
//
// over is strict, at_least includes the limit.
//
// # Late events
//
// A late event is judged against its own window, and counted where it belongs; later windows include it from then on.
// What was said of other events before is not taken back.
//
// # How exact a window is
//
// A window with resolution 1 is exactly (t-window, t] for each event that is no later than the lateness, as long as
// its series has not been full. Everything that is not exact errs to a sum that is too high, except for what is gone:
//
//   - A resolution of r seconds rounds times down to r. A bucket counts for a window if any of its seconds is in it.
//   - A series has at most BucketsMax buckets; beyond, the two earliest merge into the later time. Times before the
//     merged bucket's own count for it too.
//   - An event later than the lateness (Verdict.Beyond) is judged on what is kept; its sums may be too low. For a rule
//     over several types this is so when it is later than that behind any of them, since each type keeps its own time.
//   - A rule with a longer window than any before is whole after one window. One with a new resolution starts with what
//     the finest series holds.
//
// An event with an absurd time far ahead costs at most one window: it drops its type's buckets, and those that follow
// count among themselves as ever, though they are late for good.
//
// # Rule files
//
// A rule file is one YAML document, read strictly: Parse refuses what it does not know and lists all problems at once.
//
//	lateness: 30s                # how late an event may be and be judged exactly; default: the longest window
//	rules:                       # 1 to RulesMax, judged and reported in this order
//	  - code: 123                # 1 to 2147483647, once in the file; what results name the rule by
//	    name: deposits in a window   # optional, for people
//	    kind: window_sum         # amount, streak, rising, window_sum, window_count
//	    types: [deposit]         # event types; exactly one for streak and rising
//	    window: 30s              # window_*: whole seconds (30s, 10m, 24h), up to 366 days
//	    resolution: 1s           # window_*, optional: must divide the window; coarser is smaller
//	    over: 200                # amount, window_*: one of over and at_least; an amount of money for amount and
//	                             # window_sum, a whole number for window_count
//	  - {code: 30, kind: streak, types: [withdraw], count: 3}    # streak, rising: a run of 2 to CountMax
//
// Amounts may be quoted or not: they are taken by their text. Anchors, aliases and tags are not read.
package rules
