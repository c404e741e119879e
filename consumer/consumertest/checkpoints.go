package consumertest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/state"
)

// Checkpoints is what CheckCheckpoints needs of a state.Store.
type Checkpoints interface {
	Lineage
	Peek(ctx context.Context, lane int32) (state.Checkpoint, bool, error)
}

// CheckCheckpoints checks what a clean stop leaves behind of one topic that a group's lanes read, an input or the topic of
// copies: for each of its partitions with records the checkpoint in the store (M) is at the offset up to which the group has
// judged it by what is committed (C), and no owner is named. If the topic was judged to its end, C includes its last record
// too.
func CheckCheckpoints(ctx context.Context, brokers []string, group, topic string, store Checkpoints, toEnd bool) error {
	f, err := newFollower(brokers, topic)
	if err != nil {
		return err
	}
	defer f.close()
	last := map[int32]int64{}
	if _, err := f.readAll(ctx, func(r *kgo.Record) { last[r.Partition] = r.Offset }); err != nil {
		return err
	}
	committed, err := committedOffsets(ctx, f.admin, group, topic)
	if err != nil {
		return err
	}
	lineage, err := readEras(ctx, store)
	if err != nil {
		return err
	}
	var errs []error
	for partition, offset := range last {
		c, ok := committed.Lookup(topic, partition)
		if !ok || toEnd && c.At <= offset {
			errs = append(errs, fmt.Errorf("%s/%d: the group has committed %d, the last record is at %d", topic, partition, c.At, offset))
			continue
		}
		checkpoint, ok, err := store.Peek(ctx, partition)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s/%d: %w", topic, partition, err))
			continue
		}
		if at, known := lineage.offset(checkpoint, topic); !ok || !known || at != judgedOffset(c.Offset) || checkpoint.Owner != "" {
			errs = append(errs, fmt.Errorf("%s/%d: the group has committed %d %q, the store has %v %+v", topic, partition, c.At, c.Metadata, ok, checkpoint))
		}
	}
	return errors.Join(errs...)
}

// judgedOffset returns the offset up to which records were judged. Where only boundaries and markers follow, the group has
// committed one behind them, and the metadata says both.
func judgedOffset(c kadm.Offset) int64 {
	for field := range strings.FieldsSeq(c.Metadata) {
		if text, ok := strings.CutPrefix(field, "at="); ok {
			if at, err := strconv.ParseInt(text, 10, 64); err == nil {
				return at
			}
		}
	}
	return c.At
}
