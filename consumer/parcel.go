package consumer

import (
	"slices"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
)

// parcel is what a lane has judged and commits together: the record batches of its results and dead letters, the input
// offsets from where to where, and the counts that the metrics get once it is committed.
type parcel struct {
	from, to int64   // places in the order of judging: the sums of starts and of ends
	starts   []int64 // by source
	ends     []int64
	segments []segment
	quiet    int64 // the rekey topic was read up to here, and from its end on nothing was to be judged
	moved    bool  // quiet has moved since the last parcel

	batches []*wire.Batch         // in use; those of one destination in their order
	results map[int32]*wire.Batch // by output partition: the batch that takes the next result
	copies  map[int32]*wire.Batch // by partition of the rekey topic: the batch that takes the next copy
	latest  *wire.Batch           // of results, or nil: it nearly always takes the next one, too
	dead    *wire.Batch           // the batch that takes the next dead letter
	spare   []*wire.Batch
	further int // batches that follow another of the same destination: each is a round of requests

	counts parcelCounts
	traced []tracedRecord
}

// parcelCounts says what became of the parcel's input records.
type parcelCounts struct {
	events, results, tombstones, forwarded, late, beyond int
	buried                                               int
	alerts                                               map[int]int             // by rule code
	dead                                                 map[contract.Reason]int // by reason: the buried ones
}

func newParcel() *parcel {
	return &parcel{results: make(map[int32]*wire.Batch), copies: make(map[int32]*wire.Batch), counts: parcelCounts{alerts: make(map[int]int), dead: make(map[contract.Reason]int)}}
}

// reset empties the parcel and keeps its buffers. It begins at the offsets given, one per source.
func (p *parcel) reset(from ...int64) {
	p.spare = append(p.spare, p.batches...)
	p.batches, p.latest, p.dead, p.further = p.batches[:0], nil, nil, 0
	p.traced = p.traced[:0]
	clear(p.results)
	clear(p.copies)
	p.starts, p.ends = append(p.starts[:0], from...), append(p.ends[:0], from...)
	p.segments, p.moved = p.segments[:0], false
	p.from, p.to = sum(from), sum(from)
	alerts, dead := p.counts.alerts, p.counts.dead
	clear(alerts)
	clear(dead)
	p.counts = parcelCounts{alerts: alerts, dead: dead}
}

// move notes that a source was judged up to an offset.
func (p *parcel) move(source int, to int64) {
	if to <= p.ends[source] {
		return
	}
	p.to += to - p.ends[source]
	p.ends[source] = to
	if n := len(p.segments); n > 0 && p.segments[n-1].source == source {
		p.segments[n-1].to = to
		return
	}
	p.segments = append(p.segments, segment{source, to})
}

// reach returns how far the lane has come with the parcel. It outlives the parcel.
func (p *parcel) reach() reach { return reach{to: p.to, ends: slices.Clone(p.ends), quiet: p.quiet} }

func (p *parcel) empty() bool { return p.to == p.from && !p.moved }

// records returns how many input records the parcel holds.
func (p *parcel) records() int {
	return p.counts.events + p.counts.tombstones + p.counts.forwarded + p.counts.buried
}

// bytes returns the size of all batches.
func (p *parcel) bytes() int {
	n := 0
	for _, b := range p.batches {
		n += b.Len()
	}
	return n
}

// message is a record to write. It is encoded at once; nothing of it is kept.
type message struct {
	timeMillis int64
	key, value []byte
	headers    []wire.Header
}

// addResult adds a result for an output partition and reports whether it did: not if its batch would have more than
// single bytes with the result alone in it.
func (p *parcel) addResult(partition int32, limit *topicLimit, single int, m *message) bool {
	b := p.add(p.results[partition], partition, limit, single, m)
	if b != nil {
		p.results[partition], p.latest = b, b
	}
	return b != nil
}

// resultBatch returns the batch that takes the next result for an output partition, or nil where none does yet.
func (p *parcel) resultBatch(partition int32) *wire.Batch {
	if p.latest == nil || p.latest.Partition() != partition {
		p.latest = p.results[partition]
	}
	return p.latest
}

// addDead is addResult for a dead letter: a lane has one partition of them.
func (p *parcel) addDead(partition int32, limit *topicLimit, single int, m *message) bool {
	b := p.add(p.dead, partition, limit, single, m)
	if b != nil {
		p.dead = b
	}
	return b != nil
}

// addCopy is addResult for a copy, which goes to a partition of the rekey topic.
func (p *parcel) addCopy(partition int32, limit *topicLimit, single int, m *message) bool {
	b := p.add(p.copies[partition], partition, limit, single, m)
	if b != nil {
		p.copies[partition] = b
	}
	return b != nil
}

// add appends to the batch if there is room, else to a new one, and returns the batch that took it, or nil.
func (p *parcel) add(b *wire.Batch, partition int32, limit *topicLimit, single int, m *message) *wire.Batch {
	if b != nil && b.TryAppend(limit.several(), m.timeMillis, m.key, m.value, m.headers...) {
		return b
	}
	next := p.batch(limit.topic, partition)
	if next.TryAppend(single, m.timeMillis, m.key, m.value, m.headers...) {
		if b != nil {
			p.further++
		}
		return next
	}
	p.batches, p.spare = p.batches[:len(p.batches)-1], append(p.spare, next)
	return nil
}

func (p *parcel) batch(topic string, partition int32) *wire.Batch {
	var b *wire.Batch
	if n := len(p.spare); n > 0 {
		b, p.spare = p.spare[n-1], p.spare[:n-1]
		b.Reset(topic, partition)
	} else {
		b = wire.NewBatch(topic, partition)
	}
	p.batches = append(p.batches, b)
	return b
}

func (c *parcelCounts) verdict(v *rules.Verdict) {
	c.events++
	if v.LateBy > 0 {
		c.late++
	}
	if v.Beyond {
		c.beyond++
	}
	for i := range v.Alerts {
		c.alerts[v.Alerts[i].Rule.Code]++
	}
}
