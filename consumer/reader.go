package consumer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/trace"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
)

// record is one input record as the judge needs it. Its bytes belong to its chunk.
type record struct {
	offset int64
	event  rules.Event
	entry  *entry       // of an event, once the judge has loaded it
	extra  *recordExtra // nil for nearly every record
	textAt uint32       // see chunk.text
	source int8         // of the lane
	kind   recordKind
}

type recordKind uint8

const (
	kindEvent recordKind = iota
	kindTombstone
	kindDead
	kindForward  // an event of another lane's user
	kindBoundary // of the rekey topic: it is nobody's, and does not count
)

// recordExtra is what few records have: what travels with the event, or all that a dead letter keeps.
type recordExtra struct {
	requestID, traceparent []byte

	origin *contract.Source // of a copy: the record that it copies
	lane   int32            // that an event to forward belongs to

	refusal    *contract.Refusal
	timeMillis int64
	key, value []byte
	headers    []wire.Header
	headersCut int // bytes of headers that were not kept, since no dead letter takes them; then none were

	traced *traced // nil: its trace is not sampled
}

// chunk is one fetch, decoded, or as much of it as a chunk takes.
type chunk struct {
	source  int
	records []record
	done    int    // of the records, those that are judged or replayed
	next    int64  // the offset after everything in it, records that are not visible included
	bytes   []byte // backs the records' bytes
	headers int    // of its dead letters
	// arrived and taken are when its first record was decoded, and when the judge took it. Only what is traced needs them.
	arrived, taken time.Time
	// end is set in the last chunk of a reader that cannot go on from its position; it has no records.
	end error
}

// Bounds of a chunk. A fetch may hold many times its own size: batches that decompress to a thousand times as much,
// and records of a few bytes. What a chunk does not take is fetched again.
const (
	chunkRecordsMax = 64 << 10
	chunkBytesMax   = 4 << 20 // beyond it no further record; one alone may have more
	headerBytes     = 64      // what a header takes beside its name and value
)

var errChunkFull = errors.New("consumer: the chunk is full")

// full reports whether the chunk takes no further record.
func (c *chunk) full() bool {
	return len(c.records) >= chunkRecordsMax || len(c.bytes)+c.headers*headerBytes >= chunkBytesMax
}

// reset empties the chunk for another use. It keeps no state in memory that the cache has let go, and no huge buffer.
func (c *chunk) reset() {
	clear(c.records)
	c.records, c.done, c.bytes, c.headers, c.end = c.records[:0], 0, c.bytes[:0], 0, nil
	c.arrived = time.Time{}
	if cap(c.bytes) > 2*chunkBytesMax {
		c.bytes = nil
	}
}

// keep copies b into the chunk. A growing chunk leaves earlier copies where they are. Null stays null and empty stays
// empty, also in a chunk that holds nothing yet.
func (c *chunk) keep(b []byte) []byte {
	switch {
	case b == nil:
		return nil
	case len(b) == 0:
		return []byte{}
	}
	at := len(c.bytes)
	c.bytes = append(c.bytes, b...)
	return c.bytes[at:len(c.bytes):len(c.bytes)]
}

// keepText copies the text of an event's amount into the chunk and returns its place for text.
func (c *chunk) keepText(text []byte) uint32 {
	at := len(c.bytes)
	c.bytes = binary.AppendUvarint(c.bytes, uint64(len(text)))
	c.bytes = append(c.bytes, text...)
	return uint32(at)
}

// text returns the text of an event's amount, which readers keep for results that repeat it.
func (c *chunk) text(r *record) []byte {
	n, size := binary.Uvarint(c.bytes[r.textAt:])
	at := int(r.textAt) + size
	return c.bytes[at : at+int(n)]
}

// chunksAhead is how many decoded fetches may wait for the judge: one waits while the next is fetched.
const chunksAhead = 2

// reader fetches and decodes one source of a lane. It runs as one goroutine; the judge returns chunks to free.
type reader struct {
	engine  *Engine
	layout  layout
	under   string // the layout's text
	lane    int32
	index   int // of the source
	source  source
	prefix  []byte // of its records' contract.HeaderSource: all but the offset
	fetcher *wire.Fetcher
	decoder *contract.Decoder
	key     []byte
	event   contract.Event // the one that is decoded
	usual   int            // records: the most that a chunk had
	texts   bool           // results repeat the amounts
	stage   *stageMark
	tracer  *trace.Tracer   // nil: nothing is traced
	spans   trace.Partition // the ids of its records' spans

	chunks  chan *chunk
	free    chan *chunk
	arrived chan<- struct{} // tells the judge that chunks has one; with room for one
}

