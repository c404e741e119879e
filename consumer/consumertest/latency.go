package consumertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Latency is how long events took from their creation by a producer to a read_committed consumer of the results.
type Latency struct {
	Counted             int
	P50, P99, P999, Max time.Duration
	Unseen              int // events whose result did not come in time
}

// String gives the figures in one line.
func (l Latency) String() string {
	const unit = 100 * time.Microsecond
	return fmt.Sprintf("%d results: p50 %v, p99 %v, p99.9 %v, max %v; %d not seen", l.Counted,
		l.P50.Round(unit), l.P99.Round(unit), l.P999.Round(unit), l.Max.Round(unit), l.Unseen)
}

// ErrBehind is the error of a measurement of engines that do not keep up with the rate: their latency has no end.
var ErrBehind = errors.New("consumertest: the results fall behind the events")

// LatencyOptions says what MeasureLatency does. Brokers, Input, Output, PerSecond and Duration are required.
type LatencyOptions struct {
	Brokers       []string
	Input, Output string
	PerSecond     int
	Duration      time.Duration // counted
	Warm          time.Duration // before it, not counted
	Drain         time.Duration // how long the last results are waited for; 0: 10 s
	// ByOrder takes the n-th record of an output partition for the result of the n-th event of the same input partition,
	// for engines that write no source into their results. Nothing may be left to be read of the input before it.
	ByOrder bool
	// BehindMax is how many events may be without a result; the first beyond ends the measurement with ErrBehind. 0: any.
	BehindMax int
}

const latencyDrainDefault = 10 * time.Second

// MeasureLatency produces the generator's events at a rate, while engines run, and watches the results.
func MeasureLatency(ctx context.Context, o LatencyOptions, g *Generator) (Latency, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(o.Brokers...), kgo.ConsumeTopics(o.Output), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(fetchWait))
	if err != nil {
		return Latency{}, fmt.Errorf("consumertest: client of %v: %w", o.Brokers, err)
	}
	defer client.Close()
	times := newSightings(o)
	read := func(wait time.Duration) {
		poll, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		fetches := client.PollFetches(poll)
		now := time.Now()
		fetches.EachRecord(func(r *kgo.Record) { times.see(r, now) })
	}
	read(time.Second) // from here on the consumer stands at the ends

	produced := make(chan error, 1)
	producing, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	start := time.Now()
	go func() { // ends with its count or with producing, and produced is always received
		_, err := Produce(producing, ProduceOptions{
			Brokers: o.Brokers, Topic: o.Input, PerSecond: o.PerSecond, Count: int((o.Warm + o.Duration).Seconds() * float64(o.PerSecond)),
			Acked: times.create,
		}, g)
		produced <- err
	}()
	var produceErr error
	var drain time.Time
	for running := true; running || times.behind() > 0 && time.Now().Before(drain); {
		read(100 * time.Millisecond)
		if behind := times.behind(); o.BehindMax > 0 && behind > o.BehindMax {
			giveUp(fmt.Errorf("%w: %d without a result at %d a second", ErrBehind, behind, o.PerSecond))
		}
		select {
		case produceErr = <-produced:
			running, drain = false, time.Now().Add(cmp.Or(o.Drain, latencyDrainDefault))
		default:
		}
		if !running && producing.Err() != nil {
			break
		}
	}
	if producing.Err() != nil && ctx.Err() == nil {
		return Latency{}, context.Cause(producing)
	}
	if err := errors.Join(produceErr, ctx.Err()); err != nil {
		return Latency{}, err
	}
	return times.latency(start.Add(o.Warm)), nil
}

// sightings are the times of events and of their results. create is called by any goroutine, the rest by one.
type sightings struct {
	o    LatencyOptions
	seen map[sighting]time.Time
	next map[int32]int64 // by order: results so far, by partition

	mu      sync.Mutex
	created []creation
}

// sighting names an event: by its partition and offset, or by order by its place among those of its partition.
type sighting struct {
	partition int32
	at        int64
}

type creation struct {
	sighting
	time time.Time
}

func newSightings(o LatencyOptions) *sightings {
	return &sightings{o: o, seen: map[sighting]time.Time{}, next: map[int32]int64{}}
}

func (s *sightings) create(partition int32, offset int64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created = append(s.created, creation{sighting{partition, offset}, at})
}

func (s *sightings) see(r *kgo.Record, now time.Time) {
	if s.o.ByOrder {
		s.seen[sighting{r.Partition, s.next[r.Partition]}] = now
		s.next[r.Partition]++
		return
	}
	source, _ := header(r, headerSource)
	rest, ok := strings.CutPrefix(string(source), s.o.Input+"/")
	p, at, _ := strings.Cut(rest, "/")
	partition, ok1 := plainNumber([]byte(p))
	offset, ok2 := plainNumber([]byte(at))
	if ok && ok1 && ok2 && partition <= math.MaxInt32 {
		s.seen[sighting{int32(partition), offset}] = now
	}
}

// behind returns how many events have no result yet.
func (s *sightings) behind() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.created) - len(s.seen)
}

// latency is that of the events created from a time on. It comes last: by order it turns offsets into places.
func (s *sightings) latency(from time.Time) Latency {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.ByOrder {
		slices.SortFunc(s.created, func(a, b creation) int { return cmp.Compare(a.at, b.at) })
		places := map[int32]int64{}
		for i := range s.created {
			c := &s.created[i]
			c.at = places[c.partition]
			places[c.partition]++
		}
	}
	var l Latency
	var all []time.Duration
	for _, c := range s.created {
		if c.time.Before(from) {
			continue
		}
		if result, ok := s.seen[c.sighting]; ok {
			all = append(all, result.Sub(c.time))
		} else {
			l.Unseen++
		}
	}
	slices.Sort(all)
	l.Counted = len(all)
	if l.Counted > 0 {
		l.P50, l.P99, l.P999, l.Max = quantile(all, 0.5), quantile(all, 0.99), quantile(all, 0.999), all[len(all)-1]
	}
	return l
}

// quantile is the smallest value that is not below the share q of the sorted values.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}
