package consumer

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/trace"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// Guarantee says what a reader of the output may see after a crash.
type Guarantee int

const (
	// ExactlyOnce publishes each result once, by transactions.
	ExactlyOnce Guarantee = iota
	// AtLeastOnce may repeat results after a crash, byte for byte; the state counts no event twice all the same.
	AtLeastOnce
)

// String returns the configuration word.
func (g Guarantee) String() string {
	if g == AtLeastOnce {
		return "at_least_once"
	}
	return "exactly_once"
}

// StartPosition is where a group without committed offsets begins. The zero value is the earliest kept record.
type StartPosition struct {
	Latest bool      // from the end of the topic at the first start
	Time   time.Time // from the first record of this time on, unless zero
}

// OffsetReset is what a lane does when somebody else set or removed the group's offsets.
type OffsetReset int

const (
	// OffsetResetStop stops the lane with a message that says what was found.
	OffsetResetStop OffsetReset = iota
	// OffsetResetRebuild replays what is kept up to the new offset under a new incarnation.
	OffsetResetRebuild
	// OffsetResetResume goes on from the checkpoint where the committed offset is gone; it repeats at most one flush.
	OffsetResetResume
)

// Options configures an Engine. Dependencies (Client, Store, Rules, Logger, Registerer) are the caller's: the engine
// does not close them.
type Options struct {
	Client     *wire.Client
	Store      state.Store
	Rules      *rules.Set
	Logger     *slog.Logger          // discards when nil
	Registerer prometheus.Registerer // none when nil
	Tracer     *trace.Tracer         // traces nothing when nil

	Brokers     []string // for the group membership, host:port
	Group       string
	Inputs      []string // one or more, all of one partition count
	Output      string
	DeadLetters string

	Guarantee    Guarantee
	CreateTopics bool
	Partitions   int32 // of topics that the engine creates
	Replication  int16 // of topics that the engine creates; -1: the broker's default
	Start        StartPosition
	Warm         time.Duration // replayed silently before a start at latest or at a time
	OnDataLoss   bool          // true: go on past deleted input ("continue"); false: stop the lane
	OnReset      OffsetReset
	Partitioner  contract.Partitioner
	Compression  wire.Compression
	Decoder      contract.DecoderOptions
	Detail       contract.Detail
	AlertsOnly   bool // publish only alerts, and results that somebody waits for

	SessionTimeout     time.Duration // a silent member loses its lanes after it
	RebalanceTimeout   time.Duration // how long the group waits for a member to finish a transaction
	HeartbeatInterval  time.Duration
	TransactionTimeout time.Duration // the broker aborts a transaction that is open for longer
	TransactionPause   time.Duration // between two transactions: lowers load and, past a point, latency too; 1ms at most between writes at least once
	RequestTimeout     time.Duration // of every single call
	// OffsetCommitInterval is the time between two offset commits at least once: a crash repeats what was published since.
	OffsetCommitInterval time.Duration
	DrainTimeout         time.Duration // for the last transaction and flush of a lane that is handed over
	StallTimeout         time.Duration // a lane with lag and neither progress nor errors is started again after it; 0: never

	FetchBytesMax        int32
	FetchWaitMax         time.Duration
	FetchPause           time.Duration // after a fetch that brought few records, before the next; 0: each lane fetches alone
	DecompressedBytesMax int
	BatchRecordsMax      int // events of one lane in one transaction; twice as many where other lanes have few
	BatchBytesMax        int // of one record batch; at most the topic's max.message.bytes
	LaneBytesMax         int // of all record batches of one lane in one transaction; a single record may be more

	FlushInterval time.Duration
	DirtyMax      int // users, per process: flush at so many, and wait when Redis does not take them
	CacheMax      int // users, per process
	Shards        int // of the state: part of the layout
	RecordVersion int // of the users' records that are written, see state.RecordVersion
}

// DefaultOptions returns the defaults of everything that is not a dependency or a name.
func DefaultOptions() Options {
	return Options{
		Group: "lapwing", Inputs: []string{"events"}, Output: "alerts", DeadLetters: "events.dead",
		Partitions: 6, Replication: -1,
		Detail:         contract.DetailFull,
		SessionTimeout: 6 * time.Second, RebalanceTimeout: 30 * time.Second, HeartbeatInterval: 300 * time.Millisecond,
		TransactionTimeout: 30 * time.Second, TransactionPause: 3 * time.Millisecond,
		OffsetCommitInterval: 100 * time.Millisecond,
		RequestTimeout:       10 * time.Second, DrainTimeout: 3 * time.Second, StallTimeout: time.Minute,
		FetchBytesMax: 512 << 10, FetchWaitMax: 500 * time.Millisecond, FetchPause: 3 * time.Millisecond, DecompressedBytesMax: 64 << 20,
		BatchRecordsMax: 8_000, BatchBytesMax: 900 << 10, LaneBytesMax: 8 << 20,
		FlushInterval: time.Second, DirtyMax: 200_000, CacheMax: 1_000_000, Shards: 1, RecordVersion: state.RecordVersion,
	}
}

