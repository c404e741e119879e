package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/state"
)

// topologyUsers are so many that most that were stored before a fault are not touched again before the kill: a stale state
// would be believed.
const topologyUsers = 12_000

// underTopologyFault runs an engine, lets something happen to its Redis under load, kills the engine soon after it, so that
// the next one must take the states as Redis has them, and compares all results with the model's.
func (s *system) underTopologyFault(o state.RedisOptions, fault func(e *consumertest.Engine)) {
	s.t.Helper()
	_, seed := seeded(s.t)
	s.redisExtra = "  read_timeout: 1s\n  dial_timeout: 1s"
	events := consumertest.NewGenerator(consumertest.EventOptions{Seed: seed, Users: topologyUsers})
	s.produceFrom(10*topologyUsers, events) // so that every user is known
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	stop := s.loadFrom(3000, events)
	fault(e)
	e.WaitReady(readyTimeout)
	s.drainBelow(3000, readyTimeout)
	e.Kill()
	stop()
	e.Start()
	e.WaitReady(readyTimeout)
	s.produceFrom(30_000, events)
	s.drain(readyTimeout)
	s.check(consumertest.CheckOptions{})
	term(s.t, e)
	s.checkStoppedAt(o, true)
}

// TestSentinelFailover kills a master that has acknowledged flushes which its replica has not.
func TestSentinelFailover(t *testing.T) {
	skipShort(t)
	r := consumertest.OwnRedisSentinels(t, 1, 3)
	s := newSystem(t, systemOptions{redis: r.Current().Addr(), partitions: 2})
	s.redisServers = fmt.Sprintf("  sentinel: {master: %s, addrs: [%s]}", r.Master(), `"`+strings.Join(r.Addrs(), `","`)+`"`)
	o := state.DefaultRedisOptions()
	o.Addrs, o.Sentinel.Master, o.Sentinel.Addrs = nil, r.Master(), r.Addrs()
	s.underTopologyFault(o, func(e *consumertest.Engine) {
		former := r.Current()
		r.AwaitReplicas()
		former.CutReplicas()
		time.Sleep(2500 * time.Millisecond) // flushes that will be lost
		former.Kill()
		r.AwaitFailover(former)
		e.WaitLog(readyTimeout, "went back in time")
		e.WaitReady(readyTimeout)
		r.StartReplica(former)
	})
}

// TestClusterFaults gives a fourth master its share, and then kills a master that has acknowledged what its replica has not.
func TestClusterFaults(t *testing.T) {
	skipShort(t)
	c := consumertest.OwnRedisCluster(t, 3, 1)
	s := newSystem(t, systemOptions{redis: c.Addrs()[0], partitions: 2})
	s.redisServers = fmt.Sprintf("  cluster: true\n  addrs: [%s]", `"`+strings.Join(c.Addrs(), `","`)+`"`)
	o := state.DefaultRedisOptions()
	o.Addrs, o.Cluster, o.Shards = c.Addrs(), true, state.ClusterShards
	s.underTopologyFault(o, func(e *consumertest.Engine) {
		fourth := c.AddMaster()
		c.Reshard(fourth, 2048)
		if n := fourth.Client().DBSize(t.Context()).Val(); n == 0 {
			t.Error("the fourth master got no key")
		}
		if strings.Contains(e.Log(), "fenced") {
			t.Error("a reshard is no loss, and a lane was fenced")
		}
		e.WaitReady(readyTimeout)
		c.AwaitReplicas()
		former, replica := c.Nodes()[1], c.Nodes()[4]
		former.CutReplicas()
		time.Sleep(2500 * time.Millisecond) // flushes that will be lost
		former.Kill()
		c.AwaitPromotion(replica, 4)
		e.WaitLog(readyTimeout, "went back in time")
	})
}
