package consumer

import (
	"context"
	"fmt"
	"slices"

	"github.com/lapwing/lapwing/consumer/wire"
)

// offsetCommitter commits the offsets of what is published at least once. It does so beside the publishing, which need
// not wait for it, at most once an interval: what it has not committed is published again after a crash, and no state
// in Redis is ahead of it. It runs as one goroutine; wake and hold are the committer's.
type offsetCommitter struct {
	committer *committer
	ready     chan struct{} // something is published
	// turn has room for who has offsets on their way to the broker: of two requests the older could arrive last, and
	// C would go back behind what a transaction has committed.
	turn chan struct{}
}

func newOffsetCommitter(c *committer) *offsetCommitter {
	return &offsetCommitter{committer: c, ready: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

// wake says that something is published.
func (o *offsetCommitter) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// hold waits until no offsets are on their way, and keeps others from being sent until release is called.
func (o *offsetCommitter) hold(ctx context.Context) (release func(), err error) {
	select {
	case o.turn <- struct{}{}:
		return func() { <-o.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run commits until stop is closed and nothing is left.
func (o *offsetCommitter) run(ctx context.Context, stop <-chan struct{}) {
	for {
		select {
		case <-o.ready:
			o.once(ctx)
		case <-stop:
			o.once(ctx)
			return
		case <-ctx.Done():
			return
		}
		pause(ctx, stop, o.committer.engine.options.OffsetCommitInterval)
	}
}

// once commits what is published.
func (o *offsetCommitter) once(ctx context.Context) {
	release, err := o.hold(ctx)
	if err != nil {
		return
	}
	defer release()
	c := o.committer
	stage := &c.engine.watch.offsets
	defer stage.at(stageIdle)
	stage.at(stageOffsets)

	c.mu.Lock()
	tenures := slices.Clone(c.tenures) // not those that have failed: their lanes judge again from C on
	c.mu.Unlock()
	var moves offsetMoves
	for _, t := range tenures {
		if r, ok := t.uncommitted(); ok {
			moves.add(t, r)
		}
	}
	if len(moves.tenures) == 0 {
		return
	}
	if err := c.engine.options.Client.CommitOffsets(ctx, c.member, moves.topics...); err != nil {
		c.engine.log.Warn("offset commit failed", "lanes", len(moves.tenures), "err", err)
		for _, t := range moves.tenures {
			t.fail(fmt.Errorf("consumer: commit offsets of %d lanes: %w", len(moves.tenures), err))
		}
		if classify(err) != again {
			c.onLost(err)
		}
		return
	}
	for i, t := range moves.tenures {
		t.settleOffsets(moves.reaches[i])
	}
}

// offsetMoves are the offsets of lanes to commit.
type offsetMoves struct {
	tenures []*tenure
	reaches []reach
	topics  []wire.TopicOffsets // of the lanes' sources that move
}

// add adds a lane's move to r.
func (m *offsetMoves) add(t *tenure, r reach) {
	m.tenures, m.reaches = append(m.tenures, t), append(m.reaches, r)
	from := t.committedReach()
	for i, reader := range t.readers {
		s := reader.source
		mark := t.marks[i]
		mark.offset, mark.at = r.ends[i], r.ends[i]
		if s.rekey {
			mark.offset = max(mark.at, r.quiet)
		}
		if r.ends[i] == from.ends[i] && !(s.rekey && r.quiet > from.quiet) {
			continue
		}
		at := slices.IndexFunc(m.topics, func(o wire.TopicOffsets) bool { return o.Topic == s.topic })
		if at < 0 {
			at = len(m.topics)
			m.topics = append(m.topics, wire.TopicOffsets{Topic: s.topic, Partitions: make(map[int32]wire.OffsetMeta)})
		}
		m.topics[at].Partitions[t.lane] = wire.OffsetMeta{Offset: mark.offset, Metadata: mark.String()}
	}
}
