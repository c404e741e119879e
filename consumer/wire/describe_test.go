package wire

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

func TestDescribeCluster(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		topic := b.topic(t, c, 3)
		missing := unique("wire-missing")
		cluster, err := c.DescribeCluster(testContext(t), topic, missing)
		if err != nil {
			t.Fatal(err)
		}
		if len(cluster.Brokers) != 1 || cluster.Brokers[0].Addr != b.addr {
			t.Errorf("brokers %+v, want the one at %s", cluster.Brokers, b.addr)
		}
		if len(cluster.Topics) != 2 {
			t.Fatalf("%d topics, want 2", len(cluster.Topics))
		}
		found := cluster.Topics[0]
		if found.Name != topic || found.Err != nil || found.Partitions != 3 || found.ID == [16]byte{} {
			t.Errorf("topic %+v", found.Topic)
		}
		for p, place := range found.Placement {
			if place != (PartitionPlace{Leader: cluster.Brokers[0].ID, Replicas: 1, InSync: 1}) {
				t.Errorf("partition %d: %+v", p, place)
			}
		}
		if b.fake == nil { // Without an authorizer a broker allows everything, and says so.
			for _, op := range []Operation{OperationRead, OperationWrite, OperationDescribeConfigs} {
				if found.Allowed.Denies(op) || found.Allowed == 0 {
					t.Errorf("%v is not allowed in %b", op, found.Allowed)
				}
			}
		}
		if !errors.Is(cluster.Topics[1].Err, kafka.UnknownTopicOrPartition) {
			t.Errorf("missing topic: %v", cluster.Topics[1].Err)
		}
		// It was only asked for.
		topics, err := c.Topics(testContext(t), missing)
		if err != nil || !errors.Is(topics[0].Err, kafka.UnknownTopicOrPartition) {
			t.Errorf("the missing topic was made: %+v, %v", topics, err)
		}
	})
}

func TestOperations(t *testing.T) {
	const describe = 1 << 8
	for _, x := range []struct {
		field  int32
		denies bool
	}{
		{operationsUnknown, false},
		{0, false}, // A broker that does not tell.
		{describe, true},
		{describe | 1<<4, false},
	} {
		if got := operationsOf(x.field).Denies(OperationWrite); got != x.denies {
			t.Errorf("%b denies Write: %v, want %v", x.field, got, x.denies)
		}
	}
}

// TestDescribeGroup: a group with a member, and one that nobody ever joined.
func TestDescribeGroup(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		topic := b.topic(t, c, 1)
		member := b.join(t, c, unique("wire-group"), topic)
		g, err := c.DescribeGroup(testContext(t), member.Group)
		if err != nil {
			t.Fatal(err)
		}
		if g.State != "Stable" || g.Members != 1 || g.Protocol == "" || g.Allowed.Denies(OperationRead) {
			t.Errorf("%+v", g)
		}
		g, err = c.DescribeGroup(testContext(t), unique("wire-nobody"))
		if err != nil {
			t.Fatal(err)
		}
		if g.State != "Dead" || g.Members != 0 {
			t.Errorf("a group that does not exist: %+v", g)
		}
	})
}

func TestTopicConfigs(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		topic := b.topic(t, c, 1, "retention.ms", "123456")
		got, err := c.TopicConfigs(testContext(t), topic, "retention.ms", "cleanup.policy")
		if err != nil {
			t.Fatal(err)
		}
		if got["retention.ms"] != "123456" || got["cleanup.policy"] != "delete" {
			t.Errorf("%v", got)
		}
		_, err = c.TopicConfigs(testContext(t), unique("wire-missing"), "retention.ms")
		if !errors.Is(err, kafka.UnknownTopicOrPartition) {
			t.Errorf("missing topic: %v", err)
		}
	})
}

func TestFindTransactionCoordinator(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		if err := b.client(t).FindTransactionCoordinator(testContext(t), unique("wire-id")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestProbeBroker(t *testing.T) {
	b := fakeBroker(t)
	dead := closedPort(t)
	c := broker{addr: dead}.client(t)
	if err := c.ProbeBroker(testContext(t), b.addr); err != nil {
		t.Errorf("a broker that is not in Options.Brokers: %v", err)
	}
	if err := c.ProbeBroker(testContext(t), dead); err == nil || err.Stage != StageTCP || err.Broker != dead {
		t.Errorf("%v", err)
	}
}

// TestHostileDescriptions: answers that lie about their lengths are refused.
func TestHostileDescriptions(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		topic := b.topic(t, c, 2)
		x := c.metadataRequest([]string{topic}, false)
		metadata, err := c.askRaw(testContext(t), anyBroker, x)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(metadata) {
			if _, err := decodeCluster(metadata[:n], []string{topic}); !errors.Is(err, ErrMalformed) {
				t.Fatalf("cut after %d of %d bytes: %v", n, len(metadata), err)
			}
		}
		cluster, err := decodeCluster(metadata, []string{topic})
		if err != nil {
			t.Fatal(err)
		}
		if host, _, err := net.SplitHostPort(cluster.Brokers[0].Addr); err != nil || host != strings.Split(b.addr, ":")[0] {
			t.Errorf("address %q: %v", cluster.Brokers[0].Addr, err)
		}
	})
	group := []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 'g', 0, 1, 'S', 0, 0, 0, 1, 'p', 0, 0, 0, 1,
		0, 1, 'm', 0xff, 0xff, 0, 1, 'c', 0, 1, 'h', 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 8}
	g, err := decodeGroup(group)
	if err != nil || *g != (GroupDescription{State: "S", Protocol: "p", Members: 1, Allowed: 8}) {
		t.Fatalf("%+v, %v", g, err)
	}
	for n := range len(group) {
		if _, err := decodeGroup(group[:n]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(group), err)
		}
	}
}

// TestControllerClock: broker and test are on one machine, and so is the clock.
func TestControllerClock(t *testing.T) {
	c := realBroker(t).client(t)
	before := time.Now().Truncate(time.Millisecond)
	clock, err := c.ControllerClock(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if after := time.Now(); clock.Before(before) || clock.After(after) {
		t.Errorf("the controller's clock says %v, the test asked from %v to %v", clock, before, after)
	}
}
