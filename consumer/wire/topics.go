package wire

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/createpartitions"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
)

// Topic is what the cluster says of a topic.
type Topic struct {
	Name string
	// ID is the topic's own id (KIP-516): a topic that was deleted and made
	// again has another one.
	ID         [16]byte
	Partitions int32
	// Err is a *PartitionError with partition -1 around the broker's code, such
	// as 3 for a topic that does not exist.
	Err error
}

// Topics asks the cluster for topics by name, in the order of the names, or for
// all of them without any. What is wrong with one topic is in its Err.
func (c *Client) Topics(ctx context.Context, names ...string) ([]Topic, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	x := c.metadataRequest(names, false)
	body, err := c.askRaw(ctx, anyBroker, x)
	if err != nil {
		return nil, fmt.Errorf("ask for metadata of topics %q: %w", names, err)
	}
	found, err := decodeMetadata(body)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*topicMetadata, len(found))
	for i := range found {
		byName[found[i].Name] = &found[i]
		if found[i].Err == nil {
			c.leaders.set(found[i].Name, found[i].leaders)
		}
	}
	topics := make([]Topic, 0, len(found))
	if len(names) == 0 {
		for i := range found {
			topics = append(topics, found[i].Topic)
		}
		return topics, nil
	}
	for _, name := range names {
		t := byName[name]
		if t == nil {
			return nil, fmt.Errorf("%w: metadata answer leaves out topic %q", ErrMalformed, name)
		}
		topics = append(topics, t.Topic)
	}
	return topics, nil
}

// metadataVersion is the first with topic ids that works by its specification
// (10 and 11 have them, but their server side was unfinished): Kafka 3.0.
const metadataVersion = 12

// metadataRequest asks for topics by name, or for all without any; operations: what the client may do with each, too.
func (c *Client) metadataRequest(names []string, operations bool) *rawExchange {
	x := c.request(nil, protocol.Metadata, metadataVersion, true)
	b := x.frame
	if len(names) == 0 {
		b = append(b, 0) // Null: all topics.
	} else {
		b = appendCompactCount(b, len(names))
	}
	for _, name := range names {
		b = append(b, make([]byte, 16)...) // No id: the name says it.
		b = appendCompactString(b, name)
		b = append(b, 0)
	}
	allowed := byte(0)
	if operations {
		allowed = 1
	}
	x.frame = append(b,
		0, // Never create topics.
		allowed,
		0) // No tagged fields.
	return x
}

type topicMetadata struct {
	Topic
	leaders []int32 // By partition, -1 where there is none.
}

// decodeMetadata reads a Metadata answer of version 12.
func decodeMetadata(body []byte) ([]topicMetadata, error) {
	d := decoder{rest: body}
	d.tags()
	d.int32() // Throttle time.
	for n := d.compactCount(12); n > 0; n-- {
		d.int32()         // Broker id.
		d.compactString() // Host.
		d.int32()         // Port.
		d.compactString() // Rack.
		d.tags()
	}
	d.compactString() // Cluster id.
	d.int32()         // Controller.
	n := d.compactCount(26)
	topics := make([]topicMetadata, 0, n)
	for ; n > 0 && !d.bad; n-- {
		t := topicMetadata{}
		code := d.int16()
		t.Name = string(d.compactString())
		copy(t.ID[:], d.take(16))
		d.take(1) // Internal.
		t.leaders = decodeLeaders(&d)
		t.Partitions = int32(len(t.leaders))
		d.int32() // Authorized operations.
		d.tags()
		t.Err = codeError("metadata of", t.Name, -1, -1, code)
		topics = append(topics, t)
	}
	d.tags()
	if err := d.err("metadata"); err != nil {
		return nil, err
	}
	return topics, nil
}

func decodeLeaders(d *decoder) []int32 {
	n := d.compactCount(18)
	leaders := make([]int32, n)
	for i := range leaders {
		leaders[i] = -1
	}
	for range n {
		code := d.int16()
		partition := d.int32()
		leader := d.int32()
		d.int32() // Leader epoch.
		for range 3 {
			// Replicas, in-sync replicas, offline replicas.
			d.take(4 * d.compactCount(4))
		}
		d.tags()
		if d.bad {
			return nil
		}
		// Partitions are numbered from 0 without gaps, in any order.
		if partition < 0 || int(partition) >= n {
			d.fail()
			return nil
		}
		// A code beside a leader speaks of something else (9: a replica is away).
		if code == 0 || code == int16(kafka.ReplicaNotAvailable) {
			leaders[partition] = leader
		}
	}
	return leaders
}

// TopicSpec describes a topic to create.
type TopicSpec struct {
	Name        string
	Partitions  int32             // -1: the broker's default.
	Replication int16             // -1: the broker's default.
	Configs     map[string]string // Such as "cleanup.policy".
}

