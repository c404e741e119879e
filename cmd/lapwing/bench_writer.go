package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lapwing/lapwing/consumer/wire"
)

// benchBacklogBytesMax bounds what waits for one writer. Beyond it no events are made, and the load falls behind.
const benchBacklogBytesMax = 8 << 20

// benchWriter writes the events of the partitions that one broker leads: one request at a time with all that waits, so
// that the events of a partition keep their order and requests grow with the load. (If a partition gets another leader
// meanwhile, a request becomes two; nothing else changes.)
type benchWriter struct {
	producer   *wire.IdempotentProducer
	ledger     *benchLedger
	topic      string
	batchBytes int
	timeout    time.Duration // of a request with its repetitions

	mu      sync.Mutex
	waiting map[int32][]*benchParcel // by partition, in order; a partition without any has no entry
	bytes   int                      // of all that wait
	closed  bool
	work    chan struct{} // something waits, or closed
	room    chan struct{} // something was taken

	// Of run; to be read after it.
	behind time.Duration
	unsure int64
	free   []*benchParcel
}

// benchParcel is a batch with what the ledger has to know of its records.
type benchParcel struct {
	batch  *wire.Batch
	events []benchOwn
}

func newBenchWriter(producer *wire.IdempotentProducer, ledger *benchLedger, topic string, batchBytes int, timeout time.Duration) *benchWriter {
	return &benchWriter{
		producer: producer, ledger: ledger, topic: topic, batchBytes: batchBytes, timeout: timeout,
		waiting: map[int32][]*benchParcel{}, work: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
}

// put adds an event to what waits. It waits for room, and returns false when ctx ends first.
func (w *benchWriter) put(ctx context.Context, partition int32, own benchOwn, at time.Time, key, value []byte) bool {
	w.mu.Lock()
	for w.bytes >= benchBacklogBytesMax {
		w.mu.Unlock()
		w.wake()
		select {
		case <-w.room:
		case <-ctx.Done():
			return false
		}
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	parcels, before := w.waiting[partition], 0
	if n := len(parcels); n > 0 {
		before = parcels[n-1].batch.Len()
	}
	if len(parcels) == 0 || !parcels[len(parcels)-1].batch.TryAppend(w.batchBytes, at.UnixMilli(), key, value) {
		parcels = append(parcels, w.parcel(partition))
		w.waiting[partition], before = parcels, 0
		parcels[len(parcels)-1].batch.Append(at.UnixMilli(), key, value)
	}
	last := parcels[len(parcels)-1]
	last.events = append(last.events, own)
	w.bytes += last.batch.Len() - before
	return true
}

// parcel returns an empty one.
func (w *benchWriter) parcel(partition int32) *benchParcel {
	n := len(w.free)
	if n == 0 {
		return &benchParcel{batch: wire.NewBatch(w.topic, partition)}
	}
	p := w.free[n-1]
	w.free = w.free[:n-1]
	p.batch.Reset(w.topic, partition)
	p.events = p.events[:0]
	return p
}

// wake lets run look at what waits.
func (w *benchWriter) wake() {
	select {
	case w.work <- struct{}{}:
	default:
	}
}

// close says that nothing is put any more.
func (w *benchWriter) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wake()
}

// take returns the first parcel of each partition, and whether more can come.
func (w *benchWriter) take() (parcels []*benchParcel, open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for partition, waiting := range w.waiting {
		parcels = append(parcels, waiting[0])
		w.bytes -= waiting[0].batch.Len()
		if len(waiting) == 1 {
			delete(w.waiting, partition)
		} else {
			w.waiting[partition] = waiting[1:]
		}
	}
	select {
	case w.room <- struct{}{}:
	default:
	}
	return parcels, !w.closed
}

// run writes until close and nothing waits, or until it cannot.
func (w *benchWriter) run(ctx context.Context, began time.Time) error {
	for {
		parcels, open := w.take()
		if len(parcels) > 0 {
			if err := w.write(ctx, began, parcels); err != nil {
				return err
			}
			continue
		}
		if !open {
			return nil
		}
		select {
		case <-w.work:
		case <-ctx.Done():
			return nil // another writer says why
		}
	}
}

// write writes parcels of different partitions, and notes where they are.
func (w *benchWriter) write(ctx context.Context, began time.Time, parcels []*benchParcel) error {
	batches := make([]*wire.Batch, len(parcels))
	sent := time.Since(began)
	for i, p := range parcels {
		batches[i] = p.batch
		w.behind = max(w.behind, sent-p.events[0].created)
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	err := w.producer.Produce(ctx, batches...)
	acked := time.Since(began)
	for _, p := range parcels {
		if base := p.batch.BaseOffset(); base >= 0 {
			w.ledger.wrote(p.batch.Partition(), base, p.events, acked)
		} else {
			w.unsure += int64(len(p.events))
		}
	}
	if err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	w.mu.Lock()
	w.free = append(w.free, parcels...)
	w.mu.Unlock()
	return nil
}
