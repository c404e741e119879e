package consumertest

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
)

// ErrNotCheckable is the error of a check that cannot tell what is right.
var ErrNotCheckable = errors.New("consumertest: not checkable")

// orderedUser is a user whose events come by several ways: one at least is forwarded, they are in several input topics, or
// the user has belonged to several partitions, as the inputs grew or the partitioner was another one.
// An engine may judge them in any order that keeps the order of each way, and the input does not tell which it was. The
// results do: those of one user stand in one partition of the output, in the order of judging. So the user's past grows
// with each result that is found, and is kept for the whole check: memory grows with the number of such users, beside that
// of their records.
type orderedUser struct {
	past   history
	ways   []source // the forwarded event found last of each input partition
	latest source   // the event judged last
	before source   // the one before it
	grown  uint64   // by growth: an event of a partition that came later was found
	wrong  bool     // a result was wrong; the past may be another than the engine's from there on
}

// source is an input record; from is nil for none.
type source struct {
	from   *lane
	offset int64
}

// String gives topic, partition and offset.
func (s source) String() string {
	if s.from == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s/%d/%d", s.from.topic, s.from.partition, s.offset)
}

// follow notes that a forwarded event was found. It returns false, and the largest offset of the input partition so far, if
// that is above.
func (u *orderedUser) follow(l *lane, offset int64) (last int64, ok bool) {
	for i := range u.ways {
		if u.ways[i].from != l {
			continue
		}
		if offset < u.ways[i].offset {
			return u.ways[i].offset, false
		}
		u.ways[i].offset = offset
		return offset, true
	}
	u.ways = append(u.ways, source{l, offset})
	return offset, true
}

// firstWrong notes a wrong result, and says whether there was one before.
func (u *orderedUser) firstWrong() bool {
	before := u.wrong
	u.wrong = true
	return before
}

// sortUsers finds the ordered users and marks their events. It comes when the whole input is read: then the partitions are
// known, whose number says where a user belongs. An error says that what is right cannot be told of one of them.
func (c *Checker) sortUsers() error {
	c.ordered = map[int64]*orderedUser{}
	home := map[int64]*lane{} // with several inputs: where the first event of a user is
	moves := map[int64]bool{} // where there was more than one layout
	movesOf := func(user int64) bool {
		if len(c.x.homes) == 1 {
			return false
		}
		m, known := moves[user]
		if !known {
			m = !c.x.stays(user)
			moves[user] = m
		}
		return m
	}
	var example source
	for _, l := range c.x.lanes {
		for offset := l.first; offset < l.end(); offset++ {
			e := l.at(offset)
			if !e.is(flagEvent) {
				continue
			}
			several := false
			if c.x.partitionOf(e.user) != l.partition || movesOf(e.user) {
				e.flags |= flagForeign
				several = true
			} else if len(c.o.Inputs) > 1 {
				if home[e.user] == nil {
					home[e.user] = l
				}
				several = home[e.user] != l
			}
			if several && c.ordered[e.user] == nil {
				c.ordered[e.user] = new(orderedUser)
			}
			if several && example.from == nil {
				example = source{l, offset}
			}
		}
	}
	if len(c.ordered) == 0 {
		return nil
	}
	if len(c.holes) > 0 || c.o.AlertsOnly {
		what := "silent events have no place in the order of judging"
		if len(c.holes) > 0 {
			what = "the past of a user after a hole"
		}
		return fmt.Errorf("%w: %s, where events of one user come by several ways, like %s of user %d", ErrNotCheckable, what,
			example, example.from.at(example.offset).user)
	}
	for _, l := range c.x.lanes {
		for offset := l.first; offset < l.end(); offset++ {
			if e := l.at(offset); e.is(flagEvent) && c.ordered[e.user] != nil {
				e.flags |= flagOrdered
			}
		}
	}
	return nil
}

// judgeNext judges the event of an ordered user whose result is the next that was found of this user.
func (c *Checker) judgeNext(at whence, l *lane, e *expected) {
	u := c.ordered[e.user]
	v, err := u.past.judge(int(e.typ), c.x.amounts[e.amount].value, e.time, at.offset)
	if err != nil {
		c.failed = errors.Join(c.failed, fmt.Errorf("%w: %s", err, at))
		return
	}
	u.before, u.latest = u.latest, source{l, at.offset}
	c.due = c.x.appendDue(c.due[:0], l, at.offset, e, &v)
	e.digest, e.codes = maphash.Bytes(c.x.seed, c.due), v.codes
	c.report.Alerts += alerts(v.codes)
	if v.lateBy > lateness {
		c.report.Beyond++
	}
}

// orderDiffers says in what the result of an ordered user's event is not the one that is due.
func (c *Checker) orderDiffers(value []byte, e *expected, again bool) error {
	if again {
		return fmt.Errorf("value %s", value)
	}
	return fmt.Errorf("%s: value %s, not %s, if it is judged after %s", difference(value, c.due), value, c.due, c.ordered[e.user].before)
}

// inputNames returns the input topics for a message.
func (c *Checker) inputNames() string { return strings.Join(c.o.Inputs, ", ") }
