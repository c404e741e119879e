package consumertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// CheckOptions says what is compared. Brokers and the topics are required.
type CheckOptions struct {
	Brokers             []string
	Inputs              []string // all have one partition count
	Output, DeadLetters string
	// Partitioner says which partition a user's events belong to, by the user_id in digits: murmur2, crc32 or fnv1a; "":
	// murmur2. An event in another partition is forwarded, and has its one result all the same.
	Partitioner string
	// Former are the partitioners that the group has judged by before, in any order.
	Former []string
	// Minimal: results have only the three members (detail: minimal).
	Minimal bool
	// AlertsOnly: only alerts, and results that somebody waits for, are published (results: alerts).
	AlertsOnly bool
	// Repeats allows a result or dead letter again, with the same bytes, key and source (guarantee: at_least_once).
	Repeats bool
	// Settle is how long nothing may have moved before the output is taken for what it is, complete or not; 0: 20 s, which
	// is longer than a broker takes to abort a dead producer's transaction.
	Settle time.Duration
}

const settleDefault = 20 * time.Second

// refreshAfter is how long the reading of the input may stand still before new partitions are looked for.
const refreshAfter = 500 * time.Millisecond

// Checker follows the input of engines while it grows, so that input may be deleted later and still be judged, and in the
// end recomputes by a naive model what must be in the output, the dead letters and the stored states. Finish and
// CheckStates are called by one goroutine, the other methods by any.
type Checker struct {
	o        CheckOptions
	x        *expectation // the following goroutine's; after its end whoever's calls Finish
	follower *follower
	cancel   context.CancelFunc
	done     chan struct{} // closed when the following has ended

	mu    sync.Mutex
	next  map[place]int64 // by partition of the inputs: everything below is read
	moved chan struct{}   // closed, and made anew, when next grows or err is set
	err   error           // why the following has ended
	ended bool            // Finish was called
	holes []laneHole

	growths []growth

	report     Report
	finished   bool // the report is that of a whole check
	partitions map[string]int32
	byOutput   partitioner
	last       map[route]int64 // the largest input offset so far
	ordered    map[int64]*orderedUser
	due        []byte // the value due for the event of an ordered user that was judged last
	failed     error  // why nothing more can be judged
	rules      string // the hash of the rule set that judged the first result; all have the same
	scratch    []byte
}

// laneHole is a hole that was told, before its lane is judged.
type laneHole struct {
	partition       int32
	from, to, start int64
}

// NewChecker starts to follow the inputs at their beginnings; ctx bounds the start alone. Close ends it.
func NewChecker(ctx context.Context, o CheckOptions) (*Checker, error) {
	if o.Settle <= 0 {
		o.Settle = settleDefault
	}
	partitions, err := inputPartitions(ctx, o)
	if err != nil {
		return nil, err
	}
	x, err := newExpectation(o, partitions)
	if err != nil {
		return nil, err
	}
	f, err := newFollower(o.Brokers, o.Inputs...)
	if err != nil {
		return nil, err
	}
	following, cancel := context.WithCancel(context.Background())
	c := &Checker{
		o: o, x: x, follower: f, cancel: cancel, done: make(chan struct{}),
		next: map[place]int64{}, moved: make(chan struct{}), partitions: map[string]int32{}, last: map[route]int64{},
	}
	go c.follow(following) // ends with Close or Finish, which wait for it
	return c, nil
}

// inputPartitions returns how many partitions each input has now.
func inputPartitions(ctx context.Context, o CheckOptions) (int32, error) {
	if len(o.Inputs) == 0 {
		return 0, errors.New("consumertest: a check needs an input topic")
	}
	var first int32
	for i, topic := range o.Inputs {
		n, err := partitionCount(ctx, o.Brokers, topic)
		switch {
		case err != nil:
			return 0, err
		case i == 0:
			first = n
		case n != first:
			return 0, fmt.Errorf("consumertest: %s has %d partitions, %s has %d", o.Inputs[0], first, topic, n)
		}
	}
	return first, nil
}

// Close ends the following and waits for it. It may be called again.
func (c *Checker) Close() {
	c.cancel()
	<-c.done
}

// follow reads the input until ctx ends or reading fails.
func (c *Checker) follow(ctx context.Context) {
	defer close(c.done)
	defer c.follower.close()
	var failed error
	for failed == nil {
		var bad error
		n, err := c.follower.poll(ctx, func(r *kgo.Record) {
			if bad == nil {
				bad = c.x.add(r)
			}
		})
		failed = errors.Join(bad, err)
		if n > 0 || failed != nil || c.behind() {
			c.progress(failed)
		}
	}
}

// behind says whether the follower has moved without records: past markers.
func (c *Checker) behind() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, next := range c.follower.next {
		if c.next[at] != next {
			return true
		}
	}
	return false
}

