package state

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
)

// Checkpoint says up to where a lane's states are stored, and what they mean.
type Checkpoint struct {
	// Offset is M: every event below it is included in the stored states. -1:
	// none. Of a lane with several sources it is the sum of Sources, which grows
	// with each record just as one offset does.
	Offset int64

	// Sources are the offsets of a lane with several sources, in their order; nil
	// for a lane that has only ever read one.
	Sources []int64

	// Layout is the short hash of what the meaning of the states depends on.
	Layout string

	// Incarnation distinguishes rebuilds; records of another one are absent.
	Incarnation uint32

	// Owner is the transactional.id that may have a transaction open, "" after a
	// clean hand-over.
	Owner string

	// Horizon is how far back the states reach, in seconds of event time.
	Horizon int64
}

// checkpointTextMax bounds Layout and Owner, in bytes. Kafka itself takes a
// transactional.id of up to 32,767 bytes; nobody needs that.
const checkpointTextMax = 512

// Versions of the checkpoint's text:
//
//	v1: v1 offset=120 layout=5f3a21 incarnation=0 owner=lapwing-0 horizon=60
//	v2: v2 offset=100+20 layout=5f3a21 incarnation=0 owner=lapwing-0 horizon=60
//
// Version 2 is written of several sources only, with the offset of each.
//
// Text values are escaped as in a URL query, so neither a space nor a colon of
// a value can end it.
const (
	checkpointV1 = "v1"
	checkpointV2 = "v2"
)

// sourcesMax bounds the sources of a lane.
const sourcesMax = 64

// check returns an error that wraps ErrCorrupt if an invariant does not hold.
func (c *Checkpoint) check() error {
	switch {
	case c.Offset < -1:
		return fmt.Errorf("%w: checkpoint offset %d is below -1", ErrCorrupt, c.Offset)
	case len(c.Sources) == 1 || len(c.Sources) > sourcesMax:
		return fmt.Errorf("%w: checkpoint has %d sources, 2 to %d can be", ErrCorrupt, len(c.Sources), sourcesMax)
	case len(c.Sources) > 0 && c.Offset != sumOffsets(c.Sources):
		return fmt.Errorf("%w: checkpoint offset %d is not the sum of %d", ErrCorrupt, c.Offset, c.Sources)
	case c.Horizon < 0:
		return fmt.Errorf("%w: checkpoint horizon %d is negative", ErrCorrupt, c.Horizon)
	case len(c.Layout) > checkpointTextMax:
		return fmt.Errorf("%w: checkpoint layout has %d bytes, %d allowed", ErrCorrupt, len(c.Layout), checkpointTextMax)
	case len(c.Owner) > checkpointTextMax:
		return fmt.Errorf("%w: checkpoint owner has %d bytes, %d allowed", ErrCorrupt, len(c.Owner), checkpointTextMax)
	}
	return nil
}

// sumOffsets returns the sum of offsets, or -2 where one is negative or the sum
// is too large.
func sumOffsets(offsets []int64) (sum int64) {
	for _, o := range offsets {
		if o < 0 || sum > math.MaxInt64-o {
			return -2
		}
		sum += o
	}
	return sum
}

// String returns the text that is stored.
func (c Checkpoint) String() string {
	var b strings.Builder
	if len(c.Sources) == 0 {
		b.WriteString(checkpointV1 + " offset=" + strconv.FormatInt(c.Offset, 10))
	} else {
		b.WriteString(checkpointV2 + " offset=")
		for i, o := range c.Sources {
			if i > 0 {
				b.WriteByte('+')
			}
			b.WriteString(strconv.FormatInt(o, 10))
		}
	}
	b.WriteString(" layout=")
	b.WriteString(url.QueryEscape(c.Layout))
	b.WriteString(" incarnation=")
	b.WriteString(strconv.FormatUint(uint64(c.Incarnation), 10))
	b.WriteString(" owner=")
	b.WriteString(url.QueryEscape(c.Owner))
	b.WriteString(" horizon=")
	b.WriteString(strconv.FormatInt(c.Horizon, 10))
	return b.String()
}

