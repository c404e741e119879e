package state_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/state"
	"github.com/lapwing/lapwing/state/storetest"
)

// sentinelOptions are those of a store that asks sentinels.
func sentinelOptions(s *consumertest.RedisSentinels) state.RedisOptions {
	o := state.DefaultRedisOptions()
	o.Group, o.Sentinel.Master, o.Sentinel.Addrs = "g", s.Master(), s.Addrs()
	o.DialTimeout, o.ReadTimeout = time.Second, time.Second
	return o
}

// clusterOptions are those of a store on a cluster. One seed is enough.
func clusterOptions(c *consumertest.RedisCluster, shards int) state.RedisOptions {
	o := state.DefaultRedisOptions()
	o.Group, o.Addrs, o.Cluster, o.Shards = "g", c.Addrs()[:1], true, shards
	o.DialTimeout, o.ReadTimeout = time.Second, time.Second
	return o
}

// TestContractOnSentinel runs the suite on a server that sentinels look after.
func TestContractOnSentinel(t *testing.T) {
	s := consumertest.OwnRedisSentinels(t, 1, 1)
	for _, shards := range []int{1, 4} {
		t.Run(fmt.Sprintf("shards=%d", shards), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Backend {
				o := sentinelOptions(s)
				o.Shards = shards
				return backend(t, o, redis.NewClient(&redis.Options{Addr: s.Current().Addr()}))
			})
		})
	}
}

// TestContractOnCluster runs the suite on three masters.
func TestContractOnCluster(t *testing.T) {
	c := consumertest.OwnRedisCluster(t, 3, 0)
	for _, shards := range []int{1, 4, state.ClusterShards} {
		t.Run(fmt.Sprintf("shards=%d", shards), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Backend {
				return backend(t, clusterOptions(c, shards), redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()}))
			})
		})
	}
}

// TestWrongTopology connects to servers of another kind than configured: none is used, and each error names the server and
// says what to do.
func TestWrongTopology(t *testing.T) {
	sentinels := consumertest.OwnRedisSentinels(t, 1, 1)
	cluster := consumertest.OwnRedisCluster(t, 3, 0)
	single := consumertest.OwnRedis(t)
	replica := sentinels.Replicas()[0]
	gone := consumertest.OwnRedis(t)
	gone.Kill()
	for name, test := range map[string]struct {
		change    func(o *state.RedisOptions)
		retriable bool
		says      []string
	}{
		"a sentinel as the server": {func(o *state.RedisOptions) { o.Addrs = sentinels.Addrs() }, false,
			[]string{sentinels.Addrs()[0], "redis.sentinel.addrs"}},
		"a sentinel as a cluster": {func(o *state.RedisOptions) { o.Addrs, o.Cluster = sentinels.Addrs(), true }, false,
			[]string{sentinels.Addrs()[0], "redis.sentinel.addrs"}},
		"a cluster's node as the server": {func(o *state.RedisOptions) { o.Addrs = cluster.Addrs()[:1] }, false,
			[]string{cluster.Addrs()[0], "set redis.cluster to true"}},
		"a server as a cluster": {func(o *state.RedisOptions) { o.Addrs, o.Cluster = []string{single.Addr()}, true }, false,
			[]string{single.Addr(), "set redis.cluster to false"}},
		"a replica as the server": {func(o *state.RedisOptions) { o.Addrs = []string{replica.Addr()} }, true,
			[]string{replica.Addr(), "replica", "redis.sentinel"}},
		"a master that no sentinel knows": {func(o *state.RedisOptions) { o.Sentinel.Master, o.Sentinel.Addrs = "other", sentinels.Addrs() }, false,
			[]string{"master other", sentinels.Addrs()[0], "SENTINEL MASTERS"}},
		"a master that a sentinel does not know, the others being away": {func(o *state.RedisOptions) {
			o.Sentinel.Master, o.Sentinel.Addrs = "other", []string{sentinels.Addrs()[0], gone.Addr()}
		}, true, []string{"master other", gone.Addr()}},
		"a server as a sentinel": {func(o *state.RedisOptions) { o.Sentinel.Master, o.Sentinel.Addrs = "m", []string{single.Addr()} }, false,
			[]string{"master m", single.Addr()}},
	} {
		t.Run(name, func(t *testing.T) {
			o := state.DefaultRedisOptions()
			o.Group = "g"
			test.change(&o)
			wantAll(t, openRedis(t, o), func(err error) string {
				if err == nil || state.Retriable(err) != test.retriable {
					return fmt.Sprintf("an error that is retriable: %v", test.retriable)
				}
				for _, text := range test.says {
					if !strings.Contains(err.Error(), text) {
						return text
					}
				}
				return ""
			})
		})
	}
}

// TestEvictionPolicyOfEachMaster finds the one server that would drop states, and names it.
func TestEvictionPolicyOfEachMaster(t *testing.T) {
	s := consumertest.OwnRedisSentinels(t, 1, 1)
	c := consumertest.OwnRedisCluster(t, 3, 0)
	for name, test := range map[string]struct {
		o      state.RedisOptions
		server *consumertest.RedisServer
	}{
		"sentinel": {sentinelOptions(s), s.Current()},
		"cluster":  {clusterOptions(c, 4), c.Nodes()[2]},
	} {
		t.Run(name, func(t *testing.T) {
			r := openRedis(t, test.o)
			if err := r.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := test.server.Client().ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
				t.Fatal(err)
			}
			for of, err := range map[string]error{"a connection that is there": r.Check(t.Context()), "a new one": openRedis(t, test.o).Check(t.Context())} {
				if !errors.Is(err, state.ErrEviction) || state.Retriable(err) || !strings.Contains(err.Error(), test.server.Addr()) {
					t.Errorf("%s: %v, want ErrEviction of %s", of, err, test.server.Addr())
				}
			}
			if _, err := openRedis(t, test.o).Claim(t.Context(), 3); !errors.Is(err, state.ErrEviction) {
				t.Errorf("claim: %v", err)
			}
		})
	}
}
