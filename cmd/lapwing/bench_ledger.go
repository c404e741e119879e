package main

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
)

// benchOwn is an event of the load that is in the input topic, and what came of it. Times are since the load began.
type benchOwn struct {
	user    int64
	created time.Duration
	seen    time.Duration // of its first result or dead letter
	at      int64         // offset of its first result,
	output  int32         // in this partition of the output topic
	results uint16
	letters uint16
	counted bool // it was created after the warm-up
}

// found reports whether a result or a dead letter was seen.
func (o *benchOwn) found() bool { return o.results > 0 || o.letters > 0 }

// sighting is a result or a dead letter of the event at a place in the input topic.
type sighting struct {
	partition int32
	offset    int64
	seen      time.Duration
	output    int32 // where it is itself
	at        int64
	letter    bool
	reason    string // of a dead letter
}

// benchLedger has every event of the load by its place in the input topic, and finds its results by what their header
// lapwing-source says. It is safe for concurrent use.
type benchLedger struct {
	mu       sync.Mutex
	lanes    []benchLane
	written  int64
	matched  int64 // of the written events, how many have a result or a dead letter
	foreign  int64 // results and dead letters of somebody else's events
	lastAck  time.Duration
	lastSeen time.Duration // of an own event's
	reasons  map[string]int64
}

// benchLane are the own events of one partition of the input.
type benchLane struct {
	runs   []benchRun // without gaps in themselves; others may write in between
	events []benchOwn // of all runs, in the order of offsets
	// early was seen before the broker told where the events are that are being written. It is of one of these, or of
	// somebody else's.
	early  []sighting
	closed bool // nothing is written any more
}

// benchRun says where events[first] and those after it are, up to the next run's first.
type benchRun struct {
	base  int64
	first int
}

func newBenchLedger(partitions int32) *benchLedger {
	return &benchLedger{lanes: make([]benchLane, partitions), reasons: map[string]int64{}}
}

// find returns the own event at an offset, nil if there is none.
func (l *benchLane) find(offset int64) *benchOwn {
	n, exact := slices.BinarySearchFunc(l.runs, offset, func(r benchRun, offset int64) int { return cmp.Compare(r.base, offset) })
	if !exact {
		n--
	}
	if n < 0 {
		return nil
	}
	end := len(l.events)
	if n+1 < len(l.runs) {
		end = l.runs[n+1].first
	}
	if i := l.runs[n].first + int(offset-l.runs[n].base); i < end {
		return &l.events[i]
	}
	return nil
}

// end is the offset after the last own event, 0 without any.
func (l *benchLane) end() int64 {
	if len(l.runs) == 0 {
		return 0
	}
	last := l.runs[len(l.runs)-1]
	return last.base + int64(len(l.events)-last.first)
}

// wrote notes events that the broker has taken, the first at offset base. Those of a partition come in the order of
// offsets.
func (l *benchLedger) wrote(partition int32, base int64, events []benchOwn, acked time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := &l.lanes[partition]
	if len(lane.runs) == 0 || lane.end() != base {
		lane.runs = append(lane.runs, benchRun{base, len(lane.events)})
	}
	lane.events = append(lane.events, events...)
	l.written += int64(len(events))
	l.lastAck = max(l.lastAck, acked)
	l.settle(lane)
}

// settle looks again at what was seen early.
func (l *benchLedger) settle(lane *benchLane) {
	early := lane.early
	lane.early = lane.early[:0]
	for i := range early {
		l.note(&early[i])
	}
}

// close says that nothing is written any more.
func (l *benchLedger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.lanes {
		l.lanes[i].closed = true
		l.settle(&l.lanes[i])
	}
}

// see notes results and dead letters.
func (l *benchLedger) see(sightings []sighting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range sightings {
		l.note(&sightings[i])
	}
}

