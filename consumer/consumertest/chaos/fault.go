package chaos

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// fault is one way to break something. It leaves everything whole again when it returns.
type fault struct {
	name       string
	says       string
	track      track
	hold       [2]time.Duration // how long it lasts, drawn between the two
	settle     time.Duration    // about how long it takes beyond
	brokersMin int
	do         func(ctx context.Context, r *rig, s step)
}

// catalogue has every fault, in the order of its tracks.
var catalogue = slices.Concat(processFaults, linkFaults("", "Kafka", kafkaLinks), linkFaults("redis-", "Redis", redisLinks),
	brokerFaults, redisFaults, dataFaults)

// FaultNames returns the names of all faults.
func FaultNames() []string {
	names := make([]string, len(catalogue))
	for i, f := range catalogue {
		names[i] = f.name
	}
	return names
}

// Describe returns a line for each fault, for people.
func Describe() string {
	var b strings.Builder
	for _, f := range catalogue {
		b.WriteString("  " + f.name + strings.Repeat(" ", max(1, 18-len(f.name))) + f.says + "\n")
	}
	return b.String()
}

// churnEvery is how long a further member stays, and how long it is away.
const churnEvery = 2 * time.Second

var processFaults = []*fault{
	{name: "kill", says: "SIGKILL of an engine, and a new start", track: trackProcess, hold: [2]time.Duration{0, 3 * time.Second},
		do: func(ctx context.Context, r *rig, s step) {
			m := r.pick(s)
			m.kill()
			sleep(ctx, s.hold)
			m.start()
		}},
	{name: "freeze", says: "SIGSTOP of an engine for longer than its session, then SIGCONT: a zombie", track: trackProcess,
		hold: [2]time.Duration{sessionTimeout + time.Second, sessionTimeout + 4*time.Second},
		do: func(ctx context.Context, r *rig, s step) {
			m := r.pick(s)
			m.engine.Freeze()
			sleep(ctx, s.hold)
			m.engine.Thaw()
		}},
	{name: "term", says: "SIGTERM of an engine, and a new start", track: trackProcess, hold: [2]time.Duration{0, 3 * time.Second},
		do: func(ctx context.Context, r *rig, s step) {
			m := r.pick(s)
			m.term()
			sleep(ctx, s.hold)
			m.start()
		}},
	{name: "churn", says: "a further engine joins and leaves every 2 s", track: trackProcess,
		hold: [2]time.Duration{4 * churnEvery, 8 * churnEvery},
		do: func(ctx context.Context, r *rig, s step) {
			rng := s.rng()
			for end := time.Now().Add(s.hold); time.Now().Before(end) && ctx.Err() == nil; {
				r.extra.start()
				sleep(ctx, churnEvery)
				if rng.IntN(4) == 0 {
					r.extra.kill()
				} else {
					r.extra.term()
				}
				sleep(ctx, churnEvery)
			}
		}},
}

func kafkaLinks(m *member) []*consumertest.Proxy { return m.kafka }
func redisLinks(m *member) []*consumertest.Proxy { return []*consumertest.Proxy{m.redis} }

// linkFaults are what breaks between one engine and a service.
func linkFaults(prefix, service string, links func(*member) []*consumertest.Proxy) []*fault {
	between := "between an engine and " + service
	link := func(name, says string, low, high time.Duration, do func(ctx context.Context, ps []*consumertest.Proxy, hold time.Duration, rng *rand.Rand)) *fault {
		return &fault{name: prefix + name, says: says, track: trackNetwork, hold: [2]time.Duration{low, high},
			do: func(ctx context.Context, r *rig, s step) {
				r.links.RLock()
				defer r.links.RUnlock()
				ps := links(r.pick(s))
				do(ctx, ps, s.hold, s.rng())
				for _, p := range ps {
					p.Pass()
				}
			}}
	}
	return []*fault{
		link("cut", "all connections "+between+" are cut, again and again", time.Second, 3*time.Second,
			func(ctx context.Context, ps []*consumertest.Proxy, hold time.Duration, rng *rand.Rand) {
				again(ctx, hold, rng, func() {
					for _, p := range ps {
						p.CutAll()
					}
				})
			}),
		link("refuse", "no connection "+between+" can be made", time.Second, sessionTimeout+2*time.Second,
			func(ctx context.Context, ps []*consumertest.Proxy, hold time.Duration, _ *rand.Rand) {
				for _, p := range ps {
					p.Refuse()
				}
				sleep(ctx, hold)
			}),
		link("lost", "connections "+between+" end instead of giving a reply to what was carried out", time.Second, 4*time.Second,
			func(ctx context.Context, ps []*consumertest.Proxy, hold time.Duration, rng *rand.Rand) {
				again(ctx, hold, rng, func() {
					for _, p := range ps {
						p.CutReplies(1 + rng.IntN(3))
					}
				})
			}),
		link("mute", "what was carried out is not replied to, and connections stay: calls run into their deadlines", time.Second, sessionTimeout+2*time.Second,
			func(ctx context.Context, ps []*consumertest.Proxy, hold time.Duration, _ *rand.Rand) {
				for _, p := range ps {
					p.DropReplies()
				}
				sleep(ctx, hold)
				cutAll(ps)
			}),
		link("late", "requests "+between+" arrive long after they were sent, also those that were given up", time.Second, sessionTimeout+2*time.Second,
			func(ctx context.Context, ps []*consumertest.Proxy, hold time.Duration, rng *rand.Rand) {
				for _, p := range ps {
					p.Hold()
				}
				sleep(ctx, hold)
				for _, i := range rng.Perm(len(ps)) { // in any order
					ps[i].Release()
				}
			}),
		link("slow", "a slow link "+between+": every piece takes 20 to 200 ms each way, or 50 to 500 KB/s in all", 2*time.Second, 6*time.Second,
			func(ctx context.Context, ps []*consumertest.Proxy, hold time.Duration, rng *rand.Rand) {
				narrow, delay, bytes := rng.IntN(2) == 0, 20+rng.IntN(180), 50_000+rng.IntN(450_000)
				for _, p := range ps {
					if narrow {
						p.Throttle(bytes)
					} else {
						p.Delay(time.Duration(delay) * time.Millisecond)
					}
				}
				sleep(ctx, hold)
			}),
		link("partition", "nothing passes "+between+", and connections stay", time.Second, 2*sessionTimeout,
			func(ctx context.Context, ps []*consumertest.Proxy, hold time.Duration, _ *rand.Rand) {
				for _, p := range ps {
					p.BlackHole()
				}
				sleep(ctx, hold)
				cutAll(ps)
			}),
	}
}

