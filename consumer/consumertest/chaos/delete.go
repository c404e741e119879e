package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lapwing/lapwing/state"
)

var dataFaults = []*fault{
	{name: "delete", says: "all engines end, clean or by SIGKILL, and records of the input are deleted up to a point around what they have judged",
		track: trackData, settle: 20 * time.Second, do: deleteInput},
}

// deleteBeyondMax is how many records are deleted at most that no engine has judged.
const deleteBeyondMax = 500

// deleteInput works while all other tracks pause. Afterwards the checker knows what no engine can have judged.
func deleteInput(ctx context.Context, r *rig, s step) {
	rng := s.rng()
	clean := rng.IntN(2) == 0
	for _, m := range r.members {
		if clean {
			m.term()
		} else {
			m.kill()
		}
	}
	defer func() {
		for _, m := range r.members {
			m.start()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	committed, err := r.stableOffsets(ctx)
	if err != nil {
		r.tb.Errorf("chaos: %v", err)
		return
	}
	store := r.store()
	defer store.Close()
	points := kadm.Offsets{}
	for _, lane := range rng.Perm(r.o.Lanes)[:1+rng.IntN(2)] {
		c := committed[int32(lane)]
		point := c + 1 + rng.Int64N(deleteBeyondMax)
		if m, ok, err := store.Peek(ctx, int32(lane)); err != nil {
			r.tb.Errorf("chaos: checkpoint of lane %d: %v", lane, err)
			return
		} else if ok && m.Offset < c && rng.IntN(2) == 0 {
			point = m.Offset + 1 + rng.Int64N(c-m.Offset) // within what is to be replayed
		}
		points.AddOffset(r.input, int32(lane), point, -1)
	}
	if err := r.deleteBelow(ctx, points); err != nil {
		r.tb.Errorf("chaos: delete: %v", err)
		return
	}
	points.Each(func(o kadm.Offset) {
		if err := r.checker.Hole(o.Partition, committed[o.Partition], o.At); err != nil {
			r.tb.Errorf("chaos: %v", err)
		}
		r.logf("         deleted %s/%d below %d; committed was %d", o.Topic, o.Partition, o.At, committed[o.Partition])
	})
}

// deleteBelow deletes the input below the points when it has grown to them and the checker has read so far.
func (r *rig) deleteBelow(ctx context.Context, points kadm.Offsets) error {
	ends := map[int32]int64{}
	points.Each(func(o kadm.Offset) { ends[o.Partition] = o.At })
	if err := r.checker.ReadInput(ctx, ends); err != nil {
		return err
	}
	responses, err := r.admin.DeleteRecords(ctx, points)
	if err == nil {
		err = responses.Error()
	}
	return err
}

// stableOffsets asks for what the group has committed, when no transaction is open any more.
func (r *rig) stableOffsets(ctx context.Context) (map[int32]int64, error) {
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic = r.input
	for lane := range r.o.Lanes {
		topic.Partitions = append(topic.Partitions, int32(lane))
	}
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group, group.Topics = r.group, []kmsg.OffsetFetchRequestGroupTopic{topic}
	for {
		request := kmsg.NewPtrOffsetFetchRequest()
		request.RequireStable, request.Groups = true, []kmsg.OffsetFetchRequestGroup{group}
		offsets, err := readOffsets(request.RequestWith(ctx, r.client))
		if err == nil {
			return offsets, nil
		}
		if sleep(ctx, 200*time.Millisecond); ctx.Err() != nil {
			return nil, fmt.Errorf("stable offsets of group %s: %w", r.group, err)
		}
	}
}

func readOffsets(response *kmsg.OffsetFetchResponse, err error) (map[int32]int64, error) {
	if err != nil {
		return nil, err
	}
	offsets := map[int32]int64{}
	for _, g := range response.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return nil, err
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err)
				}
				offsets[p.Partition] = max(p.Offset, 0)
			}
		}
	}
	return offsets, nil
}

// store opens the states as the engines do, past all proxies. The caller closes it.
func (r *rig) store() *state.Redis {
	o := state.DefaultRedisOptions()
	o.Addrs, o.Group = []string{r.redis.Addr()}, r.group
	store, err := state.NewRedis(o)
	if err != nil {
		r.tb.Fatal(err)
	}
	return store
}
