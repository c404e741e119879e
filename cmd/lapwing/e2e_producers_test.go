package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// TestAnyProducer has real clients of every kind write the events of the same users, each with its own partitioner, without
// keys and with keys that are no user's. Every event is judged once, on the whole of its user's past, whichever partitioner
// the engine goes by.
func TestAnyProducer(t *testing.T) {
	for _, partitioner := range []string{"murmur2", "crc32", "fnv1a"} {
		t.Run(partitioner, func(t *testing.T) {
			_, seed := seeded(t)
			s := newSystem(t, systemOptions{partitions: 6})
			s.extra = "  partitioner: " + partitioner
			e := s.engine("engine")
			e.Start()
			e.WaitReady(readyTimeout)
			sent := 0
			for i, p := range consumertest.Producers(t) {
				t.Run(p.Name, func(t *testing.T) {
					p.Need(t)
					records := consumertest.MixedKeys(consumertest.EventOptions{
						Seed: seed + uint64(i), Users: 60, TimeFirst: 1000 + 1000*int64(i),
					}, 300, consumertest.KeyShares{None: 0.1, Other: 0.1})
					if err := p.Send(s.context(time.Minute), t, strings.Join(s.brokers(), ","), s.input, records); err != nil {
						t.Fatal(err)
					}
					sent += len(records)
				})
			}
			s.drain(readyTimeout)
			if report := s.check(consumertest.CheckOptions{Partitioner: partitioner}); report.Events != sent || report.Dead != 0 {
				t.Errorf("%d events were sent: %v", sent, report)
			}
			term(t, e)
			s.checkStopped(true)
		})
	}
}

// TestForwardKilled kills an engine again and again while half of the records are in another partition than their user's.
func TestForwardKilled(t *testing.T) {
	skipShort(t)
	for _, guarantee := range []string{"exactly_once", "at_least_once"} {
		t.Run(guarantee, func(t *testing.T) {
			_, seed := seeded(t)
			s := newSystem(t, systemOptions{partitions: 3})
			s.extra = fmt.Sprintf("  guarantee: %s", guarantee)
			e := s.engine("engine")
			e.Start()
			e.WaitReady(readyTimeout)
			events := mixed(seed)
			events.Strays = 0.5
			stop := s.load(1500, events)
			for range 3 {
				time.Sleep(2 * time.Second) // at work
				e.Kill()
				e.Start()
				e.WaitReady(readyTimeout)
			}
			stop()
			s.drain(readyTimeout)
			if guarantee == "exactly_once" {
				s.check(consumertest.CheckOptions{})
			} else if report := s.compare(consumertest.CheckOptions{Repeats: true}); report.Lost > 0 || report.StatesWrong > 0 {
				t.Error(report.Err()) // what is repeated may differ: it is judged in the order of the second time
			}
			term(t, e)
			s.checkStopped(true)
		})
	}
}
