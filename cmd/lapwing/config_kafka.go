package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lapwing/lapwing/consumer"
)

// KafkaConfig is the section kafka: the cluster, the group, the topics, and how they are read and written.
type KafkaConfig struct {
	Brokers []string `yaml:"brokers"`
	Group   string   `yaml:"group"`
	// Input are the topics of events, all of one partition count; the gateway writes to the first.
	Input       []string `yaml:"input"`
	Output      string   `yaml:"output"`
	DeadLetters string   `yaml:"dead_letters"`
	Guarantee   string   `yaml:"guarantee" allow:"exactly_once|at_least_once"`

	CreateTopics bool  `yaml:"create_topics"`
	Partitions   int32 `yaml:"partitions" min:"1" max:"10000"`
	// Replication of topics that are created; -1 is the broker's default.
	Replication int16 `yaml:"replication" min:"-1" max:"100"`

	Start Start `yaml:"start"`
	// Warm is how much is replayed, unjudged, before a start at latest or at a time.
	Warm          time.Duration `yaml:"warm" min:"0s" max:"8784h"`
	OnDataLoss    string        `yaml:"on_data_loss" allow:"stop|continue"`
	OnOffsetReset string        `yaml:"on_offset_reset" allow:"stop|rebuild|resume"`
	Partitioner   string        `yaml:"partitioner" allow:"murmur2|crc32|fnv1a"`
	Compression   string        `yaml:"compression" allow:"none|gzip|snappy|lz4|zstd"`

	TLS  TLSConfig  `yaml:"tls"`
	SASL SASLConfig `yaml:"sasl"`

	ClientID           string        `yaml:"client_id"`
	SessionTimeout     time.Duration `yaml:"session_timeout" min:"1s" max:"30m"`
	RebalanceTimeout   time.Duration `yaml:"rebalance_timeout" min:"1s" max:"30m"`
	HeartbeatInterval  time.Duration `yaml:"heartbeat_interval" min:"10ms" max:"10m"`
	TransactionTimeout time.Duration `yaml:"transaction_timeout" min:"1s" max:"15m"`
	TransactionPause   time.Duration `yaml:"transaction_pause" min:"0s" max:"100ms"`
	// OffsetCommitInterval counts for at_least_once: exactly_once commits offsets in its transactions.
	OffsetCommitInterval time.Duration `yaml:"offset_commit_interval" min:"1ms" max:"10s"`
	DrainTimeout         time.Duration `yaml:"drain_timeout" min:"100ms" max:"10m"`
	RequestTimeout       time.Duration `yaml:"request_timeout" min:"100ms" max:"5m"`
	DialTimeout          time.Duration `yaml:"dial_timeout" min:"10ms" max:"5m"`
	// StallTimeout is how long a lane may stand still for no reason outside of the process; 0 is for ever.
	StallTimeout time.Duration `yaml:"stall_timeout" min:"0s" max:"24h"`

	FetchBytesMax        Bytes         `yaml:"fetch_bytes_max" min:"1KiB" max:"100MiB"`
	FetchWaitMax         time.Duration `yaml:"fetch_wait_max" min:"1ms" max:"1m"`
	FetchPause           time.Duration `yaml:"fetch_pause" min:"0s" max:"100ms"`
	BatchRecordsMax      int           `yaml:"batch_records_max" min:"1" max:"1000000"`
	BatchBytesMax        Bytes         `yaml:"batch_bytes_max" min:"16KiB" max:"100MiB"`
	LaneBytesMax         Bytes         `yaml:"lane_bytes_max" min:"16KiB" max:"1GiB"`
	DecompressedBytesMax Bytes         `yaml:"decompressed_bytes_max" min:"1MiB" max:"1GiB"`
}

