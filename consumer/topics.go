package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/lapwing/lapwing/consumer/backoff"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// topicFacts is what the engine knows of its topics from its start on.
type topicFacts struct {
	inputID              [16]byte
	lanes, outputs, dead int32 // partition counts
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
	if hint := wire.Hint(err); hint != "" {
		return fmt.Errorf("kafka %s: %w; %s", strings.Join(e.options.Brokers, ","), err, hint)
	}
	return err
}

// findTopics looks the topics up, or creates what is missing when it may.
func (e *Engine) findTopics(ctx context.Context) error {
	o := &e.options
	rekey := o.rekeyTopic()
	names := []string{o.Input, o.Output, o.DeadLetters, rekey}
	found, err := o.Client.Topics(ctx, names...)
	if err != nil {
		return err
	}
	lanes := found[0].Partitions
	if found[0].Err != nil {
		lanes = o.Partitions
	}
	if lanes == 1 { // no record can be in another partition than its user's
		names, found = names[:3], found[:3]
	}
	var missing []wire.TopicSpec
	var errs []error
	for _, t := range found {
		switch {
		case t.Err == nil:
		case errors.Is(t.Err, kafka.UnknownTopicOrPartition):
			partitions := o.Partitions
			if t.Name == rekey {
				partitions = lanes
			}
			if o.CreateTopics {
				missing = append(missing, wire.TopicSpec{Name: t.Name, Partitions: partitions, Replication: o.Replication})
				continue
			}
			errs = append(errs, fmt.Errorf("topic %s does not exist: create it (kafka-topics --create --topic %s --partitions %d) or set kafka.create_topics: true: %w", t.Name, t.Name, partitions, t.Err))
		default:
			errs = append(errs, fmt.Errorf("topic %s: %w", t.Name, t.Err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(missing) > 0 {
		for _, t := range missing {
			e.log.Info("creating a topic", "topic", t.Name, "partitions", t.Partitions)
		}
		if err := o.Client.CreateTopics(ctx, missing...); err != nil {
			return fmt.Errorf("create topics: %w", err)
		}
		if found, err = o.Client.Topics(ctx, names...); err != nil {
			return err
		}
		for _, t := range found {
			if t.Err != nil {
				return fmt.Errorf("topic %s: %w", t.Name, t.Err)
			}
		}
	}
	if len(found) > 3 && found[3].Partitions < found[0].Partitions {
		if err := e.growRekey(ctx, found[3].Partitions, found[0].Partitions); err != nil {
			return err
		}
	}
	e.sources = []source{{topic: o.Input, id: found[0].ID}}
	if len(found) > 3 {
		e.sources = append(e.sources, source{topic: rekey, id: found[3].ID, rekey: true})
	}
	e.topics = topicFacts{inputID: found[0].ID, lanes: found[0].Partitions, outputs: found[1].Partitions, dead: found[2].Partitions}
	e.layout = newLayout(o.Input, e.topics.inputID, e.topics.lanes, o.settingsText())
	e.outputFollowsLane = o.Partitioner == contract.Murmur2 && e.topics.outputs == e.topics.lanes
	e.identify()
	return e.readLimits(ctx)
}

// errPartitionCounts stands for topics whose partition counts do not go together. Somebody may be about to change them.
var errPartitionCounts = errors.New("partition counts differ")

// growRekey gives the rekey topic as many partitions as the input has, or says that somebody has to.
func (e *Engine) growRekey(ctx context.Context, former, now int32) error {
	topic := e.options.rekeyTopic()
	if !e.options.CreateTopics {
		return fmt.Errorf("%w: topic %s has %d, the input has %d, and a lane reads the same partition of both: kafka-topics --alter --topic %[2]s --partitions %[4]d, or set kafka.create_topics: true", errPartitionCounts, topic, former, now)
	}
	e.log.Info("growing a topic", "topic", topic, "partitions", now, "former", former)
	return e.options.Client.CreatePartitions(ctx, topic, now)
}

// errRecreated ends the engine: what it holds belongs to a topic that is gone. A new start begins the new one.
var errRecreated = errors.New("the input topic was deleted and made again while the engine ran: what it knows does not fit the new one; " +
	"start the engine again: it begins the new topic at kafka.start, with fresh states")

// inputSeenMax is how long a look at the input topic counts.
const inputSeenMax = time.Second

// inputSeen remembers when the input topic was last seen to be as the layout says.
type inputSeen struct {
	ask chan struct{} // holds one while asking, so that many lanes ask once
	at  atomic.Int64  // when the last good answer was asked for, Unix nanoseconds
}

// sameInput makes sure that the input topic was as the layout says, its id and its partition count, at a time not before
// since.
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

// checkInput makes sure that the input topic is still the one that the layout names.
func (e *Engine) checkInput(ctx context.Context) error {
	topics, err := e.options.Client.Topics(ctx, e.options.Input)
	if err != nil {
		return err
	}
	switch t := topics[0]; {
	case t.Err != nil:
		return fmt.Errorf("topic %s: %w", t.Name, t.Err)
	case t.ID != e.topics.inputID:
		return fmt.Errorf("topic %s: %w", t.Name, errRecreated)
	case t.Partitions != e.topics.lanes:
		return grownError(t.Name, e.topics.lanes, t.Partitions)
	}
	return nil
}

func grownError(topic string, former, now int32) error {
	return &stopError{
		cause:  causePartitions,
		what:   fmt.Sprintf("topic %s has %d partitions, the states were judged with %d", topic, now, former),
		remedy: "a change of the partition count is not supported yet: use a new group",
	}
}
