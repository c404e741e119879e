package main

import (
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// badInputs returns every variant of every kind of record that is no event, with an event of the same user after each.
func badInputs() []consumertest.Input {
	bad := consumertest.NewGenerator(consumertest.EventOptions{Seed: 1, Users: 1})
	var inputs []consumertest.Input
	user := int64(0)
	for _, reason := range consumertest.BadReasons() {
		for variant := range consumertest.BadVariants(reason) {
			user++
			good := consumertest.NewGenerator(consumertest.EventOptions{Seed: uint64(user), Users: 1, UserFirst: user})
			inputs = append(inputs, good.Next(), bad.Bad(reason, variant, user), good.Next(), good.Next())
		}
	}
	return inputs
}

// TestBadInput gives an engine every kind of record that is no event: each becomes a dead letter, byte for byte and with
// its reason, and what comes after it is judged.
func TestBadInput(t *testing.T) {
	s := newSystem(t, systemOptions{})
	inputs := badInputs()
	if err := consumertest.ProduceInputs(s.context(time.Minute), s.brokers(), s.input, inputs...); err != nil {
		t.Fatal(err)
	}
	s.produce(2000, consumertest.EventOptions{Seed: 2, Users: 40, UserFirst: 1000, Bad: 0.4, Tombstones: 0.1})
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	report := s.check(consumertest.CheckOptions{})
	if want := len(inputs) + 2000; report.Records != want || report.Dead < len(inputs)/4 {
		t.Errorf("%d records, want %d, with at least %d dead letters: %v", report.Records, want, len(inputs)/4, report)
	}
	term(t, e)
	s.checkStopped(true)
}

// TestBadInputCut has a dead-letter topic that takes less than the input: what is too large for it is cut and marked.
func TestBadInputCut(t *testing.T) {
	s := newSystem(t, systemOptions{deadConfigs: map[string]string{"max.message.bytes": "20000"}})
	inputs := badInputs()
	if err := consumertest.ProduceInputs(s.context(time.Minute), s.brokers(), s.input, inputs...); err != nil {
		t.Fatal(err)
	}
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	if report := s.check(consumertest.CheckOptions{}); report.Cut == 0 {
		t.Errorf("no dead letter was cut: %v", report)
	}
	term(t, e)
}

// TestTransactionalInput reads a topic in which transactions interleave and some are aborted.
func TestTransactionalInput(t *testing.T) {
	s := newSystem(t, systemOptions{})
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	if _, err := consumertest.Produce(s.context(time.Minute), consumertest.ProduceOptions{
		Brokers: s.brokers(), Topic: s.input, Count: 4000, Transactional: true,
	}, consumertest.NewGenerator(mixed(5))); err != nil {
		t.Fatal(err)
	}
	report := s.check(consumertest.CheckOptions{})
	if report.Records != 4000 {
		t.Errorf("%d records, want 4000", report.Records)
	}
	term(t, e)
}

// TestPublishesAlertsOnly checks the two settings that publish less.
func TestPublishesAlertsOnly(t *testing.T) {
	s := newSystem(t, systemOptions{})
	s.tail = "results: alerts\ndetail: minimal"
	events := mixed(6)
	s.produce(4000, events)
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	report := s.check(consumertest.CheckOptions{AlertsOnly: true, Minimal: true})
	if report.Silent == 0 {
		t.Errorf("nothing was judged silently: %v", report)
	}
	term(t, e)
	s.checkStopped(true)
}
