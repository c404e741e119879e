package wire

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// pooled is what one reader of a pool got.
type pooled struct {
	records []string
	next    int64
	err     error
}

// fetchTogether fetches once from each place, all at the same time.
func fetchTogether(ctx context.Context, p *FetchPool, fetchers []*Fetcher, paused bool, offsets []int64) []pooled {
	got := make([]pooled, len(fetchers))
	var all sync.WaitGroup
	for i, f := range fetchers {
		all.Go(func() {
			g := &got[i]
			g.next, g.err = f.FetchPooled(ctx, p, paused, offsets[i], func(r *Record) error {
				g.records = append(g.records, string(r.Value))
				return nil
			})
		})
	}
	all.Wait()
	return got
}

// TestFetchPool reads partitions of two topics, one of them empty and one asked for beyond its end, with a transaction
// that was aborted: each reader gets what is its own.
func TestFetchPool(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		c, ctx := b.client(t), testContext(t)
		topics := []string{b.topic(t, c, 3), b.topic(t, c, 2)}
		producer := b.ready(t, c, ProducerOptions{})
		write := func(commit bool, word string) {
			t.Helper()
			var batches []*Batch
			for i, topic := range topics {
				for partition := range int32(2) {
					batch := NewBatch(topic, partition)
					batch.Append(1, nil, []byte(fmt.Sprintf("%s %d/%d", word, i, partition)))
					batches = append(batches, batch)
				}
			}
			if err := producer.write(ctx, [][]*Batch{batches}, &Transaction{}); err != nil {
				t.Fatal(err)
			}
			if err := producer.end(ctx, commit); err != nil {
				t.Fatal(err)
			}
		}
		write(true, "first")
		write(false, "aborted")
		for _, topic := range topics {
			for partition := range int32(2) {
				awaitEnd(t, c, topic, partition, 4)
			}
		}
		p := c.NewFetchPool(FetchPoolOptions{WaitMax: 100 * time.Millisecond, Pause: 20 * time.Millisecond, Committed: true})
		defer p.Close()
		var fetchers []*Fetcher
		for _, place := range []struct {
			topic     int
			partition int32
		}{{1, 1}, {0, 2}, {0, 0}, {1, 0}, {0, 1}} {
			fetchers = append(fetchers, c.NewFetcher(topics[place.topic], place.partition, FetchOptions{Committed: true}))
		}
		got := fetchTogether(ctx, p, fetchers, true, []int64{0, 0, 1, 99, 0})
		for i := range got {
			// A broker may answer with less than there is.
			for next := got[i].next; next > 0 && next < 4 && got[i].err == nil; next = got[i].next {
				more := fetchTogether(ctx, p, fetchers[i:i+1], true, []int64{next})[0]
				got[i] = pooled{append(got[i].records, more.records...), more.next, more.err}
				if more.next == next {
					t.Fatalf("reader %d stays at %d", i, next)
				}
			}
		}
		want := []pooled{{[]string{"first 1/1"}, 4, nil}, {nil, 0, nil}, {nil, 4, nil}, {nil, 99, kafka.OffsetOutOfRange}, {[]string{"first 0/1"}, 4, nil}}
		for i := range want {
			if w := &want[i]; !errors.Is(got[i].err, w.err) || w.err == nil && !reflect.DeepEqual(got[i], *w) {
				t.Errorf("reader %d got %v, want %v", i, got[i], *w)
			}
		}
		if f := fetchers[0]; f.LastStable != 4 || f.HighWatermark != 4 || f.LogStart != 0 {
			t.Errorf("the marks are %d, %d, %d, want 4, 4, 0", f.LastStable, f.HighWatermark, f.LogStart)
		}
	})
}

