package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/lapwing/lapwing/consumer"
	"github.com/lapwing/lapwing/consumer/wire"
)

// Kafka's own topics that Lapwing depends on.
const (
	offsetsTopic      = "__consumer_offsets"
	transactionsTopic = "__transaction_state"
)

// rekeyTopic is that of what is forwarded.
func (d *doctor) rekeyTopic() string { return consumer.RekeyTopic(d.config.Kafka.Group) }

// needsRekey reports whether it has to be there.
func (d *doctor) needsRekey() bool {
	return consumer.NeedsRekey(d.lanes(), len(d.config.Kafka.Input))
}

// sources are the topics that lanes read, whether they are there or not.
func (d *doctor) sources() []string {
	sources := slices.Clone(d.config.Kafka.Input)
	if d.needsRekey() {
		sources = append(sources, d.rekeyTopic())
	}
	return sources
}

// Names of a topic's configuration.
const (
	cleanupPolicy  = "cleanup.policy"
	insyncMin      = "min.insync.replicas"
	messageMax     = "max.message.bytes"
	retentionBytes = "retention.bytes"
	retentionMs    = "retention.ms"
	timestampType  = "message.timestamp.type"
)

// topicFacts is what is known of a topic that is there.
type topicFacts struct {
	wire.TopicDescription
	configs map[string]string // nil: they cannot be read
	start   []int64           // by partition; nil: not known
	end     []int64           // by partition, what a read_committed reader can reach
	bytes   int64             // that a record takes in the log at the most, about; 0: not known
	survey  *survey           // nil: not known
}

// number returns a number of the topic's configuration, false where it is not known.
func (t *topicFacts) number(name string) (int64, bool) {
	n, err := strconv.ParseInt(t.configs[name], 10, 64)
	return n, err == nil
}

// compacts reports whether records of one key replace each other.
func (t *topicFacts) compacts() bool { return strings.Contains(t.configs[cleanupPolicy], "compact") }

// examineTopics looks at each topic by itself, then at them side by side.
func (d *doctor) examineTopics(ctx context.Context) {
	k := &d.config.Kafka
	d.topics = map[string]*topicFacts{}
	for i := range d.cluster.Topics {
		t := d.cluster.Topics[i]
		switch {
		case t.Err == nil:
			facts := &topicFacts{TopicDescription: t}
			configs, err := d.client.TopicConfigs(ctx, t.Name, cleanupPolicy, insyncMin, messageMax, retentionBytes, retentionMs, timestampType)
			if err == nil {
				facts.configs = configs
			}
			d.topics[t.Name] = facts
			d.topic(facts, err)
		case errors.Is(t.Err, kafka.UnknownTopicOrPartition):
			d.missingTopic(t.Name)
		case internal(t.Name): // nobody needs to see them
		default:
			d.unreadableTopic(&t.Topic)
		}
	}
	if len(d.cluster.Brokers) == 1 {
		d.note(checkReplication, "kafka", "one broker, so one replica of everything: what that one loses is lost", "")
	}
	d.partitionCounts()
	for _, name := range k.Input {
		if t := d.topics[name]; t != nil {
			d.inputTopic(t)
		}
	}
	d.writtenTopics()
}

func internal(topic string) bool { return topic == offsetsTopic || topic == transactionsTopic }

// unreadableTopic reports a topic of which the cluster tells nothing.
func (d *doctor) unreadableTopic(t *wire.Topic) {
	l, remedy := levelFail, wire.Hint(t.Err)
	if errors.Is(t.Err, kafka.TopicAuthorizationFailed) {
		remedy = d.aclCommand(d.needs(t.Name)[0].String(), "--topic "+t.Name)
	}
	d.add(l, checkTopic, "topic "+t.Name, causeOf(t.Err), remedy)
}

// causeOf is an error's text without the topic, which the subject names.
func causeOf(err error) string {
	var at *wire.PartitionError
	if errors.As(err, &at) && at.Partition < 0 {
		return at.Err.Error()
	}
	return err.Error()
}

