package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// Names of inputs.
const (
	uniform   = "uniform"
	zipf      = "zipf"
	hotUser   = "hot user"
	fewUsers  = "few users"
	manyUsers = "many users"
)

// inputSpec says what events a topic is filled with.
type inputSpec struct {
	name   string
	count  int
	events consumertest.EventOptions
}

// input is a topic that is filled, and what is due for it.
type input struct {
	topic    string
	count    int
	sequence *consumertest.Sequence
}

// slowEventsMin is how many events a slow engine gets at least, where there are so many.
const slowEventsMin = 20_000

// spec returns the input of a name, for an engine that is slow or not.
func (o *options) spec(name string, slow bool) inputSpec {
	s := inputSpec{name: name, count: o.events, events: o.eventOptions()}
	if slow {
		s.count = min(max(o.events/100, slowEventsMin), o.events)
	}
	switch name {
	case zipf:
		s.events.Zipf = o.zipf
	case hotUser:
		s.events.Hot = 0.5
	case fewUsers:
		s.events.Users, s.events.LatenessMax = o.fewUsers, -1
	case manyUsers:
		s.events.Users, s.events.LatenessMax = o.manyUsers, -1
	}
	return s
}

// inputs are the topics that are filled so far.
type inputs struct {
	brokers    []string
	partitions int
	prefix     string
	filled     map[inputSpecKey]*input
	log        func(format string, args ...any)
}

type inputSpecKey struct {
	name  string
	count int
}

// get fills a topic, the first time that it is asked for.
func (i *inputs) get(ctx context.Context, spec inputSpec) (*input, error) {
	key := inputSpecKey{spec.name, spec.count}
	if known := i.filled[key]; known != nil {
		return known, nil
	}
	in := &input{topic: fmt.Sprintf("%s-input-%d", i.prefix, len(i.filled)), count: spec.count}
	if err := consumertest.CreateTopics(ctx, i.brokers, consumertest.TopicSpec{Name: in.topic, Partitions: int32(i.partitions)}); err != nil {
		return nil, err
	}
	began := time.Now()
	if _, err := consumertest.Produce(ctx, consumertest.ProduceOptions{Brokers: i.brokers, Topic: in.topic, Count: spec.count},
		consumertest.NewGenerator(spec.events)); err != nil {
		return nil, err
	}
	filled := time.Now()
	var err error
	if in.sequence, err = consumertest.ReadSequence(ctx, i.brokers, in.topic); err != nil {
		return nil, err
	}
	if n := in.sequence.Records(); n != spec.count {
		return nil, fmt.Errorf("%s has %d records, not %d", in.topic, n, spec.count)
	}
	i.log("input %s: %s events in %v, what is due worked out in %v", spec.name, thousands(float64(spec.count)),
		filled.Sub(began).Round(time.Millisecond), time.Since(filled).Round(time.Millisecond))
	i.filled[key] = in
	return in, nil
}
