package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/lapwing/lapwing/consumer"
	"github.com/lapwing/lapwing/consumer/wire"
)

// group looks at the consumer group, at its offsets, and at how far the checkpoints are behind them.
func (d *doctor) group(ctx context.Context) {
	k := &d.config.Kafka
	subject := "group " + k.Group
	if !d.mayCoordinate(offsetsTopic) {
		d.note(checkGroup, subject, "no group has committed anything in this cluster yet", "")
		return
	}
	if d.members = d.examineMembers(ctx, subject); d.members == nil {
		return
	}
	d.committed = map[string]map[int32]wire.Committed{}
	for _, source := range d.sources() {
		t := d.topics[source]
		if t == nil {
			continue
		}
		committed, err := d.readCommitted(ctx, source, t.Partitions)
		if err != nil {
			d.fail(checkOffsets, subject, err.Error(), "look at the brokers' logs")
			continue
		}
		d.committed[source] = committed
		d.offsets(subject, t, committed)
		d.gap(ctx, t, committed)
	}
	for topic, partitions := range d.formerSources() {
		committed, err := d.readCommitted(ctx, topic, partitions)
		if err != nil {
			d.note(checkOffsets, subject, fmt.Sprintf("what it has committed for %s, which it has judged so far, cannot be read: %v", topic, err), "")
			continue
		}
		d.committed[topic] = committed
	}
}

// groupGone is the state of a group that does not exist.
const groupGone = "Dead"

// readCommitted returns what the group has committed for each partition of a topic.
func (d *doctor) readCommitted(ctx context.Context, topic string, count int32) (map[int32]wire.Committed, error) {
	partitions := make([]int32, count)
	none := make(map[int32]wire.Committed, count)
	for p := range count {
		partitions[p] = p
		none[p] = wire.Committed{Offset: -1}
	}
	if d.members.State == groupGone {
		return none, nil
	}
	return d.client.StableOffsets(ctx, d.config.Kafka.Group, topic, partitions)
}

// examineMembers reports who is in the group. It returns nil where nothing can be told of it.
func (d *doctor) examineMembers(ctx context.Context, subject string) *wire.GroupDescription {
	g, err := d.client.DescribeGroup(ctx, d.config.Kafka.Group)
	switch {
	case errors.Is(err, kafka.GroupAuthorizationFailed):
		d.fail(checkPermission, subject, "Read is not allowed", d.aclCommand("Read", "--group "+d.config.Kafka.Group))
		return nil
	case err != nil:
		d.fail(checkGroup, subject, err.Error(), "look at the brokers' logs")
		return nil
	}
	if g.Allowed.Denies(wire.OperationRead) {
		d.fail(checkPermission, subject, "Read is not allowed", d.aclCommand("Read", "--group "+d.config.Kafka.Group))
	}
	switch {
	case g.Members > 0 && g.Protocol != "" && !strings.HasPrefix(g.Protocol, consumer.ProtocolPrefix):
		d.fail(checkGroup, subject, fmt.Sprintf("%s that are no engines (protocol %q)", plural(int64(g.Members), "member"), g.Protocol), "give Lapwing a group of its own with kafka.group")
	case g.Members > 0:
		d.ok(checkGroup, subject, fmt.Sprintf("%s, %s, protocol %s", plural(int64(g.Members), "member"), strings.ToLower(g.State), g.Protocol))
	default:
		d.note(checkGroup, subject, "no member: no engine runs", "")
	}
	return g
}

// offsetFacts are the partitions of a source by what the group has committed for them.
type offsetFacts struct {
	none     []int32 // nothing
	former   []int32 // an offset of a topic of that name which was deleted
	foreign  []int32 // what somebody else has set
	unstable []int32 // what a transaction is about to change
	lost     []int32 // what is below the first record that is kept
	beyond   []int32 // what is above the end
	lag      int64   // records
	missing  int64   // records, deleted before they were judged
}

// offsetFacts sorts what the group has committed for a source.
func (d *doctor) offsetFacts(subject string, t *topicFacts, committed map[int32]wire.Committed) *offsetFacts {
	f := &offsetFacts{}
	for p := range t.Partitions {
		c := committed[p]
		m, stored := d.checkpoint(p, t.Name)
		mark, marked := consumer.ParseCommitMark(c.Metadata)
		former := marked && mark.Topic != consumer.TopicIdentity(t.Topic)
		switch {
		case c.Err != nil && errors.Is(c.Err, kafka.UnstableOffsetCommit):
			f.unstable = append(f.unstable, p)
			continue
		case c.Err != nil:
			d.fail(checkOffsets, subject, c.Err.Error(), wire.Hint(c.Err))
			continue
		case c.Offset < 0:
			f.none = append(f.none, p)
		case former:
			f.former = append(f.former, p)
		case !(marked && mark.Offset == c.Offset) && !(stored && m == c.Offset):
			f.foreign = append(f.foreign, p)
		}
		if t.end == nil {
			continue
		}
		switch {
		case c.Offset < 0 || former:
			f.lag += t.end[p] - t.start[p]
		case c.Offset > t.end[p]:
			f.beyond = append(f.beyond, p)
		case c.Offset < t.start[p]:
			f.lost = append(f.lost, p)
			f.missing += t.start[p] - c.Offset
			f.lag += t.end[p] - t.start[p]
		default:
			f.lag += t.end[p] - c.Offset
		}
	}
	return f
}

