package main

import (
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// redisFault is what happens to the Redis of an engine at work.
type redisFault struct {
	name string
	do   func(t *testing.T, server *consumertest.RedisServer, proxy *consumertest.Proxy)
}

var redisFaults = []redisFault{
	{"refuses for a while", func(_ *testing.T, _ *consumertest.RedisServer, proxy *consumertest.Proxy) {
		proxy.Refuse()
		time.Sleep(3 * time.Second)
		proxy.Pass()
	}},
	{"black hole", func(_ *testing.T, _ *consumertest.RedisServer, proxy *consumertest.Proxy) {
		proxy.BlackHole()
		time.Sleep(3 * time.Second)
		proxy.CutAll()
		proxy.Pass()
	}},
	{"replies lost", func(_ *testing.T, _ *consumertest.RedisServer, proxy *consumertest.Proxy) {
		for range 8 { // each time some requests are done and not answered, and sent again
			proxy.CutReplies(3)
			time.Sleep(300 * time.Millisecond)
		}
		proxy.Pass()
	}},
	{"late writes", func(_ *testing.T, _ *consumertest.RedisServer, proxy *consumertest.Proxy) {
		proxy.Hold() // what is sent now arrives after what the engine sends again on other connections
		time.Sleep(3 * time.Second)
		proxy.Release()
		time.Sleep(time.Second)
	}},
	{"killed and started again", func(_ *testing.T, server *consumertest.RedisServer, _ *consumertest.Proxy) {
		server.Kill()
		time.Sleep(time.Second)
		server.Start()
	}},
	{"emptied", func(_ *testing.T, server *consumertest.RedisServer, _ *consumertest.Proxy) {
		server.Kill()
		server.RestoreData("")
		server.Start()
	}},
	{"older copy", func(_ *testing.T, server *consumertest.RedisServer, _ *consumertest.Proxy) {
		older := server.CopyData()
		time.Sleep(2500 * time.Millisecond)
		server.Kill()
		server.RestoreData(older)
		server.Start()
	}},
	{"swapped for an older copy", func(t *testing.T, server *consumertest.RedisServer, proxy *consumertest.Proxy) {
		older := server.CopyData()
		time.Sleep(2500 * time.Millisecond)
		other := consumertest.OwnRedis(t)
		other.Kill()
		other.RestoreData(older)
		other.Start()
		proxy.SetTarget(other.Addr()) // and stays there
	}},
}

// TestRedisFaults lets something happen to the Redis of an engine at work, whose memory is too small for all users. After it
// the engine is killed, so that the next one must take the states as Redis has them. All results are the model's.
func TestRedisFaults(t *testing.T) {
	skipShort(t)
	for _, fault := range redisFaults {
		t.Run(fault.name, func(t *testing.T) {
			_, seed := seeded(t)
			server := consumertest.OwnRedis(t)
			proxy := consumertest.NewProxy(t, server.Addr())
			s := newSystem(t, systemOptions{redis: proxy.Addr(), partitions: 2})
			s.redisExtra = "  cache_max: 1000\n  dirty_max: 1000\n  read_timeout: 1s\n  dial_timeout: 1s"
			e := s.engine("engine")
			e.Start()
			e.WaitReady(readyTimeout)
			stop := s.load(2000, consumertest.EventOptions{Seed: seed, Users: 1500})
			s.someJudged()
			fault.do(t, server, proxy)
			e.WaitReady(readyTimeout)
			s.drainBelow(2000, readyTimeout)
			e.Kill()
			e.Start()
			e.WaitReady(readyTimeout)
			stop()
			s.drain(readyTimeout)
			s.check(consumertest.CheckOptions{})
			term(t, e)
			s.checkStopped(true)
		})
	}
}

// TestRedisAwayAtStart starts an engine before its Redis.
func TestRedisAwayAtStart(t *testing.T) {
	proxy := consumertest.NewProxy(t, consumertest.Redis(t))
	proxy.Refuse()
	s := newSystem(t, systemOptions{redis: proxy.Addr()})
	s.produce(1000, consumertest.EventOptions{Seed: 1})
	e := s.engine("engine")
	e.Start()
	e.WaitLog(readyTimeout, "redis", proxy.Addr())
	if e.Ready() {
		t.Error("ready without Redis")
	}
	proxy.Pass()
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	s.check(consumertest.CheckOptions{})
	term(t, e)
}

// TestRedisUnfit starts engines at a Redis that time does not mend: each ends and says why.
func TestRedisUnfit(t *testing.T) {
	for name, tc := range map[string]struct {
		server []string // arguments of redis-server
		config string   // lines of the section redis
		says   []string
	}{
		"evicts":         {server: []string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, says: []string{"allkeys-lru", "CONFIG SET maxmemory-policy noeviction"}},
		"no password":    {server: []string{"--requirepass", "secret"}, says: []string{"redis.password"}},
		"wrong password": {server: []string{"--requirepass", "secret"}, config: "  password: guess", says: []string{"redis.password"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := consumertest.OwnRedis(t, tc.server...)
			s := newSystem(t, systemOptions{redis: server.Addr()})
			s.redisExtra = tc.config
			s.endsByItself(append(tc.says, server.Addr())...)
		})
	}
}

// endsByItself starts an engine that cannot work: it says so and ends with an exit code for failure.
func (s *system) endsByItself(says ...string) {
	s.t.Helper()
	e := s.engine("engine")
	e.Start()
	code, ended := e.Wait(readyTimeout)
	if !ended || code != 1 {
		s.t.Errorf("ended = %v with exit code %d, want 1", ended, code)
	}
	e.WaitLog(time.Second, says...)
}
