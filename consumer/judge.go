package consumer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// judgeStep is how many records are judged under one hold of the tenure's lock: the committer waits for it.
const judgeStep = 256

// resultBytesMax is more than nearly any result takes; only the size of a whole parcel depends on it.
const resultBytesMax = 4 << 10

// errTag is the assertion that guards the state: an event is judged on a state that includes exactly what precedes it.
var errTag = errors.New("consumer: a stored state already includes this event")

// judge takes chunks in order, replays what is committed and judges the rest, until ctx ends.
func (t *tenure) judge(ctx context.Context) error {
	tick := time.NewTicker(max(t.engine.options.FlushInterval/4, time.Millisecond))
	defer tick.Stop()
	t.snapshotAt = time.Now()
	if t.position >= t.plan.judgeFrom {
		t.caughtUp()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-t.reader.chunks:
			if err := t.judgeChunk(ctx, c); err != nil {
				return err
			}
			t.reader.free <- c
			t.cache.evict(t.engine.cacheMax)
		case m := <-t.acks:
			t.acknowledge(m)
		case <-tick.C:
			t.gauges()
		}
		t.snapshotIfDue(time.Now())
	}
}

// judgeChunk takes a chunk's records in steps. When ctx ends on the way, what was judged so far is whole.
func (t *tenure) judgeChunk(ctx context.Context, c *chunk) error {
	if len(c.records) == 0 {
		return t.step(ctx, nil, c.next) // nothing visible: only the position moves
	}
	if err := t.load(ctx, c.records); err != nil {
		return err
	}
	for rest := c.records; len(rest) > 0; {
		n := min(len(rest), judgeStep)
		to := c.next
		if n < len(rest) {
			to = rest[n].offset
		}
		t.waitClean(ctx)
		t.touched += warm(rest[:n])
		if err := t.step(ctx, rest[:n], to); err != nil {
			return err
		}
		if t.position < to {
			return nil // ctx has ended
		}
		rest = rest[n:]
		t.snapshotIfDue(time.Now())
	}
	return nil
}

// load brings the states of the records' users into memory. Redis may be away: the lane waits.
func (t *tenure) load(ctx context.Context, records []record) error {
	t.missing = t.missing[:0]
	events := 0
	for i := range records {
		if records[i].kind != kindEvent {
			continue
		}
		events++
		user := records[i].event.UserID
		e := t.cache.get(user)
		if e == nil {
			e = t.cache.insert(user, 0, rules.UserState{}) // filled in below; now a second event of the user finds it
			t.missing = append(t.missing, user)
		}
		records[i].entry = e // it stays in memory until the chunk is judged
	}
	m := t.engine.metrics
	m.cacheHits.Add(float64(events - len(t.missing)))
	m.cacheMisses.Add(float64(len(t.missing)))
	if len(t.missing) == 0 {
		return nil
	}
	if cap(t.stored) < len(t.missing) {
		t.stored = make([]state.Stored, len(t.missing))
	}
	stored := t.stored[:len(t.missing)]
	clear(stored)
	err := t.engine.insist(ctx, "load states", func(ctx context.Context) error {
		return t.fence.Load(ctx, t.base.Incarnation, t.missing, stored)
	})
	if err != nil {
		return err
	}
	for i, user := range t.missing {
		if stored[i].Found {
			e := t.cache.get(user)
			e.tag, e.state = stored[i].Tag, stored[i].State
		}
	}
	return nil
}

// warm reads a little of each state that the records need. Users are many and their states lie anywhere: judged one
// after the other, each would wait for memory several times in a row. In these loops no load depends on the one before
// it, so the processor has many of them under way at once. The sum only keeps the loads from being left out.
func warm(records []record) (sum int64) {
	for i := range records {
		if e := records[i].entry; e != nil {
			sum += e.tag + int64(len(e.state.Types))
		}
	}
	for i := range records {
		if e := records[i].entry; e != nil && len(e.state.Types) > 0 {
			ts := &e.state.Types[0]
			sum += int64(ts.Latest) + int64(len(ts.Series))
			ts = &e.state.Types[len(e.state.Types)-1]
			sum += int64(ts.Latest) + int64(len(ts.Series))
		}
	}
	for i := range records {
		e := records[i].entry
		if e == nil {
			continue
		}
		for j := range e.state.Types {
			ts := &e.state.Types[j]
			if ts.Type != records[i].event.Type {
				continue
			}
			if n := len(ts.Last); n > 0 {
				sum += int64(ts.Last[n-1].Cmp(rules.Amount{}))
			}
			if len(ts.Series) > 0 {
				sum += int64(len(ts.Series[0].Buckets))
			}
		}
	}
	for i := range records {
		e := records[i].entry
		if e == nil {
			continue
		}
		for j := range e.state.Types {
			ts := &e.state.Types[j]
			if ts.Type == records[i].event.Type && len(ts.Series) > 0 {
				if n := len(ts.Series[0].Buckets); n > 0 {
					sum += int64(ts.Series[0].Buckets[n-1].Time) + int64(ts.Series[0].Buckets[0].Time)
				}
			}
		}
	}
	return sum
}

