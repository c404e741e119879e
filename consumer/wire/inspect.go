package wire

import (
	"context"
	"fmt"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
)

// What is here only looks: none of it changes anything in the cluster.

// ProbeBroker tries one broker, host:port, whether or not it is one of
// Options.Brokers, on a connection of its own. It returns nil if the broker can
// be used, else at which stage not.
func (c *Client) ProbeBroker(ctx context.Context, addr string) *StageError {
	return c.probe(ctx, addr)
}

// TopicConfigs returns what holds for a topic, its own values and the cluster's
// defaults, by name. A name that the broker does not know is left out.
func (c *Client) TopicConfigs(ctx context.Context, topic string, names ...string) (map[string]string, error) {
	const resourceTopic = 2
	const op = "describe configuration of"
	ctx, cancel := c.bound(ctx)
	defer cancel()
	m, err := c.ask(ctx, anyBroker, &describeconfigs.Request{
		Resources: []describeconfigs.RequestResource{{ResourceType: resourceTopic, ResourceName: topic, ConfigNames: names}},
	})
	if err != nil {
		return nil, partitionError(op, topic, -1, -1, err)
	}
	values := make(map[string]string, len(names))
	for _, r := range m.(*describeconfigs.Response).Resources {
		if err := codeError(op, topic, -1, -1, r.ErrorCode); err != nil {
			return nil, err
		}
		for _, e := range r.ConfigEntries {
			values[e.ConfigName] = e.ConfigValue
		}
	}
	return values, nil
}

// GroupDescription is what the coordinator says of a consumer group.
type GroupDescription struct {
	State    string // Such as Stable, Empty, or Dead for one that does not exist.
	Protocol string // That its members agreed on.
	Members  int
	// Allowed is what this client may do with the group.
	Allowed Operations
}

// describeGroupsVersion is the newest without flexible fields. kafka-go reads
// version 5, which it would negotiate, as if its groups were not compact.
const describeGroupsVersion = 4

// DescribeGroup asks the coordinator of a group about it. Asking for a
// coordinator makes a broker create the topic __consumer_offsets if it is not
// there yet.
func (c *Client) DescribeGroup(ctx context.Context, group string) (*GroupDescription, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	var description *GroupDescription
	err := c.coordinated(ctx, groupKey(group), func(ctx context.Context, broker int32) error {
		x := c.request(nil, protocol.DescribeGroups, describeGroupsVersion, false)
		b := appendInt32(x.frame, 1)
		b = appendString(b, group)
		x.frame = append(b, 1) // Authorized operations.
		body, err := c.askRaw(ctx, broker, x)
		if err != nil {
			return err
		}
		description, err = decodeGroup(body)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("describe group %q: %w", group, err)
	}
	return description, nil
}

// decodeGroup reads a DescribeGroups answer of version 4 about one group.
func decodeGroup(body []byte) (*GroupDescription, error) {
	const what = "describe groups"
	d := decoder{rest: body}
	d.int32() // Throttle time.
	if n := d.count(20); n != 1 && !d.bad {
		return nil, fmt.Errorf("%w: %s answer has %d groups", ErrMalformed, what, n)
	}
	code := d.int16()
	d.string() // Group.
	g := &GroupDescription{State: string(d.string())}
	d.string() // Protocol type.
	g.Protocol = string(d.string())
	g.Members = d.count(16)
	for range g.Members {
		for range 4 { // Member, instance, client, host.
			d.string()
		}
		for range 2 { // Metadata, assignment.
			d.take(d.count(1))
		}
	}
	g.Allowed = operationsOf(d.int32())
	if err := d.err(what); err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, kafka.Error(code)
	}
	return g, nil
}

// FindTransactionCoordinator looks up who coordinates a transactional id, and
// returns the broker's refusal if the client may not use the id. It does not
// make the id known. Asking makes a broker create the topic
// __transaction_state if it is not there yet.
func (c *Client) FindTransactionCoordinator(ctx context.Context, id string) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	return retry(ctx, func() error {
		_, err := c.coordinator(ctx, transactionKey(id))
		return err
	})
}

const (
	// describeQuorum is not among kafka-go's keys. Version 1 is the first with
	// times: Kafka 3.3.
	describeQuorum        protocol.ApiKey = 55
	describeQuorumVersion                 = 1
	metadataTopic                         = "__cluster_metadata"
)

// ControllerClock returns what time it is for the cluster's active controller, on
// the single broker of a small cluster that broker. It needs Kafka 3.3 or later
// without ZooKeeper, and the permission Describe on the cluster.
func (c *Client) ControllerClock(ctx context.Context) (time.Time, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	x := c.request(nil, describeQuorum, describeQuorumVersion, true)
	b := appendCompactCount(x.frame, 1)
	b = appendCompactString(b, metadataTopic)
	b = appendCompactCount(b, 1)
	b = appendInt32(b, 0) // Its only partition.
	x.frame = append(b,
		0, // No tagged fields of the partition,
		0, // of the topic,
		0) // of the request.
	body, err := c.askRaw(ctx, anyBroker, x)
	if err != nil {
		return time.Time{}, fmt.Errorf("describe the quorum: %w", err)
	}
	millis, err := decodeQuorumClock(body)
	if err != nil {
		return time.Time{}, fmt.Errorf("describe the quorum: %w", err)
	}
	return time.UnixMilli(millis), nil
}

// decodeQuorumClock reads a DescribeQuorum answer of version 1. Of each voter it
// has the time at which that one last fetched, by the leader's clock; of the
// leader itself that is the time of the answer (LeaderState.describeReplicaState
// of Kafka).
func decodeQuorumClock(body []byte) (int64, error) {
	d := decoder{rest: body}
	d.tags()
	if code := d.int16(); code != 0 && !d.bad {
		return 0, kafka.Error(code)
	}
	topics := d.compactCount(4)
	d.compactString()
	partitions := d.compactCount(26)
	d.int32() // Partition.
	if code := d.int16(); code != 0 && !d.bad {
		return 0, kafka.Error(code)
	}
	leader := d.int32()
	d.int32() // Leader epoch.
	d.int64() // High watermark.
	clock := int64(-1)
	for n := d.compactCount(29); n > 0 && !d.bad; n-- {
		id := d.int32()
		d.int64() // End of its log.
		fetched := d.int64()
		d.int64() // Caught up.
		d.tags()
		if id == leader {
			clock = fetched
		}
	}
	if err := d.err("describe quorum"); err != nil {
		return 0, err
	}
	if topics != 1 || partitions != 1 || clock <= 0 {
		return 0, fmt.Errorf("%w: the answer has no time of the leader %d", ErrMalformed, leader)
	}
	return clock, nil
}
