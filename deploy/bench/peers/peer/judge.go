package peer

import (
	"fmt"
	"strconv"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// Judge decodes events and judges them by the built-in rules. It is used by one goroutine at a time.
type Judge struct {
	group   string
	rules   *rules.Set
	decoder *contract.Decoder
	encoder *contract.ResultEncoder
	verdict rules.Verdict
}

// NewJudge returns a judge whose states have keys of this group.
func NewJudge(group string) *Judge {
	set := rules.Builtin()
	return &Judge{
		group: group, rules: set, decoder: contract.NewDecoder(contract.DecoderOptions{Types: set.Types()}),
		encoder: contract.NewResultEncoder(set.Types(), contract.DetailMinimal),
	}
}

// Event decodes a record's value. The event refers to it.
func (j *Judge) Event(value []byte) (contract.Event, error) {
	var ev contract.Event
	if refusal := j.decoder.Decode(value, -1, &ev); refusal != nil {
		return ev, fmt.Errorf("%s: %s: %q", refusal.Reason, refusal.Detail, value)
	}
	return ev, nil
}

// Key is where a user's state is in Redis.
func (j *Judge) Key(user int64) string { return j.group + ":" + strconv.FormatInt(user, 10) }

// State decodes a stored state; empty: a new user's.
func (j *Judge) State(stored []byte) (rules.UserState, error) {
	if len(stored) == 0 {
		return rules.UserState{}, nil
	}
	record, err := state.DecodeRecord(stored, j.rules.Types())
	return record.State, err
}

// Stored encodes a state.
func (j *Judge) Stored(user *rules.UserState) ([]byte, error) {
	return state.AppendRecord(nil, j.rules.Types(), &state.Record{State: *user})
}

// Result changes the user's state by an event and returns the result's key and value.
func (j *Judge) Result(user *rules.UserState, ev *contract.Event) (key, value []byte) {
	j.rules.Judge(user, &ev.Event, &j.verdict)
	return strconv.AppendInt(nil, ev.UserID, 10), j.encoder.Append(nil, ev, contract.Source{}, &j.verdict)
}
