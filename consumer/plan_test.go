package consumer

import (
	"errors"
	"strings"
	"testing"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// TestDecide walks the table of DESIGN.md, The start of a lane.
func TestDecide(t *testing.T) {
	ours := layout{topics: "aaaaaaaa", partitions: 6, settings: "bbbbbbbb"}
	const topic, former = "cccccccc", "dddddddd"
	of := func(topic string, offset int64) string { return mark{ours, topic, offset, offset}.String() }
	mark := func(offset int64) string { return of(topic, offset) }
	at := func(m int64, owner string) state.Checkpoint {
		return state.Checkpoint{Offset: m, Layout: ours.String(), Incarnation: 1, Owner: owner}
	}
	cases := []struct {
		name       string
		f          finding
		reset      OffsetReset
		onDataLoss bool
		want       plan
		cause      cause    // of the stopError
		stop       []string // parts of the stopError
	}{
		{name: "clean hand-over: nothing to replay",
			f:    finding{checkpoint: at(100, ""), stored: true, committed: 100, metadata: mark(100), logEnd: 150},
			want: plan{replayFrom: 100, judgeFrom: 100}},
		{name: "crash: replays a moment's events",
			f:    finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark(100), logEnd: 150},
			want: plan{replayFrom: 80, judgeFrom: 100}},

		{name: "Redis wiped: replays from the earliest kept, and counts what is not",
			f:    finding{committed: 100, metadata: mark(100), logStart: 20, logEnd: 150},
			want: plan{replayFrom: 20, judgeFrom: 100, lostRebuild: 20, cause: causeNoCheckpoint, renew: true}},
		{name: "Redis wiped: what still stands there is nobody's",
			f:    finding{committed: 100, metadata: mark(100), logEnd: 150},
			want: plan{judgeFrom: 100, cause: causeNoCheckpoint, renew: true}},
		{name: "Redis wiped and everything before C deleted",
			f:    finding{committed: 100, metadata: mark(100), logStart: 100, logEnd: 150},
			want: plan{replayFrom: 100, judgeFrom: 100, lostRebuild: 100, cause: causeNoCheckpoint, renew: true}},
		{name: "crash between the first offset and the first checkpoint",
			f:    finding{committed: 0, metadata: mark(0), logEnd: 150},
			want: plan{renew: true}},

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
			want: plan{replayFrom: 90, judgeFrom: 100, lostReplay: 10, cause: causeDataLoss, renew: true}},
		{name: "on_data_loss continue past C",
			f: finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark(100), logStart: 130, logEnd: 150}, onDataLoss: true,
			want: plan{replayFrom: 130, judgeFrom: 130, lostReplay: 20, lostJudge: 30, cause: causeDataLoss, renew: true}},
		{name: "on_data_loss continue after a clean stop, everything deleted",
			f: finding{checkpoint: at(100, ""), stored: true, committed: 100, metadata: mark(100), logStart: 150, logEnd: 150}, onDataLoss: true,
			want: plan{replayFrom: 150, judgeFrom: 150, lostJudge: 50, cause: causeDataLoss, renew: true}},

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
			want: plan{replayFrom: 100, judgeFrom: 100, resume: true, cause: causeForeignOffset}},
		{name: "offset set to the checkpoint, after a crash: stops",
			f:     finding{checkpoint: at(100, "id"), stored: true, committed: 100, metadata: "", logEnd: 150},
			cause: causeForeignOffset, stop: []string{"not set by Lapwing", "kafka.on_offset_reset: resume"}},
		{name: "offset set to the checkpoint, after a crash: resume",
			f: finding{checkpoint: at(100, "id"), stored: true, committed: 100, metadata: "", logEnd: 150}, reset: OffsetResetResume,
			want: plan{replayFrom: 100, judgeFrom: 100, resume: true, cause: causeForeignOffset}},
		{name: "resume does not accept another foreign offset",
			f: finding{checkpoint: at(100, ""), stored: true, committed: 90, metadata: "", logEnd: 150}, reset: OffsetResetResume,
			cause: causeForeignOffset, stop: []string{"not set by Lapwing"}},
		{name: "M beyond C: stops",
			f:     finding{checkpoint: at(120, ""), stored: true, committed: 100, metadata: mark(100), logEnd: 150},
			cause: causeCheckpointAhead, stop: []string{"the checkpoint in Redis, 120, is ahead of the committed offset 100",
				"wait if the broker has just restarted", "[100, 120) is judged again", "to undo it, set the offset to 120"}},
		{name: "rebuild: replays up to the new offset under a new incarnation",
			f: finding{checkpoint: at(120, ""), stored: true, committed: 100, metadata: "", logStart: 5, logEnd: 150}, reset: OffsetResetRebuild,
			want: plan{replayFrom: 5, judgeFrom: 100, rebuild: true, lostRebuild: 5, cause: causeForeignOffset, renew: true}},
		{name: "rebuild of an offset that went back by itself",
			f: finding{checkpoint: at(120, ""), stored: true, committed: 100, metadata: mark(100), logEnd: 150}, reset: OffsetResetRebuild,
			want: plan{judgeFrom: 100, rebuild: true, cause: causeCheckpointAhead, renew: true}},
		{name: "rebuild does nothing where the offset is Lapwing's",
			f: finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark(100), logEnd: 150}, reset: OffsetResetRebuild,
			want: plan{replayFrom: 80, judgeFrom: 100}},
		{name: "rebuild below what is kept is a data loss",
			f: finding{checkpoint: at(120, ""), stored: true, committed: 10, metadata: "", logStart: 30, logEnd: 150}, reset: OffsetResetRebuild,
			cause: causeDataLoss, stop: []string{"of [10, 30), 0 records are missing for the states and 20 were never judged"}},

		{name: "C missing after a clean stop: resumes at M",
			f:    finding{checkpoint: at(100, ""), stored: true, committed: -1, logEnd: 150},
			want: plan{replayFrom: 100, judgeFrom: 100, resume: true, cause: causeNoOffset}},
		{name: "C missing after a crash: stops, never from 0",
			f:     finding{checkpoint: at(100, "id"), stored: true, committed: -1, logEnd: 150},
			cause: causeNoOffset, stop: []string{"no committed offset although the checkpoint in Redis is 100", "kafka.on_offset_reset: resume goes on from 100"}},
		{name: "C missing after a crash, rebuild: stops, since there is nothing to rebuild up to",
			f: finding{checkpoint: at(100, "id"), stored: true, committed: -1, logEnd: 150}, reset: OffsetResetRebuild,
			cause: causeNoOffset, stop: []string{"no committed offset"}},
		{name: "C missing after a crash, resume",
			f: finding{checkpoint: at(100, "id"), stored: true, committed: -1, logEnd: 150}, reset: OffsetResetResume,
			want: plan{replayFrom: 100, judgeFrom: 100, resume: true, cause: causeNoOffset}},
		{name: "C missing and M no longer kept",
			f:     finding{checkpoint: at(100, ""), stored: true, committed: -1, logStart: 130, logEnd: 150},
			cause: causeDataLoss, stop: []string{"of [100, 130), 0 records are missing for the states and 30 were never judged"}},
		{name: "C missing and a shard's checkpoint too: no first start",
			f:     finding{checkpoint: at(-1, ""), stored: true, committed: -1, logEnd: 150},
			cause: causeNoOffset, stop: []string{"although the checkpoint in Redis is there in part"}},
		{name: "first start",
			f:    finding{committed: -1, logEnd: 150},
			want: plan{fresh: true}},

		{name: "topic made again: its old offset means nothing",
			f:    finding{committed: 100, metadata: of(former, 100), logEnd: 7},
			want: plan{fresh: true, cause: causeRecreated, renew: true}},
		{name: "topic made again, crash between the first checkpoint and the first offset",
			f:    finding{checkpoint: at(0, ""), stored: true, committed: 100, metadata: of(former, 100), logEnd: 7},
			want: plan{resume: true, cause: causeNoOffset, renew: true}},
		{name: "C beyond the end: the topic was truncated",
			f:     finding{checkpoint: at(100, ""), stored: true, committed: 100, metadata: mark(100), logEnd: 50},
			cause: causeTruncated, stop: []string{"beyond the end of the input, 50", "set the group's offset to 50"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.f.identity = topic
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
		fresh := newIncarnation(epoch, 0)
		if next := newIncarnation(epoch, fresh); next <= fresh {
			t.Fatalf("%d after %d", next, fresh)
		}
		seen[fresh] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d incarnations of 1000 claims", len(seen))
	}
}