// needs returns what the engine does with a topic.
func (d *doctor) needs(topic string) []wire.Operation {
	k := &d.config.Kafka
	switch {
	case slices.Contains(k.Input, topic):
		return []wire.Operation{wire.OperationRead}
	case topic == k.Output, topic == k.DeadLetters:
		return []wire.Operation{wire.OperationWrite}
	case topic == d.rekeyTopic():
		return []wire.Operation{wire.OperationRead, wire.OperationWrite}
	}
	return nil
}

// topic looks at what matters for every topic.
func (d *doctor) topic(t *topicFacts, errConfigs error) {
	subject := "topic " + t.Name
	if internal(t.Name) {
		if d.replication(t, subject) == levelOK {
			d.ok(checkReplication, subject, describePlaces(t))
		}
		return
	}
	text := plural(int64(t.Partitions), "partition") + ", " + describePlaces(t)
	if ms, ok := t.number(retentionMs); ok {
		text += ", kept "
		switch bytes, _ := t.number(retentionBytes); {
		case ms < 0 && bytes < 0:
			text += "for ever"
		case ms < 0:
			text += fmt.Sprintf("up to %v a partition", Bytes(bytes))
		case bytes < 0:
			text += "for " + span(time.Duration(ms)*time.Millisecond)
		default:
			text += fmt.Sprintf("for %s and up to %v a partition", span(time.Duration(ms)*time.Millisecond), Bytes(bytes))
		}
	}
	d.ok(checkTopic, subject, text)
	if errConfigs != nil {
		d.note(checkTopic, subject, "its configuration cannot be read, so retention and sizes were not looked at: "+causeOf(errConfigs),
			d.aclCommand(wire.OperationDescribeConfigs.String(), "--topic "+t.Name))
	}
	d.replication(t, subject)
}

func describePlaces(t *topicFacts) string {
	text := plural(int64(leastOf(t.Placement, func(p wire.PartitionPlace) int { return p.Replicas })), "replica")
	if n, ok := t.number(insyncMin); ok {
		text += fmt.Sprintf(", %s %d", insyncMin, n)
	}
	return text
}

func leastOf(places []wire.PartitionPlace, of func(wire.PartitionPlace) int) int {
	if len(places) == 0 {
		return 0
	}
	least := of(places[0])
	for _, p := range places[1:] {
		least = min(least, of(p))
	}
	return least
}

// missingTopic names the command that makes a topic.
func (d *doctor) missingTopic(name string) {
	k := &d.config.Kafka
	subject := "topic " + name
	partitions := k.Partitions
	if slices.Contains(k.Input, name) {
		partitions = d.lanes()
	}
	command := d.createCommand(name, partitions)
	switch {
	case internal(name):
		d.note(checkTopic, subject, "does not exist yet; Kafka makes it when the first group or transaction begins",
			"for a cluster set offsets.topic.replication.factor and transaction.state.log.replication.factor to 3 before")
	case name == d.rekeyTopic() && !d.needsRekey():
		// No record can be in another partition than its user's, and the order of judging is the topic's.
	case name == d.rekeyTopic() && k.CreateTopics:
		d.note(checkTopic, subject, "does not exist; lapwing run makes it, since kafka.create_topics is true", "")
	case name == d.rekeyTopic():
		d.fail(checkTopic, subject, "does not exist; records that are in another partition than their user's are forwarded to it, and it notes the order of judging", d.rekeyRemedy())
	case k.CreateTopics && int(k.Replication) > len(d.cluster.Brokers):
		d.fail(checkTopic, subject, fmt.Sprintf("does not exist, and cannot be made with %d replicas on %s", k.Replication, plural(int64(len(d.cluster.Brokers)), "broker")),
			"set kafka.replication to at most the number of brokers")
	case k.CreateTopics && partitions != k.Partitions:
		d.fail(checkTopic, subject, fmt.Sprintf("does not exist, and lapwing run would make it with %s, but another input has %d; all inputs must have the same number",
			plural(int64(k.Partitions), "partition"), partitions), "make it: "+command+fmt.Sprintf(" (or set kafka.partitions: %d)", partitions))
	case k.CreateTopics:
		d.note(checkTopic, subject, fmt.Sprintf("does not exist; lapwing run makes it with %s, since kafka.create_topics is true", plural(int64(k.Partitions), "partition")), "")
	default:
		d.fail(checkTopic, subject, "does not exist", "make it: "+command+" (or set kafka.create_topics: true)")
	}
}

