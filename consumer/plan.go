package consumer

import (
	"fmt"

	"github.com/lapwing/lapwing/state"
)

// finding is what a lane's start has seen: the checkpoint M in the store, the committed offset C in Kafka, the input's
// bounds.
type finding struct {
	layout     layout // ours
	checkpoint state.Checkpoint
	stored     bool  // a fence record stands in the store
	committed  int64 // C; -1: none
	metadata   string
	logStart   int64
	logEnd     int64
}

// plan is what the lane does about it: replay [replayFrom, judgeFrom) silently, then judge.
type plan struct {
	replayFrom, judgeFrom int64
	incarnation           uint32 // stored states of another one read as absent
	fresh                 bool   // a first start: the offsets come from the start position
	resume                bool   // from the checkpoint, without a committed offset
	rebuild               bool   // under a new incarnation up to an offset that somebody else has set
	lostReplay            int64  // records of the replay that are no longer kept
	lostJudge             int64  // records never judged that are no longer kept
	note                  string // worth a log line; "" in the ordinary cases
}

// A stopError says that a lane cannot start by itself without losing, doubling or misjudging something. It starts again
// by itself when what it found is mended.
type stopError struct {
	what   string // what was found
	remedy string // what to do
}

func (e *stopError) Error() string { return e.what + "; " + e.remedy }

// decide is the table of DESIGN.md, The start of a lane. It changes nothing.
func decide(f finding, reset OffsetReset, onDataLoss bool) (plan, error) {
	p := plan{incarnation: max(f.checkpoint.Incarnation, 1)}
	m, c := int64(-1), f.committed
	if f.stored {
		m = f.checkpoint.Offset
	}
	mark, marked := parseCommitMetadata(f.metadata)
	// Offsets and states of a topic that was deleted mean nothing in the one made again under its name.
	if l, err := parseLayout(f.checkpoint.Layout); m >= 0 && err == nil && l.topics != f.layout.topics {
		m = -1
		p.incarnation++
		p.note = "the input topic was deleted and made again: its old states are ignored"
	}
	if c >= 0 && marked && mark.topics != f.layout.topics {
		c = -1
	}
	switch {
	case c < 0 && m < 0:
		p.fresh = true
		return p, nil
	case c < 0:
		if f.checkpoint.Owner != "" && reset != OffsetResetResume {
			return plan{}, &stopError{
				what:   fmt.Sprintf("the group has no committed offset although the checkpoint in Redis is %d: its offsets have expired, were deleted, or the broker hides them for a while", m),
				remedy: "wait if the broker has just restarted; on_offset_reset: resume goes on from the checkpoint and may repeat the results of one flush",
			}
		}
		p.resume = true
		p.replayFrom, p.judgeFrom = m, m
		p.note = "no committed offset: going on from the checkpoint"
	case !marked || m > c:
		if reset != OffsetResetRebuild {
			return plan{}, foreignError(f, marked)
		}
		p.incarnation++
		p.rebuild = true
		p.replayFrom, p.judgeFrom = min(f.logStart, c), c
		p.note = "offsets set by somebody else: states are rebuilt from what is kept"
	case m < 0:
		p.replayFrom, p.judgeFrom = min(f.logStart, c), c
		if p.note == "" && f.logStart < c {
			p.note = "no checkpoint in Redis: states are rebuilt from what is kept"
		}
	default:
		p.replayFrom, p.judgeFrom = m, c
	}
	if p.judgeFrom > f.logEnd {
		return plan{}, &stopError{
			what:   fmt.Sprintf("the committed offset %d is beyond the end of the input, %d: the topic was truncated", p.judgeFrom, f.logEnd),
			remedy: "restore the topic, or set the group's offsets and use on_offset_reset: rebuild",
		}
	}
	return withoutDeleted(p, f, onDataLoss)
}

// foreignError says who is ahead of whom when C was not committed by Lapwing after M.
func foreignError(f finding, marked bool) error {
	const remedy = "restore the offset, or use on_offset_reset: rebuild, which replays what is kept up to it into new states"
	if !marked {
		return &stopError{what: fmt.Sprintf("the committed offset %d was not set by Lapwing (metadata %q)", f.committed, f.metadata), remedy: remedy}
	}
	return &stopError{what: fmt.Sprintf("the checkpoint in Redis, %d, is ahead of the committed offset %d", f.checkpoint.Offset, f.committed), remedy: remedy}
}

// withoutDeleted cuts from the plan what retention has deleted, or stops.
func withoutDeleted(p plan, f finding, onDataLoss bool) (plan, error) {
	if p.replayFrom >= f.logStart {
		return p, nil
	}
	p.lostReplay = min(f.logStart, p.judgeFrom) - p.replayFrom
	p.lostJudge = max(0, f.logStart-p.judgeFrom)
	if !onDataLoss {
		return p, &stopError{
			what:   fmt.Sprintf("input was deleted before it was used: of [%d, %d), %d records are missing for the states and %d were never judged", p.replayFrom, f.logStart, p.lostReplay, p.lostJudge),
			remedy: "lengthen the topic's retention; on_data_loss: continue goes on with fresh states for users last seen before",
		}
	}
	// Every stored state ends before the hole. Whether its user had events inside cannot be known, and an alert that
	// joins both sides of a hole would be false: so all of them start fresh.
	p.incarnation++
	p.replayFrom, p.judgeFrom = f.logStart, max(p.judgeFrom, f.logStart)
	p.note = "going on past deleted input with fresh states"
	return p, nil
}