// TestSettingsText pins the text whose hash stands in fence records and commits: a new option may add to it only where it is
// used, else every running group would have another layout after an upgrade.
func TestSettingsText(t *testing.T) {
	o := DefaultOptions()
	o.Decoder = contract.DecoderOptions{Types: rules.DefaultTypes(), BytesMax: 64 << 10}
	const want = "shards=1 types=deposit,withdraw millis=false record=false numeric=false future=0s bytes=65536"
	if got := o.settingsText(); got != want || shortHash(got) != "1e15577f" {
		t.Errorf("%q with hash %s, want %q", got, shortHash(got), want)
	}
	o.Decoder.StripFrame = true
	if got := o.settingsText(); got != want+" strip_frame=true" {
		t.Errorf("stripped: %q", got)
	}
}

// TestDecideNewer has an offset that a newer build has committed: not one that somebody else has set. Only a rebuild takes it.
func TestDecideNewer(t *testing.T) {
	f := finding{topic: "events", lane: 3, identity: "cccccccc", committed: 100, metadata: "lapwing/2 layout=x", logEnd: 150,
		checkpoint: state.Checkpoint{Offset: 80, Incarnation: 1}, stored: true}
	for _, reset := range []OffsetReset{OffsetResetStop, OffsetResetResume} {
		_, err := decide(f, reset, true)
		if !errors.Is(err, state.ErrNewer) || classify(err) != fatal {
			t.Fatalf("%v: %v, want ErrNewer", reset, err)
		}
		for _, part := range []string{"the committed offset 100 of events/3", `"lapwing/2 layout=x"`, "start the newer build again"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
	}
	p, err := decide(f, OffsetResetRebuild, false)
	if err != nil || !p.rebuild || !p.renew || p.replayFrom != 0 || p.judgeFrom != 100 {
		t.Errorf("rebuild: %+v, %v", p, err)
	}
}

func TestLayoutText(t *testing.T) {
	events := []source{{topic: "events", id: [16]byte{1}}}
	l := newLayout(events, 6, contract.CRC32, "settings")
	if back, err := parseLayout(l.String()); err != nil || back != l {
		t.Fatalf("%v, %v", back, err)
	}
	for _, m := range []mark{{l, "abcd", 42, 42}, {l, "abcd", 42, 40}} {
		if back, ours := parseCommitMetadata(m.String()); !ours || back != m {
			t.Fatalf("%v, %v", back, ours)
		}
	}
	quiet := mark{l, "abcd", 42, 40}.String()
	for _, text := range []string{
		"", "x", "lapwing/1 layout=", quiet + "x", quiet + " x", strings.Replace(quiet, " at=40", " at=", 1), strings.Replace(quiet, " topic=abcd", "", 1),
		strings.Replace(quiet, "abcd", "", 1), strings.Replace(quiet, "lapwing/1", "lapwing/2", 1), strings.Replace(quiet, "crc32", "crc", 1),
		strings.Replace(quiet, ".6.", ".six.", 1), strings.Replace(quiet, ".6.", ".0.", 1), strings.Replace(quiet, "offset=42", "offset=", 1),
		"lapwing/1 layout=" + l.String(),
	} {
		if _, ours := parseCommitMetadata(text); ours {
			t.Errorf("%q taken as Lapwing's", text)
		}
	}
	for text, newer := range map[string]bool{
		strings.Replace(quiet, "lapwing/1", "lapwing/2", 1): true, "lapwing/10 x": true, quiet: false, "lapwing/0 x": false,
		"lapwing/2": false, "2 x": false, "": false, "lapwing/x y": false,
	} {
		if commitMarkNewer(text) != newer {
			t.Errorf("%q: newer should be %t", text, newer)
		}
	}
	for name, o := range map[string]layout{
		"topic":       newLayout([]source{{topic: "event", id: [16]byte{1}}}, 6, contract.CRC32, "settings"),
		"id":          newLayout([]source{{topic: "events", id: [16]byte{2}}}, 6, contract.CRC32, "settings"),
		"input":       newLayout(append(events, source{topic: "more"}), 6, contract.CRC32, "settings"),
		"partitions":  newLayout(events, 7, contract.CRC32, "settings"),
		"partitioner": newLayout(events, 6, contract.Murmur2, "settings"),
		"settings":    newLayout(events, 6, contract.CRC32, "other"),
	} {
		if o.String() == l.String() {
			t.Errorf("another %s gives the same layout", name)
		}
	}
}
