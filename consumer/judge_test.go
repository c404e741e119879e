package consumer

import (
	"context"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/wire"
)

// TestJudgeEndsInTheMiddleOfAChunk ends a tenure while its judge waits for room in the middle of a chunk, with a chunk
// without visible records behind it (aborted transactions, markers): the position stays where the judge stopped.
// Otherwise the rest of the first chunk is committed as judged, and lost.
func TestJudgeEndsInTheMiddleOfAChunk(t *testing.T) {
	e := idleEngine(t, 1)
	e.options.BatchRecordsMax = 2
	for range 20 { // which of two ready channels a select takes is random
		tn := idleTenure(t, e, 0)
		tn.open.reset(0)
		visible, invisible := <-tn.readers[0].free, <-tn.readers[0].free
		for i := range 5 {
			visible.records = append(visible.records, record{offset: int64(i)})
			tn.readers[0].decode(visible, &visible.records[i], &wire.Record{Offset: int64(i), Value: []byte(event("deposit", "1", 1, 1))})
		}
		visible.next, invisible.next = 5, 20
		ctx, cancel := context.WithCancel(t.Context())
		stop := context.AfterFunc(ctx, func() {
			tn.mu.Lock()
			defer tn.mu.Unlock()
			tn.room.Broadcast()
		})
		ended := make(chan error, 1)
		go func() { ended <- tn.judge(ctx) }()
		tn.readers[0].chunks <- visible
		tn.readers[0].chunks <- invisible // there is room only once the judge has the first one
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			tn.mu.Lock()
			full := tn.open.records() == 2
			tn.mu.Unlock()
			if full {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the parcel is not full after 10s")
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		stop()
		if tn.position != 2 || tn.open.to != 2 {
			t.Fatalf("judged 2 records, the position is %d and the parcel goes up to %d", tn.position, tn.open.to)
		}
	}
}