// cutAll ends connections in which bytes are missing, before any more pass on them.
func cutAll(ps []*consumertest.Proxy) {
	for _, p := range ps {
		p.Refuse() // Pass, by the caller, listens again
	}
}

// again does something again and again for a while, with pauses in between.
func again(ctx context.Context, hold time.Duration, rng *rand.Rand, do func()) {
	for end := time.Now().Add(hold); time.Now().Before(end) && ctx.Err() == nil; {
		do()
		sleep(ctx, 50*time.Millisecond+time.Duration(rng.IntN(450))*time.Millisecond)
	}
}

// brokerSettle is about how long a broker takes to come back and catch up.
const brokerSettle = 15 * time.Second

var brokerFaults = []*fault{
	{name: "broker-kill", says: "SIGKILL of a broker, and a new start: leaders and coordinators move", track: trackBroker, brokersMin: 3,
		hold: [2]time.Duration{brokerSession, 2 * brokerSession}, settle: brokerSettle,
		do: func(ctx context.Context, r *rig, s step) {
			broker := r.pickBroker(ctx, s)
			r.cluster.Kill(broker)
			sleep(ctx, s.hold)
			r.cluster.Start(broker)
			r.healed(ctx)
		}},
	{name: "broker-freeze", says: "SIGSTOP of a broker for longer than its session, then SIGCONT: a zombie leader", track: trackBroker, brokersMin: 3,
		hold: [2]time.Duration{brokerSession + time.Second, 3 * brokerSession}, settle: brokerSettle,
		do: func(ctx context.Context, r *rig, s step) {
			broker := r.pickBroker(ctx, s)
			r.cluster.Freeze(broker)
			sleep(ctx, s.hold)
			r.cluster.Thaw(broker)
			r.healed(ctx)
		}},
	{name: "broker-stop", says: "a clean stop of a broker, and a new start", track: trackBroker,
		hold: [2]time.Duration{0, 5 * time.Second}, settle: brokerSettle,
		do: func(ctx context.Context, r *rig, s step) {
			broker := r.pickBroker(ctx, s)
			if r.o.Brokers == 1 {
				defer r.silence(ctx)()
			}
			r.cluster.Stop(broker)
			sleep(ctx, s.hold)
			r.cluster.Start(broker)
			r.healed(ctx)
		}},
}

var redisFaults = []*fault{
	{name: "redis-restart", says: "SIGKILL of Redis, and a new start with its data", track: trackRedis, hold: [2]time.Duration{0, 6 * time.Second},
		do: func(ctx context.Context, r *rig, s step) {
			r.redis.Kill()
			sleep(ctx, s.hold)
			r.redis.Start()
		}},
	{name: "redis-empty", says: "SIGKILL of Redis, and a new start without data", track: trackRedis, hold: [2]time.Duration{0, time.Second},
		do: func(ctx context.Context, r *rig, s step) {
			r.redis.Kill()
			r.redis.RestoreData("")
			sleep(ctx, s.hold)
			r.redis.Start()
		}},
	{name: "redis-older", says: "SIGKILL of Redis, and a new start with a copy of some seconds before", track: trackRedis,
		hold: [2]time.Duration{time.Second, 8 * time.Second},
		do: func(ctx context.Context, r *rig, s step) {
			older := r.redis.CopyData()
			sleep(ctx, s.hold)
			r.redis.Kill()
			r.redis.RestoreData(older)
			r.redis.Start()
		}},
}

// sleep waits for so long, or until ctx ends: the time that a fault lasts.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