// parseCheckpoint reads the text of a checkpoint. It takes nothing but what
// String writes: a text that means something else to another version must not
// be understood by halves.
func parseCheckpoint(text string) (Checkpoint, error) {
	var c Checkpoint
	fields := strings.Split(text, " ")
	if fields[0] != checkpointV1 && fields[0] != checkpointV2 {
		if number, ok := strings.CutPrefix(fields[0], "v"); ok {
			if n, err := strconv.ParseUint(number, 10, 31); err == nil && n > 2 {
				return c, fmt.Errorf("%w: checkpoint %.200q, this build reads %s and %s; %s", ErrNewer, text, checkpointV1, checkpointV2, RemedyNewer)
			}
		}
		return c, fmt.Errorf("%w: checkpoint %.200q has no version", ErrCorrupt, text)
	}
	names := [...]string{"offset", "layout", "incarnation", "owner", "horizon"}
	if len(fields) != 1+len(names) {
		return c, fmt.Errorf("%w: checkpoint %.200q has %d fields, %d expected", ErrCorrupt, text, len(fields)-1, len(names))
	}
	var values [len(names)]string
	for i, name := range names {
		value, ok := strings.CutPrefix(fields[1+i], name+"=")
		if !ok {
			return c, fmt.Errorf("%w: checkpoint %.200q: field %d is not %s", ErrCorrupt, text, i+1, name)
		}
		values[i] = value
	}
	var errs [len(names)]error
	var incarnation uint64
	if fields[0] == checkpointV1 {
		c.Offset, errs[0] = strconv.ParseInt(values[0], 10, 64)
	} else {
		c.Sources, errs[0] = parseSources(values[0])
		c.Offset = sumOffsets(c.Sources)
	}
	c.Layout, errs[1] = url.QueryUnescape(values[1])
	incarnation, errs[2] = strconv.ParseUint(values[2], 10, 32)
	c.Incarnation = uint32(incarnation)
	c.Owner, errs[3] = url.QueryUnescape(values[3])
	c.Horizon, errs[4] = strconv.ParseInt(values[4], 10, 64)
	for i, err := range errs {
		if err != nil {
			return Checkpoint{}, fmt.Errorf("%w: checkpoint %.200q: %s: %w", ErrCorrupt, text, names[i], err)
		}
	}
	if err := c.check(); err != nil {
		return Checkpoint{}, err
	}
	if c.String() != text {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint %.200q is not written as %q", ErrCorrupt, text, c.String())
	}
	return c, nil
}

// parseSources reads the offsets of a version 2 text.
func parseSources(text string) ([]int64, error) {
	parts := strings.SplitN(text, "+", sourcesMax+1)
	offsets := make([]int64, len(parts))
	for i, part := range parts {
		var err error
		if offsets[i], err = strconv.ParseInt(part, 10, 64); err != nil {
			return nil, err
		}
	}
	return offsets, nil
}

// mergeCheckpoints makes the checkpoint of a lane from those of its shards; nil
// stands for a shard that has none. It returns false if no shard has one.
//
// The shards differ after a crash in the middle of a flush, so the result is what
// holds for all of them: the newest incarnation, the smallest offset (a shard
// without a checkpoint of that incarnation has none, -1), the layout and horizon
// of the shard that is furthest behind, and the first owner that is named, since
// fencing an owner that is gone does no harm.
//
// A lane's very first checkpoint has no owner, and may be cut short by a crash or
// a rebalance. At offset 0 it stands for no states at all, so a shard that lacks
// it has what it says, and the checkpoint holds.
func mergeCheckpoints(shards []*Checkpoint) (Checkpoint, bool) {
	var newest uint32
	found := false
	for _, c := range shards {
		if c != nil {
			found = true
			newest = max(newest, c.Incarnation)
		}
	}
	if !found {
		return Checkpoint{Offset: -1}, false
	}
	merged := Checkpoint{Incarnation: newest}
	owner, missing, first := "", false, true
	for _, c := range shards {
		if c != nil && owner == "" {
			owner = c.Owner
		}
		if c == nil || c.Incarnation != newest {
			missing = true
			continue
		}
		if first || c.Offset < merged.Offset {
			first = false
			merged.Offset, merged.Sources, merged.Layout, merged.Horizon = c.Offset, c.Sources, c.Layout, c.Horizon
		}
	}
	merged.Owner = owner
	if missing && (owner != "" || merged.Offset > 0) {
		merged.Offset, merged.Sources = -1, nil
	}
	return merged, true
}
