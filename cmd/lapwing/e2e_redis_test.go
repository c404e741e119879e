package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// redisRig is an engine whose Redis is its own, behind a proxy.
type redisRig struct {
	t      *testing.T
	engine *consumertest.Engine
	server *consumertest.RedisServer
	proxy  *consumertest.Proxy
}

// redisFault is what happens to the Redis of an engine at work.
type redisFault struct {
	name  string
	cache int    // users in memory; 0: all
	flush string // interval; empty: 500ms
	do    func(r *redisRig)
}

var redisFaults = []redisFault{
	{name: "refuses for a while", cache: 5000, do: func(r *redisRig) {
		r.proxy.Refuse()
		time.Sleep(3 * time.Second)
		r.proxy.Pass()
	}},
	{name: "black hole", cache: 5000, do: func(r *redisRig) {
		r.proxy.BlackHole()
		time.Sleep(3 * time.Second)
		r.proxy.CutAll()
		r.proxy.Pass()
	}},
	{name: "replies lost", cache: 5000, do: func(r *redisRig) {
		for range 8 { // each time some requests are done and not answered, and sent again
			r.proxy.CutReplies(3)
			time.Sleep(300 * time.Millisecond)
		}
		r.proxy.Pass()
	}},
	{name: "late writes", do: func(r *redisRig) {
		r.proxy.Hold() // what is sent now arrives after what the engine sends again on other connections
		time.Sleep(3 * time.Second)
		r.proxy.Release()
		time.Sleep(1500 * time.Millisecond) // a newer flush writes its checkpoint over them
	}},
	{name: "killed and started again", cache: 5000, do: func(r *redisRig) {
		r.server.Kill()
		time.Sleep(time.Second)
		r.server.Start()
	}},
	{name: "emptied", cache: 5000, do: func(r *redisRig) {
		r.server.Kill()
		r.server.RestoreData("")
		r.server.Start()
	}},
	{name: "older copy", do: func(r *redisRig) {
		older := r.server.CopyData()
		time.Sleep(2500 * time.Millisecond)
		r.server.Kill()
		r.server.RestoreData(older)
		r.server.Start()
		time.Sleep(1500 * time.Millisecond)
	}},
	{name: "swapped for an older copy", do: func(r *redisRig) {
		older := r.server.CopyData()
		time.Sleep(2500 * time.Millisecond)
		other := consumertest.OwnRedis(r.t)
		other.Kill()
		other.RestoreData(older)
		other.Start()
		r.proxy.SetTarget(other.Addr()) // and stays there
		time.Sleep(1500 * time.Millisecond)
	}},
	{name: "engine killed in the middle of a flush", flush: "2s", do: func(r *redisRig) {
		// With all users in memory the engine sends nothing but flushes. A lane's is of several chunks, each applied whole:
		// after some bytes some users are newer in Redis than the checkpoint.
		left := 130 << 10
		full := make(chan struct{})
		r.proxy.Intercept(func(d consumertest.Direction, piece []byte) consumertest.Action {
			if left < 0 {
				return consumertest.Swallow
			}
			if d == consumertest.ToServer {
				if left -= len(piece); left < 0 {
					close(full)
				}
			}
			return consumertest.Forward
		})
		select {
		case <-full:
		case <-time.After(readyTimeout):
			r.t.Error("no flush came")
		}
		r.engine.Kill()
		r.proxy.Pass()
		r.engine.Start()
	}},
}

// TestRedisFaults lets something happen to the Redis of an engine at work. Soon after it the engine is killed, so that the
// next one must take the states as Redis has them. The users are many, so that most that were stored before the fault are
// not touched again before the kill: a stale state would be believed. All results are the model's.
func TestRedisFaults(t *testing.T) {
	skipShort(t)
	for _, fault := range redisFaults {
		t.Run(fault.name, func(t *testing.T) {
			_, seed := seeded(t)
			server := consumertest.OwnRedis(t)
			proxy := consumertest.NewProxy(t, server.Addr())
			s := newSystem(t, systemOptions{redis: proxy.Addr(), partitions: 2})
			s.flush = fault.flush
			s.redisExtra = "  read_timeout: 1s\n  dial_timeout: 1s"
			if fault.cache > 0 {
				s.redisExtra += fmt.Sprintf("\n  cache_max: %[1]d\n  dirty_max: %[1]d", fault.cache)
			}
			events := consumertest.NewGenerator(consumertest.EventOptions{Seed: seed, Users: 12_000})
			s.produceFrom(120_000, events) // so that every user is known: of one that is not, Redis is asked, and that would tell
			e := s.engine("engine")
			e.Start()
			e.WaitReady(readyTimeout)
			s.drain(readyTimeout)
			stop := s.loadFrom(4000, events)
			time.Sleep(time.Second)
			fault.do(&redisRig{t: t, engine: e, server: server, proxy: proxy})
			e.WaitReady(readyTimeout)
			s.drainBelow(4000, readyTimeout)
			e.Kill()
			stop()
			e.Start()
			e.WaitReady(readyTimeout)
			s.produceFrom(30_000, events)
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
		env    []string
		says   []string
	}{
		"evicts":         {server: []string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, says: []string{"allkeys-lru", "CONFIG SET maxmemory-policy noeviction"}},
		"no password":    {server: []string{"--requirepass", "right-lapwing-test-secret"}, says: []string{"login", "redis.password"}},
		"wrong password": {server: []string{"--requirepass", "right-lapwing-test-secret"}, env: []string{"LAPWING_REDIS_PASSWORD=wrong-lapwing-test-secret"}, says: []string{"login", "redis.password"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := consumertest.OwnRedis(t, tc.server...)
			s := newSystem(t, systemOptions{redis: server.Addr()})
			s.env = tc.env
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

// TestThawedOwner freezes an owner whose flush is under way. The next owner goes on; then the old flush arrives, the old
// owner thaws and gets lanes again: what it wrote late must be nowhere.
func TestThawedOwner(t *testing.T) {
	skipShort(t)
	_, seed := seeded(t)
	server := consumertest.OwnRedis(t)
	proxy := consumertest.NewProxy(t, server.Addr())
	s := newSystem(t, systemOptions{redis: proxy.Addr(), partitions: 2})
	old := s.engine("old owner")
	s.redisAddr = server.Addr()
	next := s.engine("next owner")
	events := consumertest.NewGenerator(consumertest.EventOptions{Seed: seed, Users: 12_000})
	s.produceFrom(120_000, events) // so that every user is known and only flushes go to Redis
	old.Start()
	old.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	stop := s.loadFrom(4000, events)
	time.Sleep(time.Second)
	proxy.Hold()
	time.Sleep(1200 * time.Millisecond) // two flushes of each lane are due
	old.Freeze()
	stop()
	next.Start()
	next.WaitReady(readyTimeout)
	s.produceFrom(120_000, events) // the next owner meets every user, so that it reads nothing more
	s.drain(readyTimeout)
	time.Sleep(time.Second) // and flushes
	proxy.Release()
	time.Sleep(time.Second) // the old flush arrives
	s.produceFrom(3000, events)
	s.drain(readyTimeout)
	old.Thaw()
	term(t, next)
	s.produceFrom(30_000, events)
	s.drain(readyTimeout)
	s.check(consumertest.CheckOptions{})
	term(t, old)
	s.checkStopped(true)
}
