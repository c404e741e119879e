package state_test

import (
	"slices"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/state"
)

// TestInspectRedis: a server that the store refuses is looked at all the same.
func TestInspectRedis(t *testing.T) {
	server := consumertest.OwnRedis(t, "--maxmemory-policy", "allkeys-lru", "--requirepass", "secret")
	o := state.DefaultRedisOptions()
	o.Addrs, o.Group, o.Password = []string{server.Addr()}, "inspect", "secret"
	facts, err := state.InspectRedis(t.Context(), o, 5)
	if err != nil || len(facts) != 1 || facts[0].Err != nil {
		t.Fatalf("%+v, %v", facts, err)
	}
	f := facts[0]
	if f.Name != server.Addr() || f.Info["maxmemory_policy"] != "allkeys-lru" || f.Info["aof_enabled"] != "1" {
		t.Errorf("%s: policy %q, aof %q", f.Name, f.Info["maxmemory_policy"], f.Info["aof_enabled"])
	}
	if len(f.RoundTrips) != 5 || f.RoundTrips[0] <= 0 || !slices.IsSorted(f.RoundTrips) {
		t.Errorf("round trips %v", f.RoundTrips)
	}
	if f.Ahead.Abs() > f.RoundTrips[0]+time.Millisecond { // one machine, one clock
		t.Errorf("the server's clock is ahead by %v", f.Ahead)
	}

	o.Password = "wrong"
	facts, err = state.InspectRedis(t.Context(), o, 5)
	if err != nil || len(facts) != 1 || facts[0].Err == nil || state.Retriable(facts[0].Err) {
		t.Errorf("wrong password: %+v, %v", facts, err)
	}
}

// TestInspectRedisTopologies: every master of a cluster, and the one that sentinels name.
func TestInspectRedisTopologies(t *testing.T) {
	if testing.Short() {
		t.Skip("starts ten servers")
	}
	cluster := consumertest.OwnRedisCluster(t, 3, 0)
	o := state.DefaultRedisOptions()
	o.Addrs, o.Cluster, o.Shards, o.Group = cluster.Addrs()[:1], true, state.ClusterShards, "inspect"
	facts, err := state.InspectRedis(t.Context(), o, 1)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range facts {
		names = append(names, f.Name)
		if f.Err != nil || f.Info["redis_mode"] != "cluster" || len(f.RoundTrips) != 1 {
			t.Errorf("%s: %+v", f.Name, f)
		}
	}
	want := cluster.Addrs()
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("masters %v, want %v", names, want)
	}

	sentinels := consumertest.OwnRedisSentinels(t, 1, 1)
	o = state.DefaultRedisOptions()
	o.Group, o.Sentinel = "inspect", state.SentinelOptions{Master: sentinels.Master(), Addrs: sentinels.Addrs()}
	facts, err = state.InspectRedis(t.Context(), o, 1)
	if err != nil || len(facts) != 1 || facts[0].Err != nil || facts[0].Info["role"] != "master" || facts[0].Info["redis_mode"] != "standalone" {
		t.Errorf("the sentinels' master: %+v, %v", facts, err)
	}
}
