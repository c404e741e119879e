package contract

import (
	"strconv"
	"unicode/utf8"
)

// Reason is the fixed word that says why a record is not an event. It is part of the topics'
// contract (header lapwing-reason) and a label of metrics, so words are never renamed.
type Reason string

// The reasons in the order in which they are found; see the package documentation.
const (
	ReasonTooLarge        Reason = "too_large"
	ReasonConfluentFramed Reason = "confluent_framed"
	ReasonNotUTF8         Reason = "not_utf8"
	ReasonNotJSON         Reason = "not_json"
	ReasonDuplicateMember Reason = "duplicate_member"
	ReasonMissingMember   Reason = "missing_member"
	ReasonWrongType       Reason = "wrong_type"
	ReasonUnknownType     Reason = "unknown_type"
	ReasonAmountFormat    Reason = "amount_format"
	ReasonAmountRange     Reason = "amount_range"
	ReasonUserIDRange     Reason = "user_id_range"
	ReasonTimeRange       Reason = "time_range"
	// ReasonWrongPartition is given by the consumer, never by a Decoder.
	ReasonWrongPartition Reason = "wrong_partition"
)

// Reasons returns all reasons in their fixed order. The caller may change the slice.
func Reasons() []Reason {
	return []Reason{
		ReasonTooLarge,
		ReasonConfluentFramed,
		ReasonNotUTF8,
		ReasonNotJSON,
		ReasonDuplicateMember,
		ReasonMissingMember,
		ReasonWrongType,
		ReasonUnknownType,
		ReasonAmountFormat,
		ReasonAmountRange,
		ReasonUserIDRange,
		ReasonTimeRange,
		ReasonWrongPartition,
	}
}

// Refusal says why a record is not an event.
type Refusal struct {
	Reason Reason
	// Detail says for people what is wrong and where. It is printable UTF-8 of at most
	// DetailBytesMax bytes and repeats only a little of the input. Its wording is no contract.
	Detail string
}

// Error returns the reason and the detail.
func (r *Refusal) Error() string {
	if r.Detail == "" {
		return string(r.Reason)
	}
	return string(r.Reason) + ": " + r.Detail
}

const (
	// DetailBytesMax bounds a detail that a Decoder writes.
	DetailBytesMax = 256
	// echoBytesMax is how many bytes of the input a detail repeats at most. Quoting may make four
	// characters of a byte.
	echoBytesMax = 32
)

// echo quotes the beginning of an input for a detail, in printable characters only.
func echo(input []byte) string {
	if len(input) <= echoBytesMax {
		return strconv.Quote(string(input))
	}
	end := echoBytesMax
	for end > 0 && !utf8.RuneStart(input[end]) {
		end--
	}
	return strconv.Quote(string(input[:end])) + "..."
}
