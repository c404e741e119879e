package consumertest

import (
	"context"
	"fmt"
	"strconv"
)

// growth is a moment before which all of the input has to be judged before what the partitions have that came later.
type growth struct {
	partitions int32           // until then
	ends       map[place]int64 // of each partition
}

// growthsMax bounds them: an ordered user has a bit for each.
const growthsMax = 64

// Growing tells that the inputs are about to get more partitions while a group judges them that has begun the layout of
// those they have, and keeps its store from then on. Of each user then what was in the user's own partition before is
// demanded to be judged before anything that is in a partition that came later: a backlog comes first. Without it, events
// in several partitions may be judged in any order. It is told before Finish.
func (c *Checker) Growing(ctx context.Context) error {
	partitions, err := inputPartitions(ctx, c.o)
	if err != nil {
		return err
	}
	ends, err := c.follower.ends(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || len(c.growths) == growthsMax {
		return fmt.Errorf("consumertest: growth %d is told before Finish, and at most %d are", len(c.growths), growthsMax)
	}
	c.growths = append(c.growths, growth{partitions, ends})
	return nil
}

// backlogOf reports whether the event was in its user's own partition when the inputs grew.
func (g *growth) backlogOf(homes map[layoutKey]partitioner, l *lane, offset int64, user int64) bool {
	if offset >= g.ends[place{l.topic, l.partition}] {
		return false
	}
	key := strconv.AppendInt(nil, user, 10)
	for of, home := range homes {
		if of.partitions == g.partitions && home(key) != l.partition {
			return false // by one of the partitioners
		}
	}
	return true
}

// growthOrder says of an event of an ordered user before which growth it should have been judged; nil: it is in time.
func (c *Checker) growthOrder(u *orderedUser, l *lane, offset, user int64) (late *growth) {
	for i := range c.growths {
		g := &c.growths[i]
		if l.partition >= g.partitions {
			u.grown |= 1 << i
		} else if u.grown&(1<<i) != 0 && g.backlogOf(c.x.homes, l, offset, user) {
			late = g
		}
	}
	return late
}
