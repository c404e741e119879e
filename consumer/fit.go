package consumer

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lapwing/lapwing/consumer/contract"
)

// fitRecords is how many events are looked at before it is said which partitioner they fit.
const fitRecords = 10_000

// fit finds out, once for each process, which partitioner the producers use. Safe for concurrent use.
type fit struct {
	over atomic.Bool // it was said

	mu                       sync.Mutex
	events, keyed, elsewhere int
	of                       [len(partitioners)]int // keyed events that are where the partitioner puts their key
}

var partitioners = [...]contract.Partitioner{contract.Murmur2, contract.CRC32, contract.FNV1a}

// note counts an event that was read from a lane's own partition of the input; elsewhere: its user belongs to another. After
// the last one it logs, if any were elsewhere.
func (f *fit) note(r *reader, key []byte, elsewhere bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over.Load() {
		return
	}
	f.events++
	if elsewhere {
		f.elsewhere++
	}
	if key != nil {
		f.keyed++
		for i, p := range partitioners {
			if p.Partition(key, r.layout.partitions) == r.lane {
				f.of[i]++
			}
		}
	}
	if f.events < fitRecords {
		return
	}
	f.over.Store(true)
	if f.elsewhere == 0 {
		return
	}
	e := r.engine
	best, shares := 0, make([]string, len(partitioners))
	for i, p := range partitioners {
		shares[i] = fmt.Sprintf("%s %d%%", p, percent(f.of[i], max(f.keyed, 1)))
		if f.of[i] > f.of[best] {
			best = i
		}
	}
	problem := "some producers write without a key, or by several partitioners"
	if p := partitioners[best]; p != e.options.Partitioner && f.of[best]*10 >= f.keyed*9 && f.keyed > 0 {
		problem = fmt.Sprintf("the producers choose partitions by another partitioner: kafka.partitioner: %s would spare forwarding", p)
	}
	e.log.Warn("some events are in another partition than their user's, and are forwarded", "problem", problem,
		"topics", strings.Join(e.options.Inputs, ","), "events", f.events, "forwarded_percent", percent(f.elsewhere, f.events),
		"without_key_percent", percent(f.events-f.keyed, f.events), "partitioner", e.options.Partitioner.String(), "fit", strings.Join(shares, ", "))
}

func percent(n, of int) int { return (200*n + of) / (2 * of) }
