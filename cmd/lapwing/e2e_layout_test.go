package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/contract"
)

// growth is how long it may take until members notice that a topic has grown.
const growth = 30 * time.Second

// grow gives topics more partitions.
func (s *system) grow(partitions int, topics ...string) {
	s.t.Helper()
	if err := consumertest.GrowTopics(s.context(time.Minute), s.brokers(), partitions, topics...); err != nil {
		s.t.Fatal(err)
	}
}

// loadBoth produces as two producers do of which one does not know yet that the topic has grown.
func (s *system) loadBoth(perSecond int, stale, fresh consumertest.EventOptions, grow func()) (stop func()) {
	s.t.Helper()
	stopStale := s.load(perSecond, stale)
	time.Sleep(time.Second) // it has asked for the partitions
	grow()
	stopFresh := s.load(perSecond, fresh)
	return func() { stopStale(); stopFresh() }
}

// TestGrown grows the input from 6 to 12 partitions under load, with one of two members killed in the middle of the change, and
// with a producer that goes on as if nothing had happened.
func TestGrown(t *testing.T) {
	skipShort(t)
	rng, seed := seeded(t)
	s := newSystem(t, systemOptions{partitions: 6})
	s.extra = "  create_topics: true\n  replication: 1"
	one, two := s.engine("one"), s.engine("two")
	one.Start()
	two.Start()
	one.WaitReady(readyTimeout)
	two.WaitReady(readyTimeout)
	stale, fresh := mixed(seed), mixed(seed+1)
	stale.Strays = 0.1
	var grown time.Time
	stop := s.loadBoth(1000, stale, fresh, func() {
		s.grow(12, s.input)
		grown = time.Now()
	})
	for range 4 {
		pause(rng, 0, 3*time.Second)
		two.Kill()
		two.Start()
	}
	one.WaitLog(growth, "the layout changes: joining again")
	t.Logf("noticed within %v", time.Since(grown).Round(time.Millisecond))
	one.WaitReady(readyTimeout)
	two.WaitReady(readyTimeout)
	time.Sleep(2 * time.Second) // at work under the new layout
	stop()
	s.drain(readyTimeout)
	report := s.check(consumertest.CheckOptions{})
	if n := s.resultsFrom(6); n == 0 {
		t.Errorf("nothing of the new partitions was judged: %v", report)
	}
	term(t, one)
	term(t, two)
	s.checkStopped(true)
}

// results calls do with the place of each result's event, in the order of each output partition.
func (s *system) results(do func(user string, source contract.Source)) {
	s.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.broker), kgo.ConsumeTopics(s.output), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	ctx := s.context(time.Minute)
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, s.output)
	if err != nil {
		s.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			s.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			for _, h := range r.Headers {
				if h.Key == contract.HeaderSource {
					source, err := contract.ParseSource(h.Value)
					if err != nil {
						s.t.Fatal(err)
					}
					do(string(r.Key), source)
				}
			}
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
		})
	}
}

// resultsFrom counts the results of events in partitions from one on.
func (s *system) resultsFrom(partition int32) (n int) {
	s.t.Helper()
	s.results(func(_ string, source contract.Source) {
		if source.Partition >= partition {
			n++
		}
	})
	return n
}