// progress tells the waiting how far the following is.
func (c *Checker) progress(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(c.next, c.follower.next)
	c.err = err
	close(c.moved)
	c.moved = make(chan struct{})
}

// ReadInput waits until the input below these offsets, by partition of the one input topic, is read; nil: below the ends
// that a read_committed consumer sees now in all inputs. Call it before the input below them is deleted. An error says that
// ctx ended, or why the input cannot be read any more: a record that is neither event nor planted, or one that was deleted
// too early.
func (c *Checker) ReadInput(ctx context.Context, ends map[int32]int64) error {
	if ends != nil && len(c.o.Inputs) != 1 {
		return errors.New("consumertest: offsets by partition are of one input topic")
	}
	until := map[place]int64{}
	for partition, end := range ends {
		until[place{c.o.Inputs[0], partition}] = end
	}
	if ends == nil {
		var err error
		if until, err = c.inputEnds(ctx); err != nil {
			return err
		}
	}
	for {
		c.mu.Lock()
		moved, err := c.moved, c.err
		missing := maps.Clone(until)
		maps.DeleteFunc(missing, func(at place, end int64) bool { return c.next[at] >= end })
		c.mu.Unlock()
		switch {
		case len(missing) == 0:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-moved:
		case <-time.After(refreshAfter):
			// There may be a new partition: the client keeps what it knows of a topic for minutes.
			c.follower.client.ForceMetadataRefresh()
		case <-ctx.Done():
			return fmt.Errorf("consumertest: read up to %v: %w", missing, ctx.Err())
		}
	}
}

// inputEnds returns the ends of all partitions that the inputs have now.
func (c *Checker) inputEnds(ctx context.Context) (map[place]int64, error) {
	partitions, err := inputPartitions(ctx, c.o)
	if err != nil {
		return nil, err
	}
	for {
		ends, err := c.follower.ends(ctx)
		if err != nil {
			return nil, err
		}
		known := true
		for _, topic := range c.o.Inputs {
			_, last := ends[place{topic, partitions - 1}]
			known = known && last
		}
		if known {
			return ends, nil
		}
		c.follower.client.ForceMetadataRefresh()
		select {
		case <-time.After(fetchWait):
		case <-ctx.Done():
			return nil, fmt.Errorf("consumertest: %v should have %d partitions: %w", c.o.Inputs, partitions, ctx.Err())
		}
	}
}

// Hole tells that a lane whose group had committed this offset started again when its input began at start: what is below
// was deleted meanwhile. Nothing is due for the records in [committed, start); ReadInput must have read them before. What
// the lane's states need may be gone:
//
//   - start > committed: it is. All users of the lane are fresh at start.
//   - start <= committed: only if the lane's checkpoint was below start, which the checker does not know. Then all users of
//     the lane are fresh at start, and what is left below committed is replayed; otherwise nothing has changed. The results
//     show which it was, and must stay with it.
//
// Holes of one lane are told in their order, before Finish; neither committed nor start ever falls. An error says that a
// hole makes no sense. A hole is of the one input topic; Finish refuses a check with holes and with users whose events come
// by several ways (ErrNotCheckable).
func (c *Checker) Hole(partition int32, committed, start int64) error {
	return c.HoleBetween(partition, committed, committed, start)
}

// HoleBetween is Hole for a lane that may have started again at any committed offset of [from, to], or not at all: one whose
// states were lost while it ran. If Redis loses a lane's states after input was deleted, they are rebuilt from what is left:
// its users are fresh at start. start must not be above from unless from is to.
func (c *Checker) HoleBetween(partition int32, from, to, start int64) error {
	if len(c.o.Inputs) != 1 {
		return fmt.Errorf("%w: a hole where the inputs are %v", ErrNotCheckable, c.o.Inputs)
	}
	if partition < 0 || partition >= c.x.first {
		return fmt.Errorf("consumertest: %s has no partition %d", c.o.Inputs[0], partition)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return errors.New("consumertest: a hole is told before Finish")
	}
	told := holes{}
	for _, h := range append(c.holes, laneHole{partition, from, to, start}) {
		if h.partition != partition {
			continue
		}
		if err := told.add(h.from, h.to, h.start); err != nil {
			return fmt.Errorf("consumertest: %s/%d: %w", c.o.Inputs[0], partition, err)
		}
	}
	c.holes = append(c.holes, laneHole{partition, from, to, start})
	return nil
}

// Check reads the input as far as it is committed now, recomputes by a naive model what must be in the output and the dead
// letters, and compares all that a read_committed consumer finds there, following these topics until they are complete and
// read to their ends, or until nothing has moved for a while. An error says that the check itself failed; what is wrong
// with the output stands in the report.
func Check(ctx context.Context, o CheckOptions) (Report, error) {
	c, err := NewChecker(ctx, o)
	if err != nil {
		return Report{}, err
	}
	defer c.Close()
	return c.Finish(ctx)
}
