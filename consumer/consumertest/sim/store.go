package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/lapwing/lapwing/state"
)

// errStore is what a store answers whose request or reply is lost: time mends it.
var errStore = &net.OpError{Op: "read", Net: "tcp", Err: errors.New("the simulated store is away")}

// server is the one store of a run, with its faults.
type server struct {
	*state.Memory
	script *script

	mu     sync.Mutex
	away   bool
	images []map[string]string // older copies
}

func newServer(s *script, o state.MemoryOptions) *server {
	v := &server{script: s}
	var unheardOf sync.Map // operations whose reply is lost
	o.Before = func(op state.Op) error {
		v.mu.Lock()
		away := v.away
		v.mu.Unlock()
		if away {
			return errStore
		}
		f := s.next(storeKind(op.Kind))
		switch {
		case f == nil:
		case f.action == lost:
			return errStore
		case f.action == unheard:
			unheardOf.Store(op, true)
		case f.action == slow:
			time.Sleep(f.pause) // the fault itself
		}
		return nil
	}
	o.After = func(op state.Op) error {
		if _, ok := unheardOf.LoadAndDelete(op); ok {
			return errStore
		}
		return nil
	}
	v.Memory = state.NewMemoryWith(o)
	return v
}

func storeKind(k state.OpKind) kind {
	switch k {
	case state.OpClaim:
		return storeClaim
	case state.OpRead:
		return storeRead
	case state.OpWrite:
		return storeWrite
	case state.OpSwap:
		return storeSwap
	}
	panic("sim: unknown operation " + k.String())
}

func (v *server) setAway(away bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.away = away
}

// keep keeps a copy of what is stored; back puts the latest copy in its place, nothing if there is none.
func (v *server) keep() {
	image := v.Image()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.images = append(v.images, image)
}

func (v *server) back() {
	v.mu.Lock()
	var image map[string]string
	if n := len(v.images); n > 0 {
		image = v.images[n-1]
	}
	v.mu.Unlock()
	v.Restore(image)
}

// handle is one member's way to the store.
type handle struct {
	state.Store
	gate  *gate
	plant plant
}

// gate lets calls through, holds them, or refuses them for good.
type gate struct {
	mu     sync.Mutex
	shut   bool
	frozen chan struct{}
}

func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	frozen, shut := g.frozen, g.shut
	g.mu.Unlock()
	if frozen != nil {
		<-frozen // longer than the caller waits, as for a stopped process
	}
	if shut {
		return errStore
	}
	return ctx.Err()
}

func (g *gate) freeze() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen == nil {
		g.frozen = make(chan struct{})
	}
}

func (g *gate) thaw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen != nil {
		close(g.frozen)
		g.frozen = nil
	}
}

func (g *gate) close() {
	g.thaw()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

// Claim implements state.Store.
func (h *handle) Claim(ctx context.Context, number int32) (state.Lane, error) {
	if err := h.gate.pass(ctx); err != nil {
		return nil, err
	}
	lane, err := h.Store.Claim(ctx, number)
	if err != nil {
		return nil, err
	}
	return &heldLane{lane, h.gate, h.plant}, nil
}

// Peek implements state.Store.
func (h *handle) Peek(ctx context.Context, number int32) (state.Checkpoint, bool, error) {
	if err := h.gate.pass(ctx); err != nil {
		return state.Checkpoint{}, false, err
	}
	return h.Store.Peek(ctx, number)
}

// Written implements state.Store.
func (h *handle) Written(ctx context.Context, number int32) (state.Checkpoint, bool, error) {
	if err := h.gate.pass(ctx); err != nil {
		return state.Checkpoint{}, false, err
	}
	c, ok, err := h.Store.Written(ctx, number)
	if h.plant.unsettled && err == nil {
		return h.settledTooEarly(ctx, number)
	}
	return c, ok, err
}

// settledTooEarly is a planted fault: the answer for a lane that is settled, whether or not it is.
func (h *handle) settledTooEarly(ctx context.Context, number int32) (state.Checkpoint, bool, error) {
	c, _, err := h.Store.Peek(ctx, number)
	if err != nil {
		return c, false, err
	}
	text, err := h.Store.Lineage(ctx)
	if err != nil {
		return c, false, err
	}
	var lineage struct{ Present struct{ Number int64 } }
	err = json.Unmarshal([]byte(text), &lineage)
	c.Layout = fmt.Sprintf("settled.%d", lineage.Present.Number)
	return c, true, err
}

// Lineage implements state.Store.
func (h *handle) Lineage(ctx context.Context) (string, error) {
	if err := h.gate.pass(ctx); err != nil {
		return "", err
	}
	return h.Store.Lineage(ctx)
}

// SwapLineage implements state.Store.
func (h *handle) SwapLineage(ctx context.Context, before, after string) (bool, error) {
	if err := h.gate.pass(ctx); err != nil {
		return false, err
	}
	return h.Store.SwapLineage(ctx, before, after)
}

// heldLane is a lane behind its member's gate.
type heldLane struct {
	state.Lane
	gate  *gate
	plant plant
}

// Load implements state.Lane.
func (l *heldLane) Load(ctx context.Context, takes state.Takes, users []int64, out []state.Stored) error {
	if err := l.gate.pass(ctx); err != nil {
		return err
	}
	if l.plant.disinherit {
		takes.Inherits = nil
	}
	return l.Lane.Load(ctx, takes, users, out)
}

// Flush implements state.Lane.
func (l *heldLane) Flush(ctx context.Context, s *state.Snapshot) error {
	if err := l.gate.pass(ctx); err != nil {
		return err
	}
	return l.Lane.Flush(ctx, s)
}
