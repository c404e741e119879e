package consumer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// record is one input record as the judge needs it. Its bytes belong to its chunk.
type record struct {
	offset int64
	kind   recordKind
	event  contract.Event
	entry  *entry       // of an event, once the judge has loaded it
	extra  *recordExtra // nil for nearly every record
}

type recordKind uint8

const (
	kindEvent recordKind = iota
	kindTombstone
	kindDead
)

// recordExtra is what few records have: what travels with the event, or all that a dead letter keeps.
type recordExtra struct {
	requestID, traceparent []byte

	refusal    *contract.Refusal
	timeMillis int64
	key, value []byte
	headers    []wire.Header
}

// chunk is one fetch, decoded.
type chunk struct {
	records []record
	next    int64  // the offset after everything in it, records that are not visible included
	bytes   []byte // backs the records' bytes
}

// keep copies b into the chunk. A growing chunk leaves earlier copies where they are.
func (c *chunk) keep(b []byte) []byte {
	if b == nil {
		return nil
	}
	at := len(c.bytes)
	c.bytes = append(c.bytes, b...)
	return c.bytes[at:len(c.bytes):len(c.bytes)]
}

// chunksAhead is how many decoded fetches may wait for the judge: one waits while the next is fetched.
const chunksAhead = 2

// reader fetches and decodes a lane's input. It runs as one goroutine; the judge returns chunks to free.
type reader struct {
	engine  *Engine
	lane    int32
	fetcher *wire.Fetcher
	decoder *contract.Decoder
	key     []byte

	chunks chan *chunk
	free   chan *chunk
}

func newReader(e *Engine, lane int32) *reader {
	o := &e.options
	r := &reader{
		engine: e, lane: lane,
		fetcher: o.Client.NewFetcher(o.Input, lane, wire.FetchOptions{
			BytesMax: o.FetchBytesMax, BytesMin: 1, WaitMax: o.FetchWaitMax, Committed: true, DecompressedBytesMax: o.DecompressedBytesMax,
		}),
		decoder: contract.NewDecoder(o.Decoder),
		chunks:  make(chan *chunk, chunksAhead-1),
		free:    make(chan *chunk, chunksAhead+1),
	}
	for range chunksAhead + 1 {
		r.free <- new(chunk)
	}
	return r
}

// run reads from offset on until ctx ends or the position is lost. What time mends is tried again here.
func (r *reader) run(ctx context.Context, offset int64) error {
	subject := "partition " + strconv.Itoa(int(r.lane))
	defer r.engine.health.clear(subject)
	delay := backoff.New(50*time.Millisecond, 2*time.Second)
	for {
		var c *chunk
		select {
		case c = <-r.free:
		case <-ctx.Done():
			return ctx.Err()
		}
		for {
			err := r.fetch(ctx, c, offset)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if remedy := unreadable(err); remedy != "" {
				return &stopError{what: err.Error(), remedy: remedy}
			}
			if wire.Classify(err) != wire.Retry {
				return fmt.Errorf("consumer: read %s/%d at %d: %w", r.engine.options.Input, r.lane, offset, err)
			}
			r.engine.metrics.fetchRetries.Inc()
			if r.engine.health.set(subject, "cannot read: "+err.Error()) {
				r.engine.log.Warn("fetch failed, trying again", "topic", r.engine.options.Input, "partition", r.lane, "offset", offset, "err", err)
			}
			if err := delay.Wait(ctx); err != nil {
				return err
			}
		}
		delay.Reset()
		r.engine.health.clear(subject)
		if c.next == offset {
			r.free <- c
			continue
		}
		offset = c.next
		select {
		case r.chunks <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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

func (r *reader) fetch(ctx context.Context, c *chunk, offset int64) error {
	c.records, c.bytes = c.records[:0], c.bytes[:0]
	ctx, cancel := context.WithTimeout(ctx, r.engine.options.FetchWaitMax+r.engine.options.RequestTimeout)
	defer cancel()
	next, err := r.fetcher.Fetch(ctx, offset, func(rec *wire.Record) error {
		c.records = append(c.records, record{offset: rec.Offset})
		r.decode(c, &c.records[len(c.records)-1], rec)
		return nil
	})
	c.next = next
	return err
}

func (r *reader) decode(c *chunk, out *record, rec *wire.Record) {
	if rec.Value == nil {
		out.kind = kindTombstone
		return
	}
	refusal := r.decoder.Decode(rec.Value, rec.TimeMillis, &out.event)
	if refusal == nil {
		refusal = r.wrongPartition(&out.event)
	}
	if refusal == nil {
		out.event.AmountText = c.keep(out.event.AmountText)
		if rec.HeaderCount() > 0 {
			out.extra = r.travelling(c, rec)
		}
		return
	}
	out.kind = kindDead
	out.extra = &recordExtra{refusal: refusal, timeMillis: rec.TimeMillis, key: c.keep(rec.Key), value: c.keep(rec.Value)}
	for name, value := range rec.Headers() {
		out.extra.headers = append(out.extra.headers, wire.Header{Key: string(name), Value: c.keep(value)})
	}
}

// wrongPartition refuses an event that another lane owns: its user's history is there.
func (r *reader) wrongPartition(ev *contract.Event) *contract.Refusal {
	e := r.engine
	r.key = strconv.AppendInt(r.key[:0], ev.UserID, 10)
	want := e.options.Partitioner.Partition(r.key, e.topics.lanes)
	if want == r.lane {
		return nil
	}
	return &contract.Refusal{Reason: contract.ReasonWrongPartition,
		Detail: fmt.Sprintf("user %d belongs to partition %d by %s", ev.UserID, want, e.options.Partitioner)}
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