func newReader(e *Engine, under layout, lane int32, index int, arrived chan<- struct{}) *reader {
	r := &reader{
		engine: e, layout: under, under: under.String(), lane: lane, index: index, source: e.sources[index],
		decoder: contract.NewDecoder(e.options.Decoder),
		texts:   e.options.Detail == contract.DetailFull,
		chunks:  make(chan *chunk, chunksAhead-1),
		free:    make(chan *chunk, chunksAhead+1),
		arrived: arrived,
	}
	r.prefix = bytes.TrimSuffix(contract.AppendSource(nil, contract.Source{Topic: r.source.topic, Partition: lane}), []byte("0"))
	if r.tracer = e.options.Tracer; r.tracer != nil {
		r.spans = trace.NewPartition(e.options.Group, r.source.identity(), strconv.Itoa(int(lane)))
	}
	r.fetcher = r.newFetcher()
	for range chunksAhead + 1 {
		r.free <- new(chunk)
	}
	return r
}

func (r *reader) newFetcher() *wire.Fetcher {
	o := &r.engine.options
	return o.Client.NewFetcher(r.source.topic, r.lane, wire.FetchOptions{
		TopicID: r.source.id, BytesMax: o.FetchBytesMax, BytesMin: 1, WaitMax: o.FetchWaitMax, Committed: true, DecompressedBytesMax: o.DecompressedBytesMax,
	})
}

// send hands a chunk to the judge.
func (r *reader) send(ctx context.Context, c *chunk) error {
	r.stage.at(stageChunk)
	select {
	case r.chunks <- c:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case r.arrived <- struct{}{}:
	default:
	}
	return nil
}

// run reads from offset on until ctx ends or the position is lost. What time mends is tried again here.
func (r *reader) run(ctx context.Context, offset int64) error {
	subject := partitionSubject(r.lane)
	if r.source.rekey {
		subject += " of " + r.source.topic
	}
	defer r.engine.health.clear(subject)
	delay := backoff.New(50*time.Millisecond, 2*time.Second)
	by := fetchAlone
	for {
		var c *chunk
		r.stage.at(stageChunk)
		select {
		case c = <-r.free:
		case <-ctx.Done():
			return ctx.Err()
		}
		for {
			r.stage.at(stageFetch)
			err := r.fetch(ctx, c, offset, by)
			if err == nil {
				err = r.sameCount(ctx, c)
			}
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, errGrown) {
				return r.grown(ctx)
			}
			if remedy := unreadable(err); remedy != "" {
				if c.next == offset && by != fetchAlone {
					by = fetchAlone // what is wrong may be another lane's
					continue
				}
				if c.next == offset {
					return r.finish(ctx, c, offset, &stopError{cause: causeUnreadable, what: err.Error(), remedy: remedy})
				}
				// What stands before it is judged first: it must not be kept back.
				if err = r.sameCount(ctx, c); err == nil {
					break
				}
			}
			if wire.AnotherTopic(err) {
				if gone := r.engine.sameInput(ctx, time.Now()); gone != nil {
					err = gone
				}
			}
			switch wire.Classify(err) {
			case wire.Retry:
			case wire.OutOfRange:
				return r.lost(ctx, c, offset, err)
			default:
				return fmt.Errorf("consumer: read %s/%d at %d: %w", r.source.topic, r.lane, offset, err)
			}
			by = fetchAlone // no other lane has a part in it
			r.engine.metrics.fetchRetries.Inc()
			if r.engine.health.set(subject, "cannot read: "+err.Error()) {
				r.engine.log.Warn("fetch failed, trying again", "topic", r.source.topic, "partition", r.lane, "offset", offset, "err", err)
			}
			r.stage.at(stagePause)
			if err := delay.Wait(ctx); err != nil {
				return err
			}
		}
		delay.Reset()
		r.engine.health.clear(subject)
		by = r.next(c, offset)
		if c.next == offset {
			r.free <- c
			continue
		}
		offset = c.next
		if err := r.send(ctx, c); err != nil {
			return err
		}
	}
}

// fetchFewRecords is how many records make a fetch worth its cost to the broker.
const fetchFewRecords = 256

