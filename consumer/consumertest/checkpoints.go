package consumertest

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/state"
)

// Checkpoints is what CheckCheckpoints needs of a state.Store.
type Checkpoints interface {
	Peek(ctx context.Context, lane int32) (state.Checkpoint, bool, error)
}

// inputOffset returns what a checkpoint says of the input alone.
func inputOffset(c state.Checkpoint) int64 {
	if len(c.Sources) > 0 {
		return c.Sources[0]
	}
	return c.Offset
}

// CheckCheckpoints checks what a clean stop leaves behind: for each partition of the input with records the checkpoint in
// the store (M) is the group's committed offset (C), and no owner is named. If the input was judged to its end, C includes
// its last record too.
func CheckCheckpoints(ctx context.Context, brokers []string, group, input string, store Checkpoints, toEnd bool) error {
	f, err := newFollower(brokers, input)
	if err != nil {
		return err
	}
	defer f.close()
	last := map[int32]int64{}
	if _, err := f.readAll(ctx, func(r *kgo.Record) { last[r.Partition] = r.Offset }); err != nil {
		return err
	}
	committed, err := committedOffsets(ctx, f.admin, group, input)
	if err != nil {
		return err
	}
	var errs []error
	for partition, offset := range last {
		c, ok := committed.Lookup(input, partition)
		if !ok || toEnd && c.At <= offset {
			errs = append(errs, fmt.Errorf("%s/%d: the group has committed %d, the last record is at %d", input, partition, c.At, offset))
			continue
		}
		checkpoint, ok, err := store.Peek(ctx, partition)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s/%d: %w", input, partition, err))
		case !ok || inputOffset(checkpoint) != c.At || checkpoint.Owner != "":
			errs = append(errs, fmt.Errorf("%s/%d: the group has committed %d, the store has %v %+v", input, partition, c.At, ok, checkpoint))
		}
	}
	return errors.Join(errs...)
}
