package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// FetchPool asks for many partitions in one request. A broker works about as long
// on a request for one partition that has a few new records as on one for all that
// it leads, so readers that are at the end of their partitions should share theirs:
// the load of a process then does not grow with its partitions. Readers that are
// behind should fetch alone: their answers are large, and none need wait for another.
//
// A request gathers those that ask while it waits. Methods are safe for concurrent
// use.
type FetchPool struct {
	client  *Client
	options FetchPoolOptions
	asksMax int // In one request: its answer must not be larger than the client takes.
	ctx     context.Context
	cancel  context.CancelFunc
	rounds  sync.WaitGroup

	mu        sync.Mutex
	gathering map[int32]*fetchRound // By broker.
}

// FetchPoolOptions configures a FetchPool.
type FetchPoolOptions struct {
	// BytesMax bounds what one partition has in an answer, WaitMax how long the
	// broker waits for the first byte, and Committed is as in FetchOptions, for all
	// fetchers of the pool.
	BytesMax  int32
	WaitMax   time.Duration
	Committed bool
	// Pause is how long a request waits for others after an answer that had records
	// of one of its partitions: more come meanwhile. Where none had any, it is
	// gatherMin.
	Pause time.Duration
}

// gatherMin is how long a request waits for others at least: those of one answer ask
// again within it.
const gatherMin = time.Millisecond

// fetchRound is one request in the making.
type fetchRound struct {
	at, latest time.Time // When it goes, and the latest that this may be put off to.
	asks       []*pooledAsk
}

// pooledAsk is one partition of a round. Until done is closed it is the round's.
type pooledAsk struct {
	fetchAsk
	answer partitionAnswer
	found  bool
	err    error
	done   chan struct{}
}

// NewFetchPool returns an empty pool, which has no goroutine and no connection until
// somebody asks. The caller closes it.
func (c *Client) NewFetchPool(o FetchPoolOptions) *FetchPool {
	d := FetchOptions{BytesMax: o.BytesMax, WaitMax: o.WaitMax}.withDefaults()
	o.BytesMax, o.WaitMax = d.BytesMax, d.WaitMax
	p := &FetchPool{client: c, options: o, gathering: make(map[int32]*fetchRound)}
	p.asksMax = max(c.options.ResponseBytesMax/2/int(o.BytesMax), 1)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Close ends what is under way, whose callers get an error, and waits for it. Nobody
// may fetch after it.
func (p *FetchPool) Close() {
	p.cancel()
	p.rounds.Wait()
}

// FetchPooled is Fetch in a request of the pool. paused says that the last fetch of the
// partition had records. Its answer may be empty though there are records, where the
// first batch is larger than the pool's BytesMax: then LastStable is beyond next, and
// Fetch gets it.
func (f *Fetcher) FetchPooled(ctx context.Context, p *FetchPool, paused bool, offset int64, fn func(*Record) error) (next int64, err error) {
	return f.fetchBy(ctx, offset, func(ctx context.Context, broker int32, offset int64) ([]byte, error) {
		pause := min(gatherMin, p.options.Pause)
		if paused {
			pause = p.options.Pause
		}
		ask := &pooledAsk{fetchAsk: fetchAsk{f.id, f.partition, offset}, done: make(chan struct{})}
		if !p.join(broker, ask, pause) {
			return f.fetch(ctx, broker, offset)
		}
		select {
		case <-ask.done:
		case <-ctx.Done():
			p.leave(broker, ask)
			return nil, ctx.Err()
		}
		if ask.err != nil {
			return nil, ask.err
		}
		return f.take(&ask.answer)
	}, fn)
}

// join adds the ask to the broker's next request, which then goes after pause at the
// earliest; false: that one has the partition already, or is full.
func (p *FetchPool) join(broker int32, a *pooledAsk, pause time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	r := p.gathering[broker]
	if r == nil {
		r = &fetchRound{at: now, latest: now.Add(p.options.Pause)}
		p.gathering[broker] = r
		p.rounds.Go(func() { p.run(broker, r) })
	}
	if len(r.asks) >= p.asksMax || slices.ContainsFunc(r.asks, func(o *pooledAsk) bool { return o.id == a.id && o.partition == a.partition }) {
		return false
	}
	if at := now.Add(pause); at.After(r.at) {
		r.at = at
	}
	if r.at.After(r.latest) {
		r.at = r.latest
	}
	r.asks = append(r.asks, a)
	return true
}

// leave takes the ask out of a request that has not gone yet.
func (p *FetchPool) leave(broker int32, a *pooledAsk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.gathering[broker]; r != nil {
		r.asks = slices.DeleteFunc(r.asks, func(o *pooledAsk) bool { return o == a })
	}
}

// run gathers a round, sends it, and hands out what the answer says.
func (p *FetchPool) run(broker int32, r *fetchRound) {
	asks := p.gather(broker, r)
	if len(asks) == 0 {
		return
	}
	err := p.ask(broker, asks)
	for _, a := range asks {
		switch {
		case err != nil:
			a.err = err
		case !a.found:
			a.err = fmt.Errorf("%w: fetch answer leaves the partition out", ErrMalformed)
		}
		close(a.done)
	}
}

// gather waits until the round is to go, and returns its asks, those of one topic
// beside each other. From then on nobody joins it.
func (p *FetchPool) gather(broker int32, r *fetchRound) []*pooledAsk {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-p.ctx.Done():
		}
		p.mu.Lock()
		rest := time.Until(r.at)
		if rest <= 0 || p.ctx.Err() != nil {
			delete(p.gathering, broker)
			p.mu.Unlock()
			slices.SortFunc(r.asks, compareAsks)
			return r.asks
		}
		p.mu.Unlock()
		timer.Reset(rest)
	}
}

func compareAsks(a, b *pooledAsk) int {
	if c := bytes.Compare(a.id[:], b.id[:]); c != 0 {
		return c
	}
	return int(a.partition) - int(b.partition)
}

// ask fills the answers of the asks, which are sorted.
func (p *FetchPool) ask(broker int32, asks []*pooledAsk) error {
	ctx, cancel := context.WithTimeout(p.ctx, p.options.WaitMax+p.client.options.RequestTimeout)
	defer cancel()
	plain := make([]fetchAsk, len(asks))
	for i, a := range asks {
		plain[i] = a.fetchAsk
	}
	x := p.client.fetchRequest(nil, FetchOptions{BytesMax: p.options.BytesMax, BytesMin: 1, WaitMax: p.options.WaitMax, Committed: p.options.Committed}, plain)
	x.broker = broker
	x.finish()
	answer, err := p.client.roundTripWithin(ctx, x)
	if err != nil {
		if p.ctx.Err() != nil {
			err = errors.Join(errors.New("the fetch pool is closed"), err)
		}
		return err
	}
	return decodeFetch(answer.body, func(id []byte, partition int32) *partitionAnswer {
		key := &pooledAsk{fetchAsk: fetchAsk{id: [16]byte(id), partition: partition}}
		i, ok := slices.BinarySearchFunc(asks, key, compareAsks)
		if !ok || asks[i].found {
			return nil
		}
		asks[i].found = true
		return &asks[i].answer
	})
}
