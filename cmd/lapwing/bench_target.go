package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"github.com/lapwing/lapwing/consumer/wire"
)

// benchTarget is what a load is put on: the topics of a configuration, as they are before it. It looks at them as the
// doctor does, and says the same of what is wrong.
type benchTarget struct {
	*doctor
	input, output, dead *wire.TopicDescription
	ends                map[string][]int64 // of output and dead, by partition: where reading begins
}

// unfitError says what keeps a load from being put on a target.
type unfitError []finding

// Error has a line for each finding.
func (e unfitError) Error() string {
	lines := make([]string, 0, len(e))
	for _, f := range e {
		line := f.Subject + ": " + f.Finding
		if f.Remedy != "" {
			line += "; " + f.Remedy
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// connect finds the cluster and the topics. The client must be closed, after an error too.
func (t *benchTarget) connect(ctx context.Context) error {
	t.step(ctx, t.brokers)
	if t.client == nil {
		return unfitError(t.findings)
	}
	t.findings = nil // a broker that is away is none of the load's business as long as another one is there
	if t.step(ctx, t.metadata); t.cluster == nil {
		return unfitError(t.findings)
	}
	k := &t.config.Kafka
	t.input = t.need(k.Input[0], wire.OperationWrite)
	t.output, t.dead = t.need(k.Output, wire.OperationRead), t.need(k.DeadLetters, wire.OperationRead)
	if len(t.findings) > 0 {
		return unfitError(t.findings)
	}
	return nil
}

// need returns a topic that is there and on which an operation is allowed; otherwise it adds a finding.
func (t *benchTarget) need(name string, op wire.Operation) *wire.TopicDescription {
	for i := range t.cluster.Topics {
		topic := &t.cluster.Topics[i]
		switch {
		case topic.Name != name:
		case errors.Is(topic.Err, kafka.UnknownTopicOrPartition):
			t.missingTopic(name)
			return nil
		case topic.Err != nil:
			t.unreadableTopic(&topic.Topic)
			return nil
		case topic.Allowed.Denies(op):
			t.fail(checkPermission, "topic "+name, fmt.Sprintf("%s is not allowed", op), t.aclCommand(op.String(), "--topic "+name))
			return nil
		default:
			return topic
		}
	}
	panic("bench: topic " + name + " was not asked for")
}

// used returns how many records, or at least their offsets, the input has.
func (t *benchTarget) used(ctx context.Context) (int64, error) {
	starts, err := t.offsets(ctx, t.input, t.client.EarliestOffset)
	if err != nil {
		return 0, err
	}
	ends, err := t.offsets(ctx, t.input, t.end(false))
	if err != nil {
		return 0, err
	}
	used := int64(0)
	for p := range ends {
		used += max(ends[p]-starts[p], 0)
	}
	return used, nil
}

// markEnds finds where reading begins: what is before is of other loads.
func (t *benchTarget) markEnds(ctx context.Context) (err error) {
	t.ends, err = t.currentEnds(ctx, true)
	return err
}

// currentEnds returns the ends of output and dead letters: with committed those that a read_committed reader can reach
// now.
func (t *benchTarget) currentEnds(ctx context.Context, committed bool) (map[string][]int64, error) {
	ends := map[string][]int64{}
	for _, topic := range []*wire.TopicDescription{t.output, t.dead} {
		of, err := t.offsets(ctx, topic, t.end(committed))
		if err != nil {
			return nil, err
		}
		ends[topic.Name] = of
	}
	return ends, nil
}

// offsetOf asks for an offset of a partition.
type offsetOf func(ctx context.Context, topic string, partition int32) (int64, error)

func (t *benchTarget) end(committed bool) offsetOf {
	return func(ctx context.Context, topic string, partition int32) (int64, error) {
		return t.client.EndOffset(ctx, topic, partition, committed)
	}
}

// offsets asks for an offset of each partition of a topic.
func (t *benchTarget) offsets(ctx context.Context, topic *wire.TopicDescription, ask offsetOf) ([]int64, error) {
	offsets := make([]int64, topic.Partitions)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelMax)
	for p := range topic.Partitions {
		group.Go(func() (err error) {
			offsets[p], err = ask(ctx, topic.Name, p)
			return err
		})
	}
	return offsets, group.Wait()
}

// engines returns how many members the group has.
func (t *benchTarget) engines(ctx context.Context) (int, error) {
	g, err := t.client.DescribeGroup(ctx, t.config.Kafka.Group)
	if err != nil {
		return 0, err
	}
	return g.Members, nil
}

// judged returns the offset up to which the group has judged each partition of the input, -1 where it has not begun,
// and false while a transaction is about to change one.
func (t *benchTarget) judged(ctx context.Context) ([]int64, bool, error) {
	partitions := make([]int32, t.input.Partitions)
	for p := range partitions {
		partitions[p] = int32(p)
	}
	committed, err := t.client.StableOffsets(ctx, t.config.Kafka.Group, t.input.Name, partitions)
	if err != nil {
		return nil, false, err
	}
	offsets, stable := make([]int64, len(partitions)), true
	for p, c := range committed {
		if c.Err != nil && wire.Classify(c.Err) != wire.Retry {
			return nil, false, c.Err
		}
		offsets[p] = c.Offset
		if c.Err != nil {
			offsets[p], stable = -1, false
		}
	}
	return offsets, stable, nil
}
