package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fault is one line of a script: the nth request of its kind, counted over all members of a run, and the next ones where
// times is above 1.
type fault struct {
	cell
	nth, times int
	pause      time.Duration // of slow and late
	hang       bool          // late: the client waits for its timeout; otherwise its connection is cut
	answer     bool          // slow: the pause is before the answer
}

func (f fault) String() string {
	s := fmt.Sprintf("%v, number %d", f.cell, f.nth)
	if f.times > 1 {
		s += fmt.Sprintf(" to %d", f.nth+f.times-1)
	}
	if f.pause > 0 {
		s += fmt.Sprintf(", %v", f.pause)
	}
	return s
}

// spread is how many seeds in a row plan each cell of the table: each cell comes up in two of them.
const spread = 40

// plan draws the faults of a seed. Seeds n*spread to (n+1)*spread-1 together plan the whole table twice, each such row
// of seeds in another order.
func plan(seed uint64, exactlyOnce, firstProtocol bool) []fault {
	cells := table()
	rng := rand.New(rand.NewPCG(seed, 0x66617563))
	var faults []fault
	for pass := range uint64(2) {
		order := rand.New(rand.NewPCG(seed/spread, pass)).Perm(len(cells))
		for i, at := range order {
			if uint64(i)%spread != (seed+pass*7)%spread {
				continue
			}
			c := cells[at]
			for !exactlyOnce && c.kind.transactional() || !firstProtocol && c.kind == kind(kmsg.AddOffsetsToTxn) {
				c = cells[rng.IntN(len(cells))]
			}
			faults = append(faults, draw(rng, c))
		}
	}
	return append(faults, swapFault(seed)...)
}

// swapFault draws what becomes of a change of the lineage, beside the table: a run has few of them.
func swapFault(seed uint64) []fault {
	rng := rand.New(rand.NewPCG(seed, 0x73776170))
	if rng.IntN(2) == 0 {
		return nil
	}
	f := fault{cell: cell{kind: storeSwap, action: pick(rng, lost, unheard, slow)}, nth: 1 + rng.IntN(2), times: 1}
	if f.action == slow {
		f.pause = time.Duration(1+rng.IntN(150)) * time.Millisecond
	}
	return []fault{f}
}

// often is about how many requests of a kind a run sees at least; a fault's number is drawn from 1 to it.
var often = map[kind]int{
	kind(kmsg.Fetch): 40, kind(kmsg.Produce): 10, kind(kmsg.AddPartitionsToTxn): 10, kind(kmsg.AddOffsetsToTxn): 10,
	kind(kmsg.TxnOffsetCommit): 10, kind(kmsg.EndTxn): 10, kind(kmsg.InitProducerID): 4, kind(kmsg.OffsetFetch): 6,
	kind(kmsg.OffsetCommit): 1, kind(kmsg.ListOffsets): 8, kind(kmsg.Metadata): 8, kind(kmsg.FindCoordinator): 6,
	kind(kmsg.JoinGroup): 3, kind(kmsg.SyncGroup): 2, kind(kmsg.Heartbeat): 12, kind(kmsg.LeaveGroup): 1,
	kind(kmsg.DescribeConfigs): 2, kind(kmsg.ApiVersions): 10, storeClaim: 3, storeRead: 4, storeWrite: 12,
}

func draw(rng *rand.Rand, c cell) fault {
	f := fault{cell: c, nth: 1 + rng.IntN(often[c.kind]), times: 1, hang: rng.IntN(2) == 0, answer: rng.IntN(2) == 0}
	if !c.fatal() && rng.IntN(4) == 0 {
		f.times += 1 + rng.IntN(3)
	}
	if c.action == slow || c.action == late {
		longest := []int{30, 150, 150}
		if c.action == late {
			longest = []int{10, 60, 800}
		}
		f.pause = time.Duration(1+rng.IntN(longest[rng.IntN(len(longest))])) * time.Millisecond
	}
	return f
}

// script gives each request its fault. It is safe for concurrent use.
type script struct {
	mu      sync.Mutex
	planned []fault
	seen    map[kind]int
	fired   map[cell]int
	fatal   bool // one fired that ends an engine
	over    bool
}

func newScript(faults []fault) *script {
	return &script{planned: faults, seen: map[kind]int{}, fired: map[cell]int{}}
}

// next counts a request and returns the fault that it meets, or nil. Of two that are due the first in the plan fires,
// the other one at the next request.
func (s *script) next(k kind) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	s.seen[k]++
	n := s.seen[k]
	for i := range s.planned {
		f := &s.planned[i]
		if f.kind != k || n < f.nth || f.times == 0 {
			continue
		}
		f.times--
		s.fired[f.cell]++
		s.fatal = s.fatal || f.cell.fatal()
		met := *f
		return &met
	}
	return nil
}

// postpone takes back a fault for which its request had no place: it meets the next one of the kind.
func (s *script) postpone(f *fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.planned {
		if p := &s.planned[i]; p.cell == f.cell && p.nth == f.nth {
			p.times++
			break
		}
	}
	if s.fired[f.cell]--; s.fired[f.cell] == 0 {
		delete(s.fired, f.cell)
	}
}

// end lets everything pass from now on.
func (s *script) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// outcome returns which faults fired and whether one of them ends an engine.
func (s *script) outcome() (fired map[cell]int, fatal bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fired = make(map[cell]int, len(s.fired))
	for c, n := range s.fired {
		fired[c] = n
	}
	return fired, s.fatal
}

func describe(faults []fault) string {
	lines := make([]string, len(faults))
	for i, f := range faults {
		lines[i] = f.String()
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