// pooledBytesMax bounds what one of many partitions has in one answer: fetchFewRecords of usual size.
const pooledBytesMax = 64 << 10

// fetchWay is how a lane fetches.
type fetchWay int

const (
	fetchAlone  fetchWay = iota
	fetchPooled          // in one request with the others
	fetchPaused          // the same, after FetchPause
)

// next returns how to fetch after a chunk from offset on. A lane with more to read fetches alone. One that is at the end
// shares its fetches, and after one that brought few records FetchPause lets records come together: without it, a producer
// that sends a batch each millisecond has the lanes ask each millisecond, and the broker is busy with requests that bring
// few records each, which delays them more than the pause. The first record after a silence never waits: its fetch is at
// the broker.
func (r *reader) next(c *chunk, offset int64) fetchWay {
	switch {
	case r.engine.options.FetchPause == 0 || len(c.records) >= fetchFewRecords || c.next < r.fetcher.LastStable:
		return fetchAlone
	case c.next == offset:
		return fetchPooled
	}
	return fetchPaused
}

// sameCount looks, at most once in inputSeenMax, whether the topic has grown: then events of a user may be in another
// partition than before. That it is the topic that the layout names goes without saying: it is fetched by its id.
func (r *reader) sameCount(ctx context.Context, c *chunk) error {
	if len(c.records) == 0 {
		return nil
	}
	return r.engine.sameInput(ctx, time.Now().Add(-inputSeenMax))
}

// grown leaves it to the engine to end the membership; all that was read before is judged and committed.
func (r *reader) grown(ctx context.Context) error {
	select {
	case r.engine.inputSeen.look <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return ctx.Err()
}

// lost tells the judge that the position is not in the log, and waits for the end of ctx. Whether the log was deleted up
// to beyond it, was truncated or made again, the lane's next start finds out. What was read before is whole and may be
// gone from the log: so the judge finishes it first, up to the checkpoint.
func (r *reader) lost(ctx context.Context, c *chunk, offset int64, err error) error {
	r.engine.log.Warn("the position is not in the log", "topic", r.source.topic, "partition", r.lane, "offset", offset, "err", err)
	return r.finish(ctx, c, offset, fmt.Errorf("position %d is not in the log: %w", offset, err))
}

// finish sends the last chunk, which says why nothing can be read from offset on, and waits for the tenure's end: the
// judge ends it when all before is committed.
func (r *reader) finish(ctx context.Context, c *chunk, offset int64, end error) error {
	c.reset()
	c.source, c.next, c.end = r.index, offset, end
	if stop := new(stopError); errors.As(end, &stop) {
		r.engine.metrics.stop(r.lane, stop.cause)
	}
	if r.send(ctx, c) == nil {
		<-ctx.Done()
	}
	return ctx.Err()
}

// unreadable returns what to do about a record batch that no second reading mends; "" for any other error.
func unreadable(err error) string {
	switch {
	case errors.Is(err, wire.ErrTooLarge):
		return "raise kafka.decompressed_bytes_max, or delete the records up to there (kafka-delete-records) and set on_data_loss: continue"
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrOldFormat):
		return "the log is damaged or too old at this place: delete the records up to there (kafka-delete-records) and set on_data_loss: continue"
	}
	return ""
}

func (r *reader) fetch(ctx context.Context, c *chunk, offset int64, by fetchWay) error {
	c.reset()
	c.source = r.index
	ctx, cancel := context.WithTimeout(ctx, r.engine.options.FetchPause+r.engine.options.FetchWaitMax+r.engine.options.RequestTimeout)
	defer cancel()
	take := func(rec *wire.Record) error {
		if c.full() {
			return errChunkFull
		}
		if r.tracer != nil && len(c.records) == 0 {
			c.arrived = time.Now()
		}
		if len(c.records) == cap(c.records) {
			// Append would copy a large chunk several times on its way to its size.
			c.records = slices.Grow(c.records, max(r.usual+r.usual/8-len(c.records), len(c.records)/2, fetchFewRecords))
		}
		c.records = append(c.records, record{offset: rec.Offset, source: int8(r.index)})
		r.decode(c, &c.records[len(c.records)-1], rec)
		return nil
	}
	var next int64
	var err error
	if by == fetchAlone {
		next, err = r.fetcher.Fetch(ctx, offset, take)
	} else {
		next, err = r.fetcher.FetchPooled(ctx, r.engine.fetches, by == fetchPaused, offset, take)
	}
	r.usual = max(r.usual, len(c.records))
	c.next = next
	if errors.Is(err, errChunkFull) {
		return nil
	}
	return err
}