// awaitEnd waits until a read_committed reader can read up to end: markers are written after a transaction's end.
func awaitEnd(t *testing.T, c *Client, topic string, partition int32, end int64) {
	t.Helper()
	ctx := testContext(t)
	for {
		at, err := c.EndOffset(ctx, topic, partition, true)
		if err != nil {
			t.Fatal(err)
		}
		if at >= end {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestFetchPoolRequests counts requests: one for all that ask within the pause, and one that asks alone does not wait
// where nothing had records.
func TestFetchPoolRequests(t *testing.T) {
	b := fakeBroker(t)
	c, ctx := b.client(t), testContext(t)
	topic := b.topic(t, c, 8)
	var mu sync.Mutex
	var requests []int // partitions in each
	b.fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		requests = append(requests, len(req.(*kmsg.FetchRequest).Topics[0].Partitions))
		return nil, nil, false
	})
	const pause = 300 * time.Millisecond
	p := c.NewFetchPool(FetchPoolOptions{WaitMax: 10 * time.Millisecond, Pause: pause})
	defer p.Close()
	var fetchers []*Fetcher
	for partition := range int32(8) {
		fetchers = append(fetchers, c.NewFetcher(topic, partition, FetchOptions{}))
	}
	offsets := make([]int64, 8)
	for _, g := range fetchTogether(ctx, p, fetchers, true, offsets) {
		if g.err != nil {
			t.Fatal(g.err)
		}
	}
	if !reflect.DeepEqual(requests, []int{8}) {
		t.Errorf("eight readers of a broker sent requests of %d partitions, want one of 8", requests)
	}
	start := time.Now()
	if g := fetchTogether(ctx, p, fetchers[:1], false, offsets[:1]); g[0].err != nil || time.Since(start) > pause/2 {
		t.Errorf("a reader whose last fetch was empty got %v after %v", g[0].err, time.Since(start))
	}
	start = time.Now()
	if g := fetchTogether(ctx, p, fetchers[:1], true, offsets[:1]); g[0].err != nil || time.Since(start) < pause {
		t.Errorf("a reader whose last fetch had records got %v after %v, want a pause of %v", g[0].err, time.Since(start), pause)
	}

	// One partition twice: a request has it once.
	requests = nil
	twice := []*Fetcher{fetchers[0], c.NewFetcher(topic, 0, FetchOptions{})}
	for _, g := range fetchTogether(ctx, p, twice, true, offsets[:2]) {
		if g.err != nil {
			t.Fatal(g.err)
		}
	}
	if !reflect.DeepEqual(requests, []int{1, 1}) {
		t.Errorf("two readers of one partition sent requests of %d partitions, want two of 1", requests)
	}

	// As many as fit into an answer.
	requests = nil
	small := b.client(t, func(o *Options) { o.ResponseBytesMax = 6 << 20 })
	few := small.NewFetchPool(FetchPoolOptions{BytesMax: 1 << 20, WaitMax: 10 * time.Millisecond, Pause: pause})
	defer few.Close()
	for i := range fetchers {
		fetchers[i] = small.NewFetcher(topic, int32(i), FetchOptions{WaitMax: 10 * time.Millisecond})
	}
	for _, g := range fetchTogether(ctx, few, fetchers, true, offsets) {
		if g.err != nil {
			t.Fatal(g.err)
		}
	}
	slices.Sort(requests)
	if !reflect.DeepEqual(requests, []int{1, 1, 1, 1, 1, 3}) {
		t.Errorf("eight readers sent requests of %d partitions, want one of 3, the others alone", requests)
	}
}

// TestFetchPoolEnds lets readers go: one that gives up is out of the request, and does not end that of the others;
// closing the pool ends all.
func TestFetchPoolEnds(t *testing.T) {
	b := fakeBroker(t)
	c, ctx := b.client(t), testContext(t)
	topic := b.topic(t, c, 2)
	p := c.NewFetchPool(FetchPoolOptions{WaitMax: 20 * time.Second, Pause: 200 * time.Millisecond})
	asked := make(chan int, 10)
	b.fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.fake.KeepControl()
		asked <- len(req.(*kmsg.FetchRequest).Topics[0].Partitions)
		return nil, nil, false
	})
	fetch := func(ctx context.Context, partition int32) <-chan error {
		done := make(chan error, 1)
		f := c.NewFetcher(topic, partition, FetchOptions{})
		go func() {
			_, err := f.FetchPooled(ctx, p, true, 0, func(*Record) error { return nil })
			done <- err
		}()
		return done
	}
	impatient, giveUp := context.WithCancel(ctx)
	one, other := fetch(impatient, 0), fetch(ctx, 1)
	time.Sleep(50 * time.Millisecond)
	giveUp()
	if err := <-one; !errors.Is(err, context.Canceled) {
		t.Errorf("the reader that gave up got %v", err)
	}
	if n := <-asked; n != 1 {
		t.Errorf("the request has %d partitions, want the one that is still asked for", n)
	}
	select {
	case err := <-other:
		t.Errorf("the other reader got %v before anything was there", err)
	case <-time.After(100 * time.Millisecond):
	}
	start := time.Now()
	p.Close()
	if err := <-other; !errors.Is(err, context.Canceled) || time.Since(start) > 5*time.Second {
		t.Errorf("after Close the reader got %v within %v", err, time.Since(start))
	}
}

