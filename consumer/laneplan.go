package consumer

import "fmt"

// lanePlan is what a lane does about all of its sources.
type lanePlan struct {
	plan     // of the lane: its offsets are the sums, its flags those of any source
	sources  []sourcePlan
	rekeyEnd int64 // of the rekey topic's partition at the start, what is not yet committed included
}

// sourcePlan is what a lane does about one source.
type sourcePlan struct {
	plan
	readFrom int64 // replayFrom, or beyond it where only boundaries stood in between, which are gone
	quiet    int64 // see parcel
}

// decideLane decides about each source and joins what was decided. The first is the input.
func decideLane(found []finding, reset OffsetReset, onDataLoss bool) (lanePlan, error) {
	var l lanePlan
	for i, f := range found {
		s := sourcePlan{}
		var err error
		if i == 0 {
			s.plan, err = decide(f, reset, onDataLoss)
		} else {
			s, err = decideRekey(f, reset, onDataLoss)
		}
		if err != nil {
			return lanePlan{}, fmt.Errorf("%s/%d: %w", f.topic, f.lane, err)
		}
		l.sources = append(l.sources, s)
	}
	input := l.sources[0].plan
	l.plan = input
	for i := range l.sources {
		s, f := &l.sources[i], &found[i]
		if s.rebuild && !input.rebuild {
			l.rebuild = true
		}
		if (input.rebuild || l.rebuild) && !s.rebuild && !s.fresh {
			s.replayFrom = min(f.logStart, s.judgeFrom)
			s.lostRebuild = s.replayFrom
		}
	}
	if l.rebuild && !input.rebuild { // the input comes before, and was left out above
		s := &l.sources[0]
		s.replayFrom = min(found[0].logStart, s.judgeFrom)
		s.lostRebuild = s.replayFrom
	}
	l.replayFrom, l.judgeFrom, l.lostReplay, l.lostJudge, l.lostRebuild = 0, 0, 0, 0, 0
	for i := range l.sources {
		s := &l.sources[i]
		s.readFrom = max(s.replayFrom, s.readFrom)
		l.incarnation = max(l.incarnation, s.incarnation)
		l.resume = l.resume || s.resume
		if l.cause == "" {
			l.cause, l.note = s.cause, s.note
		}
		l.lostReplay += s.lostReplay
		l.lostJudge += s.lostJudge
		l.lostRebuild += s.lostRebuild
	}
	l.sum()
	if n := len(found); n > 1 {
		l.rekeyEnd = found[n-1].logEnd
	}
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

// offsets returns the offsets of all sources, as one of the plan's places.
func (l *lanePlan) offsets(of func(*sourcePlan) int64) []int64 {
	var all []int64
	for i := range l.sources {
		all = append(all, of(&l.sources[i]))
	}
	return all
}

// decideRekey decides about the rekey topic. It is Lapwing's own, and younger than a group that comes from a version that
// did not forward.
func decideRekey(f finding, reset OffsetReset, onDataLoss bool) (sourcePlan, error) {
	mark, marked := parseCommitMetadata(f.metadata)
	quiet := f.committed
	if marked && mark.offset == f.committed {
		f.committed = mark.at
		mark.offset = mark.at
		f.metadata = mark.String()
	}
	switch {
	case f.committed < 0 && f.checkpoint.Offset <= 0:
		// Nothing was ever judged of it: copies that are there come from lanes that have started before this one.
		p := plan{replayFrom: f.logStart, judgeFrom: f.logStart, incarnation: 1, fresh: true}
		return sourcePlan{plan: p, quiet: f.logStart}, nil
	case marked && mark.layout.topics != f.layout.topics:
		// The input was made again. What was forwarded before is judged once, as everything is.
		p := plan{replayFrom: f.committed, judgeFrom: f.committed, incarnation: f.incarnation()}
		return sourcePlan{plan: p, quiet: quiet}, nil
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
