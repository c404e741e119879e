package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// laneStarts is how long lanes took from their assignment until they judged.
type laneStarts struct{ all []time.Duration } // ascending

// String gives the figures in short.
func (s laneStarts) String() string {
	if len(s.all) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d lanes: p50 %s p99 %s max %s ms", len(s.all), millis(s.at(0.5)), millis(s.at(0.99)), millis(s.at(1)))
}

func (s laneStarts) at(q float64) time.Duration { return quantile(s.all, q) }

const (
	startsRate = 5000                   // events a second meanwhile
	startsLive = 500 * time.Millisecond // of an engine after its lanes have started
)

// laneStarts starts and stops the engine again and again under a steady load. The first start, with nothing in Redis
// and topics that nobody has used, does not count.
func (l *lab) laneStarts(ctx context.Context) (s laneStarts, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.timeout)
	defer cancel()
	j, end, err := l.job(ctx, "")
	if end != nil {
		defer end()
	}
	if err != nil {
		return s, err
	}
	producing, enough := context.WithCancel(ctx)
	produced := make(chan error, 1)
	go func() { // ends with producing, and produced is received
		_, err := consumertest.Produce(producing, consumertest.ProduceOptions{Brokers: j.brokers, Topic: j.input, PerSecond: startsRate},
			consumertest.NewGenerator(l.o.eventOptions()))
		produced <- err
	}()
	defer func() {
		enough()
		err = errors.Join(err, <-produced)
	}()
	e := lapwing(nameLapwing, "", lapwingSettings{jsonLog: true})
	for i := range l.o.starts + 1 {
		one := j
		one.dir = fmt.Sprintf("%s/start-%d", j.dir, i)
		if err := os.Mkdir(one.dir, 0o700); err != nil {
			return s, fmt.Errorf("folder: %w", err)
		}
		took, err := l.laneStart(ctx, e, one)
		if err != nil {
			return s, err
		}
		if i > 0 {
			s.all = append(s.all, took...)
		}
	}
	slices.Sort(s.all)
	return s, nil
}

// laneStart starts the engine once and stops it when all lanes judge.
func (l *lab) laneStart(ctx context.Context, e engine, j job) (took []time.Duration, err error) {
	err = l.during(ctx, e, j, func(ctx context.Context, p *program) (err error) {
		for len(took) < l.o.partitions {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
			if took, err = readStarts(p.log); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(startsLive):
			return nil
		}
	})
	return took, err
}

// readStarts reads from an engine's log how long each lane took from the generation that it was assigned in.
func readStarts(file string) ([]time.Duration, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	defer f.Close()
	var took []time.Duration
	var generation time.Time
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var line struct {
			Time time.Time `json:"time"`
			Msg  string    `json:"msg"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			continue // it is being written
		}
		switch line.Msg {
		case "generation":
			generation, took = line.Time, nil
		case "lane judges":
			took = append(took, line.Time.Sub(generation))
		}
	}
	return took, nil
}
