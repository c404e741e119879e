package consumertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// askTimeout bounds one question to one broker, which may be about to be killed or frozen.
	askTimeout = 2 * time.Second
	// askPause lies between two rounds of questions.
	askPause = 50 * time.Millisecond
)

// Topics of the brokers' own, made at their first use.
const (
	offsetsTopic      = "__consumer_offsets"
	transactionsTopic = "__transaction_state"
)

// errNoBroker is the answer of a cluster without a broker that could be asked.
var errNoBroker = errors.New("no broker runs, or all are frozen")

// WaitUp waits until exactly n brokers are registered and a controller leads, in the eyes of every broker that runs and is
// not frozen. So after a kill, WaitUp of one less waits until the death is noticed; after a start, WaitUp of all until the
// new process serves.
func (c *Cluster) WaitUp(ctx context.Context, n int) error {
	err := c.everywhere(ctx, func(ctx context.Context, node *clusterNode) error {
		metadata, err := node.metadata(ctx)
		if err != nil {
			return err
		}
		if len(metadata.Brokers) != n {
			return fmt.Errorf("%d brokers are registered", len(metadata.Brokers))
		}
		return node.controllerLeads(ctx)
	})
	if err != nil {
		return fmt.Errorf("consumertest: wait for %d brokers: %w", n, err)
	}
	return nil
}

// WaitInSync waits until each partition of the topics, and of the brokers' own topics for offsets and transactions where
// they are there, has a leader and all its replicas in sync, in the eyes of every broker that runs and is not frozen. After a
// kill or a start, [Cluster.WaitUp] comes first: until a death is noticed, all looks well.
func (c *Cluster) WaitInSync(ctx context.Context, topics ...string) error {
	all := append([]string{offsetsTopic, transactionsTopic}, topics...)
	err := c.everywhere(ctx, func(ctx context.Context, node *clusterNode) error {
		metadata, err := node.metadata(ctx, all...)
		if err != nil {
			return err
		}
		for i := range metadata.Topics {
			if err := topicInSync(&metadata.Topics[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("consumertest: wait for replicas in sync: %w", err)
	}
	return nil
}

func topicInSync(t *kmsg.MetadataResponseTopic) error {
	name := *t.Topic
	if t.ErrorCode == kerr.UnknownTopicOrPartition.Code && (name == offsetsTopic || name == transactionsTopic) {
		return nil
	}
	if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
		return fmt.Errorf("topic %s: %w", name, err)
	}
	for _, p := range t.Partitions {
		if p.Leader < 0 || len(p.ISR) != len(p.Replicas) {
			return fmt.Errorf("%s/%d has leader %d and, of replicas %v, %v in sync", name, p.Partition, p.Leader, p.Replicas, p.ISR)
		}
	}
	return nil
}

// Leader returns the broker that leads a partition, waiting while there is none. For the time until a death is noticed that
// is still the dead one.
func (c *Cluster) Leader(ctx context.Context, topic string, partition int32) (int, error) {
	var leader int
	err := c.anywhere(ctx, func(ctx context.Context, node *clusterNode) error {
		metadata, err := node.metadata(ctx, topic)
		if err != nil {
			return err
		}
		for _, t := range metadata.Topics {
			if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
				return err
			}
			for _, p := range t.Partitions {
				if p.Partition == partition && p.Leader > 0 {
					leader = int(p.Leader) - 1
					return nil
				}
			}
		}
		return errors.New("it has none")
	})
	if err != nil {
		return 0, fmt.Errorf("consumertest: leader of %s/%d: %w", topic, partition, err)
	}
	return leader, nil
}

// Coordinator returns the broker that coordinates a group, waiting while there is none.
func (c *Cluster) Coordinator(ctx context.Context, group string) (int, error) {
	return c.coordinator(ctx, coordinatorOfGroup, group)
}

// TransactionCoordinator returns the broker that coordinates a transactional.id, waiting while there is none.
func (c *Cluster) TransactionCoordinator(ctx context.Context, id string) (int, error) {
	return c.coordinator(ctx, coordinatorOfTransactions, id)
}

// Types of coordinators on the wire.
const (
	coordinatorOfGroup        int8 = 0
	coordinatorOfTransactions int8 = 1
)

func (c *Cluster) coordinator(ctx context.Context, kind int8, key string) (int, error) {
	var coordinator int
	err := c.anywhere(ctx, func(ctx context.Context, node *clusterNode) error {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorType, req.CoordinatorKeys = kind, []string{key}
		resp, err := request[*kmsg.FindCoordinatorResponse](ctx, node, req)
		if err != nil {
			return err
		}
		if len(resp.Coordinators) != 1 {
			return fmt.Errorf("%d answers to one key", len(resp.Coordinators))
		}
		if err := kerr.ErrorForCode(resp.Coordinators[0].ErrorCode); err != nil {
			return err
		}
		coordinator = int(resp.Coordinators[0].NodeID) - 1
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("consumertest: coordinator of %s: %w", key, err)
	}
	return coordinator, nil
}

// everywhere asks each broker that can answer, again and again until all of one round have returned nil.
func (c *Cluster) everywhere(ctx context.Context, ask func(context.Context, *clusterNode) error) error {
	return c.until(ctx, func() error {
		asked := errNoBroker
		for _, n := range c.nodes {
			if !n.answers() {
				continue
			}
			if asked = n.ask(ctx, ask); asked != nil {
				return asked
			}
		}
		return asked
	})
}

// anywhere asks the brokers that can answer, again and again until one has returned nil.
func (c *Cluster) anywhere(ctx context.Context, ask func(context.Context, *clusterNode) error) error {
	return c.until(ctx, func() error {
		last := errNoBroker
		for _, n := range c.nodes {
			if !n.answers() {
				continue
			}
			if last = n.ask(ctx, ask); last == nil {
				return nil
			}
		}
		return last
	})
}

// until repeats rounds until one returns nil. The error has the end of the context and the last round's error.
func (c *Cluster) until(ctx context.Context, round func() error) error {
	for {
		err := round()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; at last: %w", context.Cause(ctx), err)
		case <-time.After(askPause):
		}
	}
}

func (n *clusterNode) ask(ctx context.Context, ask func(context.Context, *clusterNode) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := ask(ctx, n); err != nil {
		return fmt.Errorf("broker %d: %w", n.index, err)
	}
	return nil
}

// request sends a request to this very broker, once.
func request[R kmsg.Response](ctx context.Context, n *clusterNode, req kmsg.Request) (R, error) {
	resp, err := n.client.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		var none R
		return none, err
	}
	return resp.(R), nil
}

// metadata asks about the topics, none for the brokers alone.
func (n *clusterNode) metadata(ctx context.Context, topics ...string) (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // null would mean all
	for _, name := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		req.Topics = append(req.Topics, topic)
	}
	return request[*kmsg.MetadataResponse](ctx, n, req)
}

// controllerLeads returns nil if the quorum of controllers has a leader. Metadata names any broker as the controller.
func (n *clusterNode) controllerLeads(ctx context.Context) error {
	partition := kmsg.NewDescribeQuorumRequestTopicPartition()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic, topic.Partitions = "__cluster_metadata", append(topic.Partitions, partition)
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Topics = append(req.Topics, topic)
	resp, err := request[*kmsg.DescribeQuorumResponse](ctx, n, req)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
			if p.LeaderID > 0 {
				return nil
			}
		}
	}
	return errors.New("no controller leads")
}