// step replays or judges records; to is the offset after them. When ctx ends on the way it stops between two records.
func (t *tenure) step(ctx context.Context, records []record, to int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	replaying := t.position < t.plan.judgeFrom
	for i := range records {
		r := &records[i]
		if r.offset < t.plan.judgeFrom {
			t.replay(r)
			continue
		}
		if !t.waitRoom(ctx, r) {
			return nil
		}
		if err := t.one(r, now); err != nil {
			return err
		}
		t.position = r.offset + 1
		t.open.to = t.position
	}
	t.position = max(t.position, to)
	if t.position > t.plan.judgeFrom {
		t.open.to = max(t.open.to, t.position)
	}
	if replaying && t.position >= t.plan.judgeFrom {
		t.caughtUp()
	}
	if !t.open.empty() {
		t.wake()
	}
	return nil
}

// caughtUp notes that the replay is over and the lane judges.
func (t *tenure) caughtUp() {
	t.engine.metrics.replayed.Add(float64(t.replayed))
	t.engine.health.clear(laneSubject(t.lane))
	t.engine.log.Info("lane judges", "partition", t.lane, "offset", t.plan.judgeFrom, "replayed", t.replayed)
}

// replay applies a committed event to a state that does not include it yet. Results are out already.
func (t *tenure) replay(r *record) {
	t.position = r.offset + 1
	if r.kind != kindEvent {
		return
	}
	e := r.entry
	if r.offset < e.tag {
		return
	}
	t.engine.options.Rules.Apply(&e.state, &r.event.Event)
	t.cache.touch(e, r.offset)
	t.replayed++
}

// one takes a single record to its result, dead letter or count.
func (t *tenure) one(r *record, now time.Time) error {
	switch r.kind {
	case kindTombstone:
		t.open.counts.tombstones++
		return nil
	case kindDead:
		t.bury(r, now)
		return nil
	}
	e := r.entry
	if r.offset < e.tag {
		return fmt.Errorf("%w: %s/%d at %d, user %d with tag %d", errTag, t.engine.options.Input, t.lane, r.offset, e.user, e.tag)
	}
	t.engine.options.Rules.Judge(&e.state, &r.event.Event, &t.verdict)
	t.cache.touch(e, r.offset)
	t.open.counts.verdict(&t.verdict)
	if t.engine.options.AlertsOnly && len(t.verdict.Alerts) == 0 && (r.extra == nil || r.extra.requestID == nil) {
		return nil
	}
	t.publish(r, now)
	return nil
}

// publish appends the record's result to the open parcel.
func (t *tenure) publish(r *record, now time.Time) {
	e, s := t.engine, &t.scratch
	source := contract.Source{Topic: e.options.Input, Partition: t.lane, Offset: r.offset}
	s.key = strconv.AppendInt(s.key[:0], r.event.UserID, 10)
	s.value = t.encoder.Append(s.value[:0], &r.event, source, &t.verdict)
	s.source = contract.AppendSource(s.source[:0], source)
	alert := headerNoAlert
	if len(t.verdict.Alerts) > 0 {
		alert = headerAlert
	}
	s.headers = append(s.headers[:0], alert, wire.Header{Key: contract.HeaderSource, Value: s.source}, e.rulesHeader)
	if r.extra != nil {
		if r.extra.traceparent != nil {
			s.headers = append(s.headers, wire.Header{Key: contract.HeaderTraceparent, Value: r.extra.traceparent})
		}
		if r.extra.requestID != nil {
			s.headers = append(s.headers, wire.Header{Key: contract.HeaderRequestID, Value: r.extra.requestID})
		}
	}
	partition := t.lane
	if !e.outputFollowsLane {
		partition = contract.Murmur2.Partition(s.key, e.topics.outputs)
	}
	size := len(s.key) + len(s.value) + contract.DeadLetterReserve // its headers are fewer than a dead letter's
	t.open.resultBatch(e.options.Output, partition, size, e.batchBytes()).Append(now.UnixMilli(), s.key, s.value, s.headers...)
	t.open.counts.results++
}

var (
	headerAlert   = wire.Header{Key: contract.HeaderAlert, Value: []byte("1")}
	headerNoAlert = wire.Header{Key: contract.HeaderAlert, Value: []byte("0")}
)

// waitRoom waits until the open parcel can take the record; false: ctx has ended. The caller holds mu.
func (t *tenure) waitRoom(ctx context.Context, r *record) bool {
	o := &t.engine.options
	for ctx.Err() == nil {
		need := resultBytesMax
		if r.kind == kindDead {
			need = r.deadSize()
		}
		size := t.open.bytes()
		if size == 0 || t.open.records() < o.BatchRecordsMax && size+need <= o.LaneBytesMax {
			return true
		}
		t.wake()
		t.room.Wait()
	}
	return false
}

// gauges publishes what only the judge knows.
func (t *tenure) gauges() {
	label := strconv.Itoa(int(t.lane))
	t.engine.metrics.dirtyUsers.WithLabelValues(label).Set(float64(t.cache.dirty))
	t.engine.metrics.cachedUsers.WithLabelValues(label).Set(float64(t.cache.len()))
}