// rekeyRemedy says how the topic of forwarded records comes to be.
func (d *doctor) rekeyRemedy() string {
	if d.config.Kafka.CreateTopics {
		return "lapwing run makes it, since kafka.create_topics is true"
	}
	return "make it: " + d.createCommand(d.rekeyTopic(), d.lanes())
}

// lanes returns the partition count of the inputs, the largest where they differ, as it is or as lapwing run would make it.
func (d *doctor) lanes() int32 {
	lanes := int32(0)
	for _, input := range d.config.Kafka.Input {
		if t := d.topicOf(input); t != nil {
			lanes = max(lanes, t.Partitions)
		}
	}
	if lanes == 0 {
		return d.config.Kafka.Partitions
	}
	return lanes
}

// topicOf returns the description of a topic that is there, nil of any other.
func (d *doctor) topicOf(name string) *wire.TopicDescription {
	for i := range d.cluster.Topics {
		if t := &d.cluster.Topics[i]; t.Name == name && t.Err == nil {
			return t
		}
	}
	return nil
}

func (d *doctor) createCommand(topic string, partitions int32) string {
	replication := min(3, len(d.cluster.Brokers))
	if d.config.Kafka.Replication > 0 {
		replication = int(d.config.Kafka.Replication)
	}
	return fmt.Sprintf("kafka-topics --bootstrap-server %s --create --topic %s --partitions %d --replication-factor %d",
		d.config.Kafka.Brokers[0], topic, partitions, max(replication, 1))
}

func (d *doctor) configCommand(topic, setting string) string {
	return fmt.Sprintf("kafka-configs --bootstrap-server %s --alter --topic %s --add-config %s", d.config.Kafka.Brokers[0], topic, setting)
}

// replication looks at leaders and replicas, and returns the worst level that it found.
func (d *doctor) replication(t *topicFacts, subject string) level {
	var leaderless, behind, refusing []int32
	insync, known := t.number(insyncMin)
	for p, place := range t.Placement {
		switch {
		case place.Leader < 0:
			leaderless = append(leaderless, int32(p))
		case known && int64(place.InSync) < insync && int64(place.Replicas) >= insync:
			refusing = append(refusing, int32(p))
		case place.InSync < place.Replicas:
			behind = append(behind, int32(p))
		}
	}
	replicas := int64(leastOf(t.Placement, func(p wire.PartitionPlace) int { return p.Replicas }))
	brokers := int64(len(d.cluster.Brokers))
	worst := levelOK
	say := func(l level, text, remedy string) {
		d.add(l, checkReplication, subject, text, remedy)
		worst = levels[max(slices.Index(levels, worst), slices.Index(levels, l))]
	}
	if len(leaderless) > 0 {
		say(levelFail, partitionList(leaderless)+" without a leader: can be neither read nor written", "start the brokers that hold them")
	}
	if len(refusing) > 0 {
		say(levelFail, fmt.Sprintf("%s with fewer replicas in sync than %s, %d: takes no writes", partitionList(refusing), insyncMin, insync), "start the brokers that hold the others")
	}
	if len(behind) > 0 {
		say(levelWarn, partitionList(behind)+" with replicas that are behind or away", "start the brokers that hold them")
	}
	lower := d.configCommand(t.Name, fmt.Sprintf("%s=%d", insyncMin, max(replicas-1, 1)))
	switch {
	case known && insync > replicas:
		say(levelFail, fmt.Sprintf("%s is %d, but there are only %s: takes no writes", insyncMin, insync, plural(replicas, "replica")), lower)
	case replicas == 1 && brokers > 1:
		say(levelWarn, fmt.Sprintf("one replica, though there are %d brokers: its partitions stand still while their broker is away", brokers), "kafka-reassign-partitions gives it more; 3 is usual")
	case replicas == 1: // a finding of the cluster as a whole
	case known && insync == 1:
		say(levelWarn, insyncMin+" is 1: what is acknowledged can be lost with its leader", d.configCommand(t.Name, insyncMin+"=2"))
	case known && insync == replicas:
		say(levelWarn, fmt.Sprintf("%s is %d, as many as replicas: no writes while any broker is away", insyncMin, insync), lower)
	}
	return worst
}