func newKafkaConfig() KafkaConfig {
	return KafkaConfig{
		Brokers:              []string{"127.0.0.1:9092"},
		Group:                "lapwing",
		Input:                []string{"events"},
		Output:               "alerts",
		DeadLetters:          "events.dead",
		Guarantee:            "exactly_once",
		Partitions:           6,
		Replication:          -1,
		OnDataLoss:           "stop",
		OnOffsetReset:        "stop",
		Partitioner:          "murmur2",
		Compression:          "none",
		ClientID:             "lapwing",
		SessionTimeout:       6 * time.Second, // The least that brokers allow by default; a crash is noticed after it.
		RebalanceTimeout:     30 * time.Second,
		HeartbeatInterval:    300 * time.Millisecond, // A rebalance is noticed by a heartbeat.
		TransactionTimeout:   30 * time.Second,
		TransactionPause:     3 * time.Millisecond,
		OffsetCommitInterval: 100 * time.Millisecond,
		DrainTimeout:         3 * time.Second,
		RequestTimeout:       10 * time.Second,
		DialTimeout:          3 * time.Second,
		StallTimeout:         time.Minute,
		FetchBytesMax:        512 << 10,
		FetchWaitMax:         500 * time.Millisecond,
		FetchPause:           3 * time.Millisecond,
		BatchRecordsMax:      8_000,
		BatchBytesMax:        900 << 10, // Brokers take batches of 1 MiB by default.
		LaneBytesMax:         8 << 20,
		DecompressedBytesMax: 64 << 20,
	}
}

// Limits of Kafka and of Lapwing's use of it.
const (
	topicBytesMax = 249
	// groupBytesMax leaves room for the topics that are named after the group (<group>.rekey).
	groupBytesMax = 200
	// heartbeatsPerSession is how many heartbeats must fit into a session, so that a lost one ends nothing.
	heartbeatsPerSession = 3
	// requestsPerStall is how many requests, beside a transaction, must fail before a lane may be called stalled.
	requestsPerStall = 2
)

func (l *loader) checkKafka() {
	k := &l.config.Kafka
	l.checkAddresses("kafka.brokers", k.Brokers)
	l.checkName("kafka.group", k.Group, groupBytesMax)
	l.checkInput(k.Input)
	l.checkName("kafka.output", k.Output, topicBytesMax)
	l.checkName("kafka.dead_letters", k.DeadLetters, topicBytesMax)
	l.checkTopicsDiffer(k)
	if k.ClientID == "" {
		l.wrong("kafka.client_id", "must not be empty")
	}
	if k.Replication == 0 {
		l.wrong("kafka.replication", "must be 1 or more, or -1 for the broker's default")
	}
	if k.Warm > 0 && !k.Start.Latest && k.Start.Time.IsZero() {
		l.relation("means nothing with kafka.start: earliest, which judges everything that is kept; leave it out",
			"kafka.warm", "kafka.start")
	}
	l.checkKafkaTimes(k)
	if k.DecompressedBytesMax < k.FetchBytesMax {
		l.relation(fmt.Sprintf("must be at least kafka.fetch_bytes_max, %v", k.FetchBytesMax),
			"kafka.decompressed_bytes_max", "kafka.fetch_bytes_max")
	}
	if k.LaneBytesMax < k.BatchBytesMax {
		l.relation(fmt.Sprintf("must be at least kafka.batch_bytes_max, %v", k.BatchBytesMax),
			"kafka.lane_bytes_max", "kafka.batch_bytes_max")
	}
	l.checkTLS("kafka.tls", &k.TLS)
	l.checkSASL(&k.SASL)
}

