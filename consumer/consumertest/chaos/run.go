package chaos

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// Run starts everything, breaks things while events flow, and returns what the checker found. What keeps it from working,
// and what an engine does that it must not (end by itself, not end when asked, not go through what is left), fails tb; the
// faults of the output and of the states stand in the result alone. When ctx ends, so does the run, without a verdict.
func Run(ctx context.Context, tb testing.TB, o Options) Result {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		tb.Fatal(err)
	}
	plan, err := schedule(o)
	if err != nil {
		tb.Fatal(err)
	}
	if o.Logs != "" {
		if err := os.MkdirAll(o.Logs, 0o755); err != nil { // now, not when there is something to keep
			tb.Fatal(err)
		}
	}
	r := newRig(ctx, tb, o)
	r.checker, err = consumertest.NewChecker(ctx, consumertest.CheckOptions{
		Brokers: r.cluster.Addrs(), Inputs: []string{r.input}, Output: r.output, DeadLetters: r.dead,
	})
	if err != nil {
		tb.Fatal(err)
	}
	defer r.checker.Close()
	for _, m := range r.members {
		m.start()
	}
	for _, m := range r.members {
		m.engine.WaitReady(readyTimeout)
	}
	w, err := newWatch(r.cluster.Addrs(), r.output, o.Lanes)
	if err != nil {
		tb.Fatal(err)
	}
	defer w.close()

	done := r.underLoad(ctx, plan)
	if ctx.Err() != nil {
		tb.Fatalf("chaos: ended before its time: %v", ctx.Err())
	}
	result := newResult(o, r.began, time.Now(), done, w)
	r.drain(ctx)
	result.Wall = time.Since(r.began)
	for _, m := range r.members {
		result.Replayed += int64(m.metric("lapwing_replayed_events_total"))
	}
	for _, m := range r.members {
		took, code := m.engine.Term(termTimeout)
		if code != 0 {
			tb.Errorf("chaos: %s, with nothing broken, took %v to end and has exit code %d:\n%s", m.name, took, code, m.tail())
		}
	}
	r.keepLogs()
	r.judge(ctx, &result)
	return result
}

// underLoad feeds events and breaks things, until both have ended.
func (r *rig) underLoad(ctx context.Context, plan [tracks][]step) []doneStep {
	load, stop := context.WithTimeout(ctx, r.o.Duration)
	defer stop()
	r.began = time.Now()
	var feeding, breaking sync.WaitGroup
	feeding.Go(func() {
		n, err := consumertest.Produce(load, consumertest.ProduceOptions{Brokers: r.cluster.Addrs(), Topic: r.input, PerSecond: r.o.Rate},
			consumertest.NewGenerator(r.o.events()))
		if err != nil {
			r.tb.Errorf("chaos: the load failed after %d records: %v", n, err)
		}
	})
	var mu sync.Mutex
	var done []doneStep
	for t := range tracks {
		breaking.Go(func() {
			for _, s := range plan[t] {
				sleep(ctx, time.Until(r.began.Add(s.at)))
				if ctx.Err() != nil {
					return
				}
				d := r.carryOut(ctx, s)
				mu.Lock()
				done = append(done, d)
				mu.Unlock()
			}
		})
	}
	breaking.Wait() // a step may go on a little longer than the load
	feeding.Wait()
	return done
}

// doneStep is a step that was carried out.
type doneStep struct {
	step
	began, ended time.Time
}

func (r *rig) carryOut(ctx context.Context, s step) doneStep {
	if s.track == trackData {
		r.pause.Lock()
		defer r.pause.Unlock()
	} else {
		r.pause.RLock()
		defer r.pause.RUnlock()
	}
	d := doneStep{step: s, began: time.Now()}
	r.logf("%s for %.1f s (planned at %.1f s)", s.fault.name, s.hold.Seconds(), s.at.Seconds())
	s.fault.do(ctx, r, s)
	d.ended = time.Now()
	return d
}

// drain waits until the group has committed all of the input.
func (r *rig) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.o.Drain)
	defer cancel()
	r.logf("load and faults have ended")
	for {
		lag, err := consumertest.Lag(ctx, r.cluster.Addrs(), r.group, r.input, r.group+".rekey")
		if err == nil && lag == 0 {
			r.logf("all is judged")
			return
		}
		for _, m := range r.members {
			m.present()
		}
		if sleep(ctx, 100*time.Millisecond); ctx.Err() != nil {
			r.tb.Errorf("chaos: the engines still lag %d behind, %v after the last fault (%v)", lag, r.o.Drain, err)
			for _, m := range r.members {
				r.tb.Logf("the last lines of %s:\n%s", m.name, m.tail())
			}
			return
		}
	}
}

// judge has the output and the states compared with the model, and the engines' own count of what was deleted unjudged with
// the checker's.
func (r *rig) judge(ctx context.Context, result *Result) {
	if _, err := r.checker.Finish(ctx); err != nil {
		r.tb.Fatal(err)
	}
	store := r.store()
	defer store.Close()
	report, err := r.checker.CheckStates(ctx, store, consumertest.RedisUsers(ctx, r.redis.Addr(), "lapwing", r.group))
	if err != nil {
		r.tb.Fatal(err)
	}
	result.Report = report
	if err := report.Err(); err != nil {
		r.tb.Error(err)
	}
	for _, m := range append(r.members, r.extra) {
		result.addLost(m.engine.Log())
	}
	if result.Unjudged != report.Deleted {
		r.tb.Errorf("chaos: %d records were deleted before any engine had judged them, and the engines have reported %d", report.Deleted, result.Unjudged)
	}
}

// keepLogs writes what the engines have printed to the folder that the options name.
func (r *rig) keepLogs() {
	if r.o.Logs == "" {
		return
	}
	for _, m := range append(r.members, r.extra) {
		if err := os.WriteFile(filepath.Join(r.o.Logs, m.name+".log"), []byte(m.engine.Log()), 0o600); err != nil {
			r.tb.Errorf("chaos: %v", err)
		}
	}
}