// offsets reports what the group has committed for a source.
func (d *doctor) offsets(subject string, t *topicFacts, committed map[int32]wire.Committed) {
	const reset = "see kafka.on_offset_reset in the README; without it the lanes stop and say what they found"
	f := d.offsetFacts(subject, t, committed)
	where := func(partitions []int32) string { return t.Name + ", " + partitionList(partitions) }
	if len(f.unstable) > 0 {
		d.warn(checkOffsets, subject, where(f.unstable)+": a transaction has not ended", "if it stays so for minutes, kafka-transactions find-hanging names it")
	}
	if len(f.foreign) > 0 {
		d.fail(checkOffsets, subject, where(f.foreign)+": the committed offset was not set by Lapwing", reset)
	}
	if len(f.beyond) > 0 {
		d.fail(checkOffsets, subject, where(f.beyond)+": the committed offset is beyond the end: the topic was truncated or made again", reset)
	}
	if len(f.lost) > 0 {
		d.fail(checkRetention, subject, fmt.Sprintf("%s: %s deleted before they were judged", where(f.lost), plural(f.missing, "record")),
			"lengthen the retention; kafka.on_data_loss: continue lets the lanes go on behind the hole")
	}
	d.formerOffsets(subject, t, f.former)
	if stored := d.lostOffsets(subject, t, f.none); !stored && len(f.none) == int(t.Partitions) {
		if t.Name != d.rekeyTopic() {
			d.note(checkOffsets, subject, fmt.Sprintf("nothing committed for %s: the first start begins at kafka.start, %s", t.Name, d.config.Kafka.Start.text()), "")
		}
		return
	}
	if t.end == nil {
		return
	}
	text := fmt.Sprintf("%s behind in %s", plural(f.lag, "record"), t.Name)
	if f.lag > 0 && d.members.Members == 0 {
		d.note(checkOffsets, subject, text+", and no engine runs", "")
	} else {
		d.ok(checkOffsets, subject, text)
	}
}

// formerOffsets reports partitions with a committed offset of a topic that was deleted and made again.
func (d *doctor) formerOffsets(subject string, t *topicFacts, former []int32) {
	text := fmt.Sprintf("%s, %s: the topic was deleted and made again since the offset was committed", t.Name, partitionList(former))
	switch {
	case len(former) == 0:
	case t.Name == d.rekeyTopic() && d.config.Kafka.OnDataLoss == "stop":
		d.fail(checkOffsets, subject, text+": what was forwarded and not judged is lost", "kafka.on_data_loss: continue goes on without it, with fresh states")
	default:
		d.warn(checkOffsets, subject, text+": the next start ignores it, and begins with fresh states", "")
	}
}

// lostOffsets reports partitions without a committed offset whose owner is in the checkpoint, and returns whether any has a
// checkpoint.
func (d *doctor) lostOffsets(subject string, t *topicFacts, none []int32) (stored bool) {
	var gone []int32
	for _, p := range none {
		m, ok := d.checkpoint(p, t.Name)
		if !ok || m == 0 && t.Name == d.rekeyTopic() { // 0: nothing was ever forwarded to it
			continue
		}
		stored = true
		if d.checkpoints[p].Owner != "" {
			gone = append(gone, p)
		}
	}
	if len(gone) > 0 {
		d.fail(checkOffsets, subject, fmt.Sprintf("%s, %s: no committed offset although there is a checkpoint in Redis", t.Name, partitionList(gone)),
			"wait if the broker has just started; kafka.on_offset_reset: resume goes on from the checkpoint")
	}
	return stored
}

// text is the configured start in words.
func (s Start) text() string {
	switch {
	case s.Latest:
		return "latest"
	case !s.Time.IsZero():
		return s.Time.Format(time.RFC3339)
	}
	return "earliest"
}

// checkpoint returns the offset of a source up to which a lane's states are stored, false where none is known.
func (d *doctor) checkpoint(lane int32, topic string) (int64, bool) {
	c, ok := d.checkpoints[lane]
	if !ok {
		return -1, false
	}
	return d.inspection.Offset(lane, c, topic)
}

// judged returns the offset up to which a partition's records were judged by what is committed: behind it are, up to the
// committed one, no records. It returns false where nothing is committed for this topic. t may be nil: which topic of the name
// it is is not known then.
func judged(c wire.Committed, t *topicFacts) (int64, bool) {
	mark, marked := consumer.ParseCommitMark(c.Metadata)
	switch {
	case c.Err != nil || c.Offset < 0 || marked && t != nil && mark.Topic != consumer.TopicIdentity(t.Topic):
		return -1, false
	case marked && mark.Offset == c.Offset:
		return mark.At, true
	}
	return c.Offset, true
}