// checkKafkaTimes checks the relations between timeouts.
func (l *loader) checkKafkaTimes(k *KafkaConfig) {
	if k.HeartbeatInterval*heartbeatsPerSession > k.SessionTimeout {
		l.relation(fmt.Sprintf("%s must be at most a third of kafka.session_timeout, %s, so that one lost heartbeat does not end the membership",
			shortDuration(k.HeartbeatInterval), shortDuration(k.SessionTimeout)),
			"kafka.heartbeat_interval", "kafka.session_timeout")
	}
	if k.DrainTimeout >= k.SessionTimeout {
		l.relation(fmt.Sprintf("%s must be below kafka.session_timeout, %s, or the lanes are lost while they drain",
			shortDuration(k.DrainTimeout), shortDuration(k.SessionTimeout)),
			"kafka.drain_timeout", "kafka.session_timeout")
	}
	if k.DrainTimeout >= k.RebalanceTimeout {
		l.relation(fmt.Sprintf("%s must be below kafka.rebalance_timeout, %s, or the lanes are lost while they drain",
			shortDuration(k.DrainTimeout), shortDuration(k.RebalanceTimeout)),
			"kafka.drain_timeout", "kafka.rebalance_timeout")
	}
	if least := k.TransactionTimeout + requestsPerStall*k.RequestTimeout; k.StallTimeout > 0 && k.StallTimeout < least {
		l.relation(fmt.Sprintf("%s must be 0s (never) or at least kafka.transaction_timeout and twice kafka.request_timeout, %s together, or a commit that waits for Kafka is taken for a stall",
			shortDuration(k.StallTimeout), shortDuration(least)),
			"kafka.stall_timeout", "kafka.transaction_timeout", "kafka.request_timeout")
	}
	if k.StallTimeout > 0 && k.StallTimeout <= 2*k.OffsetCommitInterval {
		l.relation(fmt.Sprintf("%s must be 0s (never) or above twice kafka.offset_commit_interval, %s, or a lane that waits for the next commit is taken for a stall",
			shortDuration(k.StallTimeout), shortDuration(k.OffsetCommitInterval)),
			"kafka.stall_timeout", "kafka.offset_commit_interval")
	}
	if k.FetchWaitMax >= k.RequestTimeout {
		l.relation(fmt.Sprintf("%s must be below kafka.request_timeout, %s",
			shortDuration(k.FetchWaitMax), shortDuration(k.RequestTimeout)),
			"kafka.fetch_wait_max", "kafka.request_timeout")
	}
}

// checkInput checks the list of input topics.
func (l *loader) checkInput(input []string) {
	switch {
	case len(input) == 0:
		l.wrong("kafka.input", "must name at least one topic, like [events]")
	case len(input) > consumer.InputsMax:
		l.wrong("kafka.input", fmt.Sprintf("has %d topics, at most %d are read", len(input), consumer.InputsMax))
	}
	for i, topic := range input {
		if slices.Contains(input[:i], topic) {
			l.wrong(element("kafka.input", i), "is there twice")
			continue
		}
		l.checkName(element("kafka.input", i), topic, topicBytesMax)
	}
}

// checkTopicsDiffer refuses a topic that is used for two things: its records would be judged again for ever.
func (l *loader) checkTopicsDiffer(k *KafkaConfig) {
	if slices.Contains(k.Input, k.Output) {
		l.relation(fmt.Sprintf("is %q, which is in kafka.input too; results need a topic of their own", k.Output), "kafka.output", "kafka.input")
	}
	if slices.Contains(k.Input, k.DeadLetters) {
		l.relation(fmt.Sprintf("is %q, which is in kafka.input too; dead letters need a topic of their own", k.DeadLetters), "kafka.dead_letters", "kafka.input")
	}
	if k.Output == k.DeadLetters {
		l.relation(fmt.Sprintf("is %q, which is kafka.output too; dead letters need a topic of their own", k.DeadLetters), "kafka.dead_letters", "kafka.output")
	}
	rekey := consumer.RekeyTopic(k.Group)
	kept := fmt.Sprintf("is %q, which the group %s keeps for what Lapwing forwards; choose another topic, or another kafka.group", rekey, k.Group)
	for i, topic := range k.Input {
		if topic == rekey {
			l.relation(kept, element("kafka.input", i), "kafka.input", "kafka.group")
		}
	}
	if k.Output == rekey {
		l.relation(kept, "kafka.output", "kafka.group")
	}
	if k.DeadLetters == rekey {
		l.relation(kept, "kafka.dead_letters", "kafka.group")
	}
}

// checkName checks the name of a topic, or of a group, which topics are named after.
func (l *loader) checkName(path, name string, bytesMax int) {
	legal := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r)
	}
	switch {
	case name == "":
		l.wrong(path, "must not be empty")
	case name == "." || name == "..":
		l.wrong(path, "must not be . or ..")
	case len(name) > bytesMax:
		l.wrong(path, fmt.Sprintf("has %d characters, at most %d are allowed", len(name), bytesMax))
	case strings.ContainsFunc(name, func(r rune) bool { return !legal(r) }):
		l.wrong(path, "must consist of the characters a-z A-Z 0-9 . _ - only")
	}
}