func (r *reader) decode(c *chunk, out *record, rec *wire.Record) {
	timeMillis, own := rec.TimeMillis, 0
	var origin *contract.Source
	moved := false // forwarded under another layout
	if r.source.rekey {
		if _, _, ok := asBoundary(rec); ok {
			out.kind = kindBoundary
			return
		}
		if c, ok := copied(rec); ok {
			origin, timeMillis, own = &c.source, c.timeMillis, copyHeaders
			moved = c.layout != r.under
		}
	}
	if rec.Value == nil {
		out.kind = kindTombstone
		return
	}
	ev := &r.event
	refusal := r.decoder.Decode(rec.Value, timeMillis, ev)
	if refusal == nil {
		out.event = ev.Event
		lane := r.laneOf(&out.event)
		if !r.source.rekey && len(r.engine.sources) > 1 && !r.engine.fit.over.Load() {
			r.engine.fit.note(r, rec.Key, lane != r.lane)
		}
		switch {
		case lane == r.lane:
			if r.texts {
				out.textAt = c.keepText(ev.AmountText)
			}
			if rec.HeaderCount() > own {
				out.extra = r.travelling(c, rec)
			}
			if origin != nil {
				if out.extra == nil {
					out.extra = new(recordExtra)
				}
				out.extra.origin = origin
			}
			if r.tracer != nil {
				r.trace(c, out, rec)
			}
			return
		case r.source.rekey && !moved: // a copy is never forwarded again under one layout
			refusal = r.wrongPartition(&out.event, lane)
		default:
			out.kind = kindForward
			out.extra = &recordExtra{lane: lane, origin: origin}
		}
	}
	if refusal != nil {
		out.kind = kindDead
		out.extra = &recordExtra{refusal: refusal, origin: origin}
		if r.tracer != nil {
			r.trace(c, out, rec)
		}
	}
	out.extra.timeMillis, out.extra.key, out.extra.value = timeMillis, c.keep(rec.Key), c.keep(rec.Value)
	if size := headersSize(rec); size > r.engine.limits.dead.single() {
		out.extra.headersCut = size
		return
	}
	for name, value := range rec.Headers() {
		if len(out.extra.headers) == rec.HeaderCount()-own {
			break // Lapwing's own, at the end
		}
		out.extra.headers = append(out.extra.headers, wire.Header{Key: string(name), Value: c.keep(value)})
		c.headers++
	}
}

// headersSize bounds the bytes that a record's headers take in a batch.
func headersSize(rec *wire.Record) int {
	size := 0
	for name, value := range rec.Headers() {
		size += contract.HeaderSize(len(name), len(value))
	}
	return size
}

// laneOf returns the lane that owns the event's user.
func (r *reader) laneOf(ev *rules.Event) int32 {
	r.key = contract.AppendUserKey(r.key[:0], ev.UserID)
	return r.layout.laneOf(r.key)
}

// wrongPartition refuses an event that another lane owns and that cannot be forwarded.
func (r *reader) wrongPartition(ev *rules.Event, lane int32) *contract.Refusal {
	return &contract.Refusal{Reason: contract.ReasonWrongPartition,
		Detail: fmt.Sprintf("user %d belongs to partition %d by %s", ev.UserID, lane, r.layout.partitioner)}
}

// travellingBytesMax bounds a header that travels to the result: a gateway's request id has at most 53 bytes, a traceparent 55.
// A longer one is nobody's, and could make a result larger than the output topic takes.
const travellingBytesMax = 256

// travelling returns the headers that go on to the event's result.
func (r *reader) travelling(c *chunk, rec *wire.Record) *recordExtra {
	id, hasID := rec.Header(contract.HeaderRequestID)
	trace, hasTrace := rec.Header(contract.HeaderTraceparent)
	var x recordExtra
	if hasID && len(id) <= travellingBytesMax {
		x.requestID = c.keep(id)
	}
	if hasTrace && len(trace) <= travellingBytesMax {
		x.traceparent = c.keep(trace)
	}
	if x.requestID == nil && x.traceparent == nil {
		return nil
	}
	return &x
}
