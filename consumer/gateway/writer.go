package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"

	"github.com/lapwing/lapwing/consumer/wire"
)

// errQueueFull refuses a message whose lane does not get rid of what it has.
var errQueueFull = errors.New("too many events wait to be written to the partition")

// writer writes messages to the input topic, one goroutine (lane) and at most one request in flight
// for each partition: events of a user keep the order in which they are submitted. What arrives while
// a request is under way goes with the next one, so that batches grow with the load and a lone event
// waits for nothing. Submit is safe for concurrent use.
type writer struct {
	produce       produceFunc
	metrics       *metrics
	timeout       time.Duration
	batchBytesMax int
	queueMax      int

	ctx   context.Context // of the lanes
	group *sync.WaitGroup
	mu    sync.Mutex
	lanes map[int32]*lane
}

// newWriter returns a writer whose lanes end with ctx and are in the group.
func newWriter(ctx context.Context, group *sync.WaitGroup, o *Options, m *metrics, produce produceFunc) *writer {
	return &writer{
		produce: produce, metrics: m, timeout: o.WriteTimeout, batchBytesMax: o.BatchBytesMax, queueMax: o.InFlightMax,
		ctx: ctx, group: group, lanes: make(map[int32]*lane),
	}
}

// submit puts a message in its partition's queue; its outcome comes on message.done, and a request
// that waits no longer withdraws it. An error is a *writeError.
func (w *writer) submit(m *message) error {
	select {
	case w.lane(m.partition).queue <- m:
		return nil
	default:
		// Requests are bounded by the queue's size, but those that have left may have messages in it.
		return &writeError{certain: true, err: fmt.Errorf("partition %d: %w", m.partition, errQueueFull)}
	}
}

func (w *writer) lane(partition int32) *lane {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lanes[partition]
	if l == nil {
		l = &lane{writer: w, partition: partition, queue: make(chan *message, w.queueMax)}
		w.lanes[partition] = l
		w.group.Go(l.run)
	}
	return l
}

// lane writes to one partition.
type lane struct {
	writer    *writer
	partition int32
	queue     chan *message
	held      *message // did not fit into the last batch
}

func (l *lane) run() {
	ctx := l.writer.ctx
	for {
		first := l.held
		if l.held = nil; first == nil {
			select {
			case <-ctx.Done():
				return
			case first = <-l.queue:
			}
		}
		l.deliver(ctx, l.collect(first))
	}
}

// collect takes what waits already.
func (l *lane) collect(first *message) []*message {
	batch, size := []*message{first}, first.size()
	for {
		select {
		case m := <-l.queue:
			if size += m.size(); size > l.writer.batchBytesMax {
				l.held = m
				return batch
			}
			batch = append(batch, m)
		default:
			return batch
		}
	}
}

// deliver writes a batch, again and again as long as it is certain that nothing was written, the
// cluster may mend it, and there is time. Every message that is not withdrawn gets its outcome.
func (l *lane) deliver(ctx context.Context, batch []*message) {
	ctx, cancel := context.WithTimeout(ctx, l.writer.timeout)
	defer cancel()
	delay := newBackoff()
	var last error
	for {
		batch = claim(batch)
		if len(batch) == 0 {
			return
		}
		if ctx.Err() != nil {
			// Not tried without time: a request cut off on the way would make it uncertain.
			fail(batch, cmp.Or(last, error(&writeError{certain: true, err: context.Cause(ctx)})))
			return
		}
		base, err := l.send(ctx, batch)
		if err == nil {
			for i, m := range batch {
				m.finish(outcome{offset: base + int64(i)})
			}
			return
		}
		if wire.Classify(err) == wire.TooLarge && len(batch) > 1 {
			// The topic takes less than BatchBytesMax, or one of them is too large even alone.
			release(batch)
			l.deliver(ctx, batch[:len(batch)/2])
			l.deliver(ctx, batch[len(batch)/2:])
			return
		}
		if !mayRetry(err) {
			fail(batch, err)
			return
		}
		last = err
		l.writer.metrics.writeRetries.Inc()
		release(batch)
		_ = delay.Wait(ctx) // the loop sees the end of ctx
	}
}

// mayRetry reports whether the same records may be sent again, and whether that may help.
func mayRetry(err error) bool {
	var (
		w    *writeError
		code kafka.Error
	)
	if !errors.As(err, &w) || !w.certain {
		return false
	}
	// What kafka-go finds before it sends (no such topic or leader in its metadata) has no code.
	return !errors.As(err, &code) || wire.Classify(err) == wire.Retry
}

// fail gives messages that are sending an error.
func fail(batch []*message, err error) {
	for _, m := range batch {
		m.finish(outcome{err: err})
	}
}

func (l *lane) send(ctx context.Context, batch []*message) (int64, error) {
	m := l.writer.metrics
	m.writeEvents.Observe(float64(len(batch)))
	began := time.Now()
	base, err := l.writer.produce(ctx, l.partition, batch)
	m.writeTime.Observe(time.Since(began).Seconds())
	return base, err
}

// claim returns the messages that nobody has withdrawn; they are sending then.
func claim(batch []*message) []*message {
	claimed := make([]*message, 0, len(batch))
	for _, m := range batch {
		if m.move(stateQueued, stateSending) {
			claimed = append(claimed, m)
		}
	}
	return claimed
}

// release puts messages that were certainly not written back, so that their requests can withdraw them.
func release(batch []*message) {
	for _, m := range batch {
		m.move(stateSending, stateQueued)
	}
}
