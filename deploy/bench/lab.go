package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// lab is where engines are measured: services, programs and inputs. It is used by one goroutine.
type lab struct {
	o        options
	services *services
	programs programs
	inputs   inputs
	kafka    *kgo.Client
	dir      string
	prefix   string // of all names in Kafka; short, as a group's name usually is: it is part of each user's key in Redis
	jobs     int
	stderr   io.Writer
}

func newLab(ctx context.Context, o options, subjects []subject, stderr io.Writer) (*lab, error) {
	if _, err := os.Stat(filepath.Join(rootDir, "cmd", "lapwing")); err != nil {
		return nil, fmt.Errorf("bench runs in its own folder, deploy/bench: %w", err)
	}
	dir, err := os.MkdirTemp("", "lapwing-bench-")
	if err != nil {
		return nil, fmt.Errorf("folder: %w", err)
	}
	l := &lab{o: o, dir: dir, prefix: "b" + strconv.FormatInt(time.Now().Unix()%(36*36*36*36), 36), stderr: stderr}
	l.log("building")
	if l.programs, err = build(ctx, o, subjects, dir); err == nil {
		l.log("starting services")
		l.services, err = startServices(ctx, o, dir)
	}
	if err == nil {
		l.kafka, err = kgo.NewClient(kgo.SeedBrokers(l.services.brokers...))
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	l.inputs = inputs{brokers: l.services.brokers, partitions: o.partitions, prefix: l.prefix, filled: map[inputSpecKey]*input{}, log: l.log}
	return l, nil
}

func (l *lab) close() error {
	var err error
	if l.kafka != nil {
		l.kafka.Close()
	}
	if l.services != nil {
		err = l.services.close()
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

func (l *lab) log(format string, args ...any) {
	fmt.Fprintf(l.stderr, time.Now().Format("15:04:05")+" "+format+"\n", args...)
}

// measure measures all subjects, in turn in each round, and then what is no subject.
func (l *lab) measure(ctx context.Context, subjects []subject, r *report) {
	r.rows = make([]row, len(subjects))
	for i, s := range subjects {
		r.rows[i].subject = s
	}
	for round := range l.o.repeat {
		for i, s := range subjects {
			if ctx.Err() != nil {
				return
			}
			result := l.run(ctx, s)
			if ctx.Err() != nil {
				return // half a run says nothing
			}
			r.rows[i].results = append(r.rows[i].results, result)
			l.log("%d/%d %s, %s: %s", round+1, l.o.repeat, s.engine.name, s.input.name, result)
		}
	}
	if l.o.scenarios && l.o.starts > 0 && l.o.selected(nameLapwing) {
		r.starts, r.startsErr = l.laneStarts(ctx)
		l.log("starts of lanes: %v %v", r.starts, r.startsErr)
	}
}

// job prepares a run: an empty Redis, topics and a folder. Its end removes topics and folder.
func (l *lab) job(ctx context.Context, input string) (job, func(), error) {
	l.jobs++
	name := fmt.Sprintf("%s-%d", l.prefix, l.jobs)
	j := job{
		brokers: l.services.brokers, redis: l.services.redis.Options().Addr, input: input,
		output: name + "-output", dead: name + "-dead", group: name, dir: filepath.Join(l.dir, name),
	}
	if err := os.Mkdir(j.dir, 0o700); err != nil {
		return j, nil, fmt.Errorf("folder: %w", err)
	}
	topics := []string{j.output, j.dead, j.group + ".rekey"}
	if input == "" {
		j.input = name + "-input"
		topics = append(topics, j.input)
	}
	end := func() {
		// What is left behind costs disk only, and the services end soon.
		timed, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if _, err := kadm.NewClient(l.kafka).DeleteTopics(timed, topics...); err != nil {
			l.log("topics are not deleted: %v", err)
		}
		if err := os.RemoveAll(j.dir); err != nil {
			l.log("folder is not removed: %v", err)
		}
	}
	if err := l.services.redis.Do(ctx, "FLUSHDB", "SYNC").Err(); err != nil {
		return j, end, fmt.Errorf("empty Redis: %w", err)
	}
	specs := make([]consumertest.TopicSpec, len(topics))
	for i, topic := range topics {
		specs[i] = consumertest.TopicSpec{Name: topic, Partitions: int32(l.o.partitions)}
	}
	return j, end, consumertest.CreateTopics(ctx, l.services.brokers, specs...)
}
