package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// At the end of the context, requests in flight get their results; new ones are not accepted.
func TestShutdownDrains(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		release := make(chan struct{})
		c.startEngine(t, func(int64) bool { <-release; return true })
		g := c.serve(t, nil).ready(t)
		answered := make(chan reply, 1)
		var group sync.WaitGroup
		defer group.Wait()
		group.Go(func() {
			got, err := g.tryPost(t.Context(), deposit(1, "1", 10))
			if err != nil {
				t.Error(err)
			}
			answered <- got
		})
		eventually(t, "the request is in flight", func() error { return g.inFlightIs(t, 1) })
		g.end()
		eventually(t, "the listener is closed", func() error {
			conn, err := net.Dial("tcp", g.Addr().String())
			if err == nil {
				return errors.Join(errors.New("accepted"), conn.Close())
			}
			return nil
		})
		close(release)
		if got := <-answered; got.status != 200 {
			t.Errorf("%d %s, want 200", got.status, got.body)
		}
		if err := g.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func (r *running) inFlightIs(t *testing.T, want float64) error {
	if n := value(t, r.metrics.inFlight); n != want {
		return fmt.Errorf("%v requests in flight, want %v", n, want)
	}
	return nil
}

// The drain is bounded: a request that still waits is answered with what is known.
func TestShutdownIsBounded(t *testing.T) {
	c := newFake(t, 1, 1)
	g := c.serve(t, func(o *Options) {
		o.DrainTimeout = 100 * time.Millisecond
		o.ResultTimeout = time.Minute
	}).ready(t)
	answered := make(chan reply, 1)
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		got, err := g.tryPost(t.Context(), deposit(1, "1", 10))
		if err != nil {
			t.Error(err)
		}
		answered <- got
	})
	c.last(t, 1) // the event is in the topic
	began := time.Now()
	if err := g.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if got := <-answered; got.status != 504 && got.status != 503 || !strings.Contains(got.body, "stopping") {
		t.Errorf("%d %s, want an answer that says that the gateway is stopping", got.status, got.body)
	}
}

func TestRunTwice(t *testing.T) {
	c := newFake(t, 1, 1)
	g := c.serve(t, nil).ready(t)
	if err := g.Run(t.Context()); !errors.Is(err, ErrRan) {
		t.Errorf("%v, want ErrRan", err)
	}
}

func TestListen(t *testing.T) {
	c := newFake(t, 1, 1)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	o := DefaultOptions()
	o.Client, o.HTTP.Listen = c.wire(t, nil), taken.Addr().String()
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if g.Addr() != nil {
		t.Errorf("Addr %v before Run", g.Addr())
	}
	if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), o.HTTP.Listen) {
		t.Errorf("Run on a taken port: %v, want an error that names %s", err, o.HTTP.Listen)
	}
	o.HTTP.Listen = "127.0.0.1:0"
	if g, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := g.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	eventually(t, "it listens", func() error {
		if g.Addr() == nil {
			return errors.New("no address")
		}
		return nil
	})
	cancel()
	group.Wait()
}

// A listener that fails ends Run with its error.
func TestListenerFails(t *testing.T) {
	c := newFake(t, 1, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.Client, o.HTTP.Listener = c.wire(t, nil), listener
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := g.Run(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run: %v, want net.ErrClosed", err)
	}
}
