package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// fetchWait is how long a fetch of records that are there may wait.
const fetchWait = 100 * time.Millisecond

// errEnough ends a fetch when no more records of it are wanted.
var errEnough = errors.New("enough")

// bounds finds what is kept of a topic. Without it, what depends on it is left out.
func (d *doctor) bounds(ctx context.Context, topic string) {
	t := d.topics[topic]
	if t == nil {
		return // a finding says why
	}
	start, end := make([]int64, t.Partitions), make([]int64, t.Partitions)
	var group errgroup.Group
	group.SetLimit(parallelMax)
	for p := range t.Partitions {
		group.Go(func() (err error) {
			if start[p], err = d.client.EarliestOffset(ctx, t.Name, p); err != nil {
				return err
			}
			end[p], err = d.client.EndOffset(ctx, t.Name, p, true)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		d.fail(checkTopic, "topic "+t.Name, fmt.Sprintf("what it keeps cannot be read, so lag and records were not looked at: %v", err), wire.Hint(err))
		return
	}
	t.start, t.end = start, end
}

// records reads the newest records of an input topic and reports what they are.
func (d *doctor) records(ctx context.Context, topic string) {
	t := d.topics[topic]
	if t == nil || t.end == nil {
		return // a finding says why
	}
	subject := "topic " + topic
	o, err := d.config.DecoderOptions()
	if err != nil {
		return // the rules have the same event types, and a finding
	}
	partitioner, err := contract.ParsePartitioner(d.config.Kafka.Partitioner)
	if err != nil {
		d.fail(checkPartitioner, subject, err.Error(), "correct kafka.partitioner")
		return
	}
	s := newSurvey(o, partitioner, t.Partitions, time.Now())
	quotas := newestQuotas(t.start, t.end, d.recordsMax)
	for p, quota := range quotas {
		if quota == 0 {
			continue
		}
		err := d.readNewest(ctx, t, int32(p), quota, s)
		switch {
		case ctx.Err() != nil:
			d.note(checkRecords, subject, fmt.Sprintf("not all could be read in %s: what follows is about %s", shortDuration(d.timeout), plural(s.records, "record")), "give it more time with --timeout")
		case err != nil:
			d.fail(checkRecords, subject, fmt.Sprintf("partition %d cannot be read: %v", p, err), wire.Hint(err))
			continue
		}
		if ctx.Err() != nil {
			break
		}
	}
	if s.records > 0 {
		t.bytes = s.bytes / s.records
	}
	t.survey = s
	d.surveyed(subject, s, t.configs[timestampType])
}

// readNewest reads a partition's last records into the survey.
func (d *doctor) readNewest(ctx context.Context, t *topicFacts, partition int32, quota int64, s *survey) error {
	k := &d.config.Kafka
	f := d.client.NewFetcher(t.Name, partition, wire.FetchOptions{
		BytesMax: int32(k.FetchBytesMax), WaitMax: fetchWait, Committed: true, DecompressedBytesMax: int(k.DecompressedBytesMax),
	})
	end := t.end[partition]
	for offset := end - quota; offset < end; {
		next, err := f.Fetch(ctx, offset, func(r *wire.Record) error {
			if r.Offset >= end {
				return errEnough
			}
			s.add(partition, r)
			return nil
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
		offset = next
	}
	return nil
}

// newestQuotas spreads a number of records over partitions: how many of the last of each. What a short partition leaves
// goes to the others.
func newestQuotas(start, end []int64, total int64) []int64 {
	quotas := make([]int64, len(start))
	order := make([]int, len(start))
	for p := range order {
		order[p] = p
	}
	slices.SortFunc(order, func(a, b int) int { return int(min(end[a]-start[a], total) - min(end[b]-start[b], total)) })
	for i, p := range order {
		quotas[p] = max(min(end[p]-start[p], total/int64(len(order)-i)), 0)
		total -= quotas[p]
	}
	return quotas
}