// TestFetchPoolLargeBatch reads a batch that is larger than the pool's limit in a partition that is not the first: a
// broker sends only the first whole. The marks say that there is more, and Fetch gets it.
func TestFetchPoolLargeBatch(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c, ctx := b.client(t), testContext(t)
		topic := b.topic(t, c, 2)
		var batches []*Batch
		for partition := range int32(2) {
			batch := NewBatch(topic, partition)
			batch.Append(1, nil, make([]byte, 5000))
			batches = append(batches, batch)
		}
		if err := c.Produce(ctx, None, batches); err != nil {
			t.Fatal(err)
		}
		p := c.NewFetchPool(FetchPoolOptions{BytesMax: 1000, WaitMax: 50 * time.Millisecond, Pause: 50 * time.Millisecond})
		defer p.Close()
		fetchers := []*Fetcher{c.NewFetcher(topic, 0, FetchOptions{}), c.NewFetcher(topic, 1, FetchOptions{})}
		whole := 0
		for i, g := range fetchTogether(ctx, p, fetchers, true, []int64{0, 0}) {
			f := fetchers[i]
			if g.err != nil || f.LastStable != 1 {
				t.Fatalf("partition %d: %v, stable up to %d, want 1", i, g.err, f.LastStable)
			}
			if whole += len(g.records); g.next == 1 {
				continue
			}
			next, err := f.Fetch(ctx, g.next, func(r *Record) error { whole += len(r.Value) / 5000; return nil })
			if err != nil || next != 1 {
				t.Errorf("alone, partition %d: next %d, %v", i, next, err)
			}
		}
		if whole != 2 {
			t.Errorf("%d of 2 records", whole)
		}
	})
}

// TestFetchPoolHostileAnswer answers with a partition left out, named twice or not asked for.
func TestFetchPoolHostileAnswer(t *testing.T) {
	for name, partitions := range map[string][]int32{"left out": {0}, "twice": {0, 1, 1}, "another": {0, 1, 2}} {
		t.Run(name, func(t *testing.T) {
			b := fakeBroker(t, kfake.NumBrokers(1))
			c, ctx := b.client(t), testContext(t)
			topic := b.topic(t, c, 3)
			b.fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
				b.fake.KeepControl()
				asked := req.(*kmsg.FetchRequest)
				r := kmsg.NewPtrFetchResponse()
				r.SetVersion(asked.Version)
				answer := kmsg.FetchResponseTopic{TopicID: asked.Topics[0].TopicID}
				for _, p := range partitions {
					one := kmsg.NewFetchResponseTopicPartition()
					one.Partition = p
					answer.Partitions = append(answer.Partitions, one)
				}
				r.Topics = append(r.Topics, answer)
				return r, nil, true
			})
			p := c.NewFetchPool(FetchPoolOptions{Pause: 50 * time.Millisecond})
			defer p.Close()
			fetchers := []*Fetcher{c.NewFetcher(topic, 0, FetchOptions{}), c.NewFetcher(topic, 1, FetchOptions{})}
			if g := fetchTogether(ctx, p, fetchers, true, []int64{0, 0}); !errors.Is(g[1].err, ErrMalformed) {
				t.Errorf("the reader got %v, want %v", g[1].err, ErrMalformed)
			}
		})
	}
}
