package contract

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Names of the record headers that Lapwing writes or passes on.
const (
	// HeaderAlert is on each result: "1" if it has alerts, else "0".
	HeaderAlert = "lapwing-alert"
	// HeaderSource is on each result and dead letter: the input record as topic/partition/offset.
	HeaderSource = "lapwing-source"
	// HeaderRules is on each result: the hash of the rule set that judged.
	HeaderRules = "lapwing-rules"
	// HeaderReason is on each dead letter: its Reason.
	HeaderReason = "lapwing-reason"
	// HeaderDetail is on each dead letter: its Refusal's detail.
	HeaderDetail = "lapwing-detail"
	// HeaderTimestamp is on each dead letter: the input record's timestamp in milliseconds since 1970.
	HeaderTimestamp = "lapwing-timestamp"
	// HeaderCut is on a result or dead letter that is not whole, since its topic does not take it: what was cut off.
	HeaderCut = "lapwing-cut"
	// HeaderRequestID travels from an event to its result: the gateway's request that waits for it.
	HeaderRequestID = "lapwing-request-id"
	// HeaderTraceparent travels from an event to its result (W3C Trace Context).
	HeaderTraceparent = "traceparent"
)

// Header is a record header.
type Header struct {
	Name  string
	Value []byte
}

// HeaderSize bounds the bytes of a header in a record batch: name and value of so many bytes, each
// after its length as a varint of at most five bytes (KIP-98, message format v2).
func HeaderSize(name, value int) int { return 5 + name + 5 + value }

// HeadersSize bounds the bytes that headers take in a record batch.
func HeadersSize(headers ...Header) int {
	size := 0
	for _, h := range headers {
		size += HeaderSize(len(h.Name), len(h.Value))
	}
	return size
}

// Source is the place of an input record.
type Source struct {
	Topic     string
	Partition int32
	Offset    int64
}

// ErrSource is returned for text that is not a source.
var ErrSource = errors.New("not a source like topic/partition/offset")

// AppendSource appends the text of header lapwing-source. A topic's name has no slash.
func AppendSource(dst []byte, s Source) []byte {
	dst = append(dst, s.Topic...)
	dst = append(dst, '/')
	dst = AppendDecimal(dst, int64(s.Partition))
	dst = append(dst, '/')
	return AppendDecimal(dst, s.Offset)
}

// ParseSource reads the text of header lapwing-source. It takes only what AppendSource writes for an
// existing record; any other text is ErrSource.
func ParseSource(text []byte) (Source, error) {
	topic, rest, ok := bytes.Cut(text, []byte("/"))
	first, second, ok2 := bytes.Cut(rest, []byte("/"))
	partition, err := strconv.ParseInt(string(first), 10, 32)
	offset, err2 := strconv.ParseInt(string(second), 10, 64)
	s := Source{Topic: string(topic), Partition: int32(partition), Offset: offset}
	// The comparison refuses other spellings of the numbers: signs, leading zeros, underscores.
	if !ok || !ok2 || err != nil || err2 != nil || len(topic) == 0 || partition < 0 || offset < 0 ||
		!bytes.Equal(AppendSource(nil, s), text) {
		return Source{}, fmt.Errorf("%w: %s", ErrSource, echo(text))
	}
	return s, nil
}
