package main

import (
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// TestGracefulStop ends engines under load: each leaves M = C behind, and the other member takes its lanes over at once.
func TestGracefulStop(t *testing.T) {
	_, seed := seeded(t)
	s := newSystem(t, systemOptions{})
	first, second := s.engine("first"), s.engine("second")
	first.Start()
	first.WaitReady(readyTimeout)
	stop := s.load(3000, mixed(seed))
	s.someJudged()
	term(t, first)
	s.checkStopped(false)

	second.Start()
	second.WaitReady(readyTimeout)
	first.Start()
	first.WaitReady(readyTimeout)
	term(t, second)
	first.WaitReady(readyTimeout)
	stop()
	s.drain(20 * time.Second)
	s.check(consumertest.CheckOptions{})
	term(t, first)
	s.checkStopped(true)
}

// TestStopBeforeReady ends an engine that still waits for its services.
func TestStopBeforeReady(t *testing.T) {
	s := newSystem(t, systemOptions{noTopics: true})
	e := s.engine("engine")
	e.Start()
	e.WaitLog(readyTimeout, s.input)
	term(t, e)
}

// someJudged waits until a good part of the load is judged.
func (s *system) someJudged() {
	s.t.Helper()
	ctx := s.context(readyTimeout)
	for {
		done, err := consumertest.Committed(ctx, s.brokers(), s.group, s.input)
		if err == nil && done > 3000 {
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("after %v only %d records are judged (%v)", readyTimeout, done, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
