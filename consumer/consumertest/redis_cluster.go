package consumertest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// RedisCluster is a Redis Cluster of one test's own processes. It needs Redis 7.0 or newer.
type RedisCluster struct {
	tb    testing.TB
	nodes []*RedisServer
	args  []string
}

// clusterSlots is the number of slots of every cluster.
const clusterSlots = 16384

// OwnRedisCluster starts a cluster of masters, which share the slots evenly, each with so many
// replicas, and waits until it serves. Arguments are options of the servers, as of OwnRedis.
func OwnRedisCluster(tb testing.TB, masters, replicas int, args ...string) *RedisCluster {
	tb.Helper()
	c := &RedisCluster{tb: tb, args: args}
	for range masters * (1 + replicas) {
		c.nodes = append(c.nodes, c.startNode())
	}
	for i := range masters {
		c.nodes[i].do("cluster", "addslotsrange", i*clusterSlots/masters, (i+1)*clusterSlots/masters-1)
		c.nodes[i].do("cluster", "set-config-epoch", i+1)
	}
	for _, node := range c.nodes[1:] {
		c.meet(node)
	}
	for i, replica := range c.nodes[masters:] {
		id := c.ID(c.nodes[i%masters])
		replica.poll("acquainted with its master", func() error {
			return replica.ask(func(ctx context.Context, client *redis.Client) error {
				return client.ClusterReplicate(ctx, id).Err()
			})
		})
	}
	c.AwaitServing(masters)
	for i, replica := range c.nodes[masters:] {
		awaitReplicated(c.nodes[i%masters], replica)
	}
	return c
}

// startNode starts a node that knows nobody. It calls another one down after 1.5 s.
func (c *RedisCluster) startNode() *RedisServer {
	c.tb.Helper()
	node := newRedisServer(c.tb)
	node.startOnFreePort(func() error {
		node.args = replicaArgs(append([]string{
			"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(FreePort(c.tb)), "--cluster-node-timeout", "1500",
			"--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no",
		}, c.args...)...)
		return nil
	})
	return node
}

// meet makes a node known to the first one that runs, and so to all.
func (c *RedisCluster) meet(node *RedisServer) {
	c.tb.Helper()
	bus := node.args[slices.Index(node.args, "--cluster-port")+1]
	first := slices.IndexFunc(c.nodes, func(n *RedisServer) bool { return n.cmd != nil })
	c.nodes[first].do("cluster", "meet", "127.0.0.1", strconv.Itoa(node.port), bus)
}

// Addrs returns the addresses of all nodes that run.
func (c *RedisCluster) Addrs() []string {
	var addrs []string
	for _, node := range c.nodes {
		if node.cmd != nil {
			addrs = append(addrs, node.Addr())
		}
	}
	return addrs
}

// Nodes returns the nodes: the masters of the beginning, their replicas, and what was added.
func (c *RedisCluster) Nodes() []*RedisServer { return c.nodes }

// Client returns a client of the cluster. It is closed with the test.
func (c *RedisCluster) Client() *redis.ClusterClient {
	c.tb.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), Protocol: 2, DisableIdentity: true, TLSConfig: c.nodes[0].clientTLS()})
	c.tb.Cleanup(func() { _ = client.Close() })
	return client
}

// ID returns the id of a node.
func (c *RedisCluster) ID(node *RedisServer) string {
	c.tb.Helper()
	return node.do("cluster", "myid").(string)
}

// AddMaster starts a further master, without slots, and waits until all know it.
func (c *RedisCluster) AddMaster() *RedisServer {
	c.tb.Helper()
	node := c.startNode()
	c.nodes = append(c.nodes, node)
	c.meet(node)
	for _, other := range c.nodes {
		if other.cmd == nil {
			continue
		}
		other.poll("acquainted with all", func() error {
			info, err := other.clusterInfo()
			if err == nil && (number(info["cluster_known_nodes"]) != int64(len(c.nodes)) || info["cluster_state"] != "ok") {
				err = fmt.Errorf("it knows %s nodes, state %s", info["cluster_known_nodes"], info["cluster_state"])
			}
			return err
		})
	}
	return node
}

// AwaitServing waits until all nodes that run agree that all slots are served, by so many masters.
func (c *RedisCluster) AwaitServing(masters int) {
	c.tb.Helper()
	for _, node := range c.nodes {
		if node.cmd == nil {
			continue
		}
		node.poll("in a cluster that serves", func() error {
			info, err := node.clusterInfo()
			if err != nil {
				return err
			}
			if info["cluster_state"] != "ok" || number(info["cluster_slots_ok"]) != clusterSlots || number(info["cluster_size"]) != int64(masters) {
				return fmt.Errorf("state %s, %s slots, %s masters with slots", info["cluster_state"], info["cluster_slots_ok"], info["cluster_size"])
			}
			return nil
		})
	}
}

