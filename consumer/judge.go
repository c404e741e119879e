package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// judgeStep is how many records are judged under one hold of the tenure's lock: the committer waits for it.
const judgeStep = 256

// resultBytesMax is more than nearly any result takes; only the size of a whole parcel depends on it.
const resultBytesMax = 4 << 10

// furtherMax is how many batches of one transaction may follow another of the same lane and destination. Each is sent after
// the one before it is acknowledged, and a topic that takes little would fill a transaction beyond its timeout.
const furtherMax = 64

// errTag is the assertion that guards the state: an event is judged on a state that includes exactly what precedes it.
var errTag = errors.New("consumer: a stored state already includes this event")

// judge takes chunks in order, replays what is committed and judges the rest, until ctx ends or the reader has lost its
// position. Then it first waits until all that was read is committed and flushed: the next start must not count it as
// lost.
func (t *tenure) judge(ctx context.Context) error {
	tick := time.NewTicker(max(t.engine.options.FlushInterval/4, time.Millisecond))
	defer tick.Stop()
	t.tick = tick.C
	t.snapshotAt = time.Now()
	if t.position >= t.plan.judgeFrom {
		t.caughtUp()
	}
	if err := t.replayAll(ctx); err != nil {
		return err
	}
	for {
		if t.until != nil && t.reachedAll() {
			return t.finish(ctx, errSettled)
		}
		c := t.await(ctx, anySource)
		if c == nil {
			return nil
		}
		if c.end != nil { // the last one
			return t.finish(ctx, c.end)
		}
		if err := t.consume(ctx, c, math.MaxInt64); err != nil {
			return err
		}
		if ctx.Err() != nil {
			// The chunk may be left in the middle. A chunk more, one without visible records, would move the position past
			// all that was left.
			return nil
		}
		t.give(c)
	}
}

// reachedAll reports whether the lane was judged up to where it is settled.
func (t *tenure) reachedAll() bool {
	for s := range t.until {
		if t.reached[s] < t.until[s] {
			return false
		}
	}
	return true
}

// anySource stands for whichever source has something.
const anySource = -1

// await returns the chunk of a source that is next to be judged or replayed, and sees to the flushes meanwhile; nil: ctx
// has ended.
func (t *tenure) await(ctx context.Context, source int) *chunk {
	stage := &t.progress.judge
	for {
		t.snapshotIfDue(time.Now())
		if ctx.Err() != nil {
			return nil
		}
		if c := t.ready(source); c != nil {
			stage.at(stageJudge)
			return c
		}
		stage.at(stageIdle)
		select {
		case <-ctx.Done():
			return nil
		case <-t.arrived:
		case m := <-t.acks:
			t.acknowledge(m)
		case <-t.tick:
			t.gauges()
		}
	}
}

// ready returns a chunk that has arrived, of any source in turn or of one, or nil. It stays the source's next until give.
func (t *tenure) ready(source int) *chunk {
	n := len(t.readers)
	for i := range n {
		s := (t.turn + i) % n
		if source != anySource && s != source || source == anySource && t.until != nil && t.reached[s] >= t.until[s] {
			continue
		}
		if t.pending[s] == nil {
			select {
			case t.pending[s] = <-t.readers[s].chunks:
			default:
				continue
			}
		}
		t.turn = s + 1
		return t.pending[s]
	}
	return nil
}

// give returns a chunk to its reader if nothing is left of it, and evicts: nobody holds entries of the cache now.
func (t *tenure) give(c *chunk) {
	if c.done == len(c.records) && t.reached[c.source] >= c.next {
		t.pending[c.source] = nil
		t.readers[c.source].free <- c
	}
	t.cache.evict(t.engine.cacheMax)
}

// finish waits until all that was judged is committed and flushed, and returns why a reader cannot go on.
func (t *tenure) finish(ctx context.Context, end error) error {
	t.snapshotAt = time.Time{}
	for {
		t.snapshotIfDue(time.Now())
		if t.cache.flushed >= t.position {
			return end
		}
		t.progress.judge.at(stageIdle)
		select {
		case <-ctx.Done():
			return nil
		case m := <-t.acks:
			t.acknowledge(m)
		case <-t.tick:
			t.gauges()
		}
	}
}