func (o *Options) validate() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("consumer: "+format, args...))
		}
	}
	require(o.Client != nil, "Client is missing")
	require(o.Store != nil, "Store is missing")
	require(o.Rules != nil, "Rules is missing")
	require(len(o.Brokers) > 0, "Brokers is empty")
	for name, v := range map[string]string{"Group": o.Group, "Output": o.Output, "DeadLetters": o.DeadLetters} {
		require(v != "", "%s is empty", name)
	}
	require(len(o.Inputs) > 0 && !slices.Contains(o.Inputs, ""), "Inputs %q is empty, or has an empty name", o.Inputs)
	require(len(o.Inputs) <= InputsMax, "Inputs has %d topics, at most %d are read", len(o.Inputs), InputsMax)
	topics := append(slices.Clone(o.Inputs), o.Output, o.DeadLetters)
	slices.Sort(topics)
	require(len(slices.Compact(slices.Clone(topics))) == len(topics), "Inputs %q, Output %q and DeadLetters %q must be different topics", o.Inputs, o.Output, o.DeadLetters)
	rekey := o.rekeyTopic()
	require(!slices.Contains(topics, rekey), "the topic %q is kept for what Lapwing forwards", rekey)
	require(o.HeartbeatInterval > 0 && o.HeartbeatInterval*3 <= o.SessionTimeout,
		"HeartbeatInterval %v must be at most a third of SessionTimeout %v", o.HeartbeatInterval, o.SessionTimeout)
	require(o.TransactionTimeout >= time.Second, "TransactionTimeout %v is below 1s", o.TransactionTimeout)
	require(o.TransactionPause >= 0 && o.TransactionPause <= time.Second, "TransactionPause %v is not within 0..1s", o.TransactionPause)
	require(o.OffsetCommitInterval > 0 && o.OffsetCommitInterval <= 10*time.Second, "OffsetCommitInterval %v is not above 0 and at most 10s", o.OffsetCommitInterval)
	require(o.StallTimeout == 0 || o.StallTimeout > 2*o.OffsetCommitInterval, "StallTimeout %v must be 0 or above twice OffsetCommitInterval %v", o.StallTimeout, o.OffsetCommitInterval)
	require(o.RequestTimeout > 0, "RequestTimeout %v is not above 0", o.RequestTimeout)
	// No heartbeats are sent while lanes are handed over.
	require(o.DrainTimeout > 0 && o.DrainTimeout < min(o.SessionTimeout, o.RebalanceTimeout),
		"DrainTimeout %v must be above 0 and below SessionTimeout %v and RebalanceTimeout %v", o.DrainTimeout, o.SessionTimeout, o.RebalanceTimeout)
	// Else a commit that goes on while Kafka is away, and the call that ends it, would be taken for a stall.
	require(o.StallTimeout == 0 || o.StallTimeout >= o.TransactionTimeout+2*o.RequestTimeout,
		"StallTimeout %v must be 0 or at least TransactionTimeout %v and twice RequestTimeout %v", o.StallTimeout, o.TransactionTimeout, o.RequestTimeout)
	require(o.FetchBytesMax >= 1<<10, "FetchBytesMax %d is below 1 KiB", o.FetchBytesMax)
	require(o.FetchWaitMax > 0 && o.FetchWaitMax < o.RequestTimeout, "FetchWaitMax %v must be above 0 and below RequestTimeout %v", o.FetchWaitMax, o.RequestTimeout)
	require(o.FetchPause >= 0 && o.FetchPause <= time.Second, "FetchPause %v is not within 0..1s", o.FetchPause)
	require(o.BatchRecordsMax > 0, "BatchRecordsMax %d is not above 0", o.BatchRecordsMax)
	require(o.BatchBytesMax >= batchBytesFloor, "BatchBytesMax %d is below %d", o.BatchBytesMax, batchBytesFloor)
	require(o.LaneBytesMax >= o.BatchBytesMax, "LaneBytesMax %d is below BatchBytesMax %d", o.LaneBytesMax, o.BatchBytesMax)
	require(o.FlushInterval > 0, "FlushInterval %v is not above 0", o.FlushInterval)
	require(o.DirtyMax > 0, "DirtyMax %d is not above 0", o.DirtyMax)
	require(o.CacheMax > 0, "CacheMax %d is not above 0", o.CacheMax)
	require(o.Shards > 0, "Shards %d is not above 0", o.Shards)
	require(o.RecordVersion >= state.RecordVersionLeast && o.RecordVersion <= state.RecordVersion,
		"RecordVersion %d is not within %d..%d", o.RecordVersion, state.RecordVersionLeast, state.RecordVersion)
	return errors.Join(errs...)
}

// rekeyTopic names the topic of the copies of records that were in another partition than their user's.
func (o *Options) rekeyTopic() string { return RekeyTopic(o.Group) }

// InputsMax bounds the inputs: a checkpoint has an offset for each.
const InputsMax = 32

// settingsText is what, beside topics, partitions and partitioner, the meaning of a stored state depends on (design: layout).
func (o *Options) settingsText() string {
	d := o.Decoder
	text := fmt.Sprintf("shards=%d types=%s millis=%t record=%t numeric=%t future=%s bytes=%d",
		o.Shards, strings.Join(d.Types.Names(), ","), d.TimeMillis, d.TimeFromRecord, d.AcceptNumericAmount, d.MaxFuture, d.BytesMax)
	if d.StripFrame { // only then: layouts from before there was this option stay as they are
		text += " strip_frame=true"
	}
	return text
}