// partitionList names partitions, not more than a person reads.
func partitionList(partitions []int32) string {
	const namedMax = 8
	noun := "partition"
	if len(partitions) > 1 {
		noun = "partitions"
	}
	var names []string
	for _, p := range partitions[:min(len(partitions), namedMax)] {
		names = append(names, strconv.Itoa(int(p)))
	}
	text := noun + " " + strings.Join(names, ", ")
	if n := len(partitions) - namedMax; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// partitionCounts compares the topics that a lane reads: it reads the same partition number of each.
func (d *doctor) partitionCounts() {
	k := &d.config.Kafka
	alter := func(t *topicFacts, n int32) string {
		return fmt.Sprintf("kafka-topics --bootstrap-server %s --alter --topic %s --partitions %d", k.Brokers[0], t.Name, n)
	}
	var most *topicFacts
	for _, name := range k.Input {
		if t := d.topics[name]; t != nil && (most == nil || t.Partitions > most.Partitions) {
			most = t
		}
	}
	if most == nil {
		return
	}
	for _, name := range k.Input {
		if t := d.topics[name]; t != nil && t.Partitions != most.Partitions {
			d.fail(checkPartitions, "topic "+t.Name, fmt.Sprintf("has %s, but %s has %d; all inputs must have the same number",
				plural(int64(t.Partitions), "partition"), most.Name, most.Partitions), alter(t, most.Partitions))
		}
	}
	rekey := d.topics[d.rekeyTopic()]
	if rekey == nil || !d.needsRekey() || rekey.Partitions >= most.Partitions {
		return
	}
	text := fmt.Sprintf("has %s, but %s has %d; it must have as many", plural(int64(rekey.Partitions), "partition"), most.Name, most.Partitions)
	if k.CreateTopics {
		d.note(checkPartitions, "topic "+rekey.Name, text+"; lapwing run adds them, since kafka.create_topics is true", "")
		return
	}
	d.fail(checkPartitions, "topic "+rekey.Name, text, alter(rekey, most.Partitions)+" (or set kafka.create_topics: true)")
}

// retentionLeast is how long the input should be kept at the least: an engine may be away for so long.
const retentionLeast = time.Hour

// flushesKept is how many flush intervals the input must be kept for at the least.
const flushesKept = 10

// inputTopic looks at what matters for what is read and replayed.
func (d *doctor) inputTopic(t *topicFacts) {
	subject := "topic " + t.Name
	if t.compacts() {
		d.warn(checkCleanup, subject, cleanupPolicy+" is compact: records of one key replace each other, so some are never judged, and a replay finds others than were judged",
			d.configCommand(t.Name, cleanupPolicy+"=delete"))
	}
	d.retention(t, subject)
}

// retention compares how long records are kept with what may have to be read again.
func (d *doctor) retention(t *topicFacts, subject string) {
	ms, ok := t.number(retentionMs)
	if !ok || ms < 0 {
		return
	}
	kept := time.Duration(ms) * time.Millisecond
	least := max(retentionLeast, flushesKept*d.config.Redis.FlushInterval)
	horizon := time.Duration(0)
	if d.rules != nil {
		horizon = time.Duration(d.rules.Horizon()) * time.Second
	}
	set := func(want time.Duration) string {
		return d.configCommand(t.Name, fmt.Sprintf("%s=%d", retentionMs, want.Milliseconds()))
	}
	switch {
	case kept < flushesKept*d.config.Redis.FlushInterval:
		d.fail(checkRetention, subject, tooShort(kept, d.config.Redis.FlushInterval), set(7*24*time.Hour))
	case kept < horizon:
		d.warn(checkRetention, subject, fmt.Sprintf("is kept for %s, but the rules look back %s: with a Redis that was wiped, windows begin with what is kept",
			span(kept), span(horizon)), set(2*horizon))
	case kept < least:
		d.warn(checkRetention, subject, fmt.Sprintf("is kept for %s only: what is not judged by then is lost", span(kept)), set(7*24*time.Hour))
	}
}

// writtenTopics looks at what matters for what is written.
func (d *doctor) writtenTopics() {
	k := &d.config.Kafka
	if t := d.topics[k.DeadLetters]; t != nil && t.compacts() {
		d.fail(checkCleanup, "topic "+t.Name, cleanupPolicy+" is compact: a dead letter without key is refused, and the engine ends", d.configCommand(t.Name, cleanupPolicy+"=delete"))
	}
	if t := d.topics[k.Output]; t != nil && t.compacts() {
		d.warn(checkCleanup, "topic "+t.Name, cleanupPolicy+" is compact: of a user's results only the last is sure to stay", d.configCommand(t.Name, cleanupPolicy+"=delete"))
	}
	if t := d.topics[d.rekeyTopic()]; t != nil && t.compacts() {
		d.fail(checkCleanup, "topic "+t.Name, cleanupPolicy+" is compact: forwarded records without key are refused, others replaced before they are judged", d.configCommand(t.Name, cleanupPolicy+"=delete"))
	}
	largest, largestOf := int64(0), ""
	longest := int64(0) // kept; negative: for ever
	for _, name := range k.Input {
		if t := d.topics[name]; t != nil {
			if n, ok := t.number(messageMax); ok && n > largest {
				largest, largestOf = n, name
			}
			if n, ok := t.number(retentionMs); ok && (n < 0 || n > longest && longest >= 0) {
				longest = n
			}
		}
	}
	d.messageBytes(largest, largestOf)
	if t := d.topics[d.rekeyTopic()]; t != nil && d.needsRekey() {
		d.rekeyRetention(t, longest)
	}
}

// rekeyRetention looks at how long what was forwarded is kept. longest is how long an input is, in milliseconds.
func (d *doctor) rekeyRetention(t *topicFacts, longest int64) {
	subject := "topic " + t.Name
	n, ok := t.number(retentionMs)
	kept := time.Duration(n) * time.Millisecond
	set := d.configCommand(t.Name, fmt.Sprintf("%s=%d", retentionMs, longest))
	switch {
	case !ok || n < 0:
	case kept < flushesKept*d.config.Redis.FlushInterval:
		if longest >= 0 {
			set = d.configCommand(t.Name, fmt.Sprintf("%s=%d", retentionMs, max(longest, (7*24*time.Hour).Milliseconds())))
		}
		d.fail(checkRetention, subject, tooShort(kept, d.config.Redis.FlushInterval), set)
	case longest < 0 || n < longest:
		d.warn(checkRetention, subject, fmt.Sprintf("is kept for %s, shorter than the input: a replay needs both", span(kept)), set)
	}
}

// tooShort says that records are kept for too short a time beside the flush interval.
func tooShort(kept, flush time.Duration) string {
	return fmt.Sprintf("is kept for %s only, and Redis may be %s behind: what has to be replayed after a crash may be deleted by then", span(kept), shortDuration(flush))
}

// messageBytes compares what the written topics take with what may have to be written there. largest is the most that
// an input topic takes, 0 where that is not known.
func (d *doctor) messageBytes(largest int64, largestOf string) {
	k := &d.config.Kafka
	if t := d.topics[d.rekeyTopic()]; t != nil {
		if n, ok := t.number(messageMax); ok && n < largest {
			d.warn(checkMessageBytes, "topic "+t.Name, fmt.Sprintf("takes batches of %v, but %s has such of %v: a large record could not be forwarded", Bytes(n), largestOf, Bytes(largest)),
				d.configCommand(t.Name, fmt.Sprintf("%s=%d", messageMax, largest)))
		}
	}
	for _, name := range []string{k.Output, k.DeadLetters} {
		t := d.topics[name]
		if t == nil {
			continue
		}
		n, ok := t.number(messageMax)
		switch {
		case !ok:
		case n < int64(batchBytesLeast):
			d.warn(checkMessageBytes, "topic "+name, fmt.Sprintf("takes batches of %v only: results and dead letters are cut to fit, or stop their lanes", Bytes(n)),
				d.configCommand(name, fmt.Sprintf("%s=%d", messageMax, 1<<20)))
		case n < int64(k.BatchBytesMax):
			d.note(checkMessageBytes, "topic "+name, fmt.Sprintf("takes batches of %v, less than kafka.batch_bytes_max, %v: smaller ones are written", Bytes(n), k.BatchBytesMax), "")
		case name == k.DeadLetters && n < largest:
			d.note(checkMessageBytes, "topic "+name, fmt.Sprintf("takes batches of %v, %s such of %v: a larger dead letter is cut to fit", Bytes(n), largestOf, Bytes(largest)), "")
		}
	}
}

// batchBytesLeast is the least that kafka.batch_bytes_max may be.
const batchBytesLeast = 16 << 10

// permissions looks at what this client may do, as far as that can be seen without writing.
func (d *doctor) permissions(ctx context.Context) {
	k := &d.config.Kafka
	denied := false
	for _, t := range d.cluster.Topics {
		for _, op := range d.needs(t.Name) {
			if t.Err == nil && t.Allowed.Denies(op) {
				denied = true
				d.fail(checkPermission, "topic "+t.Name, fmt.Sprintf("%s is not allowed", op), d.aclCommand(op.String(), "--topic "+t.Name))
			}
		}
		denied = denied || errors.Is(t.Err, kafka.TopicAuthorizationFailed) && !internal(t.Name)
	}
	// A broker makes a topic of its own when the first coordinator is asked for; here nothing is to be made.
	if d.mayCoordinate(transactionsTopic) {
		err := d.client.FindTransactionCoordinator(ctx, k.Group+"-doctor")
		switch {
		case errors.Is(err, kafka.TransactionalIDAuthorizationFailed):
			denied = true
			d.fail(checkPermission, "transactions", fmt.Sprintf("transactional ids that begin with %s- are not allowed", k.Group),
				d.aclCommand("Write", fmt.Sprintf("--transactional-id %s- --resource-pattern-type prefixed", k.Group)))
		case err != nil:
			denied = true
			d.fail(checkPermission, "transactions", err.Error(), "look at the brokers' logs and at the topic "+transactionsTopic)
		}
	}
	if !denied {
		d.ok(checkPermission, "permissions", "nothing is refused that can be seen without writing")
	}
}

// mayCoordinate reports whether asking for a coordinator makes nothing: its topic is there, or cannot be seen.
func (d *doctor) mayCoordinate(topic string) bool {
	i := slices.IndexFunc(d.cluster.Topics, func(t wire.TopicDescription) bool { return t.Name == topic })
	return i >= 0 && !errors.Is(d.cluster.Topics[i].Err, kafka.UnknownTopicOrPartition)
}

func (d *doctor) aclCommand(operation, resource string) string {
	k := &d.config.Kafka
	user := k.SASL.Username
	if user == "" {
		user = "NAME"
	}
	return fmt.Sprintf("kafka-acls --bootstrap-server %s --add --allow-principal User:%s --operation %s %s", k.Brokers[0], user, operation, resource)
}
