package state

import (
	"context"
	"errors"

	"github.com/lapwing/lapwing/rules"
)

// Errors of this package. They are compared with errors.Is; the error that
// carries one says which lane, shard, user or server it is about.
var (
	// ErrFenced ends a lane: another owner claimed it, or the server lost
	// something that it had acknowledged. The lane is claimed anew, and its
	// memory is dropped.
	ErrFenced = errors.New("the lane is fenced")

	// ErrCorrupt is a record that breaks an invariant, before it is written or
	// after it was read. Repeating the call does not mend it.
	ErrCorrupt = errors.New("corrupt state")

	// ErrNewer is what a newer Lapwing has written in a form that this build does
	// not know. Whoever does not tell the two apart finds it as ErrCorrupt: this
	// build can do as little with it.
	ErrNewer error = newerError{}

	// ErrEviction is a server whose eviction policy would drop records.
	ErrEviction = errors.New("eviction policy is not noeviction")

	// ErrTopology is a server of another kind than configured: a sentinel, a node
	// of a cluster or none, or a master that no sentinel knows.
	ErrTopology = errors.New("not the kind of server that is configured")

	// ErrVersion is a server that is too old.
	ErrVersion = errors.New("server version is not supported")

	// ErrPending is a Flush of another snapshot while an earlier one is not
	// acknowledged: a mistake of the caller, since it would give one sequence
	// number to two different writes.
	ErrPending = errors.New("an earlier snapshot is not acknowledged")
)

// RemedyNewer says what to do about ErrNewer, and ends its messages.
const RemedyNewer = "start the newer build again, or go back by making the states anew (Rollback in deploy/README.md)"

// newerError is the type of ErrNewer.
type newerError struct{}

// Error implements error.
func (newerError) Error() string { return "written by a newer Lapwing" }

// Unwrap makes errors.Is find ErrCorrupt.
func (newerError) Unwrap() error { return ErrCorrupt }

// Store keeps user states and checkpoints. It is safe for concurrent use.
//
// Errors of the network and of a server that is not ready are returned as they
// are, wrapped with the address; Retriable tells them from those that time does
// not mend. Every call ends by the deadline of its context or by the timeouts
// of the store's options, whichever comes first.
type Store interface {
	// Claim makes the caller the owner of a lane and fences every past owner:
	// the new epoch is the larger of the stored one plus one and the server's
	// clock in microseconds, and a random token makes it the caller's alone. The
	// stored checkpoint is kept.
	Claim(ctx context.Context, lane int32) (Lane, error)

	// Peek reads the checkpoint of a lane without claiming it. It returns false
	// where none is stored.
	Peek(ctx context.Context, lane int32) (Checkpoint, bool, error)

	// Written is Peek of a lane that nobody has claimed since its checkpoint was
	// written; else it returns false: an owner may be about to write another.
	Written(ctx context.Context, lane int32) (Checkpoint, bool, error)

	// Lineage returns the text that SwapLineage has stored, "" where there is none.
	Lineage(ctx context.Context) (string, error)

	// SwapLineage stores a text where the one before stands ("": none does), in one
	// step, and reports whether it did. No text may be used twice: a request that
	// arrives late, or again, finds another one then. After an error it may have
	// been carried out.
	SwapLineage(ctx context.Context, before, after string) (bool, error)

	// Check returns nil if the server can be reached, is new enough and evicts
	// nothing.
	Check(ctx context.Context) error

	// Close frees the connections. Lanes of the store cannot be used after it.
	Close() error
}

// Lane is the ownership of one lane. Load and Flush may run in two goroutines
// at the same time, but each of them only once at a time.
type Lane interface {
	// Previous returns the checkpoint that was stored when the lane was claimed,
	// or false where there was none. A checkpoint with Offset -1 says that one was
	// written without an offset, or that a part of it is lost: the replay starts
	// at the earliest kept offset then.
	Previous() (Checkpoint, bool)

	// Epoch returns the epoch of the claim, for logs. It grows with each claim,
	// unless the server lost one.
	Epoch() int64

	// Load reads the states of users into out, which has the same length. A user
	// who is absent, or has a record that the lane does not take, has Found false.
	// Each read is atomic with that of the fence record: what is returned was
	// stored while the caller owned the lane. The states in out belong to the
	// caller, who may change them, and whose memory is used again where out has had
	// others; after an error out means nothing.
	Load(ctx context.Context, takes Takes, users []int64, out []Stored) error

	// Flush writes the records of a snapshot in chunks and its checkpoint with
	// the last one, also when the snapshot has no records. After any error but
	// ErrFenced and ErrCorrupt it is called again with the same snapshot, and goes
	// on from the first chunk that was not acknowledged. The snapshot must not be
	// changed until Flush returned nil or the lane is given up.
	Flush(ctx context.Context, s *Snapshot) error
}

// Takes says which records of users a lane takes.
type Takes struct {
	// Incarnation of the lane's own records.
	Incarnation uint32

	// Inherits says of a record that a lane wrote under an incarnation whether it
	// counts although it is not the lane's own: all that is in it comes before
	// whatever this lane judges. nil: none does.
	Inherits func(user int64, lane int32, incarnation uint32) bool
}

// Stored is what Lane.Load found for one user.
type Stored struct {
	Found bool  // otherwise State means nothing
	Tag   int64 // the input offset after the last event that State includes; 0 where it is inherited
	State rules.UserState
}