// AwaitPromotion waits until a replica of the beginning is a master in the place of its own, which was killed.
func (c *RedisCluster) AwaitPromotion(replica *RedisServer, masters int) {
	c.tb.Helper()
	replica.poll("a master", func() error {
		_, err := replica.role("master")
		return err
	})
	c.AwaitServing(masters)
}

// Reshard moves so many slots to a node, from all others, as an operator does. It returns when they are moved.
func (c *RedisCluster) Reshard(to *RedisServer, slots int) {
	c.tb.Helper()
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		lack(c.tb, RequireServices, "no redis-cli to move slots: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*redisSettleTimeout)
	defer cancel()
	var output []byte
	pollUntil(c.tb, "redis-cli takes the cluster for settled", func() error {
		output, err = exec.CommandContext(ctx, cli, "--cluster", "reshard", to.Addr(), "--cluster-from", "all", "--cluster-to", c.ID(to),
			"--cluster-slots", strconv.Itoa(slots), "--cluster-yes", "--cluster-pipeline", "10").CombinedOutput()
		if strings.Contains(string(output), "Nodes don't agree") {
			return errors.New("the nodes do not agree about the slots yet")
		}
		return nil
	})
	if err != nil {
		c.tb.Fatalf("reshard: %v\n%s", err, output[max(0, len(output)-logTailBytes):])
	}
}

// SlotMove is the move of one slot, step by step.
type SlotMove struct {
	cluster  *RedisCluster
	slot     int64
	from, to *RedisServer
}

// BeginMove opens the move of the slot of a key to another node: each key of it may be on either from now on.
func (c *RedisCluster) BeginMove(key string, from, to *RedisServer) *SlotMove {
	c.tb.Helper()
	m := &SlotMove{cluster: c, slot: from.do("cluster", "keyslot", key).(int64), from: from, to: to}
	to.do("cluster", "setslot", m.slot, "importing", c.ID(from))
	from.do("cluster", "setslot", m.slot, "migrating", c.ID(to))
	return m
}

// Keys returns at most so many keys of the slot that have not been moved.
func (m *SlotMove) Keys(max int) []string {
	m.cluster.tb.Helper()
	var keys []string
	for _, key := range m.from.do("cluster", "getkeysinslot", m.slot, max).([]any) {
		keys = append(keys, key.(string))
	}
	return keys
}

// Move moves keys.
func (m *SlotMove) Move(keys ...string) {
	m.cluster.tb.Helper()
	args := []any{"migrate", "127.0.0.1", strconv.Itoa(m.to.port), "", 0, redisTimeout.Milliseconds(), "keys"}
	for _, key := range keys {
		args = append(args, key)
	}
	m.from.do(args...)
}

// End moves what is left and gives the slot to its new node.
func (m *SlotMove) End() {
	m.cluster.tb.Helper()
	for keys := m.Keys(100); len(keys) > 0; keys = m.Keys(100) {
		m.Move(keys...)
	}
	id := m.cluster.ID(m.to)
	m.to.do("cluster", "setslot", m.slot, "node", id)
	m.from.do("cluster", "setslot", m.slot, "node", id)
}

// Owner returns the master that serves the slot of a key.
func (c *RedisCluster) Owner(key string) *RedisServer {
	c.tb.Helper()
	client, err := c.Client().MasterForKey(context.Background(), key)
	if err != nil {
		c.tb.Fatal(err)
	}
	i := slices.IndexFunc(c.nodes, func(n *RedisServer) bool { return n.Addr() == client.Options().Addr })
	if i < 0 {
		c.tb.Fatalf("%s is served by %s, which is none of the nodes", key, client.Options().Addr)
	}
	return c.nodes[i]
}

func (s *RedisServer) clusterInfo() (map[string]string, error) {
	var text string
	err := s.ask(func(ctx context.Context, client *redis.Client) (err error) {
		text, err = client.ClusterInfo(ctx).Result()
		return err
	})
	return fields(text), err
}

// AwaitReplicas waits until every replica that runs has all that its master has acknowledged.
func (c *RedisCluster) AwaitReplicas() {
	c.tb.Helper()
	for _, replica := range c.nodes {
		if replica.cmd == nil {
			continue
		}
		info, err := replica.info("replication")
		if err != nil {
			c.tb.Fatal(err)
		}
		if info["role"] == "slave" {
			i := slices.IndexFunc(c.nodes, func(n *RedisServer) bool { return strconv.Itoa(n.port) == info["master_port"] })
			awaitReplicated(c.nodes[i], replica)
		}
	}
}
