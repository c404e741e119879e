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
	mark := ours.commitMetadata()
	at := func(m int64, owner string) state.Checkpoint {
		return state.Checkpoint{Offset: m, Layout: ours.String(), Incarnation: 1, Owner: owner}
	}
	cases := []struct {
		name       string
		f          finding
		reset      OffsetReset
		onDataLoss bool
		want       plan
		stop       string // part of the stopError
	}{
		{name: "clean hand-over: nothing to replay",
			f:    finding{checkpoint: at(100, ""), stored: true, committed: 100, metadata: mark, logEnd: 150},
			want: plan{replayFrom: 100, judgeFrom: 100, incarnation: 1}},
		{name: "crash: replays a moment's events",
			f:    finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark, logEnd: 150},
			want: plan{replayFrom: 80, judgeFrom: 100, incarnation: 1}},
		{name: "Redis wiped: replays from the earliest kept",
			f:    finding{committed: 100, metadata: mark, logStart: 20, logEnd: 150},
			want: plan{replayFrom: 20, judgeFrom: 100, incarnation: 1, note: "no checkpoint in Redis: states are rebuilt from what is kept"}},
		{name: "Redis wiped and everything before C deleted",
			f:    finding{committed: 100, metadata: mark, logStart: 100, logEnd: 150},
			want: plan{replayFrom: 100, judgeFrom: 100, incarnation: 1}},
		{name: "retention cut the replay: stops with exact counts",
			f:    finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark, logStart: 90, logEnd: 150},
			stop: "10 records are missing for the states and 0 were never judged"},
		{name: "retention cut beyond C: stops with exact counts",
			f:    finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark, logStart: 130, logEnd: 150},
			stop: "20 records are missing for the states and 30 were never judged"},
		{name: "retention cut beyond C without a checkpoint",
			f:    finding{committed: 100, metadata: mark, logStart: 130, logEnd: 150},
			stop: "0 records are missing for the states and 30 were never judged"},
		{name: "on_data_loss continue: fresh states behind the hole",
			f: finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark, logStart: 90, logEnd: 150}, onDataLoss: true,
			want: plan{replayFrom: 90, judgeFrom: 100, incarnation: 2, lostReplay: 10, note: "going on past deleted input with fresh states"}},
		{name: "on_data_loss continue past C",
			f: finding{checkpoint: at(80, "id"), stored: true, committed: 100, metadata: mark, logStart: 130, logEnd: 150}, onDataLoss: true,
			want: plan{replayFrom: 130, judgeFrom: 130, incarnation: 2, lostReplay: 20, lostJudge: 30, note: "going on past deleted input with fresh states"}},
		{name: "offset set by a tool: stops",
			f:    finding{checkpoint: at(100, ""), stored: true, committed: 100, metadata: "", logEnd: 150},
			stop: "not set by Lapwing"},
		{name: "M beyond C: stops",
			f:    finding{checkpoint: at(120, ""), stored: true, committed: 100, metadata: mark, logEnd: 150},
			stop: "the checkpoint in Redis, 120, is ahead of the committed offset 100"},
		{name: "rebuild: replays up to the new offset under a new incarnation",
			f: finding{checkpoint: at(120, ""), stored: true, committed: 100, metadata: "", logStart: 5, logEnd: 150}, reset: OffsetResetRebuild,
			want: plan{replayFrom: 5, judgeFrom: 100, incarnation: 2, rebuild: true, note: "offsets set by somebody else: states are rebuilt from what is kept"}},
		{name: "resume does not accept a foreign offset",
			f: finding{checkpoint: at(100, ""), stored: true, committed: 90, metadata: "", logEnd: 150}, reset: OffsetResetResume,
			stop: "not set by Lapwing"},
		{name: "C missing after a clean stop: resumes at M",
			f:    finding{checkpoint: at(100, ""), stored: true, committed: -1, logEnd: 150},
			want: plan{replayFrom: 100, judgeFrom: 100, incarnation: 1, resume: true, note: "no committed offset: going on from the checkpoint"}},
		{name: "C missing after a crash: stops, never from 0",
			f:    finding{checkpoint: at(100, "id"), stored: true, committed: -1, logEnd: 150},
			stop: "no committed offset although the checkpoint in Redis is 100"},
		{name: "C missing after a crash, resume",
			f: finding{checkpoint: at(100, "id"), stored: true, committed: -1, logEnd: 150}, reset: OffsetResetResume,
			want: plan{replayFrom: 100, judgeFrom: 100, incarnation: 1, resume: true, note: "no committed offset: going on from the checkpoint"}},
		{name: "first start",
			f:    finding{committed: -1, logEnd: 150},
			want: plan{fresh: true, incarnation: 1}},
		{name: "topic made again: none of the old states",
			f:    finding{checkpoint: state.Checkpoint{Offset: 100, Layout: other.String(), Incarnation: 3}, stored: true, committed: -1, logEnd: 7},
			want: plan{fresh: true, incarnation: 4, note: "the input topic was deleted and made again: its old states are ignored"}},
		{name: "topic made again and the old offset still there",
			f:    finding{checkpoint: state.Checkpoint{Offset: 100, Layout: other.String(), Incarnation: 3}, stored: true, committed: 100, metadata: other.commitMetadata(), logEnd: 7},
			want: plan{fresh: true, incarnation: 4, note: "the input topic was deleted and made again: its old states are ignored"}},
		{name: "topic made again, crash between offset and checkpoint",
			f:    finding{checkpoint: state.Checkpoint{Offset: 100, Layout: other.String(), Incarnation: 3}, stored: true, committed: 0, metadata: mark, logEnd: 7},
			want: plan{incarnation: 4, note: "the input topic was deleted and made again: its old states are ignored"}},
		{name: "C beyond the end: the topic was truncated",
			f:    finding{checkpoint: at(100, ""), stored: true, committed: 100, metadata: mark, logEnd: 50},
			stop: "beyond the end of the input, 50"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.f.layout = ours
			got, err := decide(c.f, c.reset, c.onDataLoss)
			if c.stop != "" {
				var stop *stopError
				if !errors.As(err, &stop) || !strings.Contains(err.Error(), c.stop) || stop.remedy == "" {
					t.Fatalf("got %v, want a stop with %q", err, c.stop)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

func TestLayoutText(t *testing.T) {
	l := newLayout("events", [16]byte{1}, 6, "settings")
	if back, err := parseLayout(l.String()); err != nil || back != l {
		t.Fatalf("%v, %v", back, err)
	}
	if back, ours := parseCommitMetadata(l.commitMetadata()); !ours || back != l {
		t.Fatalf("%v, %v", back, ours)
	}
	for _, text := range []string{"", "x", "lapwing/1 layout=", "lapwing/1 layout=a.b.c", "lapwing/2 layout=" + l.String()} {
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
