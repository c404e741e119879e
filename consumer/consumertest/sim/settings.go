package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lapwing/lapwing/consumer"
	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// settings is what a seed draws beside its faults.
type settings struct {
	brokers, members           int
	lanes, outputs, dead       int32
	records                    int
	transactionalInput         bool
	events                     consumertest.EventOptions
	guarantee                  consumer.Guarantee
	firstProtocol              bool // of transactions: the brokers are of Kafka 3.9
	alertsOnly, minimal        bool
	compression                wire.Compression
	fetchBytes                 int32
	batchRecords, batchBytes   int
	dirty, cache, shards       int
	chunkKeys, chunksInFlight  int
	flushInterval, transaction time.Duration // the pause between two transactions
	happenings                 []happening
	inputs                     []string
	changes                    changes
}

func pick[T any](rng *rand.Rand, values ...T) T { return values[rng.IntN(len(values))] }

func drawSettings(seed uint64) settings {
	rng := rand.New(rand.NewPCG(seed, 0x73657474))
	s := settings{
		brokers: 1 + rng.IntN(3), members: 1 + rng.IntN(3), lanes: pick[int32](rng, 1, 2, 3, 4, 6), dead: pick[int32](rng, 1, 3),
		records: 1000 + rng.IntN(1500), transactionalInput: rng.IntN(4) == 0,
		alertsOnly: rng.IntN(4) == 0, minimal: rng.IntN(3) == 0,
		compression: pick(rng, wire.None, wire.None, wire.Snappy, wire.LZ4, wire.Zstd, wire.Gzip),
		fetchBytes:  pick[int32](rng, 2<<10, 16<<10, 1<<20), batchRecords: pick(rng, 20, 100, 20_000), batchBytes: pick(rng, 16<<10, 64<<10, 900<<10),
		dirty: pick(rng, 15, 150, 100_000), cache: pick(rng, 10, 60, 100_000), shards: pick(rng, 1, 1, 1, 3),
		chunkKeys: pick(rng, 3, 40, 1000), chunksInFlight: pick(rng, 1, 4),
		flushInterval: pick(rng, 20*time.Millisecond, 150*time.Millisecond, time.Second),
		transaction:   pick(rng, 0, 2*time.Millisecond, 20*time.Millisecond),
		events: consumertest.EventOptions{
			Seed: seed, Users: pick(rng, 20, 80, 300), Zipf: pick(rng, 0, 1.3), Bad: pick(rng, 0, 0.02, 0.1),
			Tombstones: pick(rng, 0, 0.03), Headers: pick(rng, 0, 0.2),
		},
	}
	s.firstProtocol = firstProtocol(seed)
	if rng.IntN(6) == 0 && !s.firstProtocol { // else there were too few that meet the faults of the protocol
		s.guarantee = consumer.AtLeastOnce
	}
	if s.outputs = s.lanes; rng.IntN(3) == 0 {
		s.outputs = pick[int32](rng, 1, 3, 5)
	}
	s.happenings = drawHappenings(rng)
	// From a source of its own, so that what else a seed means stays.
	strays := rand.New(rand.NewPCG(seed, 0x73747261))
	if !s.alertsOnly && strays.IntN(2) == 0 { // else: where a silent event of two sources was judged cannot be seen
		s.events.Strays = pick(strays, 0.1, 0.5, 1)
	}
	layouts := rand.New(rand.NewPCG(seed, 0x6c61796f))
	if s.inputs = []string{input}; !s.alertsOnly {
		// At least once, results that a crash repeats may differ where a user's events are in several partitions: not checked.
		if layouts.IntN(4) == 0 && s.guarantee == consumer.ExactlyOnce {
			s.inputs = append(s.inputs, furtherInput)
		}
		s.changes = drawChanges(layouts)
		s.changes.spare(s.happenings)
	}
	return s
}

// firstProtocol gives every second row of seeds brokers without the second transaction protocol.
func firstProtocol(seed uint64) bool { return seed/spread%2 == 1 }

