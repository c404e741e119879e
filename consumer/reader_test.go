package consumer

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// TestChunkKeepsNullAndEmpty checks that a dead letter keeps an empty value, key or header empty and a null one null,
// also where it is the first thing in its chunk: a null value would be a tombstone.
func TestChunkKeepsNullAndEmpty(t *testing.T) {
	tn := idleTenure(t, idleEngine(t, 1), 0)
	c := &chunk{records: []record{{}}}
	tn.readers[0].decode(c, &c.records[0], &wire.Record{Key: nil, Value: []byte{}})
	x := c.records[0].extra
	if x == nil || x.refusal == nil {
		t.Fatal("an empty value is no dead letter")
	}
	if x.value == nil || len(x.value) > 0 {
		t.Errorf("the empty value became %#v", x.value)
	}
	if x.key != nil {
		t.Errorf("the null key became %#v", x.key)
	}
}

// TestFetchPause counts the fetches of a lane whose records come one by one: they come together while it pauses. The first
// one after a silence is not delayed.
func TestFetchPause(t *testing.T) {
	const pause, records = time.Second, 100
	for name, test := range map[string]struct {
		pause    time.Duration
		min, max int64 // fetches; a pause bounds them by itself
	}{
		"none": {0, records / 4, 2 * records},
		"1s":   {pause, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cluster.Close)
			b := newBench(t, cluster.ListenAddrs()[0], 1)
			e, stop := b.engine(state.NewMemory(), func(o *Options) { o.FetchPause = test.pause })
			waitReady(t, e)
			input := e.sources[0].id
			var fetches atomic.Int64
			cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				for _, topic := range req.(*kmsg.FetchRequest).Topics {
					if topic.TopicID == input {
						fetches.Add(1)
					}
				}
				return nil, nil, false
			})
			start := time.Now()
			for range records {
				b.send(withdrawIn(0, 1))
				time.Sleep(5 * time.Millisecond)
			}
			took := time.Since(start)
			b.read(b.output, records)
			most := test.max
			if test.pause > 0 {
				most = int64(took/test.pause) + 4 // the one under way, two whose answers are empty, one for the start
			}
			if n := fetches.Load(); n < test.min || n > most {
				t.Errorf("%d fetches of %d records in %v, want %d to %d", n, records, took, test.min, most)
			}
			time.Sleep(pause + pause/4) // a fetch waits at the broker again
			start = time.Now()
			b.send(withdrawIn(0, 1))
			b.read(b.output, records+1)
			if took := time.Since(start); took > pause {
				t.Errorf("the result of a record after a silence took %v", took)
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFetchPauseNotBehind reads a backlog in fetches of few records: a lane that is behind does not pause.
func TestFetchPauseNotBehind(t *testing.T) {
	const records = 60
	b := newBench(t, consumertest.Kfake(t), 1)
	for range records {
		b.send(withdrawIn(0, 1)) // a batch each
	}
	start := time.Now()
	e, stop := b.engine(state.NewMemory(), func(o *Options) { o.FetchPause, o.FetchBytesMax = time.Second, 1<<10 })
	waitReady(t, e)
	b.read(b.output, records)
	if took := time.Since(start); took > 4*time.Second { // a fetch has at most eight of these batches
		t.Errorf("%d records of a backlog took %v", records, took)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestPooledAnswerMalformed answers one request of several lanes with nonsense: each asks again for itself, and none takes
// its log for damaged.
func TestPooledAnswerMalformed(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := newBench(t, cluster.ListenAddrs()[0], 2)
	e, stop := b.engine(state.NewMemory(), nil)
	waitReady(t, e)
	spoilt := make(chan struct{})
	cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		asked, partitions := req.(*kmsg.FetchRequest), 0
		for _, topic := range asked.Topics {
			partitions += len(topic.Partitions)
		}
		if partitions < 2 {
			return nil, nil, false // still asked
		}
		close(spoilt)
		answer := kmsg.NewPtrFetchResponse()
		answer.SetVersion(asked.Version)
		return answer, nil, true // the last
	})
	select {
	case <-spoilt:
	case <-time.After(20 * time.Second):
		t.Fatal("the lanes do not share a request")
	}
	b.send(withdrawIn(0, 2), withdrawIn(1, 2))
	b.read(b.output, 2)
	if n := testutil.ToFloat64(e.metrics.laneStarts.WithLabelValues("failed")); n != 0 {
		t.Errorf("lanes started %g times again", n)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
