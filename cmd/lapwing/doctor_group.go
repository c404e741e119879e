package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/lapwing/lapwing/consumer/wire"
)

// What begins the name of the group protocol, and the metadata of each offset that Lapwing commits.
const (
	protocolPrefix = "lapwing-"
	commitPrefix   = "lapwing/"
)

// group looks at the consumer group, at its offsets, and at how far the checkpoints are behind them.
func (d *doctor) group(ctx context.Context) {
	k := &d.config.Kafka
	subject := "group " + k.Group
	if !d.mayCoordinate(offsetsTopic) {
		d.note(checkGroup, subject, "no group has committed anything in this cluster yet", "")
		return
	}
	g := d.members(ctx, subject)
	if g == nil {
		return
	}
	for _, input := range k.Input {
		t := d.topics[input]
		if t == nil {
			continue
		}
		committed, err := d.committed(ctx, g, t)
		if err != nil {
			d.fail(checkOffsets, subject, err.Error(), "look at the brokers' logs")
			continue
		}
		d.offsets(subject, t, committed, g.Members)
		d.gap(ctx, t, committed)
	}
}

// groupGone is the state of a group that does not exist.
const groupGone = "Dead"

// committed returns what the group has committed for each partition of a topic.
func (d *doctor) committed(ctx context.Context, g *wire.GroupDescription, t *topicFacts) (map[int32]wire.Committed, error) {
	partitions := make([]int32, t.Partitions)
	none := make(map[int32]wire.Committed, t.Partitions)
	for p := range t.Partitions {
		partitions[p] = p
		none[p] = wire.Committed{Offset: -1}
	}
	if g.State == groupGone {
		return none, nil
	}
	return d.client.StableOffsets(ctx, d.config.Kafka.Group, t.Name, partitions)
}

// members reports who is in the group. It returns nil where nothing can be told of it.
func (d *doctor) members(ctx context.Context, subject string) *wire.GroupDescription {
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
	case g.Members > 0 && g.Protocol != "" && !strings.HasPrefix(g.Protocol, protocolPrefix):
		d.fail(checkGroup, subject, fmt.Sprintf("%s that are no engines (protocol %q)", plural(int64(g.Members), "member"), g.Protocol), "give Lapwing a group of its own with kafka.group")
	case g.Members > 0:
		d.ok(checkGroup, subject, fmt.Sprintf("%s, %s, protocol %s", plural(int64(g.Members), "member"), strings.ToLower(g.State), g.Protocol))
	default:
		d.note(checkGroup, subject, "no member: no engine runs", "")
	}
	return g
}

// offsetFacts are the partitions of an input topic by what the group has committed for them.
type offsetFacts struct {
	none     []int32 // nothing
	foreign  []int32 // what somebody else has set
	unstable []int32 // what a transaction is about to change
	lost     []int32 // what is below the first record that is kept
	beyond   []int32 // what is above the end
	lag      int64   // records
	missing  int64   // records, deleted before they were judged
}

// offsetFacts sorts what the group has committed for an input topic.
func (d *doctor) offsetFacts(subject string, t *topicFacts, committed map[int32]wire.Committed) *offsetFacts {
	f := &offsetFacts{}
	for p := range t.Partitions {
		c := committed[p]
		m, stored := d.checkpoint(p, d.config.Kafka.Input[0] == t.Name)
		switch {
		case c.Err != nil && errors.Is(c.Err, kafka.UnstableOffsetCommit):
			f.unstable = append(f.unstable, p)
			continue
		case c.Err != nil:
			d.fail(checkOffsets, subject, c.Err.Error(), wire.Hint(c.Err))
			continue
		case c.Offset < 0:
			f.none = append(f.none, p)
		case !strings.HasPrefix(c.Metadata, commitPrefix) && !(stored && m == c.Offset):
			f.foreign = append(f.foreign, p)
		}
		if t.end == nil {
			continue
		}
		switch {
		case c.Offset < 0:
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

// offsets reports what the group has committed for an input topic.
func (d *doctor) offsets(subject string, t *topicFacts, committed map[int32]wire.Committed, members int) {
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
	if len(d.checkpoints) == 0 && len(f.none) == int(t.Partitions) {
		d.note(checkOffsets, subject, fmt.Sprintf("nothing committed for %s: the first start begins at kafka.start, %s", t.Name, d.config.Kafka.Start.text()), "")
		return
	}
	d.lostOffsets(subject, t, f.none)
	if t.end == nil {
		return
	}
	text := fmt.Sprintf("%s behind in %s", plural(f.lag, "record"), t.Name)
	if f.lag > 0 && members == 0 {
		d.note(checkOffsets, subject, text+", and no engine runs", "")
	} else {
		d.ok(checkOffsets, subject, text)
	}
}

// lostOffsets reports partitions with a checkpoint and without a committed offset.
func (d *doctor) lostOffsets(subject string, t *topicFacts, none []int32) {
	var gone []int32
	for _, p := range none {
		if c, ok := d.checkpoints[p]; ok && c.Owner != "" {
			gone = append(gone, p)
		}
	}
	if len(gone) > 0 {
		d.fail(checkOffsets, subject, fmt.Sprintf("%s, %s: no committed offset although there is a checkpoint in Redis", t.Name, partitionList(gone)),
			"wait if the broker has just started; kafka.on_offset_reset: resume goes on from the checkpoint")
	}
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

// checkpoint returns the offset up to which a lane's states are stored, false where none is known.
func (d *doctor) checkpoint(lane int32, firstInput bool) (int64, bool) {
	c, ok := d.checkpoints[lane]
	if !ok || !firstInput || c.Offset < 0 {
		return -1, false
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
		if c.Err != nil || c.Offset < 0 {
			continue
		}
		from := c.Offset
		if m, ok := d.checkpoint(p, d.config.Kafka.Input[0] == t.Name); ok {
			known = true
			furthest = max(furthest, c.Offset-m)
			if m < t.start[p] && c.Offset >= t.start[p] && c.Offset > m {
				deleted = append(deleted, p)
			}
			from = min(from, m)
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