func (s settings) String() string {
	return fmt.Sprintf("first protocol %t, %d brokers, %d members, %d lanes, %d outputs, %d records, %v, alerts only %t, minimal %t, transactional input %t, %v, "+
		"fetch %d, batch %d records %d bytes, dirty %d, cache %d, shards %d, chunks %d x %d, flush %v, pause %v, events %+v, inputs %v, %v",
		s.firstProtocol, s.brokers, s.members, s.lanes, s.outputs, s.records, s.guarantee, s.alertsOnly, s.minimal, s.transactionalInput, s.compression,
		s.fetchBytes, s.batchRecords, s.batchBytes, s.dirty, s.cache, s.shards, s.chunkKeys, s.chunksInFlight, s.flushInterval, s.transaction, s.events, s.inputs, s.changes)
}

// The times of a simulated member: a fraction of a real one's, and still above what a busy machine takes. The rebalance
// timeout is below the session's because of kfake, which bounds by it how long it waits for a SyncGroup of a member that
// is gone: a member whose session ends while it waits there is counted as one joining less for ever, and from then on a
// rebalance ends only when nobody has joined for one rebalance timeout.
const (
	requestTimeout   = time.Second
	sessionTimeout   = 1800 * time.Millisecond
	rebalanceTimeout = 1200 * time.Millisecond
	drainTimeout     = time.Second
	transactionTime  = time.Second // the least that the engine takes
)

// apply sets the engine's options.
func (s settings) apply(o *consumer.Options) {
	o.Guarantee, o.AlertsOnly, o.Compression = s.guarantee, s.alertsOnly, s.compression
	if s.minimal {
		o.Detail = contract.DetailMinimal
	}
	o.SessionTimeout, o.RebalanceTimeout, o.HeartbeatInterval = sessionTimeout, rebalanceTimeout, 100*time.Millisecond
	o.TransactionTimeout, o.TransactionPause = transactionTime, s.transaction
	o.RequestTimeout, o.DrainTimeout, o.FetchWaitMax = requestTimeout, drainTimeout, 100*time.Millisecond
	o.FetchBytesMax, o.BatchRecordsMax = s.fetchBytes, s.batchRecords
	o.BatchBytesMax, o.LaneBytesMax = s.batchBytes, 2*s.batchBytes
	o.FlushInterval, o.DirtyMax, o.CacheMax, o.Shards = s.flushInterval, s.dirty, s.cache, s.shards
	o.Inputs, o.CreateTopics, o.Replication = s.inputs, true, 1 // that is, grow the topic of copies
}

func (s settings) memory() state.MemoryOptions {
	o := state.DefaultMemoryOptions()
	o.Shards, o.ChunkKeysMax, o.ChunksInFlightMax = s.shards, s.chunkKeys, s.chunksInFlight
	return o
}

// happening is what a run does to whole members and to the store between two pieces of its load.
type happening uint8

const (
	nothing    happening = iota
	restart              // a member stops cleanly and another one starts at once
	crash                // a member loses network and store for good, and another one starts at once
	join                 // one member more
	leave                // one member less, if it is not the last one
	isolate              // a member loses the network for longer than its session
	freeze               // a member's requests stand still for longer than its session, and then go on
	storeAway            // the store answers nobody for a while
	storeEmpty           // the store comes back empty
	storeOlder           // the store comes back as it was some time before
	happeningsEnd
)

func (h happening) String() string {
	return [...]string{"nothing", "restart", "crash", "join", "leave", "isolate", "freeze", "store away", "store empty", "store older"}[h]
}

// pieces is how many pieces of load a run has; one happening goes before each.
const pieces = 8

func drawHappenings(rng *rand.Rand) []happening {
	all := make([]happening, pieces)
	for i := range all {
		if rng.IntN(2) == 0 {
			all[i] = happening(1 + rng.IntN(int(happeningsEnd)-1))
		}
	}
	all[0] = nothing
	return all
}
