package state

import (
	"fmt"
	"slices"

	"github.com/lapwing/lapwing/rules"
)

// Snapshot is what one flush writes: the encoded records of a lane's dirty users
// and its checkpoint. It is filled by Reset and Add, given to Lane.Flush until
// that returns nil, and then used again. It belongs to one goroutine at a time.
type Snapshot struct {
	// Version is that of the records that are added, RecordVersionLeast to
	// RecordVersion; 0: the newest. It stays through Reset.
	Version byte

	lane       int32
	codec      Codec
	checkpoint Checkpoint
	users      []int64
	ends       []int // of each record in arena
	arena      []byte
	err        error  // the first record that was refused
	generation uint64 // counts resets, so that a lane knows a snapshot that was changed
}

// Reset empties the snapshot for a lane. The records that are added have the
// incarnation of the checkpoint.
func (s *Snapshot) Reset(lane int32, types *rules.Types, cp Checkpoint) {
	s.generation++
	if s.codec.types != types {
		s.codec = NewCodec(types)
	}
	s.lane, s.checkpoint = lane, cp
	s.users, s.ends, s.arena = s.users[:0], s.ends[:0], s.arena[:0]
	s.err = cp.check()
}

// arenaGrowBytes is the room that a snapshot makes before a record: most fit.
const arenaGrowBytes = 1 << 10

// Add encodes the committed state of a user after the event before tag. The
// state is not kept. A record that breaks an invariant is refused, and with it
// the snapshot: Flush returns the error.
func (s *Snapshot) Add(user, tag int64, st *rules.UserState) {
	if s.err != nil {
		return
	}
	if tag > s.checkpoint.Offset {
		s.err = fmt.Errorf("lane %d, user %d: %w: tag %d is above the checkpoint %d", s.lane, user, ErrCorrupt, tag, s.checkpoint.Offset)
		return
	}
	if cap(s.arena)-len(s.arena) < arenaGrowBytes {
		// By doubling: append would copy a large arena several times on its way to its size.
		s.arena = slices.Grow(s.arena, max(cap(s.arena), arenaGrowBytes))
	}
	version := s.Version
	if version == 0 {
		version = RecordVersion
	}
	arena, err := s.codec.append(s.arena, version, s.checkpoint.Incarnation, s.lane, tag, st)
	if err != nil {
		s.err = fmt.Errorf("lane %d, user %d, tag %d: %w", s.lane, user, tag, err)
		return
	}
	s.arena = arena
	s.users = append(s.users, user)
	s.ends = append(s.ends, len(arena))
}

// Len returns the number of records.
func (s *Snapshot) Len() int { return len(s.users) }

// Bytes returns the size of the encoded records.
func (s *Snapshot) Bytes() int { return len(s.arena) }

// Checkpoint returns the checkpoint that is written with the last record.
func (s *Snapshot) Checkpoint() Checkpoint { return s.checkpoint }
