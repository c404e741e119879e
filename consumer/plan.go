package consumer

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/lapwing/lapwing/state"
)

// cause is what keeps a lane from going on where it was: a fixed word, the label of two metrics.
type cause string

// Something is gone or was changed from outside. A lane stops for it, or recovers.
const (
	causeDataLoss        cause = "data_loss"        // input was deleted before it was used
	causeForeignOffset   cause = "foreign_offset"   // the group's offset was set by somebody else
	causeCheckpointAhead cause = "checkpoint_ahead" // M > C, although Lapwing committed C
	causeNoOffset        cause = "no_offset"        // M without C
	causeNoCheckpoint    cause = "no_checkpoint"    // C without M
	causeRecreated       cause = "recreated"        // the input topic was deleted and made again
	causeTruncated       cause = "truncated"        // the input ends below C
)

// A lane stops for these and never recovers by itself.
const (
	causeSettings   cause = "settings"   // events are left to replay under other settings
	causeUnreadable cause = "unreadable" // a record batch that no second reading mends
	causeTakesLess  cause = "takes_less" // the topic of results or dead letters takes less than the least of them has
)

// causes are all, so that each has its metric from the start.
var causes = []cause{
	causeDataLoss, causeForeignOffset, causeCheckpointAhead, causeNoOffset, causeNoCheckpoint, causeRecreated, causeTruncated,
	causeSettings, causeUnreadable, causeTakesLess,
}

// finding is what a lane's start has seen: the checkpoint M in the store, the committed offset C in Kafka, the input's
// bounds.
type finding struct {
	topic      string
	lane       int32
	identity   string // of the topic, see source
	rekey      bool
	checkpoint state.Checkpoint
	stored     bool  // a fence record stands in the store
	committed  int64 // C; -1: none
	metadata   string
	logStart   int64
	logEnd     int64
}

// newIncarnation returns one that no record in the store has, of this lane or of another: lanes may have lost their
// checkpoints, and a topic that is made again with another partition count gives users to other lanes. It is drawn from
// the claim's epoch, which is never given twice, and above the lane's last one (0: none).
func newIncarnation(epoch int64, last uint32) uint32 {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(epoch)))
	drawn := binary.BigEndian.Uint32(sum[:])
	if last == 0 {
		return drawn>>1 | 1
	}
	return last + 1 + drawn>>12
}

// plan is what the lane does about it: replay [replayFrom, judgeFrom) silently, then judge. Counts are of offsets: that
// is records, and the markers and aborted records of transactional producers.
type plan struct {
	replayFrom, judgeFrom int64
	renew                 bool   // stored states are void: the lane takes a new incarnation
	fresh                 bool   // a first start: the offsets come from the start position
	resume                bool   // from the checkpoint, without a committed offset of our own
	rebuild               bool   // under a new incarnation up to an offset that somebody else has set
	lostReplay            int64  // missing for the states: of [M, C), no longer kept
	lostJudge             int64  // never judged: from C on, no longer kept
	lostRebuild           int64  // below C, no longer kept when all states had to be made anew
	cause                 cause  // what was recovered from; "" in the ordinary cases
	note                  string // of the cause, for the log
}

// A stopError says that a lane cannot start by itself without losing, doubling or misjudging something. It starts again
// by itself when what it found is mended.
type stopError struct {
	cause  cause
	what   string // what was found
	remedy string // what to do
}

func (e *stopError) Error() string { return e.what + "; " + e.remedy }

const noteRecreated = "the input topic was deleted and made again: its old offsets and states are ignored"

// decide is the table of DESIGN.md, The start of a lane. It changes nothing.
func decide(f finding, reset OffsetReset, onDataLoss bool) (plan, error) {
	var p plan
	m, c := int64(-1), f.committed
	if f.stored {
		m = f.checkpoint.Offset
	}
	if commitMarkNewer(f.metadata) && reset != OffsetResetRebuild {
		return plan{}, newerCommitError(f)
	}
	mark, marked := parseCommitMetadata(f.metadata)
	// An offset of a topic that was deleted means nothing in the one made again under its name.
	if c >= 0 && marked && mark.topic != f.identity {
		c = -1
		p.renew, p.cause, p.note = true, causeRecreated, noteRecreated
	}
	ours := marked && mark.offset == c
	switch {
	case c < 0 && m < 0:
		if f.stored && p.cause == "" { // some shards had one: this is no first start
			return plan{}, noOffsetError("is there in part",
				"set the group's offsets to where judging shall begin (kafka-consumer-groups --reset-offsets) and use kafka.on_offset_reset: rebuild for one start")
		}
		p.fresh = true
		return p, nil
	case c < 0:
		if f.checkpoint.Owner != "" && reset != OffsetResetResume {
			return plan{}, noOffsetError(fmt.Sprintf("is %d", m),
				fmt.Sprintf("wait if the broker has just restarted; kafka.on_offset_reset: resume goes on from %d and may repeat the results of one flush", m))
		}
		p.resume = true
		p.replayFrom, p.judgeFrom = m, m
		p.cause, p.note = causeNoOffset, "no committed offset: going on from the checkpoint"
	case !ours && m == c && (f.checkpoint.Owner == "" || reset == OffsetResetResume):
		// Set back to where the states are: nothing is left of the change but the missing mark.
		p.resume = true
		p.replayFrom, p.judgeFrom = c, c
		p.cause, p.note = causeForeignOffset, "the committed offset was set by somebody else to where the states are: going on from it"
	case !ours || m > c:
		stop := foreignError(f, m)
		if reset != OffsetResetRebuild {
			return plan{}, stop
		}
		p.renew, p.rebuild = true, true
		p.replayFrom, p.judgeFrom = min(f.logStart, c), c
		p.lostRebuild = p.replayFrom
		p.cause, p.note = stop.cause, "offsets set by somebody else: states are rebuilt from what is kept"
	case m < 0:
		p.renew = !f.stored // what stands in the store without a checkpoint is nobody's
		p.replayFrom, p.judgeFrom = min(f.logStart, c), c
		p.lostRebuild = p.replayFrom
		if p.cause == "" && c > 0 {
			p.cause, p.note = causeNoCheckpoint, "no checkpoint in Redis: states are rebuilt from what is kept"
		}
	default:
		p.replayFrom, p.judgeFrom = m, c
	}
	if p.judgeFrom > f.logEnd {
		return plan{}, &stopError{
			cause: causeTruncated,
			what:  fmt.Sprintf("the committed offset %d is beyond the end of the input, %d: the topic was truncated", p.judgeFrom, f.logEnd),
			remedy: fmt.Sprintf("restore the topic, or set the group's offset to %d (kafka-consumer-groups --reset-offsets) and use kafka.on_offset_reset: rebuild for one start",
				f.logEnd),
		}
	}
	return withoutDeleted(p, f, onDataLoss)
}

