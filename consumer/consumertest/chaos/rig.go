package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// rig is everything that runs.
type rig struct {
	tb      testing.TB
	o       Options
	cluster *consumertest.Cluster
	redis   *consumertest.RedisServer
	client  *kgo.Client // past all proxies
	admin   *kadm.Client
	members []*member
	extra   *member // joins and leaves
	checker *consumertest.Checker

	input, output, dead, group string

	// Every step holds it for reading, the data track's for writing: it wants all whole, and nothing else to break.
	pause sync.RWMutex
	// The network track's steps hold it for reading, silence for writing.
	links sync.RWMutex
	began time.Time // of the load
}

const (
	clusterTimeout = 2 * time.Minute
	readyTimeout   = time.Minute
	silenceBefore  = time.Second // for transactions whose end the broker has begun
)

func newRig(ctx context.Context, tb testing.TB, o Options) *rig {
	r := &rig{tb: tb, o: o, input: "events", output: "alerts", dead: "events.dead", group: "chaos"}
	r.cluster = consumertest.OwnCluster(tb, consumertest.ClusterOptions{Brokers: o.Brokers, Links: o.Members + 1, BrokerSessionTimeout: brokerSession})
	r.redis = consumertest.OwnRedis(tb)
	client, err := kgo.NewClient(kgo.SeedBrokers(r.cluster.Addrs()...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.Close)
	r.client, r.admin = client, kadm.NewClient(client)
	lanes := int32(o.Lanes)
	create, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	if err := consumertest.CreateTopics(create, r.cluster.Addrs(), consumertest.TopicSpec{Name: r.input, Partitions: lanes},
		consumertest.TopicSpec{Name: r.output, Partitions: lanes}, consumertest.TopicSpec{Name: r.dead, Partitions: max(lanes/2, 1)},
		consumertest.TopicSpec{Name: r.group + ".rekey", Partitions: lanes}); err != nil {
		tb.Fatal(err)
	}
	for i := range o.Members {
		r.members = append(r.members, newMember(r, i, fmt.Sprintf("engine-%d", i)))
	}
	r.extra = newMember(r, o.Members, "engine-extra")
	return r
}

func (r *rig) logf(format string, args ...any) {
	r.tb.Logf("%7.1fs "+format, append([]any{time.Since(r.began).Seconds()}, args...)...)
}

// pick chooses the member of a step.
func (r *rig) pick(s step) *member { return r.members[s.pick%uint64(len(r.members))] }

// pickBroker chooses the broker of a step: mostly one that leads what matters most, the group or its transactions.
func (r *rig) pickBroker(ctx context.Context, s step) int {
	any := int(s.pick % uint64(r.o.Brokers))
	var broker int
	var err error
	switch s.pick / 8 % 3 {
	case 0:
		broker, err = r.cluster.Coordinator(ctx, r.group)
	case 1:
		broker, err = r.cluster.Leader(ctx, r.output, int32(s.pick/64%uint64(r.o.Lanes)))
	default:
		return any
	}
	if err != nil {
		return any
	}
	return broker
}

// silence ends all traffic between the engines and Kafka, and returns what lets it pass again. A lone broker is stopped
// only then, since Kafka 4.4.0 can leave a hanging transaction otherwise (KAFKA-20734, not mended in November 2026):
//
//  1. The coordinator has stored PrepareCommit, and looks up the leaders to which it sends the markers.
//  2. The broker's controlled shutdown has taken its leadership away, and no other replica can have it: leader -1.
//  3. KRaftMetadataCache.getPartitionLeaderEndpoint gives "no such partition" for it, not "no node now".
//  4. The coordinator takes the partitions for deleted, stores CompleteCommit, and no marker is ever written.
//
// No client can mend that. With replicas on other brokers a partition has a leader all the time.
func (r *rig) silence(ctx context.Context) (pass func()) {
	r.links.Lock()
	members := append(slices.Clone(r.members), r.extra)
	for _, m := range members {
		for _, p := range m.kafka {
			p.Refuse()
		}
	}
	sleep(ctx, silenceBefore)
	return func() {
		for _, m := range members {
			for _, p := range m.kafka {
				p.Pass()
			}
		}
		r.links.Unlock()
	}
}

// healed waits until all brokers are back and nothing lacks a replica: the next fault would else take what is left.
func (r *rig) healed(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	err := r.cluster.WaitUp(ctx, r.o.Brokers)
	if err == nil {
		err = r.cluster.WaitInSync(ctx, r.input, r.output, r.dead)
	}
	if err != nil && context.Cause(ctx) == context.DeadlineExceeded {
		r.tb.Errorf("chaos: the brokers are not whole again after %v: %v", clusterTimeout, err)
	}
}
