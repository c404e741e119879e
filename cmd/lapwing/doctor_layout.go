package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/lapwing/lapwing/consumer"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// readLanes reads what the store says of the group's layout, and the checkpoint of each lane. It claims none.
func (d *doctor) readLanes(ctx context.Context, store state.Store) {
	subject := "redis " + describeRedis(&d.config.Redis)
	text, err := store.Lineage(ctx)
	if err != nil {
		d.warn(checkRedis, subject, fmt.Sprintf("the group's layout cannot be read: %v", err), "")
		return
	}
	if err := d.inspect(text); err != nil {
		d.fail(checkLayout, "group "+d.config.Kafka.Group, fmt.Sprintf("what Redis says of its layout cannot be understood: %v", err), "use the version of Lapwing that wrote it, or a newer one")
		return
	}
	i := d.inspection
	if i == nil {
		return
	}
	present, _ := i.Present()
	type peeked struct {
		checkpoint     state.Checkpoint
		found, settled bool
	}
	lanes := make([]peeked, max(present.Partitions, i.Next().Partitions))
	var group errgroup.Group
	group.SetLimit(parallelMax)
	for lane := range lanes {
		group.Go(func() (err error) {
			p := &lanes[lane]
			if p.checkpoint, p.found, err = store.Peek(ctx, int32(lane)); err == nil && i.Settled(p.checkpoint) {
				// Nobody has claimed it since, who may be about to go on with it.
				_, p.settled, err = store.Written(ctx, int32(lane))
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		d.warn(checkRedis, subject, fmt.Sprintf("the checkpoints cannot be read: %v", err), "")
		d.inspection = nil
		return
	}
	d.checkpoints = map[int32]state.Checkpoint{}
	for lane, p := range lanes {
		if p.found {
			d.checkpoints[int32(lane)] = p.checkpoint
		}
		if p.settled && int32(lane) < present.Partitions {
			d.settled = append(d.settled, int32(lane))
		}
	}
}

// inspect compares the stored layout with the configuration, as far as the cluster tells of all inputs.
func (d *doctor) inspect(lineage string) error {
	if d.cluster == nil {
		return nil
	}
	var inputs []wire.Topic
	for _, name := range d.config.Kafka.Input {
		t := d.topicOf(name)
		if t == nil {
			return nil // a finding says why
		}
		inputs = append(inputs, t.Topic)
	}
	o, err := d.config.engineOptions()
	if err != nil {
		return nil //nolint:nilerr // the same
	}
	d.inspection, err = consumer.Inspect(o, inputs, lineage)
	return err
}

// layout says under which layout the group judges, and what a start with this configuration makes of it.
func (d *doctor) layout() {
	i := d.inspection
	if i == nil {
		return
	}
	subject := "group " + d.config.Kafka.Group
	present, known := i.Present()
	if !known {
		d.unknownLayout(subject)
		return
	}
	d.ok(checkLayout, subject, fmt.Sprintf("judges %s of %s by partitioner %s (layout %s)",
		plural(int64(present.Partitions), "partition"), strings.Join(present.Inputs, ", "), present.Partitioner, present))
	d.otherMembers(subject)
	d.changedLayout(subject, present)
	d.settling(subject, present)
}

// unknownLayout looks at a group of which the store has no layout.
func (d *doctor) unknownLayout(subject string) {
	next := d.inspection.Next()
	committed, otherwise := false, false
	for topic, offsets := range d.committed {
		for _, c := range offsets {
			if _, ok := judged(c, d.topics[topic]); !ok {
				continue
			}
			if mark, marked := consumer.ParseCommitMark(c.Metadata); marked {
				committed = true
				otherwise = otherwise || mark.Settings != next.Settings
			}
		}
	}
	const check = "check that redis.addrs, redis.db and redis.prefix are those of before"
	switch {
	case otherwise && d.config.Kafka.OnOffsetReset != "rebuild":
		d.fail(checkLayout, subject, "this Redis has no states of the group, and its offsets were committed under other settings (section events, redis.cluster): its lanes stop at the next start",
			check+", or use the former settings; kafka.on_offset_reset: rebuild makes the states anew from what the topics keep")
	case committed:
		d.warn(checkLayout, subject, "this Redis has no states of the group, though it has committed offsets: the next start makes them anew from what the topics keep", check)
	default:
		d.note(checkLayout, subject, fmt.Sprintf("has no layout yet; the first start begins %s", next), "")
	}
}

// otherMembers reports members that run with another configuration than this.
func (d *doctor) otherMembers(subject string) {
	if !d.workUnderAnother() || d.grownOnly() {
		return
	}
	d.warn(checkLayout, subject, fmt.Sprintf("its members run under layout %s, this configuration has %s: a member that starts with it waits until they are stopped",
		strings.TrimPrefix(d.members.Protocol, consumer.ProtocolPrefix), d.inspection.Next()), "stop them, or look at the layout of the configuration that they have")
}

// workUnderAnother reports whether the group has members, and they work under another layout than this configuration has.
func (d *doctor) workUnderAnother() bool {
	g := d.members
	return g != nil && g.Members > 0 && strings.HasPrefix(g.Protocol, consumer.ProtocolPrefix) && g.Protocol != consumer.ProtocolPrefix+d.inspection.Next().String()
}

// grownOnly reports whether the layout differs in nothing but the partition count, which engines see by themselves.
func (d *doctor) grownOnly() bool {
	present, _ := d.inspection.Present()
	next := d.inspection.Next()
	return d.inspection.Change() == consumer.ChangeGoesOn && present.Partitioner == next.Partitioner
}

// changedLayout says what a start with this configuration does where the layout is another one.
func (d *doctor) changedLayout(subject string, present consumer.Layout) {
	next := d.inspection.Next()
	what := layoutDifference(present, next)
	const former = "stop all members that have the former configuration first; a new one waits for them"
	switch d.inspection.Change() {
	case consumer.ChangeNone:
	case consumer.ChangeAnew:
		d.warn(checkLayout, subject, "an input was deleted and made again: the next start begins the group anew, with fresh states, at kafka.start", "")
	case consumer.ChangeGoesOn:
		remedy := former
		if d.grownOnly() {
			remedy = "an engine that runs does so by itself within seconds"
		}
		d.note(checkLayout, subject, what+": a start with this configuration changes the layout; what is there is judged under the former one first, and states stay", remedy)
	case consumer.ChangeSettled:
		if left := d.leftInputs(present, next); len(left) > 0 {
			d.warn(checkLayout, subject, fmt.Sprintf("kafka.input does not have %s any more: what is not judged yet of it stays so", strings.Join(left, ", ")), "let the former configuration judge it to the end first")
		}
		rest := d.unreplayed(present)
		text := what + ": a start with this configuration changes the layout, and states stay"
		switch {
		case d.workUnderAnother():
			d.note(checkLayout, subject, text+", if all members are stopped cleanly before", "stop all members (SIGTERM) and wait for exit code 0, then start with this configuration")
		case len(rest) > 0:
			d.fail(checkLayout, subject, fmt.Sprintf("%s: that needs a clean stop before, and %s still to replay under the former one: the lanes stop at the next start", what, have(rest)),
				"start once with the former configuration, stop it cleanly (SIGTERM), then change it")
		default:
			d.note(checkLayout, subject, text+"; nothing is left to replay", former)
		}
	}
}

// have is "lane 1 has" or "lanes 1, 2 have".
func have(lanes []int32) string {
	if len(lanes) == 1 {
		return laneList(lanes) + " has events"
	}
	return laneList(lanes) + " have events"
}

// laneList names lanes, not more than a person reads.
func laneList(lanes []int32) string {
	return strings.Replace(partitionList(lanes), "partition", "lane", 1)
}

// leftInputs are those that the configuration does not name any more.
func (d *doctor) leftInputs(present, next consumer.Layout) []string {
	return slices.DeleteFunc(slices.Clone(present.Inputs), func(topic string) bool { return slices.Contains(next.Inputs, topic) })
}

// unreplayed returns the lanes of the present layout that have something to replay under it, as far as that is known.
func (d *doctor) unreplayed(present consumer.Layout) []int32 {
	var lanes []int32
	for lane := range present.Partitions {
		if slices.Contains(d.settled, lane) {
			continue
		}
		for topic, offsets := range d.committed {
			c, found := offsets[lane]
			at, ok := judged(c, d.topics[topic])
			m, known := d.checkpoint(lane, topic)
			if found && ok && known && m != at {
				lanes = append(lanes, lane)
				break
			}
		}
	}
	return lanes
}

// formerSources are topics that lanes were judged from so far and are not under this configuration, with their partition
// counts.
func (d *doctor) formerSources() map[string]int32 {
	if d.inspection == nil {
		return nil
	}
	present, _ := d.inspection.Present()
	former := map[string]int32{}
	for _, topic := range present.Inputs {
		former[topic] = present.Partitions
	}
	if consumer.NeedsRekey(present.Partitions, len(present.Inputs)) {
		former[d.rekeyTopic()] = present.Partitions
	}
	for _, source := range d.sources() {
		delete(former, source)
	}
	return former
}

// layoutDifference says in what two layouts differ.
func layoutDifference(former, now consumer.Layout) string {
	var parts []string
	if !slices.Equal(former.Inputs, now.Inputs) {
		parts = append(parts, fmt.Sprintf("kafka.input is %s, %s so far", strings.Join(now.Inputs, ","), strings.Join(former.Inputs, ",")))
	}
	if former.Partitions != now.Partitions {
		parts = append(parts, fmt.Sprintf("the input has %s, %d so far", plural(int64(now.Partitions), "partition"), former.Partitions))
	}
	if former.Partitioner != now.Partitioner {
		parts = append(parts, fmt.Sprintf("kafka.partitioner is %s, %s so far", now.Partitioner, former.Partitioner))
	}
	if former.Settings != now.Settings {
		parts = append(parts, "settings that the states depend on (section events, redis.cluster) are others than so far")
	}
	return strings.Join(parts, "; ")
}

// settling reports a change of the layout that is under way: lanes that are judged no more until it is over.
func (d *doctor) settling(subject string, present consumer.Layout) {
	if len(d.settled) == 0 {
		return
	}
	var waiting []int32
	for lane := range present.Partitions {
		if !slices.Contains(d.settled, lane) {
			waiting = append(waiting, lane)
		}
	}
	text := fmt.Sprintf("a change of the layout is under way: %s settled under the former one", are(d.settled))
	if len(waiting) > 0 {
		text += fmt.Sprintf(", %s waited for", are(waiting))
	}
	remedy := "it goes on by itself; what it waits for is in the log and in /readyz of the members"
	switch {
	case d.inspection.Change() == consumer.ChangeNone:
		remedy = "this configuration has the former layout: members that start with it give the change up"
	case d.members == nil || d.members.Members == 0:
		remedy = "start members with this configuration: they go on with it"
	}
	d.warn(checkLayout, subject, text, remedy)
}

// are is "lane 1 is" or "lanes 1, 2 are".
func are(lanes []int32) string {
	if len(lanes) == 1 {
		return laneList(lanes) + " is"
	}
	return laneList(lanes) + " are"
}
