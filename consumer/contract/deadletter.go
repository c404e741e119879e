package contract

import (
	"fmt"
	"strconv"
)

// DeadLetterReserve bounds, in bytes, what a dead letter's batch takes beside the original key, value
// and headers: the batch's header (61), the record's (at most 36), and Lapwing's own headers with a
// topic name of at most 249 bytes and a detail of at most DetailBytesMax. A dead-letter topic whose
// max.message.bytes is smaller gets nothing of the record itself, and the detail only where that fits.
const DeadLetterReserve = 1 << 10

// DetailDropped follows the text of header lapwing-cut where the topic takes less than DeadLetterReserve and header
// lapwing-detail is empty for it.
const DetailDropped = ", detail dropped"

// AppendDeadLetterHeaders appends the headers that a dead letter has after the record's own: reason,
// detail, source and timestamp.
func AppendDeadLetterHeaders(dst []Header, r *Refusal, s Source, timestampMillis int64) []Header {
	return append(dst,
		Header{Name: HeaderReason, Value: []byte(r.Reason)},
		Header{Name: HeaderDetail, Value: []byte(r.Detail)},
		Header{Name: HeaderSource, Value: AppendSource(nil, s)},
		Header{Name: HeaderTimestamp, Value: strconv.AppendInt(nil, timestampMillis, 10)},
	)
}

// Cut is what fits of a record into a dead-letter topic.
type Cut struct {
	// Key and Value are the beginnings of the record's own, which they alias; null stays null.
	Key, Value []byte
	// DropHeaders: the record's own headers do not fit.
	DropHeaders bool
	// Text is the value of header lapwing-cut. Empty: nothing was cut, and no header is written.
	Text string
}

// CutDeadLetter cuts a record so that its dead letter, in a batch of its own and without compression,
// has at most limit bytes (the topic's max.message.bytes), or DeadLetterReserve if that is more.
// HeadersSize bounds the bytes of the record's own headers; see the function of that name.
//
// The value is cut first, at its end. The headers are dropped, all of them, only if they and the key
// do not fit without any value; then as much of the value is kept as fits beside the key. The key is
// cut only if it alone does not fit.
func CutDeadLetter(key, value []byte, headersSize, limit int) Cut {
	room := max(limit-DeadLetterReserve, 0)
	if headersSize+len(key)+len(value) <= room {
		return Cut{Key: key, Value: value}
	}
	c := Cut{DropHeaders: headersSize > 0 && headersSize+len(key) > room}
	if !c.DropHeaders {
		room -= headersSize
	}
	c.Key = key[:min(len(key), room)]
	c.Value = value[:min(len(value), room-len(c.Key))]
	c.Text = fmt.Sprintf("key %d of %d bytes, value %d of %d bytes", len(c.Key), len(key), len(c.Value), len(value))
	if c.DropHeaders {
		c.Text += fmt.Sprintf(", headers dropped (%d bytes)", headersSize)
	}
	return c
}
