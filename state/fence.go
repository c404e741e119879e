package state

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// fence is the record that decides who may write to a lane in one shard. It is
// stored as "<epoch>-<token>:<n>:<payload>"; the scripts compare epoch and token
// as one text, and n.
//
// No two claims ever own a lane under the same text, whatever the servers lose:
//
//   - The epoch alone would not do. It is max(stored + 1, the server's clock), and
//     both can be those of the past: a master that had claim A (epoch e) dies before
//     its replica has it, and the replica, now the master, knows e-1 and has a
//     clock that is behind e. It gives claim B the epoch e too. The number n would
//     not tell them apart either: A, frozen meanwhile after k writes, thaws when B
//     has made k writes as well, and its write k+1 would be applied over B's states,
//     and B's own write k+1 be answered as done.
//   - The token is random, 64 bits, and goes out in one request only: go-redis does
//     not send a claim again, and a caller that got no reply claims with a new
//     token. So one execution of the script has written it, and each later text
//     with it (n, payload) is of the lane that got the reply.
//
// A smaller epoch than that of a past owner does no harm: writes and reads compare
// for equality. The clock keeps epochs readable, and growing where it is right.
type fence struct {
	epoch   int64  // of the claim that owns the lane
	token   uint64 // of that claim
	n       int64  // writes of that claim so far
	payload string // the checkpoint's text, "" before the first flush
}

// fenceNumberMax is the largest number that a Lua script holds exactly.
const fenceNumberMax = 1 << 53

// tokenDigits is the length of a token, in lower-case hexadecimal digits.
const tokenDigits = 16

// newToken returns the token of a new claim.
func newToken() uint64 { return rand.Uint64() }

// tokenText returns the text of a token.
func tokenText(token uint64) string {
	text := strconv.FormatUint(token, 16)
	return strings.Repeat("0", tokenDigits-len(text)) + text
}

// owner returns the text of epoch and token, which the scripts compare.
func (f fence) owner() string { return strconv.FormatInt(f.epoch, 10) + "-" + tokenText(f.token) }

// String returns the text that is stored.
func (f fence) String() string {
	return f.owner() + ":" + strconv.FormatInt(f.n, 10) + ":" + f.payload
}

// parseFence reads a stored fence record.
func parseFence(text string) (fence, error) {
	var f fence
	owner, rest, ok := strings.Cut(text, ":")
	if !ok {
		return f, fmt.Errorf("%w: fence record %.200q has no epoch", ErrCorrupt, text)
	}
	n, payload, ok := strings.Cut(rest, ":")
	if !ok {
		return f, fmt.Errorf("%w: fence record %.200q has no write number", ErrCorrupt, text)
	}
	epoch, token, ok := strings.Cut(owner, "-")
	if !ok {
		return f, fmt.Errorf("%w: fence record %.200q has no token", ErrCorrupt, text)
	}
	if f.epoch, ok = parseFenceNumber(epoch); !ok || f.epoch == 0 {
		return fence{}, fmt.Errorf("%w: fence record %.200q: epoch %.40q is not a number from 1 to 2^53", ErrCorrupt, text, epoch)
	}
	if f.token, ok = parseToken(token); !ok {
		return fence{}, fmt.Errorf("%w: fence record %.200q: token %.40q is not %d digits", ErrCorrupt, text, token, tokenDigits)
	}
	if f.n, ok = parseFenceNumber(n); !ok {
		return fence{}, fmt.Errorf("%w: fence record %.200q: write number %.40q is not a number up to 2^53", ErrCorrupt, text, n)
	}
	f.payload = payload
	return f, nil
}

// parseToken reads what tokenText writes.
func parseToken(text string) (uint64, bool) {
	token, err := strconv.ParseUint(text, 16, 64)
	return token, err == nil && tokenText(token) == text
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
