package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// result is what one run of an engine gave.
type result struct {
	perSecond             float64
	engine, broker, redis float64 // CPU seconds per million events; 0: not known
	memory                memory
	users                 userBytes // of Lapwing
	latencies             map[int]latency
	checked               int   // records of the output that are right
	err                   error // why the run failed
}

// String gives the figures in one line.
func (r result) String() string {
	if r.err != nil {
		return fmt.Sprintf("FAILED: %v", r.err)
	}
	text := fmt.Sprintf("%s events/s, CPU s/M engine %.2f broker %.2f Redis %.2f, peak %.0f MB", thousands(r.perSecond), r.engine, r.broker,
		r.redis, megabytes(r.memory.peak))
	for _, rate := range sortedRates(r.latencies) {
		text += fmt.Sprintf("; %d/s %v", rate, r.latencies[rate])
	}
	return text
}

// run measures an engine on an input, judges what it wrote, and measures its latency.
func (l *lab) run(ctx context.Context, s subject) (r result) {
	ctx, cancel := context.WithTimeout(ctx, l.o.timeout)
	defer cancel()
	in, err := l.inputs.get(ctx, s.input)
	if err != nil {
		r.err = fmt.Errorf("input: %w", err)
		return r
	}
	if r, err = l.throughput(ctx, s.engine, in); err != nil {
		r.err = err
		return r
	}
	if s.latency {
		if r.latencies, err = l.latency(ctx, s.engine); err != nil {
			r.err = fmt.Errorf("latency: %w", err)
		}
	}
	return r
}

func (l *lab) throughput(ctx context.Context, e engine, in *input) (r result, err error) {
	j, end, err := l.job(ctx, in.topic)
	if end != nil {
		defer end()
	}
	if err != nil {
		return r, err
	}
	before, err := l.usedMemory(ctx)
	if err != nil {
		return r, err
	}
	if err := l.watch(ctx, e, j, &r); err != nil {
		return r, err
	}
	if e.lapwing {
		if r.users, err = l.userBytes(ctx, before); err != nil {
			return r, err
		}
	}
	r.checked, err = l.check(ctx, e, in, j)
	return r, err
}

// watch runs the engine through its input.
func (l *lab) watch(ctx context.Context, e engine, j job, r *result) (err error) {
	watching, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var p *program
	defer func() {
		if p != nil {
			if stopErr := p.stop(); err == nil {
				err = stopErr
			}
		}
	}()
	var marks [2]usage
	var markErr error
	t, err := consumertest.MeasureThroughput(watching, consumertest.ThroughputOptions{
		Brokers: l.services.brokers, Group: j.group, Topic: j.input,
		Start: func() (err error) {
			p, err = l.start(watching, stop, e, j)
			return err
		},
		Mark: func(whole bool) {
			at := 0
			if whole {
				at = 1
			}
			var err error
			if marks[at], err = readUsage(p.pid(), l.services.brokerPID, l.services.redisPID); err != nil {
				markErr = errors.Join(markErr, err)
			}
		},
	})
	if err != nil {
		return errors.Join(err, context.Cause(watching))
	}
	if markErr != nil {
		return markErr
	}
	if r.memory, err = memoryOf(p.pid()); err != nil {
		return err
	}
	perMillion := func(before, after time.Duration) float64 { return (after - before).Seconds() * 1e6 / float64(t.Events) }
	r.perSecond = t.PerSecond()
	r.engine = perMillion(marks[0].engine, marks[1].engine)
	r.broker = perMillion(marks[0].broker, marks[1].broker)
	r.redis = perMillion(marks[0].redis, marks[1].redis)
	return nil
}

// during starts an engine, does something while it runs, and stops it. The context of what is done ends when the engine
// does; then the error says why.
func (l *lab) during(ctx context.Context, e engine, j job, do func(ctx context.Context, p *program) error) error {
	watching, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	p, err := l.start(watching, stop, e, j)
	if err != nil {
		return err
	}
	if err = do(watching, p); err != nil {
		err = errors.Join(err, context.Cause(watching))
	}
	if stopErr := p.stop(); err == nil {
		err = stopErr
	}
	return err
}

// start starts an engine; one that ends before ctx does ends ctx.
func (l *lab) start(ctx context.Context, stop context.CancelCauseFunc, e engine, j job) (*program, error) {
	argv, err := e.argv(l.programs, j)
	if err != nil {
		return nil, err
	}
	p, err := start(argv, j.dir)
	if err != nil {
		return nil, err
	}
	go func() { // ends with the program, which its owner stops, or with ctx
		select {
		case <-ctx.Done():
		case <-p.done:
			stop(fmt.Errorf("%s has ended: %w\n%s", e.name, errors.Join(errEnded, p.err), p.tail()))
		}
	}()
	return p, nil
}

var errEnded = errors.New("before it was stopped")

// check compares what an engine wrote with the model.
func (l *lab) check(ctx context.Context, e engine, in *input, j job) (records int, err error) {
	if e.full {
		report, err := consumertest.Check(ctx, consumertest.CheckOptions{
			Brokers: l.services.brokers, Inputs: []string{j.input}, Output: j.output, DeadLetters: j.dead,
		})
		if err == nil {
			err = report.Err()
		}
		return report.Results, err
	}
	report, err := in.sequence.Check(ctx, l.services.brokers, j.output, e.answers)
	if err == nil {
		err = report.Err()
	}
	return report.Records, err
}
