package consumertest

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"
)

// Finish reads the input as far as it is committed now and ends the following, judges it, and compares the output and the
// dead letters as Check does. It is called once. An error says that the check itself failed, or why it cannot tell what is
// right (ErrNotCheckable).
func (c *Checker) Finish(ctx context.Context) (Report, error) {
	if err := c.end(ctx); err != nil {
		return c.report, err
	}
	if err := c.sortUsers(); err != nil {
		return c.report, err
	}
	due := 0
	for _, l := range c.x.lanes {
		n, err := c.judge(l)
		if err != nil {
			return c.report, err
		}
		due += n
	}
	f, err := newFollower(c.o.Brokers, c.o.Output, c.o.DeadLetters)
	if err != nil {
		return c.report, err
	}
	defer f.close()
	ends, err := f.ends(ctx)
	if err != nil {
		return c.report, err
	}
	for at := range ends {
		c.partitions[at.topic] = max(c.partitions[at.topic], at.partition+1)
	}
	if c.byOutput, err = newPartitioner("murmur2", c.partitions[c.o.Output]); err != nil {
		return c.report, err
	}
	if err := c.compare(ctx, f, due); err != nil {
		return c.report, err
	}
	for _, l := range c.x.lanes {
		l.left = c.settle(l)
		c.countLost(l)
	}
	c.finished = true
	return c.report, nil
}

// end ends the following after what is committed now.
func (c *Checker) end(ctx context.Context) error {
	c.mu.Lock()
	again := c.ended
	c.ended = true
	c.mu.Unlock()
	if again {
		return errors.New("consumertest: Finish is called once")
	}
	partitions, err := inputPartitions(ctx, c.o)
	if err == nil {
		err = c.ReadInput(ctx, nil)
	}
	c.Close()
	if err != nil {
		return err
	}
	if err := c.x.grow(partitions); err != nil {
		return err
	}
	for _, h := range c.holes {
		if err := c.x.lane(c.o.Inputs[0], h.partition).holes.add(h.from, h.to, h.start); err != nil {
			return err
		}
	}
	return nil
}

// judge works out what is due for each record of a lane and counts it. It returns how many results and dead letters must
// come at least.
func (c *Checker) judge(l *lane) (due int, err error) {
	w, r := c.x.walk(l), &c.report
	err = w.to(l.end(), func(offset int64, e *expected, found []judged) {
		switch {
		case offset < w.skipTo:
			e.outcome = outcomeDeleted
			r.Deleted++
			return
		case e.outcome == outcomeTombstone:
			r.Tombstones++
		case e.outcome == outcomeDead:
			due++
		case e.is(flagOrdered):
			e.outcome = outcomeOrdered
			r.Events++
			due++
		default:
			if found[0].lateBy > lateness {
				r.Beyond++
			}
			r.Events++
			if c.expect(l, offset, e, found); e.outcome == outcomeResult {
				due++
			}
		}
		r.Records++
	})
	return due, err
}

// expect notes the result that is due for an event, or the several that may be.
func (c *Checker) expect(l *lane, offset int64, e *expected, found []judged) {
	var options []option
	for i := range found {
		f := &found[i]
		c.scratch = c.x.appendDue(c.scratch[:0], l, offset, e, &f.verdict)
		o := option{
			of: f.of, digest: maphash.Bytes(c.x.seed, c.scratch), codes: f.codes,
			silent: c.o.AlertsOnly && f.codes == 0 && !e.is(flagAwaited),
		}
		if len(found) == 1 {
			c.settled(e, &o)
			return
		}
		// Without a value of full detail, different pasts may well give the same.
		if same := slices.IndexFunc(options, func(p option) bool { return p.digest == o.digest && p.silent == o.silent }); same >= 0 {
			options[same].of |= o.of
		} else {
			options = append(options, o)
		}
	}
	if len(options) == 1 {
		c.settled(e, &options[0])
		return
	}
	e.outcome = outcomeForked
	l.forks[offset] = &fork{options: options, found: -1}
}

// settled notes the one outcome that an event has.
func (c *Checker) settled(e *expected, o *option) {
	e.digest, e.codes, e.outcome = o.digest, o.codes, outcomeResult
	if o.silent {
		e.outcome = outcomeSilent
		c.report.Silent++
		return
	}
	c.report.Alerts += alerts(o.codes)
}

// appendDue appends the value of the result of an event.
func (x *expectation) appendDue(b []byte, l *lane, offset int64, e *expected, v *verdict) []byte {
	if x.o.Minimal {
		return appendResult(b, e, v, nil)
	}
	return appendResult(b, e, v, &resultSource{topic: l.topic, partition: l.partition, offset: offset, amount: &x.amounts[e.amount]})
}

// compare reads until everything due was found and the ends of that moment are reached, or nothing moves any more.
func (c *Checker) compare(ctx context.Context, f *follower, due int) error {
	moved := time.Now()
	for {
		n, err := f.poll(ctx, c.record)
		if err = errors.Join(c.failed, err); err != nil {
			return err
		}
		if n > 0 {
			moved = time.Now()
		}
		if c.report.Results+c.report.Dead >= due || time.Since(moved) > c.o.Settle {
			break
		}
	}
	_, err := f.readAll(ctx, c.record)
	return errors.Join(c.failed, err)
}

// settle decides what several outcomes were possible for, and returns the candidates that the results leave.
func (c *Checker) settle(l *lane) candidates {
	left := l.settle(func(offset int64, f *fork, left candidates) {
		user := l.at(offset).user
		if f.found < 0 {
			c.report.problem(&c.report.Lost, "lost: the result of %s/%d/%d, user %d: none is due only if %s, but earlier results say that %s",
				l.topic, l.partition, offset, user, l.holes.text(f.silent()), l.holes.text(left))
			return
		}
		c.report.problem(&c.report.Wrong, "wrong: %s: it is right only if %s, but earlier results say that %s",
			f.where, l.holes.text(f.options[f.found].of), l.holes.text(left))
	})
	for _, f := range l.forks {
		switch {
		case f.found >= 0:
			c.report.Alerts += alerts(f.options[f.found].codes)
		case f.silent() != 0:
			c.report.Silent++
		}
	}
	return left
}

// silent returns the candidates that expect no result.
func (f *fork) silent() (of candidates) {
	for _, o := range f.options {
		if o.silent {
			of |= o.of
		}
	}
	return of
}

// countLost counts what is due and was not found.
func (c *Checker) countLost(l *lane) {
	for offset := l.first; offset < l.end(); offset++ {
		e := l.at(offset)
		if e.is(flagFound) {
			continue
		}
		what := "result"
		switch e.outcome {
		case outcomeResult, outcomeOrdered:
		case outcomeDead:
			what = "dead letter"
		case outcomeForked:
			if l.forks[offset].silent() != 0 {
				continue
			}
		default:
			continue
		}
		forwarded := ""
		if e.is(flagForeign) && c.x.partitionOf(e.user) != l.partition {
			forwarded = fmt.Sprintf(", who belongs to partition %d", c.x.partitionOf(e.user))
		}
		c.report.problem(&c.report.Lost, "lost: the %s of %s/%d/%d, user %d%s", what, l.topic, l.partition, offset, e.user, forwarded)
	}
}
