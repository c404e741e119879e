package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// topicFacts is what the engine knows of its topics from prepare on.
type topicFacts struct {
	outputs, dead int32 // partition counts
}

// prepare waits until Kafka and Redis answer and every topic is there, and fills in topics, layout and limits. Only
// what time cannot mend is returned.
func (e *Engine) prepare(ctx context.Context) error {
	kafkaPasses := func(err error) bool { return classify(err) != fatal }
	steps := []struct {
		subject string
		do      func(context.Context) error
		passes  func(error) bool // time may mend it
	}{
		{"kafka", e.options.Client.Probe, kafkaPasses},
		{"redis", e.options.Store.Check, state.Retriable},
		{"topics", e.findTopics, kafkaPasses},
	}
	for _, step := range steps {
		delay := backoff.New(100*time.Millisecond, 2*time.Second)
		for {
			err := e.call(ctx, step.do)
			if err == nil {
				e.health.clear(step.subject)
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !step.passes(err) {
				return fmt.Errorf("consumer: %s: %w", step.subject, e.remedied(err))
			}
			if e.health.set(step.subject, err.Error()) {
				e.log.Warn("not ready, trying again", "subject", step.subject, "err", err)
			}
			if err := delay.Wait(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// remedied adds to a refusal of Kafka where it came from and what to do about it; nil and other errors stay.
func (e *Engine) remedied(err error) error {
	if hint := wire.Hint(err); hint != "" && strings.Contains(err.Error(), hint) {
		return fmt.Errorf("kafka %s: %w", strings.Join(e.options.Brokers, ","), err)
	} else if hint != "" {
		return fmt.Errorf("kafka %s: %w; %s", strings.Join(e.options.Brokers, ","), err, hint)
	}
	return err
}

// findTopics looks the topics up, or creates what is missing when it may, and fills in sources, layout and limits.
func (e *Engine) findTopics(ctx context.Context) error {
	o := &e.options
	inputs := slices.Sorted(slices.Values(o.Inputs)) // the order of a lane's sources must not depend on how they are listed
	found, err := e.ensureTopics(ctx, o.Partitions, append(slices.Clone(inputs), o.Output, o.DeadLetters)...)
	if err != nil {
		return err
	}
	n := len(inputs)
	e.topics = topicFacts{outputs: found[n].Partitions, dead: found[n+1].Partitions}
	lanes := found[0].Partitions
	e.sources = nil
	for _, t := range found[:n] {
		if t.Partitions != lanes {
			return countsError(found[:n])
		}
		e.sources = append(e.sources, source{topic: t.Name, id: t.ID})
	}
	e.layout = newLayout(e.sources, lanes, o.Partitioner, o.settingsText())
	if NeedsRekey(lanes, n) {
		rekey := o.rekeyTopic()
		made, err := e.ensureTopics(ctx, lanes, rekey)
		if err != nil {
			return err
		}
		if made[0].Partitions < lanes {
			if err := e.growRekey(ctx, made[0].Partitions, lanes); err != nil {
				return err
			}
		}
		e.sources = append(e.sources, source{topic: rekey, id: made[0].ID, rekey: true})
	}
	e.identify()
	return e.readLimits(ctx)
}

// ensureTopics returns what the cluster says of topics; those that do not exist are made, with so many partitions, when the
// engine may do that.
func (e *Engine) ensureTopics(ctx context.Context, partitions int32, names ...string) ([]wire.Topic, error) {
	o := &e.options
	found, err := o.Client.Topics(ctx, names...)
	if err != nil {
		return nil, err
	}
	var missing []wire.TopicSpec
	var errs []error
	for _, t := range found {
		switch {
		case t.Err == nil:
		case errors.Is(t.Err, kafka.UnknownTopicOrPartition) && o.CreateTopics:
			missing = append(missing, wire.TopicSpec{Name: t.Name, Partitions: partitions, Replication: o.Replication})
		case errors.Is(t.Err, kafka.UnknownTopicOrPartition):
			errs = append(errs, fmt.Errorf("topic %s does not exist: create it (kafka-topics --create --topic %s --partitions %d) or set kafka.create_topics: true: %w", t.Name, t.Name, partitions, t.Err))
		default:
			errs = append(errs, fmt.Errorf("topic %s: %w", t.Name, t.Err))
		}
	}
	if err := errors.Join(errs...); err != nil || len(missing) == 0 {
		return found, err
	}
	for _, t := range missing {
		e.log.Info("creating a topic", "topic", t.Name, "partitions", t.Partitions)
	}
	if err := o.Client.CreateTopics(ctx, missing...); err != nil {
		return nil, fmt.Errorf("create topics: %w", err)
	}
	if found, err = o.Client.Topics(ctx, names...); err != nil {
		return nil, err
	}
	for _, t := range found {
		if t.Err != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Name, t.Err)
		}
	}
	return found, nil
}

// errPartitionCounts stands for topics whose partition counts do not go together. Somebody may be about to change them.
var errPartitionCounts = errors.New("partition counts differ")

// countsError says which inputs have fewer partitions than another.
func countsError(inputs []wire.Topic) error {
	most := slices.MaxFunc(inputs, func(a, b wire.Topic) int { return cmp.Compare(a.Partitions, b.Partitions) })
	var remedies []string
	for _, t := range inputs {
		if t.Partitions < most.Partitions {
			remedies = append(remedies, fmt.Sprintf("kafka-topics --alter --topic %s --partitions %d (it has %d)", t.Name, most.Partitions, t.Partitions))
		}
	}
	return fmt.Errorf("%w: input topic %s has %d, and a lane reads the same partition of all inputs: %s",
		errPartitionCounts, most.Name, most.Partitions, strings.Join(remedies, ", "))
}

// growRekey gives the rekey topic as many partitions as the inputs have, or says that somebody has to.
func (e *Engine) growRekey(ctx context.Context, former, now int32) error {
	topic := e.options.rekeyTopic()
	if !e.options.CreateTopics {
		return fmt.Errorf("%w: topic %s has %d, the input has %d, and a lane reads the same partition of both: kafka-topics --alter --topic %[2]s --partitions %[4]d, or set kafka.create_topics: true", errPartitionCounts, topic, former, now)
	}
	e.log.Info("growing a topic", "topic", topic, "partitions", now, "former_partitions", former)
	return e.options.Client.CreatePartitions(ctx, topic, now)
}

// errRecreated ends the engine: what it holds belongs to a topic that is gone. A new start begins the new one.
var errRecreated = errors.New("the input topic was deleted and made again while the engine ran: what it knows does not fit the new one; " +
	"start the engine again: it begins the new topic at kafka.start, with fresh states")

// errGrown ends the membership: the inputs have more partitions than the layout says. The engine joins again with the new
// layout.
var errGrown = errors.New("the input topics have grown")

// inputSeenMax is how long a look at the input topics counts.
const inputSeenMax = time.Second

// inputSeen remembers when the input topics were last seen to be as the layout says.
type inputSeen struct {
	ask  chan struct{} // holds one while asking, so that many lanes ask once
	look chan struct{} // asks watchInput to look at once; with room for one
	at   atomic.Int64  // when the last good answer was asked for, Unix nanoseconds
}

// sameInput makes sure that the input topics were as the layout says, their ids and their partition count, at a time not
// before since.
func (e *Engine) sameInput(ctx context.Context, since time.Time) error {
	s := &e.inputSeen
	if s.at.Load() >= since.UnixNano() {
		return nil
	}
	select {
	case s.ask <- struct{}{}:
		defer func() { <-s.ask }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.at.Load() >= since.UnixNano() {
		return nil
	}
	asked := time.Now()
	if err := e.call(ctx, e.checkInput); err != nil {
		return err
	}
	s.at.Store(asked.UnixNano())
	return nil
}

// checkInput makes sure that the input topics are still those that the layout names.
func (e *Engine) checkInput(ctx context.Context) error {
	topics, err := e.options.Client.Topics(ctx, topicsOf(e.inputs())...)
	if err != nil {
		return err
	}
	for i, t := range topics {
		switch {
		case t.Err != nil:
			return fmt.Errorf("topic %s: %w", t.Name, t.Err)
		case t.ID != e.sources[i].id:
			return fmt.Errorf("topic %s: %w", t.Name, errRecreated)
		case t.Partitions != e.layout.partitions:
			return fmt.Errorf("%w: topic %s has %d partitions, %d so far", errGrown, t.Name, t.Partitions, e.layout.partitions)
		}
	}
	return nil
}

// inputCheckEvery is how often a member looks whether the inputs have grown, whether or not it has records to read.
const inputCheckEvery = 5 * time.Second

// watchInput looks at the inputs until ctx ends, and returns errGrown or errRecreated. What it is not told for now it asks
// again.
func (e *Engine) watchInput(ctx context.Context) error {
	ticker := time.NewTicker(inputCheckEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.inputSeen.look:
		case <-ticker.C:
		}
		if err := e.sameInput(ctx, time.Now().Add(-inputCheckEvery/2)); errors.Is(err, errGrown) || errors.Is(err, errRecreated) {
			return err
		}
	}
}