// consume takes a chunk's records below an offset, in steps. When ctx ends on the way, what was judged so far is whole.
func (t *tenure) consume(ctx context.Context, c *chunk, below int64) error {
	if t.engine.options.Tracer != nil && c.done == 0 {
		c.taken = time.Now()
	}
	rest, next := c.records[c.done:], min(c.next, below)
	if n := len(rest); n > 0 && rest[n-1].offset >= below {
		at, _ := slices.BinarySearchFunc(rest, below, func(r record, offset int64) int { return cmp.Compare(r.offset, offset) })
		rest = rest[:at]
	}
	if len(rest) == 0 {
		if err := t.step(ctx, c, nil, next); err != nil { // nothing visible: only the position moves
			return err
		}
	} else if err := t.load(ctx, rest); err != nil {
		return err
	}
	for len(rest) > 0 {
		n := min(len(rest), judgeStep)
		to := next
		if n < len(rest) {
			to = rest[n].offset
		}
		t.waitClean(ctx)
		if err := t.step(ctx, c, rest[:n], to); err != nil {
			return err
		}
		if ctx.Err() != nil && t.reached[c.source] < to {
			return nil
		}
		c.done += n
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
			e = t.cache.insert(user) // filled in below; now a second event of the user finds it
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
	t.progress.judge.at(stageLoad)
	defer t.progress.judge.at(stageJudge)
	for users := range slices.Chunk(t.missing, loadUsersMax) {
		if err := t.loadStored(ctx, users); err != nil {
			return err
		}
	}
	return nil
}

// loadUsersMax is how many states are read at a time: their decoded form is far larger than what stays in memory.
const loadUsersMax = 2048

// loadStored fills the entries of users with what the store has of them.
func (t *tenure) loadStored(ctx context.Context, users []int64) error {
	if t.stored == nil {
		t.stored = make([]state.Stored, loadUsersMax)
	}
	stored := t.stored[:len(users)] // its memory is used again
	err := t.engine.insist(ctx, "load states", func(ctx context.Context) error {
		return t.fence.Load(ctx, t.takes, users, stored)
	})
	if err != nil {
		return err
	}
	for i, user := range users {
		if stored[i].Found {
			t.cache.fill(t.cache.get(user), stored[i].Tag, &stored[i].State)
		}
	}
	return nil
}

// step replays or judges records of a chunk; to is the offset after them. When ctx ends on the way it stops between two
// records.
func (t *tenure) step(ctx context.Context, c *chunk, records []record, to int64) error {
	s := c.source
	if err := t.engine.limits.check(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	replaying := t.position < t.plan.judgeFrom
	t.touched = touch(records)
	for i := range records {
		r := &records[i]
		if r.kind == kindBoundary {
			continue
		}
		if r.offset < t.judgeFroms[s] {
			t.replay(s, r)
			continue
		}
		if !t.waitRoom(ctx, r) {
			return nil
		}
		if err := t.oneTraced(c, r, now); err != nil {
			return err
		}
		t.moveTo(s, r.offset+1)
		t.reached[s] = r.offset + 1
	}
	t.reached[s] = max(t.reached[s], to)
	if !t.readers[s].source.rekey {
		t.moveTo(s, to)
	} else if t.reached[s] > max(t.open.quiet, t.judgeFroms[s]) {
		// Boundaries and markers are no reason to move: the parcel would need a boundary, and that one the next.
		t.open.quiet, t.open.moved = t.reached[s], true
	}
	t.progress.position.Store(t.position)
	if replaying && t.position >= t.plan.judgeFrom {
		t.caughtUp()
	}
	if !t.open.empty() {
		t.wake()
	}
	return nil
}

// touch reads the entries of the records' users. Each would else be waited for when its event is judged: memory is far
// slower than judging, and here the processor has many reads under way at once. The sum keeps them from being left out.
func touch(records []record) (sum int64) {
	for i := range records {
		if e := records[i].entry; e != nil {
			sum += e.tag + int64(e.packed[compactHead]) + int64(e.packed[compactHead+sectionSize])
		}
	}
	return sum
}

// moveTo notes that a source is judged or replayed up to an offset. The caller holds mu.
func (t *tenure) moveTo(s int, to int64) {
	if to <= t.at[s] {
		return
	}
	t.position += to - t.at[s]
	t.at[s] = to
	if to > t.judgeFroms[s] {
		t.open.move(s, to)
	}
}

// place is where a record that is next of its source stands in the order of judging.
func (t *tenure) place(r *record) int64 { return t.position - t.at[r.source] + r.offset }

// caughtUp notes that the replay is over and the lane judges.
func (t *tenure) caughtUp() {
	t.engine.metrics.replayed.Add(float64(t.replayed))
	t.engine.metrics.laneStartSeconds.Observe(time.Since(t.beginning).Seconds())
	t.engine.health.clear(laneSubject(t.lane))
	t.engine.log.Info("lane judges", "partition", t.lane, "offset", t.judgeFroms[0], "replayed", t.replayed)
}

// replay applies a committed event to a state that does not include it yet. Results are out already.
func (t *tenure) replay(s int, r *record) {
	at := t.place(r)
	t.moveTo(s, r.offset+1)
	t.reached[s] = r.offset + 1
	if r.kind != kindEvent || at < r.entry.tag {
		return
	}
	st := t.cache.open(r.entry, r.event.Type)
	t.engine.options.Rules.Apply(st, &r.event)
	t.cache.close(r.entry, st)
	t.cache.touch(r.entry, at)
	t.replayed++
}

// one takes a single record to its result, dead letter or count.
func (t *tenure) one(c *chunk, r *record, now time.Time) error {
	switch r.kind {
	case kindTombstone:
		t.open.counts.tombstones++
		return nil
	case kindDead:
		t.bury(r, now)
		return nil
	case kindForward:
		t.forward(r, now)
		return nil
	}
	e, at := r.entry, t.place(r)
	if at < e.tag {
		if t.plan.resume {
			return nil // the last flush was cut short: only committed states are written, so this event's result is out
		}
		return fmt.Errorf("%w: %s/%d at %d, user %d with tag %d", errTag, t.readers[r.source].source.topic, t.lane, r.offset, e.user, e.tag)
	}
	st := t.cache.open(e, r.event.Type)
	t.engine.options.Rules.Judge(st, &r.event, &t.verdict)
	t.cache.close(e, st)
	t.cache.touch(e, at)
	t.open.counts.verdict(&t.verdict)
	if t.engine.options.AlertsOnly && len(t.verdict.Alerts) == 0 && (r.extra == nil || r.extra.requestID == nil) {
		return nil
	}
	t.publish(c, r, now.UnixMilli())
	return nil
}

// publish appends the record's result to the open parcel: whole, or cut to what the topic takes.
func (t *tenure) publish(c *chunk, r *record, nowMillis int64) {
	e, s := t.engine, &t.scratch
	t.open.counts.results++
	s.key = contract.AppendUserKey(s.key[:0], r.event.UserID)
	partition := t.lane
	if t.layout.partitioner != contract.Murmur2 || t.layout.partitions != e.topics.outputs { // else it is the same
		partition = contract.Murmur2.Partition(s.key, e.topics.outputs)
	}
	source, limit := t.sourceOf(r), &e.limits.output
	s.text = nil
	if e.options.Detail == contract.DetailFull {
		s.text = c.text(r)
	}
	if r.extra == nil { // nearly always
		if b := t.open.resultBatch(partition); b != nil && t.publishPlain(b, r, source, limit.several(), nowMillis) {
			return
		}
	}
	s.value = t.encoder.AppendKeyed(s.value[:0], s.key, &r.event, s.text, source, &t.verdict)
	s.source = contract.AppendSource(s.source[:0], source)
	alert := headerNoAlert
	if len(t.verdict.Alerts) > 0 {
		alert = headerAlert
	}
	s.headers = append(s.headers[:0], alert, wire.Header{Key: contract.HeaderSource, Value: s.source}, e.rulesHeader)
	if r.extra != nil {
		s.headers = r.extra.appendTravelling(s.headers, true, true)
	}
	m := message{timeMillis: nowMillis, key: s.key, value: s.value, headers: s.headers}
	if !t.open.addResult(partition, limit, limit.single(), &m) {
		t.publishCut(r, partition, resultHeaderCount, &m)
	}
}

// publishPlain writes a result with no headers but its own straight into a batch, and reports whether it fits.
func (t *tenure) publishPlain(b *wire.Batch, r *record, source contract.Source, limit int, nowMillis int64) bool {
	s, h := &t.scratch, &t.engine.resultHeaders
	begin := h.noAlert
	if len(t.verdict.Alerts) > 0 {
		begin = h.alert
	}
	s.source = contract.AppendDecimal(append(s.source[:0], t.readers[r.source].prefix...), r.offset)
	buf := t.encoder.AppendKeyed(b.Begin(nowMillis, s.key), s.key, &r.event, s.text, source, &t.verdict)
	buf = append(b.EndValue(buf, resultHeaderCount), begin...)
	return b.End(append(wire.AppendHeaderValue(buf, s.source), h.rules...), limit)
}

// resultHeaderCount is how many headers of its own a result has.
const resultHeaderCount = 3

// resultHeaders are those of a result without travelling ones, encoded around the text of its source.
type resultHeaders struct {
	alert, noAlert []byte // before it
	rules          []byte // after it
}

func newResultHeaders(rules wire.Header) resultHeaders {
	begin := func(alert wire.Header) []byte {
		return wire.AppendHeaderKey(wire.AppendHeader(nil, alert.Key, alert.Value), contract.HeaderSource)
	}
	return resultHeaders{alert: begin(headerAlert), noAlert: begin(headerNoAlert), rules: wire.AppendHeader(nil, rules.Key, rules.Value)}
}

// publishCut appends a result that the topic does not take whole: without its detail, then without the headers that
// travel, the request id last, since somebody waits for it. The first due headers are the result's own.
func (t *tenure) publishCut(r *record, partition int32, due int, m *message) {
	limit := &t.engine.limits.output
	detail := t.engine.options.Detail != contract.DetailMinimal
	if detail {
		minimal, err := contract.MinimalResult(m.value)
		if err != nil {
			panic(err) // the encoder has just written it
		}
		m.value = minimal
	}
	var trace, request bool
	if r.extra != nil {
		trace, request = r.extra.traceparent != nil, r.extra.requestID != nil
	}
	own := m.headers[:due:due]
	for _, keep := range []struct{ trace, request bool }{{trace, request}, {false, request}, {false, false}} {
		m.headers = own
		if r.extra != nil {
			m.headers = r.extra.appendTravelling(m.headers, keep.trace, keep.request)
		}
		text := contract.AppendResultCut(nil, detail, trace && !keep.trace, request && !keep.request)
		if len(text) == 0 {
			continue // nothing is cut yet: that was tried
		}
		m.headers = append(m.headers, wire.Header{Key: contract.HeaderCut, Value: text})
		if t.open.addResult(partition, limit, limit.single(), m) {
			return
		}
	}
	// The limit has shrunk since it was checked: the topic refuses this one, and the next start stops the lane.
	t.open.addResult(partition, limit, math.MaxInt, m)
}

// appendTravelling appends the headers that go from the event to its result.
func (x *recordExtra) appendTravelling(headers []wire.Header, trace, request bool) []wire.Header {
	if trace && x.traceparent != nil {
		headers = append(headers, wire.Header{Key: contract.HeaderTraceparent, Value: x.traceparent})
	}
	if request && x.requestID != nil {
		headers = append(headers, wire.Header{Key: contract.HeaderRequestID, Value: x.requestID})
	}
	return headers
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
		if r.kind == kindDead || r.kind == kindForward {
			need = r.deadSize()
		}
		size := t.open.bytes()
		if size == 0 || t.open.records() < t.openMax && size+need <= o.LaneBytesMax && t.open.further < furtherMax && len(t.open.segments) < segmentsMax {
			return true
		}
		t.wake()
		t.progress.judge.at(stageRoom)
		t.room.Wait()
		t.progress.judge.at(stageJudge)
	}
	return false
}

// gauges publishes what only the judge knows.
func (t *tenure) gauges() {
	label := strconv.Itoa(int(t.lane))
	t.engine.metrics.dirtyUsers.WithLabelValues(label).Set(float64(len(t.cache.dirty)))
	t.engine.metrics.cachedUsers.WithLabelValues(label).Set(float64(t.cache.len()))
}
