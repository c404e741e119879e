package consumer

import (
	"fmt"
	"slices"
)

// lanePlan is what a lane does about all of its sources.
type lanePlan struct {
	plan        // of the lane: its offsets are the sums, its flags those of any source
	incarnation uint32
	sources     []sourcePlan
	rekeyEnd    int64 // of the rekey topic's partition at the start, what is not yet committed included
}

// sourcePlan is what a lane does about one source.
type sourcePlan struct {
	plan
	readFrom int64 // replayFrom, or beyond it where only boundaries stood in between, which are gone
	quiet    int64 // see parcel
}

// decideLane decides about each source and joins what was decided.
func decideLane(found []finding, reset OffsetReset, onDataLoss bool) (lanePlan, error) {
	var l lanePlan
	recreated := false
	for _, f := range found {
		var s sourcePlan
		var err error
		if f.rekey {
			s, err = decideRekey(f, recreated, reset, onDataLoss)
		} else {
			s.plan, err = decide(f, reset, onDataLoss)
			recreated = recreated || s.cause == causeRecreated
		}
		if err != nil {
			return lanePlan{}, fmt.Errorf("%s/%d: %w", f.topic, f.lane, err)
		}
		l.sources = append(l.sources, s)
		l.renew = l.renew || s.renew
		l.rebuild = l.rebuild || s.rebuild
		l.resume = l.resume || s.resume
		l.fresh = l.fresh || s.fresh && !f.rekey
		if l.cause == "" {
			l.cause, l.note = s.cause, s.note
		}
		if f.rekey {
			l.rekeyEnd = f.logEnd
		}
	}
	for i := range l.sources {
		s, f := &l.sources[i], &found[i]
		if l.rebuild && !s.rebuild && !s.fresh { // the states are made anew, of this source too
			s.replayFrom = min(f.logStart, s.judgeFrom)
			s.lostRebuild = s.replayFrom
		}
		l.lostReplay += s.lostReplay
		l.lostJudge += s.lostJudge
		l.lostRebuild += s.lostRebuild
	}
	l.sum()
	return l, nil
}

// sum fills in the lane's places.
func (l *lanePlan) sum() {
	l.replayFrom, l.judgeFrom = 0, 0
	for i := range l.sources {
		s := &l.sources[i]
		s.readFrom = max(s.readFrom, s.replayFrom)
		l.replayFrom += s.replayFrom
		l.judgeFrom += s.judgeFrom
	}
}

// anyFresh reports whether a source is begun.
func (l *lanePlan) anyFresh() bool {
	return slices.ContainsFunc(l.sources, func(s sourcePlan) bool { return s.fresh })
}

// offsets returns the offsets of all sources, as one of the plan's places.
func (l *lanePlan) offsets(of func(*sourcePlan) int64) []int64 {
	var all []int64
	for i := range l.sources {
		all = append(all, of(&l.sources[i]))
	}
	return all
}

// decideRekey decides about the rekey topic. It is Lapwing's own, and younger than a group that comes from a version that
// did not forward. recreated: an input was made again.
func decideRekey(f finding, recreated bool, reset OffsetReset, onDataLoss bool) (sourcePlan, error) {
	mark, marked := parseCommitMetadata(f.metadata)
	quiet := f.committed
	if marked && mark.offset == f.committed {
		f.committed, mark.offset = mark.at, mark.at
		f.metadata = mark.String()
	}
	switch {
	case marked && mark.topic != f.identity:
		if !recreated && !onDataLoss {
			return sourcePlan{}, &stopError{
				cause:  causeRecreated,
				what:   "the topic was deleted and made again: what was forwarded to it and not judged is lost",
				remedy: "kafka.on_data_loss: continue goes on without it, with fresh states for all users of the partition: an alert may be missed, none is false",
			}
		}
		p := plan{replayFrom: f.logStart, judgeFrom: f.logStart, fresh: true, renew: true,
			cause: causeRecreated, note: "the topic of forwarded records was deleted and made again: going on with fresh states"}
		return sourcePlan{plan: p, quiet: f.logStart}, nil
	case f.committed < 0 && f.checkpoint.Offset <= 0:
		// Nothing was ever judged of it: copies that are there come from lanes that have started before this one.
		return sourcePlan{plan: plan{replayFrom: f.logStart, judgeFrom: f.logStart, fresh: true}, quiet: f.logStart}, nil
	case recreated && f.committed >= 0:
		// What was forwarded before, of the deleted topic, is judged once, as everything is, and not replayed.
		return sourcePlan{plan: plan{replayFrom: f.committed, judgeFrom: f.committed}, quiet: quiet}, nil
	}
	s := sourcePlan{quiet: quiet}
	if f.logStart > f.committed && f.logStart <= quiet {
		// What is gone in front of it were boundaries.
		s.readFrom = f.logStart
		f.logStart = f.committed
	}
	var err error
	s.plan, err = decide(f, reset, onDataLoss)
	return s, err
}
