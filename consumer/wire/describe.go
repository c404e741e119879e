package wire

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// Cluster is what a broker says of its cluster and of some topics.
type Cluster struct {
	Brokers []Broker // Those that live, with the addresses that clients are sent to.
	Topics  []TopicDescription
}

// Broker is one broker of a cluster.
type Broker struct {
	ID   int32
	Addr string // host:port, as the broker advertises it.
}

// TopicDescription is a topic with the places of its partitions.
type TopicDescription struct {
	Topic
	Placement []PartitionPlace // By partition.
	// Allowed is what this client may do with the topic.
	Allowed Operations
}

// PartitionPlace says where a partition is.
type PartitionPlace struct {
	Leader   int32 // The broker's id, -1: none now.
	Replicas int
	InSync   int // Of the replicas, how many have all that is acknowledged.
}

// Operation is an operation that the broker allows or not, with Kafka's number.
type Operation uint8

// The operations that Lapwing needs.
const (
	OperationRead            Operation = 3
	OperationWrite           Operation = 4
	OperationCreate          Operation = 5
	OperationAlter           Operation = 7
	OperationDescribe        Operation = 8
	OperationDescribeConfigs Operation = 10
	OperationIdempotentWrite Operation = 12
)

// String returns the operation as kafka-acls takes it.
func (o Operation) String() string {
	switch o {
	case OperationRead:
		return "Read"
	case OperationWrite:
		return "Write"
	case OperationCreate:
		return "Create"
	case OperationAlter:
		return "Alter"
	case OperationDescribe:
		return "Describe"
	case OperationDescribeConfigs:
		return "DescribeConfigs"
	case OperationIdempotentWrite:
		return "IdempotentWrite"
	}
	return "operation " + strconv.Itoa(int(o))
}

// Operations is a set of operations. The zero value is one that the broker did
// not tell.
type Operations uint32

// operationsUnknown is Kafka's default of the field: it was not filled in.
const operationsUnknown = -1 << 31

func operationsOf(field int32) Operations {
	if field == operationsUnknown {
		return 0
	}
	return Operations(field)
}

// Denies reports that the broker told what is allowed, and that this is not.
func (o Operations) Denies(op Operation) bool { return o != 0 && o&(1<<op) == 0 }

// DescribeCluster asks for the cluster's brokers and for topics by name, in the
// order of the names. What is wrong with one topic is in its Err. It creates no
// topic.
func (c *Client) DescribeCluster(ctx context.Context, names ...string) (*Cluster, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	body, err := c.askRaw(ctx, anyBroker, c.metadataRequest(names, true))
	if err != nil {
		return nil, fmt.Errorf("ask for metadata of topics %q: %w", names, err)
	}
	return decodeCluster(body, names)
}

// decodeCluster reads a Metadata answer of version 12 with all that it says.
func decodeCluster(body []byte, names []string) (*Cluster, error) {
	d := decoder{rest: body}
	cluster := &Cluster{}
	d.tags()
	d.int32() // Throttle time.
	for n := d.compactCount(12); n > 0 && !d.bad; n-- {
		id := d.int32()
		host := string(d.compactString())
		port := d.int32()
		d.compactString() // Rack.
		d.tags()
		cluster.Brokers = append(cluster.Brokers, Broker{ID: id, Addr: net.JoinHostPort(host, strconv.Itoa(int(port)))})
	}
	d.compactString() // Cluster id.
	d.int32()         // Controller.
	found := make(map[string]TopicDescription)
	for n := d.compactCount(26); n > 0 && !d.bad; n-- {
		t := TopicDescription{}
		code := d.int16()
		t.Name = string(d.compactString())
		copy(t.ID[:], d.take(16))
		d.take(1) // Internal.
		t.Placement = decodePlacement(&d)
		t.Partitions = int32(len(t.Placement))
		t.Allowed = operationsOf(d.int32())
		d.tags()
		t.Err = codeError("metadata of", t.Name, -1, -1, code)
		found[t.Name] = t
	}
	d.tags()
	if err := d.err("metadata"); err != nil {
		return nil, err
	}
	for _, name := range names {
		t, ok := found[name]
		if !ok {
			return nil, fmt.Errorf("%w: metadata answer leaves out topic %q", ErrMalformed, name)
		}
		cluster.Topics = append(cluster.Topics, t)
	}
	return cluster, nil
}

func decodePlacement(d *decoder) []PartitionPlace {
	n := d.compactCount(18)
	places := make([]PartitionPlace, n)
	for i := range places {
		places[i].Leader = -1
	}
	for range n {
		d.int16() // Code: a leader of -1 says the same.
		partition := d.int32()
		p := PartitionPlace{Leader: d.int32()}
		d.int32() // Leader epoch.
		p.Replicas = d.compactCount(4)
		d.take(4 * p.Replicas)
		p.InSync = d.compactCount(4)
		d.take(4 * p.InSync)
		d.take(4 * d.compactCount(4)) // Offline replicas.
		d.tags()
		if d.bad {
			return nil
		}
		// Partitions are numbered from 0 without gaps, in any order.
		if partition < 0 || int(partition) >= n {
			d.fail()
			return nil
		}
		places[partition] = p
	}
	return places
}