// newerCommitError ends the process: another member may be of the newer build, and goes on with the lane.
func newerCommitError(f finding) error {
	return fmt.Errorf("%w: the committed offset %d of %s/%d has the metadata %.100q, this build reads lapwing/1; %s",
		state.ErrNewer, f.committed, f.topic, f.lane, f.metadata, state.RemedyNewer)
}

func noOffsetError(checkpoint, remedy string) *stopError {
	return &stopError{
		cause:  causeNoOffset,
		what:   "the group has no committed offset although the checkpoint in Redis " + checkpoint + ": its offsets have expired, were deleted, or the broker hides them for a while",
		remedy: remedy,
	}
}

// foreignError says who is ahead of whom when C was not committed by Lapwing after M (-1: none), and the ways on.
func foreignError(f finding, m int64) *stopError {
	c := f.committed
	e := &stopError{cause: causeForeignOffset}
	mark, marked := parseCommitMetadata(f.metadata)
	switch {
	case !marked:
		e.what = fmt.Sprintf("the committed offset %d was not set by Lapwing (metadata %.100q)", c, f.metadata)
	case mark.offset != c:
		e.what = fmt.Sprintf("the committed offset %d was not set by Lapwing (its metadata is that of offset %d)", c, mark.offset)
	default:
		e.cause = causeCheckpointAhead
		e.what = fmt.Sprintf("the checkpoint in Redis, %d, is ahead of the committed offset %d: the broker's offsets went back, or hide after a crash", m, c)
	}
	dead := f.checkpoint.Owner != "" // then the offset was at most one flush ahead of M
	const accept = "kafka.on_offset_reset: rebuild, for one start, accepts it: states are made anew from what is kept below"
	switch {
	case m < 0:
		e.what += ", and there is no checkpoint in Redis"
		e.remedy = accept
		return e
	case e.cause == causeCheckpointAhead:
		e.remedy = fmt.Sprintf("wait if the broker has just restarted; %s, [%d, %d) is judged again and its results are published twice", accept, c, m)
	case c < m:
		e.what += fmt.Sprintf(", back from %s", before(m, dead))
		e.remedy = fmt.Sprintf("%s, [%d, %d) is judged again and its results are published twice", accept, c, m)
	case c > m:
		e.what += fmt.Sprintf(", forward from %s", before(m, dead))
		e.remedy = fmt.Sprintf("%s, and what was skipped of [%d, %d) is never judged", accept, m, c)
	default:
		e.what += fmt.Sprintf(", from %s", before(m, dead))
		e.remedy = accept
	}
	if dead {
		e.remedy += fmt.Sprintf("; to undo it, set the offset to %d and use kafka.on_offset_reset: resume for one start, which may repeat the results of one flush", m)
	} else {
		e.remedy += fmt.Sprintf("; to undo it, set the offset to %d (kafka-consumer-groups --reset-offsets --to-offset %[1]d)", m)
	}
	return e
}

// before names the offset that the group had before somebody else set it.
func before(m int64, dead bool) string {
	if dead {
		return fmt.Sprintf("%d or up to one flush beyond", m)
	}
	return fmt.Sprint(m)
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
			cause: causeDataLoss,
			what:  fmt.Sprintf("input was deleted before it was used: of [%d, %d), %d records are missing for the states and %d were never judged", p.replayFrom, f.logStart, p.lostReplay, p.lostJudge),
			remedy: fmt.Sprintf("lengthen the topic's retention against the next time; kafka.on_data_loss: continue goes on from %d with fresh states for all users of the partition: an alert may be missed, none is false",
				max(p.judgeFrom, f.logStart)),
		}
	}
	// Every stored state ends before the hole. Whether its user had events inside cannot be known, and an alert that
	// joins both sides of a hole would be false: so all of them start fresh.
	p.renew = true
	p.replayFrom, p.judgeFrom = f.logStart, max(p.judgeFrom, f.logStart)
	p.cause, p.note = causeDataLoss, "input was deleted before it was used: going on behind it with fresh states"
	return p, nil
}
