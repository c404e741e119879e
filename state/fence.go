package state

import (
	"fmt"
	"strconv"
	"strings"
)

// fence is the record that decides who may write to a lane in one shard. It is
// stored as "<epoch>:<n>:<payload>"; the scripts know only epoch and n.
type fence struct {
	epoch   int64  // of the claim that owns the lane
	n       int64  // writes of that claim so far
	payload string // the checkpoint's text, "" before the first flush
}

// fenceNumberMax is the largest number that a Lua script holds exactly.
const fenceNumberMax = 1 << 53

// String returns the text that is stored.
func (f fence) String() string {
	return strconv.FormatInt(f.epoch, 10) + ":" + strconv.FormatInt(f.n, 10) + ":" + f.payload
}

// parseFence reads a stored fence record.
func parseFence(text string) (fence, error) {
	var f fence
	epoch, rest, ok := strings.Cut(text, ":")
	if !ok {
		return f, fmt.Errorf("%w: fence record %.200q has no epoch", ErrCorrupt, text)
	}
	n, payload, ok := strings.Cut(rest, ":")
	if !ok {
		return f, fmt.Errorf("%w: fence record %.200q has no write number", ErrCorrupt, text)
	}
	if f.epoch, ok = parseFenceNumber(epoch); !ok || f.epoch == 0 {
		return fence{}, fmt.Errorf("%w: fence record %.200q: epoch %.40q is not a number from 1 to 2^53", ErrCorrupt, text, epoch)
	}
	if f.n, ok = parseFenceNumber(n); !ok {
		return fence{}, fmt.Errorf("%w: fence record %.200q: write number %.40q is not a number up to 2^53", ErrCorrupt, text, n)
	}
	f.payload = payload
	return f, nil
}

// parseFenceNumber reads a decimal number without sign or leading zeros.
func parseFenceNumber(text string) (int64, bool) {
	if text == "" || text[0] < '0' || text[0] > '9' || text[0] == '0' && len(text) > 1 {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n <= fenceNumberMax
}

// outcome is a server's answer to one write. The scripts return these numbers.
type outcome int64

const (
	outcomeApplied    outcome = 1  // written
	outcomeDone       outcome = 0  // written before: this is a copy, nothing was written
	outcomeMissing    outcome = -1 // refused: there is no fence record
	outcomeOtherEpoch outcome = -2 // refused: the record has another epoch
	outcomeGap        outcome = -3 // refused: an earlier write is missing
)

// String names the outcome.
func (o outcome) String() string {
	switch o {
	case outcomeApplied:
		return "applied"
	case outcomeDone:
		return "done"
	case outcomeMissing:
		return "missing"
	case outcomeOtherEpoch:
		return "other epoch"
	case outcomeGap:
		return "gap"
	default:
		return "outcome " + strconv.FormatInt(int64(o), 10)
	}
}