// TestGrownWithBacklog grows the input while nobody reads it: what was written before is judged before what the new partitions
// have, user by user.
func TestGrownWithBacklog(t *testing.T) {
	_, seed := seeded(t)
	s := newSystem(t, systemOptions{partitions: 6})
	s.extra = "  create_topics: true\n  replication: 1"
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	s.produce(2000, consumertest.EventOptions{Seed: seed, Users: 500})
	s.drain(readyTimeout)
	e.Kill()
	s.produce(30_000, consumertest.EventOptions{Seed: seed + 1, Users: 500, TimeFirst: 2000})
	s.grow(12, s.input)
	s.produce(10_000, consumertest.EventOptions{Seed: seed + 2, Users: 500, TimeFirst: 20_000})
	e.Start()
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	s.check(consumertest.CheckOptions{})
	moved := map[string]bool{}
	s.results(func(user string, source contract.Source) {
		switch {
		case source.Partition >= 6:
			moved[user] = true
		case moved[user]:
			id, err := strconv.ParseInt(user, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if contract.Murmur2.UserPartition(id, 12) >= 6 {
				t.Fatalf("user %s: %v is judged after what the new partition has", user, source)
			}
		}
	})
	if len(moved) < 100 {
		t.Errorf("only %d users have moved", len(moved))
	}
	term(t, e)
	s.checkStopped(true)
}

// TestPartitionerRolled changes the partitioner by one rolling restart under load. Until the last member of the old
// configuration is gone the new ones wait, and say for what, also when the input grows meanwhile.
func TestPartitionerRolled(t *testing.T) {
	skipShort(t)
	_, seed := seeded(t)
	s := newSystem(t, systemOptions{partitions: 4})
	s.extra = "  create_topics: true\n  replication: 1\n  partitioner: murmur2"
	one, two := s.engine("one"), s.engine("two")
	one.Start()
	two.Start()
	one.WaitReady(readyTimeout)
	two.WaitReady(readyTimeout)
	s.extra = strings.Replace(s.extra, "murmur2", "crc32", 1)
	nextOne, nextTwo := s.engine("next one"), s.engine("next two")
	stale, fresh := mixed(seed), mixed(seed+1)
	stale.Strays = 0.1
	stop := s.loadBoth(1000, stale, fresh, func() {
		term(t, one)
		nextOne.Start()
		nextOne.WaitLog(readyTimeout, "this one waits until it is stopped")
		s.grow(6, s.input)
		two.WaitLog(growth, "the layout changes: joining again")
	})
	two.WaitReady(readyTimeout)
	if nextOne.Ready() {
		t.Error("a member of another configuration is ready beside the old one")
	}
	term(t, two)
	nextTwo.Start()
	nextOne.WaitReady(readyTimeout)
	nextTwo.WaitReady(readyTimeout)
	time.Sleep(2 * time.Second)
	stop()
	s.drain(readyTimeout)
	s.check(consumertest.CheckOptions{Partitioner: "crc32", Former: []string{"murmur2"}})
	term(t, nextOne)
	term(t, nextTwo)
	s.checkStopped(true)
}

// TestSeveralInputs judges the events of the same users from three topics, with kills, and then with all of them grown: every
// replay has to repeat the order across the topics.
func TestSeveralInputs(t *testing.T) {
	skipShort(t)
	for _, guarantee := range []string{"exactly_once", "at_least_once"} {
		t.Run(guarantee, func(t *testing.T) {
			rng, seed := seeded(t)
			s := newSystem(t, systemOptions{partitions: 3})
			s.more = []string{s.input + ".a", "z." + s.input}
			for _, topic := range s.more {
				if err := consumertest.CreateTopics(s.context(time.Minute), s.brokers(), consumertest.TopicSpec{Name: topic, Partitions: 3}); err != nil {
					t.Fatal(err)
				}
			}
			s.extra = fmt.Sprintf("  create_topics: true\n  replication: 1\n  guarantee: %s", guarantee)
			s.flush = "3s" // replays are long
			one, two := s.engine("one"), s.engine("two")
			one.Start()
			two.Start()
			one.WaitReady(readyTimeout)
			two.WaitReady(readyTimeout)
			var producing sync.WaitGroup
			ctx, stop := context.WithCancel(s.context(systemTimeout))
			for i, topic := range s.inputs() {
				o := mixed(seed + uint64(i))
				o.Users, o.Strays = 300, 0.1
				producing.Go(func() { // ends with ctx
					if _, err := consumertest.Produce(ctx, consumertest.ProduceOptions{Brokers: s.brokers(), Topic: topic, PerSecond: 400}, consumertest.NewGenerator(o)); err != nil {
						t.Error(err)
					}
				})
			}
			for range 4 {
				pause(rng, time.Second, 3*time.Second)
				two.Kill()
				two.Start()
				two.WaitReady(readyTimeout)
			}
			// One after the other: in between the counts differ, and nothing is judged on half of a user's events.
			s.grow(5, s.input)
			one.WaitLog(growth, "kafka-topics --alter --topic "+s.more[0]+" --partitions 5 (it has 3)")
			s.grow(5, s.more...)
			one.WaitReady(readyTimeout)
			two.WaitReady(readyTimeout)
			two.Kill()
			two.Start()
			two.WaitReady(readyTimeout)
			time.Sleep(time.Second)
			stop()
			producing.Wait()
			s.drain(readyTimeout)
			if guarantee == "exactly_once" {
				s.check(consumertest.CheckOptions{})
			} else if report := s.compare(consumertest.CheckOptions{Repeats: true}); report.Lost > 0 || report.StatesWrong > 0 {
				t.Error(report.Err()) // what is repeated may differ: it is judged in the order of the second time
			}
			term(t, one)
			term(t, two)
			s.checkStopped(true)
		})
	}
}
