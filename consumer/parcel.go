package consumer

import (
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
)

// parcel is what a lane has judged and commits together: the record batches of its results and dead letters, the input
// offsets [from, to), and the counts that the metrics get once it is committed.
type parcel struct {
	from, to int64

	batches []*wire.Batch         // in use; those of one destination in their order
	results map[int32]*wire.Batch // by output partition: the batch that takes the next result
	dead    *wire.Batch           // the batch that takes the next dead letter
	spare   []*wire.Batch

	counts parcelCounts
}

// parcelCounts says what became of the parcel's input records.
type parcelCounts struct {
	events, results, tombstones, late, beyond int
	alerts                                    map[int]int             // by rule code
	dead                                      map[contract.Reason]int // by reason
}

func newParcel() *parcel {
	return &parcel{results: make(map[int32]*wire.Batch), counts: parcelCounts{alerts: make(map[int]int), dead: make(map[contract.Reason]int)}}
}

// reset empties the parcel and keeps its buffers.
func (p *parcel) reset(from int64) {
	p.spare = append(p.spare, p.batches...)
	p.batches, p.dead = p.batches[:0], nil
	clear(p.results)
	p.from, p.to = from, from
	alerts, dead := p.counts.alerts, p.counts.dead
	clear(alerts)
	clear(dead)
	p.counts = parcelCounts{alerts: alerts, dead: dead}
}

func (p *parcel) empty() bool { return p.to == p.from }

// records returns how many input records the parcel holds.
func (p *parcel) records() int {
	n := p.counts.events + p.counts.tombstones
	for _, d := range p.counts.dead {
		n += d
	}
	return n
}

// bytes returns the size of all batches.
func (p *parcel) bytes() int {
	n := 0
	for _, b := range p.batches {
		n += b.Len()
	}
	return n
}

// resultBatch returns a batch for the output partition that stays below the limit with so many bytes more.
func (p *parcel) resultBatch(topic string, partition int32, bytes, limit int) *wire.Batch {
	b := p.results[partition]
	if b == nil || !fits(b, bytes, limit) {
		b = p.batch(topic, partition)
		p.results[partition] = b
	}
	return b
}

// deadBatch returns a batch for the dead letters: a lane has one partition of them.
func (p *parcel) deadBatch(topic string, partition int32, bytes, limit int) *wire.Batch {
	if p.dead == nil || !fits(p.dead, bytes, limit) {
		p.dead = p.batch(topic, partition)
	}
	return p.dead
}

// fits reports whether the batch takes so many bytes more. What is larger than the limit gets a batch of its own.
func fits(b *wire.Batch, bytes, limit int) bool { return b.Count() == 0 || b.Len()+bytes <= limit }

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
