package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lapwing/lapwing/consumer"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
)

// member is one engine from its start to its end, as a process would be.
type member struct {
	run     *run
	engine  *consumer.Engine
	client  *wire.Client
	network *network
	gate    *gate
	cancel  context.CancelFunc
	done    chan struct{} // closed at its end
	err     error         // of Run, once done

	partitioner contract.Partitioner
}

// start starts a member. One that ends by itself is started again, as long as the run goes on.
func (r *run) start() error {
	n := newNetwork(r.script, &r.links, &r.late, r.plant.tamper)
	g := new(gate)
	client, err := wire.New(wire.Options{
		Brokers: r.addrs, ClientID: "sim", Dial: n.dial, DialTimeout: requestTimeout, RequestTimeout: requestTimeout,
		MetadataTTL: requestTimeout,
	})
	if err != nil {
		return fmt.Errorf("sim: %w", err)
	}
	o := consumer.DefaultOptions()
	o.Client, o.Store, o.Rules = client, &handle{r.server, g, r.plant}, rules.Builtin()
	o.Brokers, o.Group, o.Output, o.DeadLetters = r.addrs, group, output, dead
	r.mu.Lock()
	o.Partitioner = r.partitioner
	o.Logger = r.log.With(slog.Int("member", r.started))
	r.started++
	r.mu.Unlock()
	r.settings.apply(&o)
	e, err := consumer.New(o)
	if err != nil {
		return fmt.Errorf("sim: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{run: r, engine: e, client: client, network: n, gate: g, cancel: cancel, done: make(chan struct{}), partitioner: o.Partitioner}
	r.mu.Lock()
	r.members = append(r.members, m)
	r.mu.Unlock()
	r.engines.Go(func() { m.live(ctx) })
	return nil
}

func (m *member) live(ctx context.Context) {
	m.err = m.engine.Run(ctx)
	m.client.Close()
	m.network.close()
	close(m.done)
	if ctx.Err() == nil {
		m.run.ended(m)
	}
}

// ended takes note of a member that ended by itself, and starts another one in its place.
func (r *run) ended(m *member) {
	r.remove(m)
	_, fatal := r.script.outcome()
	r.mu.Lock()
	closing := r.closing
	if !fatal {
		r.failures = append(r.failures, fmt.Errorf("an engine ended although no fault did that: %w", m.err))
	}
	r.mu.Unlock()
	if closing {
		return
	}
	r.log.Info("the member ended by itself", "err", m.err)
	time.Sleep(10 * time.Millisecond) // as whatever runs processes does
	if err := r.start(); err != nil {
		r.fail(err)
	}
}

func (r *run) remove(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, o := range r.members {
		if o == m {
			r.members = append(r.members[:i:i], r.members[i+1:]...)
			return
		}
	}
}

// stopTimeout is how long a member may take for its clean end: its drain, the leaving, and requests that time out.
const stopTimeout = 15 * time.Second

// stop ends a member cleanly.
func (m *member) stop() error {
	m.run.remove(m)
	m.cancel()
	select {
	case <-m.done:
	case <-time.After(stopTimeout):
		return fmt.Errorf("a member has not stopped within %v", stopTimeout)
	}
	if m.err != nil {
		if _, fatal := m.run.script.outcome(); !fatal {
			return fmt.Errorf("a member's end: %w", m.err)
		}
	}
	return nil
}

// crash ends a member as SIGKILL does: nothing of it reaches broker or store any more, but what was on its way.
func (m *member) crash() {
	m.run.remove(m)
	m.network.cut()
	m.gate.close()
	m.cancel()
}

var errNotDrained = errors.New("the input was not judged to its end")
