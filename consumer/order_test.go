package consumer

import (
	"context"
	"testing"
	"time"
)

// TestReplayPassesGaps replays a rekey topic up to a place before which only boundaries stand, or nothing that is visible,
// while its chunk has more behind it: the replay goes on to the place, and leaves the rest for judging.
func TestReplayPassesGaps(t *testing.T) {
	for name, offsets := range map[string][]int64{"a boundary": {4, 9}, "nothing visible": {9}, "the chunk ends before": {4}} {
		t.Run(name, func(t *testing.T) {
			e := idleEngine(t, 1)
			e.sources = append(e.sources, source{topic: e.options.rekeyTopic(), rekey: true})
			tn := idleTenure(t, e, 0)
			tn.at[1], tn.reached[1], tn.position = 3, 3, 3
			tn.judgeFroms[1], tn.plan.judgeFrom = 8, 8
			c := &chunk{source: 1, next: 10}
			for _, offset := range offsets {
				c.records = append(c.records, record{offset: offset, source: 1, kind: kindBoundary})
			}
			tn.pending[1] = c
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if err := tn.replayTo(ctx, 1, 8); err != nil || ctx.Err() != nil {
				t.Fatalf("error %v, context %v, at %d", err, ctx.Err(), tn.at[1])
			}
			if tn.at[1] != 8 || tn.position != 8 {
				t.Errorf("at %d, position %d, want 8", tn.at[1], tn.position)
			}
			if rest := c.records[c.done:]; len(rest) > 0 && (rest[0].offset != 9 || tn.pending[1] != c) {
				t.Errorf("left for judging: %+v", rest)
			}
		})
	}
}
