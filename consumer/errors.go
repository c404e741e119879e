package consumer

import (
	"context"
	"errors"

	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// class is what an error means to the engine.
type class int

const (
	// again: the lane drops its memory and starts again; or the call is repeated.
	again class = iota
	// rejoin: the membership is lost; the group is joined anew.
	rejoin
	// relayout: the membership ends, and the engine joins again with the layout that the topics have now.
	relayout
	// fatal: neither time nor a new membership mends it; the engine ends with it.
	fatal
)

// classify maps any error to what the engine does about it. Broker codes are wire.Classify's; everything else is here.
// What passes at the store never comes so far: insist repeats it.
func classify(err error) class {
	var access *state.AccessError
	switch {
	case err == nil, errors.As(err, new(*stopError)), errors.Is(err, errGeneration), errors.Is(err, errStalled), errors.Is(err, errPartitionCounts), errors.Is(err, errLineage),
		errors.Is(err, context.Canceled):
		return again
	case errors.Is(err, state.ErrEviction), errors.Is(err, state.ErrVersion), errors.Is(err, state.ErrTopology), errors.As(err, &access), errors.Is(err, errRecreated):
		return fatal // the operator's to mend
	case errors.Is(err, state.ErrCorrupt), errors.Is(err, state.ErrPending), errors.Is(err, errTag), errors.Is(err, errOrder):
		return fatal // a broken invariant: nothing judged on it may go out
	case errors.Is(err, errGrown):
		return relayout
	case errors.Is(err, state.ErrFenced):
		return again
	}
	switch wire.Classify(err) {
	case wire.Rejoin:
		return rejoin
	case wire.Fatal, wire.DeadLetter: // the output or dead-letter topic refuses records for what they are
		return fatal
	default:
		return again
	}
}
