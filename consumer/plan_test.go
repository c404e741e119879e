package consumer

import (
	"errors"
	"strings"
	"testing"

	"github.com/lapwing/lapwing/state"
)

// TestDecide walks the table of DESIGN.md, The start of a lane.
func TestDecide(t *testing.T) {
	ours := layout{topics: "aaaaaaaa", partitions: 6, settings: "bbbbbbbb"}
	other := layout{topics: "cccccccc", partitions: 6, settings: "bbbbbbbb"}
	mark := ours.commitMetadata
	at := func(m int64, owner string) state.Checkpoint {
		return state.Checkpoint{Offset: m, Layout: ours.String(), Incarnation: 1, Owner: owner}
	}
	former := func(m int64) state.Checkpoint {
		return state.Checkpoint{Offset: m, Layout: other.String(), Incarnation: 3}
	}
	cases := []struct {
		name       string
		f          finding
		reset      OffsetReset
		onDataLoss bool
		want       plan     // incarnation 0: a new one
		cause      cause    // of the stopError
		stop       []string // parts of the stopError
	}{
		{name: "clean hand-over: nothing to replay",
			f:    finding{checkpoint: at(100, ""), stored: true, committed: 100, metadata: mark(100), logEnd: 150},
			want: plan{replayFrom: 100, judgeFrom: 100, incarnation: 1}},
		{name: "crash: replays a moment's events",
			f:    finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark(100), logEnd: 150},
			want: plan{replayFrom: 80, judgeFrom: 100, incarnation: 1}},

		{name: "Redis wiped: replays from the earliest kept, and counts what is not",
			f:    finding{committed: 100, metadata: mark(100), logStart: 20, logEnd: 150},
			want: plan{replayFrom: 20, judgeFrom: 100, lostRebuild: 20, cause: causeNoCheckpoint}},
		{name: "Redis wiped: what still stands there is nobody's",
			f:    finding{committed: 100, metadata: mark(100), epoch: 1_700_000_000_999_999, logEnd: 150},
			want: plan{judgeFrom: 100, cause: causeNoCheckpoint}},
		{name: "Redis wiped and everything before C deleted",
			f:    finding{committed: 100, metadata: mark(100), logStart: 100, logEnd: 150},
			want: plan{replayFrom: 100, judgeFrom: 100, lostRebuild: 100, cause: causeNoCheckpoint}},
		{name: "crash between the first offset and the first checkpoint",
			f:    finding{committed: 0, metadata: mark(0), logEnd: 150},
			want: plan{}},

		{name: "retention cut the replay: stops with exact counts",
			f:     finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark(100), logStart: 90, logEnd: 150},
			cause: causeDataLoss, stop: []string{"of [80, 90), 10 records are missing for the states and 0 were never judged", "kafka.on_data_loss: continue goes on from 100"}},
		{name: "retention cut beyond C: stops with exact counts",
			f:     finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark(100), logStart: 130, logEnd: 150},
			cause: causeDataLoss, stop: []string{"20 records are missing for the states and 30 were never judged", "goes on from 130"}},
		{name: "retention cut beyond C without a checkpoint",
			f:     finding{committed: 100, metadata: mark(100), logStart: 130, logEnd: 150},
			cause: causeDataLoss, stop: []string{"0 records are missing for the states and 30 were never judged"}},
		{name: "on_data_loss continue: fresh states behind the hole",
			f: finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark(100), logStart: 90, logEnd: 150}, onDataLoss: true,
			want: plan{replayFrom: 90, judgeFrom: 100, lostReplay: 10, cause: causeDataLoss}},
		{name: "on_data_loss continue past C",
			f: finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark(100), logStart: 130, logEnd: 150}, onDataLoss: true,
			want: plan{replayFrom: 130, judgeFrom: 130, lostReplay: 20, lostJudge: 30, cause: causeDataLoss}},
		{name: "on_data_loss continue after a clean stop, everything deleted",
			f: finding{checkpoint: at(100, ""), stored: true, committed: 100, metadata: mark(100), logStart: 150, logEnd: 150}, onDataLoss: true,
			want: plan{replayFrom: 150, judgeFrom: 150, lostJudge: 50, cause: causeDataLoss}},

		{name: "offset set back: stops",
			f:     finding{checkpoint: at(100, ""), stored: true, committed: 40, metadata: "", logEnd: 150},
			cause: causeForeignOffset, stop: []string{"the committed offset 40 was not set by Lapwing (metadata \"\"), back from 100",
				"kafka.on_offset_reset: rebuild", "[40, 100) is judged again", "to undo it, set the offset to 100"}},
		{name: "offset set forward: stops",
			f:     finding{checkpoint: at(100, ""), stored: true, committed: 140, metadata: "", logEnd: 150},
			cause: causeForeignOffset, stop: []string{"the committed offset 140 was not set by Lapwing", "forward from 100", "[100, 140) is never judged"}},
		{name: "offset set forward by a tool that keeps metadata: stops",
			f:     finding{checkpoint: at(100, ""), stored: true, committed: 140, metadata: mark(100), logEnd: 150},
			cause: causeForeignOffset, stop: []string{"the committed offset 140 was not set by Lapwing (its metadata is that of offset 100), forward from 100"}},
		{name: "offset set after a crash: the former one is not known exactly",
			f:     finding{checkpoint: at(100, "id"), stored: true, committed: 40, metadata: "", logEnd: 150},
			cause: causeForeignOffset, stop: []string{"back from 100 or up to one flush beyond", "set the offset to 100 and use kafka.on_offset_reset: resume"}},
		{name: "offset set and no checkpoint",
			f:     finding{committed: 40, metadata: "", logEnd: 150},
			cause: causeForeignOffset, stop: []string{"there is no checkpoint in Redis", "kafka.on_offset_reset: rebuild"}},
		{name: "offset set to where the states are, after a clean stop: nothing has changed",
			f:    finding{checkpoint: at(100, ""), stored: true, committed: 100, metadata: "", logEnd: 150},
			want: plan{replayFrom: 100, judgeFrom: 100, incarnation: 1, resume: true, cause: causeForeignOffset}},
		{name: "offset set to the checkpoint, after a crash: stops",
			f:     finding{checkpoint: at(100, "id"), stored: true, committed: 100, metadata: "", logEnd: 150},
			cause: causeForeignOffset, stop: []string{"not set by Lapwing", "kafka.on_offset_reset: resume"}},
		{name: "offset set to the checkpoint, after a crash: resume",
			f: finding{checkpoint: at(100, "id"), stored: true, committed: 100, metadata: "", logEnd: 150}, reset: OffsetResetResume,
			want: plan{replayFrom: 100, judgeFrom: 100, incarnation: 1, resume: true, cause: causeForeignOffset}},
		{name: "resume does not accept another foreign offset",
			f: finding{checkpoint: at(100, ""), stored: true, committed: 90, metadata: "", logEnd: 150}, reset: OffsetResetResume,
			cause: causeForeignOffset, stop: []string{"not set by Lapwing"}},
		{name: "M beyond C: stops",
			f:     finding{checkpoint: at(120, ""), stored: true, committed: 100, metadata: mark(100), logEnd: 150},
			cause: causeCheckpointAhead, stop: []string{"the checkpoint in Redis, 120, is ahead of the committed offset 100",
				"wait if the broker has just restarted", "[100, 120) is judged again", "to undo it, set the offset to 120"}},
		{name: "rebuild: replays up to the new offset under a new incarnation",
			f: finding{checkpoint: at(120, ""), stored: true, committed: 100, metadata: "", logStart: 5, logEnd: 150}, reset: OffsetResetRebuild,
			want: plan{replayFrom: 5, judgeFrom: 100, rebuild: true, lostRebuild: 5, cause: causeForeignOffset}},
		{name: "rebuild of an offset that went back by itself",
			f: finding{checkpoint: at(120, ""), stored: true, committed: 100, metadata: mark(100), logEnd: 150}, reset: OffsetResetRebuild,
			want: plan{judgeFrom: 100, rebuild: true, cause: causeCheckpointAhead}},
		{name: "rebuild does nothing where the offset is Lapwing's",
			f: finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark(100), logEnd: 150}, reset: OffsetResetRebuild,
			want: plan{replayFrom: 80, judgeFrom: 100, incarnation: 1}},
		{name: "rebuild below what is kept is a data loss",
			f: finding{checkpoint: at(120, ""), stored: true, committed: 10, metadata: "", logStart: 30, logEnd: 150}, reset: OffsetResetRebuild,
			cause: causeDataLoss, stop: []string{"of [10, 30), 0 records are missing for the states and 20 were never judged"}},

		{name: "C missing after a clean stop: resumes at M",
			f:    finding{checkpoint: at(100, ""), stored: true, committed: -1, logEnd: 150},
			want: plan{replayFrom: 100, judgeFrom: 100, incarnation: 1, resume: true, cause: causeNoOffset}},
		{name: "C missing after a crash: stops, never from 0",
			f:     finding{checkpoint: at(100, "id"), stored: true, committed: -1, logEnd: 150},
			cause: causeNoOffset, stop: []string{"no committed offset although the checkpoint in Redis is 100", "kafka.on_offset_reset: resume goes on from 100"}},
		{name: "C missing after a crash, rebuild: stops, since there is nothing to rebuild up to",
			f: finding{checkpoint: at(100, "id"), stored: true, committed: -1, logEnd: 150}, reset: OffsetResetRebuild,
			cause: causeNoOffset, stop: []string{"no committed offset"}},
		{name: "C missing after a crash, resume",
			f: finding{checkpoint: at(100, "id"), stored: true, committed: -1, logEnd: 150}, reset: OffsetResetResume,
			want: plan{replayFrom: 100, judgeFrom: 100, incarnation: 1, resume: true, cause: causeNoOffset}},
		{name: "C missing and M no longer kept",
			f:     finding{checkpoint: at(100, ""), stored: true, committed: -1, logStart: 130, logEnd: 150},
			cause: causeDataLoss, stop: []string{"of [100, 130), 0 records are missing for the states and 30 were never judged"}},
		{name: "C missing and a shard's checkpoint too: no first start",
			f:     finding{checkpoint: at(-1, ""), stored: true, committed: -1, logEnd: 150},
			cause: causeNoOffset, stop: []string{"although the checkpoint in Redis is there in part"}},
		{name: "first start",
			f:    finding{committed: -1, logEnd: 150},
			want: plan{fresh: true}},

		{name: "topic made again: none of the old states",
			f:    finding{checkpoint: former(100), stored: true, committed: -1, logEnd: 7},
			want: plan{fresh: true, cause: causeRecreated}},
		{name: "topic made again: users may have moved between lanes",
			f:    finding{checkpoint: former(100), stored: true, committed: -1, epoch: 1_700_000_000_000_000, logEnd: 7},
			want: plan{fresh: true, cause: causeRecreated}},
		{name: "topic made again and the old offset still there",
			f:    finding{checkpoint: former(100), stored: true, committed: 100, metadata: other.commitMetadata(100), logEnd: 7},
			want: plan{fresh: true, cause: causeRecreated}},
		{name: "topic made again and Redis wiped",
			f:    finding{committed: 100, metadata: other.commitMetadata(100), logEnd: 7},
			want: plan{fresh: true, cause: causeRecreated}},
		{name: "topic made again, crash between offset and checkpoint",
			f:    finding{checkpoint: former(100), stored: true, committed: 0, metadata: mark(0), logEnd: 7},
			want: plan{cause: causeRecreated}},
		{name: "C beyond the end: the topic was truncated",
			f:     finding{checkpoint: at(100, ""), stored: true, committed: 100, metadata: mark(100), logEnd: 50},
			cause: causeTruncated, stop: []string{"beyond the end of the input, 50", "set the group's offset to 50"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.f.layout = ours
			got, err := decide(c.f, c.reset, c.onDataLoss)
			if c.cause != "" {
				var stop *stopError
				if !errors.As(err, &stop) || stop.cause != c.cause || stop.remedy == "" {
					t.Fatalf("got %v, want a stop for %s", err, c.cause)
				}
				for _, part := range c.stop {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q is not in %q", part, err)
					}
				}
				return
			}
			if (got.note != "") != (c.want.cause != "") {
				t.Errorf("note %q for the cause %q", got.note, c.want.cause)
			}
			got.note = ""
			if c.want.incarnation == 0 {
				c.want.incarnation = c.f.incarnation()
			}
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

// TestIncarnation checks that a new incarnation is above the lane's last one, and another for each claim.
func TestIncarnation(t *testing.T) {
	seen := map[uint32]bool{}
	for epoch := int64(1_700_000_000_000_000); epoch < 1_700_000_000_001_000; epoch++ {
		fresh := finding{epoch: epoch}
		next := finding{epoch: epoch, stored: true, checkpoint: state.Checkpoint{Incarnation: fresh.incarnation()}}
		if next.incarnation() <= fresh.incarnation() {
			t.Fatalf("%d after %d", next.incarnation(), fresh.incarnation())
		}
		seen[fresh.incarnation()] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d incarnations of 1000 claims", len(seen))
	}
}

func TestLayoutText(t *testing.T) {
	l := newLayout("events", [16]byte{1}, 6, "settings")
	if back, err := parseLayout(l.String()); err != nil || back != l {
		t.Fatalf("%v, %v", back, err)
	}
	if back, ours := parseCommitMetadata(l.commitMetadata(42)); !ours || back != (mark{l, 42, 42}) {
		t.Fatalf("%v, %v", back, ours)
	}
	quiet := mark{l, 42, 40}
	if back, ours := parseCommitMetadata(quiet.String()); !ours || back != quiet {
		t.Fatalf("%v, %v", back, ours)
	}
	for _, text := range []string{"", "x", "lapwing/1 layout=", quiet.String() + "x", "lapwing/1 layout=" + l.String() + " offset=1 at=", "lapwing/1 layout=a.b.c offset=1", "lapwing/2 layout=" + l.String() + " offset=1",
		"lapwing/1 layout=" + l.String(), "lapwing/1 layout=" + l.String() + " offset=", "lapwing/1 layout=" + l.String() + " offset=1 x"} {
		if _, ours := parseCommitMetadata(text); ours {
			t.Errorf("%q taken as Lapwing's", text)
		}
	}
	for name, o := range map[string]layout{
		"topic": newLayout("event", [16]byte{1}, 6, "settings"), "id": newLayout("events", [16]byte{2}, 6, "settings"),
		"partitions": newLayout("events", [16]byte{1}, 7, "settings"), "settings": newLayout("events", [16]byte{1}, 6, "other"),
	} {
		if o.String() == l.String() {
			t.Errorf("another %s gives the same layout", name)
		}
	}
}