func (l *benchLedger) note(s *sighting) {
	if int(s.partition) >= len(l.lanes) {
		l.foreign++ // the topic has grown
		return
	}
	lane := &l.lanes[s.partition]
	if s.offset >= lane.end() && !lane.closed {
		lane.early = append(lane.early, *s)
		return
	}
	own := lane.find(s.offset)
	if own == nil {
		l.foreign++
		return
	}
	if !own.found() {
		own.seen = s.seen
		l.matched++
		l.lastSeen = max(l.lastSeen, s.seen)
	}
	if s.letter {
		own.letters++
		l.reasons[s.reason]++
		return
	}
	if own.results == 0 {
		own.output, own.at = s.output, s.at
	}
	own.results++
}

// outstanding returns how many events have no result and no dead letter yet.
func (l *benchLedger) outstanding() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written - l.matched
}

// ends returns the offset after the last own event of each partition, 0 where there is none.
func (l *benchLedger) ends() []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	ends := make([]int64, len(l.lanes))
	for p := range l.lanes {
		ends[p] = l.lanes[p].end()
	}
	return ends
}

// benchNamedMax is how many events of a kind of fault are named.
const benchNamedMax = 5

// benchFault is a kind of fault, and the first events that have it.
type benchFault struct {
	count int64
	first []contract.Source
}

func (f *benchFault) add(s contract.Source) {
	f.count++
	if len(f.first) < benchNamedMax {
		f.first = append(f.first, s)
	}
}

// benchBalance is what became of all events of the load.
type benchBalance struct {
	written, foreign int64
	results, letters int64 // events with one at the least
	silent           int64 // events without, that were judged all the same
	reasons          map[string]int64

	missing    benchFault // not judged
	repeated   benchFault // with more than one result, or more than one dead letter
	both       benchFault // with a result and a dead letter
	disordered benchFault // whose result is before that of an earlier event of the user

	counted           int64         // events after the warm-up
	from              time.Duration // when the first of these was created
	lastAck, lastSeen time.Duration
	latencies         latencies // of those that have a result or a dead letter
}

// balance looks at every event. Where judged is not nil, those below its offset (by partition) are judged, whether they
// have a result or not.
func (l *benchLedger) balance(topic string, judged []int64) *benchBalance {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &benchBalance{written: l.written, foreign: l.foreign, reasons: l.reasons, lastAck: l.lastAck, lastSeen: l.lastSeen, from: -1}
	var took []time.Duration
	for p := range l.lanes {
		lane := &l.lanes[p]
		latest := map[int64]*benchOwn{} // by user, of those with a result
		for r := range lane.runs {
			run := &lane.runs[r]
			end := len(lane.events)
			if r+1 < len(lane.runs) {
				end = lane.runs[r+1].first
			}
			for i := run.first; i < end; i++ {
				own := &lane.events[i]
				source := contract.Source{Topic: topic, Partition: int32(p), Offset: run.base + int64(i-run.first)}
				b.add(own, source, judged)
				if own.results > 0 {
					if before := latest[own.user]; before != nil && before.output == own.output && before.at > own.at {
						b.disordered.add(source)
					} else {
						latest[own.user] = own
					}
				}
				if own.counted && own.found() {
					took = append(took, own.seen-own.created)
				}
			}
		}
	}
	b.latencies = newLatencies(took)
	return b
}

// add counts one event.
func (b *benchBalance) add(own *benchOwn, source contract.Source, judged []int64) {
	if own.counted {
		b.counted++
		if b.from < 0 || own.created < b.from {
			b.from = own.created
		}
	}
	if own.results > 0 {
		b.results++
	}
	if own.letters > 0 {
		b.letters++
	}
	switch {
	case !own.found() && judged != nil && source.Offset < judged[source.Partition]:
		b.silent++
	case !own.found():
		b.missing.add(source)
	case own.results > 0 && own.letters > 0:
		b.both.add(source)
	case own.results > 1 || own.letters > 1:
		b.repeated.add(source)
	}
}
