package consumertest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lapwing/lapwing/state"
)

// eras is the judge's own reading of what a store says of the layouts that a group has judged under (state.Store.Lineage).
type eras struct {
	Present era
	Former  []era // the newest first
}

// era is the time under one layout.
type era struct {
	Number  int64
	Layout  string
	Sources []struct{ Topic string } // in the order of a checkpoint's offsets
	Began   []uint32                 // by lane, the incarnation it began with, if the era inherits
	Ended   []uint32                 // by lane, the incarnation of its last states, 0: it had none; of a former era

	partitions int32
	home       partitioner
}

// Lineage is what a store says of the layouts; see state.Store.
type Lineage interface {
	Lineage(ctx context.Context) (string, error)
}

// readEras reads them; nil where there are none.
func readEras(ctx context.Context, store Lineage) (*eras, error) {
	text, err := store.Lineage(ctx)
	if err != nil || text == "" {
		return nil, err
	}
	e := new(eras)
	if err := json.Unmarshal([]byte(text), e); err != nil {
		return nil, fmt.Errorf("consumertest: lineage %.200q: %w", text, err)
	}
	if err := e.Present.parse(); err != nil {
		return nil, err
	}
	for i := range e.Former {
		if err := e.Former[i].parse(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// parse reads the layout: topics.partitions.partitioner.settings.
func (e *era) parse() error {
	part := strings.Split(e.Layout, ".")
	if len(part) != 4 {
		return fmt.Errorf("consumertest: layout %q has %d parts", e.Layout, len(part))
	}
	n, err := strconv.ParseInt(part[1], 10, 32)
	if err != nil {
		return fmt.Errorf("consumertest: layout %q: %w", e.Layout, err)
	}
	e.partitions = int32(n)
	e.home, err = newPartitioner(part[2], e.partitions)
	return err
}

func (e *era) began(lane int32) uint32 { return ofLane(e.Began, lane) }

func ofLane(all []uint32, lane int32) uint32 {
	if int(lane) < len(all) {
		return all[lane]
	}
	return 0
}

// of returns the era that a checkpoint is of, nil for one that nobody knows. A lane that was judged in no present era has
// the mark of how it ended the one before.
func (e *eras) of(c state.Checkpoint) *era {
	step, text, _ := strings.Cut(c.Layout, ".")
	if step != "settled" && step != "drained" {
		if c.Layout == e.Present.Layout {
			return &e.Present
		}
		return nil
	}
	for _, of := range append([]*era{&e.Present}, pointers(e.Former)...) {
		if strconv.FormatInt(of.Number, 10) == text {
			return of
		}
	}
	return nil
}

func pointers(all []era) (p []*era) {
	for i := range all {
		p = append(p, &all[i])
	}
	return p
}

// incarnation returns that of a lane's own states.
func (e *eras) incarnation(lane int32, c state.Checkpoint) uint32 {
	if e != nil && c.Layout != e.Present.Layout && e.Present.began(lane) != 0 {
		return e.Present.began(lane) // it has not been judged in the present era
	}
	return c.Incarnation
}

// inherited reports whether a record that is not of the present era is the user's state: it is of the lane that the user
// belonged to in the latest era in which that lane wrote it, is no older than that lane's last loss of all states, and the
// present lane has lost nothing since. key is the user's.
func (e *eras) inherited(lane int32, incarnation uint32, key []byte, ofLane int32, ofIncarnation uint32) bool {
	if incarnation != e.Present.began(lane) {
		return false
	}
	for i := range e.Former {
		former := &e.Former[i]
		owner := former.home(key)
		ended := former.ended(owner)
		switch {
		case ended != 0 && owner == ofLane && ended == ofIncarnation:
			return true
		case ended != former.began(owner):
			return false
		}
	}
	return false
}

func (e *era) ended(lane int32) uint32 { return ofLane(e.Ended, lane) }

// offset returns what a checkpoint says of one topic, false: it says nothing of it. Without eras the topic is the first of
// its sources.
func (e *eras) offset(c state.Checkpoint, topic string) (int64, bool) {
	at := 0
	if e != nil {
		of := e.of(c)
		if of == nil {
			return 0, false
		}
		at = slices.IndexFunc(of.Sources, func(s struct{ Topic string }) bool { return s.Topic == topic })
	}
	switch {
	case at >= 0 && at < len(c.Sources):
		return c.Sources[at], true
	case at == 0 && len(c.Sources) == 0:
		return c.Offset, true
	}
	return 0, false
}