// CreateTopics creates the topics that do not exist yet (one that does is left
// as it is, whatever its partitions) and waits until the leader of each
// partition answers: a broker shows new leaders half a second before they know
// of it. It needs a context with a deadline of seconds, or takes RequestTimeout.
func (c *Client) CreateTopics(ctx context.Context, specs ...TopicSpec) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	request := &createtopics.Request{TimeoutMs: int32(c.options.RequestTimeout.Milliseconds() / 2)}
	names := make([]string, 0, len(specs))
	for _, s := range specs {
		t := createtopics.RequestTopic{Name: s.Name, NumPartitions: s.Partitions, ReplicationFactor: s.Replication}
		for k, v := range s.Configs {
			t.Configs = append(t.Configs, createtopics.RequestConfig{Name: k, Value: v})
		}
		request.Topics = append(request.Topics, t)
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		return nil
	}
	err := retry(ctx, func() error {
		m, err := c.ask(ctx, controllerBroker, request)
		if err != nil {
			return fmt.Errorf("create topics %q: %w", names, err)
		}
		return createError(m.(*createtopics.Response))
	})
	if err != nil {
		return err
	}
	return c.awaitTopics(ctx, names)
}

func createError(r *createtopics.Response) error {
	var errs []error
	for _, t := range r.Topics {
		code := kafka.Error(t.ErrorCode)
		if code == 0 || code == kafka.TopicAlreadyExists {
			continue
		}
		errs = append(errs, partitionError("create topic", t.Name, -1, -1, fmt.Errorf("%w %s", code, t.ErrorMessage)))
	}
	return errors.Join(errs...)
}

// CreatePartitions raises the partition count of a topic that has fewer, and
// waits until the leader of each partition answers, like CreateTopics.
func (c *Client) CreatePartitions(ctx context.Context, topic string, count int32) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	request := &createpartitions.Request{
		Topics:    []createpartitions.RequestTopic{{Name: topic, Count: count}},
		TimeoutMs: int32(c.options.RequestTimeout.Milliseconds() / 2),
	}
	err := retry(ctx, func() error {
		m, err := c.ask(ctx, controllerBroker, request)
		if err != nil {
			return fmt.Errorf("create partitions of topic %q: %w", topic, err)
		}
		for _, r := range m.(*createpartitions.Response).Results {
			if r.ErrorCode == 0 || kafka.Error(r.ErrorCode) == kafka.InvalidPartitionNumber {
				// 37: it has as many already. The request is a copy of one whose answer was lost, or another process was
				// faster; the brokers' metadata may not show it yet, which is waited for below.
				continue
			}
			// The same, told in another way.
			if topics, askErr := c.Topics(ctx, topic); askErr == nil && topics[0].Partitions >= count {
				continue
			}
			return partitionError("create partitions of topic", r.Name, -1, -1, fmt.Errorf("%w %s", kafka.Error(r.ErrorCode), r.ErrorMessage))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return retry(ctx, func() error {
		topics, err := c.Topics(ctx, topic)
		switch {
		case err != nil:
			return err
		case topics[0].Err == nil && topics[0].Partitions < count:
			return partitionError("create partitions of topic", topic, -1, -1, kafka.UnknownTopicOrPartition) // not every broker knows yet
		}
		return c.awaitTopics(ctx, []string{topic})
	})
}

// awaitTopics waits until every partition's leader answers ListOffsets.
func (c *Client) awaitTopics(ctx context.Context, names []string) error {
	for _, name := range names {
		c.leaders.forget(name)
		err := retry(ctx, func() error {
			topics, err := c.Topics(ctx, name)
			if err != nil {
				return err
			}
			if topics[0].Err != nil {
				return topics[0].Err
			}
			for p := range topics[0].Partitions {
				if _, err := c.EarliestOffset(ctx, name, p); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("wait for new topic: %w", err)
		}
	}
	return nil
}

// MessageBytesMax returns the largest record batch that a topic takes
// (max.message.bytes, after compression).
func (c *Client) MessageBytesMax(ctx context.Context, topic string) (int, error) {
	const resourceTopic = 2
	const name = "max.message.bytes"
	ctx, cancel := c.bound(ctx)
	defer cancel()
	m, err := c.ask(ctx, anyBroker, &describeconfigs.Request{
		Resources: []describeconfigs.RequestResource{{
			ResourceType: resourceTopic, ResourceName: topic, ConfigNames: []string{name},
		}},
	})
	if err != nil {
		return 0, fmt.Errorf("describe configuration of topic %q: %w", topic, err)
	}
	for _, r := range m.(*describeconfigs.Response).Resources {
		if err := codeError("describe configuration of", topic, -1, -1, r.ErrorCode); err != nil {
			return 0, err
		}
		for _, e := range r.ConfigEntries {
			if e.ConfigName == name {
				n, err := strconv.Atoi(e.ConfigValue)
				if err != nil {
					return 0, fmt.Errorf("%s of topic %q: %w", name, topic, err)
				}
				return n, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: configuration answer for topic %q lacks %s", ErrMalformed, topic, name)
}