const (
	// gapsMax is how many partitions are asked how old their oldest needed record is.
	gapsMax = 16
	// keptPercent is how much of what is kept may be needed before it is time to act.
	keptPercent = 50
)

// need is what a lane has to read again, or for the first time: from an offset to the end.
type need struct {
	partition int32
	from      int64
}

// gap compares what the lanes still need of a topic with what the topic keeps.
func (d *doctor) gap(ctx context.Context, t *topicFacts, committed map[int32]wire.Committed) {
	subject := "topic " + t.Name
	if t.end == nil {
		return
	}
	var needs []need
	var deleted []int32
	furthest := int64(0) // of the checkpoints behind the committed offsets
	known := false
	for p := range t.Partitions {
		c := committed[p]
		at, ok := judged(c, t)
		if !ok {
			continue
		}
		from := c.Offset
		if m, ok := d.checkpoint(p, t.Name); ok {
			known = true
			furthest = max(furthest, at-m)
			if m < t.start[p] && c.Offset >= t.start[p] && at > m {
				deleted = append(deleted, p)
			}
			if m < at {
				from = m
			}
		}
		if from = max(from, t.start[p]); from < t.end[p] {
			needs = append(needs, need{p, from})
		}
	}
	if len(deleted) > 0 {
		d.fail(checkRetention, subject, partitionList(deleted)+": records between the checkpoint in Redis and the committed offset are deleted already: these lanes stop at their next start",
			"lengthen the retention; kafka.on_data_loss: continue goes on with fresh states")
	}
	if known {
		d.ok(checkOffsets, subject, fmt.Sprintf("the checkpoints in Redis are at most %s behind the committed offsets (redis.flush_interval %s)",
			plural(max(furthest, 0), "record"), shortDuration(d.config.Redis.FlushInterval)))
	}
	slices.SortFunc(needs, func(a, b need) int {
		return int((t.end[b.partition] - b.from) - (t.end[a.partition] - a.from))
	})
	d.size(t, needs)
	d.age(ctx, t, needs[:min(len(needs), gapsMax)])
}

// size compares what is needed with the bytes that the topic keeps of a partition.
func (d *doctor) size(t *topicFacts, needs []need) {
	kept, ok := t.number(retentionBytes)
	if !ok || kept < 0 || t.bytes == 0 || len(needs) == 0 {
		return
	}
	n := needs[0] // the one that needs most
	if needed := (t.end[n.partition] - n.from) * t.bytes; needed >= kept/100*keptPercent {
		d.warn(checkRetention, "topic "+t.Name, fmt.Sprintf("partition %d still needs %s, uncompressed about %s, and %s of %s are kept",
			n.partition, plural(t.end[n.partition]-n.from, "record"), megabytes(needed), megabytes(kept), retentionBytes),
			"add members, or raise "+retentionBytes+" before they are deleted")
	}
}

// age compares the oldest record that is needed with the topic's retention.
func (d *doctor) age(ctx context.Context, t *topicFacts, needs []need) {
	ms, ok := t.number(retentionMs)
	if !ok || ms < 0 || len(needs) == 0 {
		return
	}
	kept := time.Duration(ms) * time.Millisecond
	oldest, of := time.Duration(0), int32(-1)
	for _, n := range needs {
		at, err := d.timeOf(ctx, t.Name, n)
		if err != nil {
			return // the finding about records says it
		}
		if age := time.Since(at); !at.IsZero() && age > oldest {
			oldest, of = age, n.partition
		}
	}
	switch {
	case of < 0 || oldest*100 < kept*keptPercent:
	case oldest >= kept:
		d.fail(checkRetention, "topic "+t.Name, fmt.Sprintf("partition %d still needs a record that is %s old, and %s are kept: it can be deleted at any moment", of, span(oldest), span(kept)),
			"lengthen the retention now ("+d.configCommand(t.Name, fmt.Sprintf("%s=%d", retentionMs, (2*oldest).Milliseconds()))+"), then add members")
	default:
		d.warn(checkRetention, "topic "+t.Name, fmt.Sprintf("partition %d still needs a record that is %s old, and %s are kept", of, span(oldest), span(kept)),
			"add members, or lengthen the retention before it is deleted")
	}
}

// timeOf returns the timestamp of the first record from an offset on, the zero time if there is none.
func (d *doctor) timeOf(ctx context.Context, topic string, n need) (time.Time, error) {
	f := d.client.NewFetcher(topic, n.partition, wire.FetchOptions{
		BytesMax: int32(d.config.Kafka.FetchBytesMax), WaitMax: fetchWait, Committed: true, DecompressedBytesMax: int(d.config.Kafka.DecompressedBytesMax),
	})
	var at time.Time
	_, err := f.Fetch(ctx, n.from, func(r *wire.Record) error {
		at = time.UnixMilli(r.TimeMillis)
		return errEnough
	})
	if err != nil && !errors.Is(err, errEnough) {
		return at, err
	}
	return at, nil
}
