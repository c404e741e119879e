package contract

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/lapwing/lapwing/rules"
)

// Defaults and bounds of decoding.
const (
	// BytesMaxDefault is the largest value, in bytes, that is looked at by default.
	BytesMaxDefault = 64 << 10
	// DepthMaxDefault is how deep arrays and objects may nest by default, the event itself included.
	// RFC 8259, section 9, leaves the limit to the reader.
	DepthMaxDefault = 64
	// TimeSecondsEnd is the first event time, in seconds, that is refused. It is in the year 5138,
	// whereas in milliseconds it is in 1973: such a number was meant as milliseconds.
	TimeSecondsEnd = 100_000_000_000
	// TimeMillisEnd is the same bound where events carry milliseconds.
	TimeMillisEnd = 1000 * TimeSecondsEnd
	// frameBytes is the size of a schema registry's frame.
	frameBytes = 5
)

// DecoderOptions say what is an event. The zero value is the default.
type DecoderOptions struct {
	// Types are the event types. Nil: rules.DefaultTypes.
	Types *rules.Types
	// TimeMillis reads the member time as milliseconds, rounded down to seconds.
	TimeMillis bool
	// TimeFromRecord takes the Kafka record's timestamp as the event's time. A member time is then
	// like any unknown one.
	TimeFromRecord bool
	// AcceptNumericAmount takes a JSON number as amount too, by its text; an exponent or a sign is
	// refused all the same.
	AcceptNumericAmount bool
	// StripFrame judges a value that begins with a schema registry's frame, a zero byte and a schema id of four bytes, by
	// what follows the frame. A value without one is judged as it is: no JSON begins with a zero byte.
	StripFrame bool
	// MaxFuture is how far an event's time may be after its record's timestamp. A record without
	// timestamp is then refused. 0: no limit.
	MaxFuture time.Duration
	// BytesMax is the size from which on a value, with its frame, is too large, exclusive. 0: BytesMaxDefault.
	BytesMax int
	// DepthMax is how deep arrays and objects may nest. 0: DepthMaxDefault.
	DepthMax int
}

// Event is a decoded record.
type Event struct {
	rules.Event
	// AmountText is the amount as given, without quotes. It aliases the decoded value, or, if the
	// amount was written with escapes, memory of its own.
	AmountText []byte
}

// Decoder reads events. It keeps memory between calls and must be used by one goroutine at a time.
type Decoder struct {
	options DecoderOptions
	scanner scanner
	plainly bool // the options leave the time to the event, in seconds: what plain reads
}

// NewDecoder returns a decoder; options that are zero get their defaults.
func NewDecoder(o DecoderOptions) *Decoder {
	if o.Types == nil {
		o.Types = rules.DefaultTypes()
	}
	if o.BytesMax <= 0 {
		o.BytesMax = BytesMaxDefault
	}
	if o.DepthMax <= 0 {
		o.DepthMax = DepthMaxDefault
	}
	required := memberCount
	if o.TimeFromRecord {
		required = memberTime
	}
	return &Decoder{
		options: o, scanner: scanner{depthMax: o.DepthMax, required: required},
		plainly: !o.TimeFromRecord && !o.TimeMillis && o.MaxFuture == 0,
	}
}

// Decode reads the event in a record's value into ev, or says why it is none; ev is then undefined.
// The record's timestamp is in milliseconds since 1970, negative if it has none. A null value (a
// tombstone) is the caller's case. An event whose members are written without escapes, and whose
// unknown members are few, is decoded without allocation.
func (d *Decoder) Decode(value []byte, recordTimeMillis int64, ev *Event) *Refusal {
	if len(value) > d.options.BytesMax {
		return refuse(ReasonTooLarge, "%d bytes, at most %d are allowed", len(value), d.options.BytesMax)
	}
	if d.plainly && d.plain(value, ev) {
		return nil
	}
	if len(value) < frameBytes || value[0] != 0 {
		return d.strict(value, recordTimeMillis, ev)
	}
	schema := binary.BigEndian.Uint32(value[1:])
	if !d.options.StripFrame {
		return refuse(ReasonConfluentFramed, "schema registry wire format with schema id %d, expected plain JSON; "+
			"events.strip_frame: true takes JSON in it", schema)
	}
	value = value[frameBytes:]
	if d.plainly && d.plain(value, ev) {
		return nil
	}
	r := d.strict(value, recordTimeMillis, ev)
	if r != nil {
		r.Detail += fmt.Sprintf(" (bytes counted after the frame of schema id %d)", schema)
	}
	return r
}

// strict reads any event, step by step in the order of the reasons.
func (d *Decoder) strict(value []byte, recordTimeMillis int64, ev *Event) *Refusal {
	if !utf8.Valid(value) {
		return refuse(ReasonNotUTF8, "invalid UTF-8 at byte %d", invalidUTF8(value))
	}
	whole, ok := d.scanner.scan(value)
	if !ok {
		return refuse(ReasonNotJSON, "%s at byte %d", d.scanner.problem, d.scanner.problemAt)
	}
	if d.scanner.duplicateAt >= 0 {
		return refuse(ReasonDuplicateMember, "member %s again at byte %d", echo(d.scanner.duplicate), d.scanner.duplicateAt)
	}
	if whole != kindObject {
		return refuse(ReasonWrongType, "the value is %s, must be an object", whole)
	}
	if r := d.checkMembers(); r != nil {
		return r
	}
	if r := d.decodeType(ev); r != nil {
		return r
	}
	if r := d.decodeAmount(ev); r != nil {
		return r
	}
	if r := d.decodeUserID(ev); r != nil {
		return r
	}
	return d.decodeTime(recordTimeMillis, ev)
}

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8.
func invalidUTF8(value []byte) int {
	offset := 0
	for {
		r, size := utf8.DecodeRune(value[offset:])
		if r == utf8.RuneError && size <= 1 {
			return offset
		}
		offset += size
	}
}

// checkMembers checks that the members are there and that each is of its type.
func (d *Decoder) checkMembers() *Refusal {
	s := &d.scanner
	if s.folded != nil {
		return refuse(ReasonMissingMember, "member %s at byte %d must be written %q", echo(s.folded), s.foldedAt, s.foldedOf)
	}
	for m := range s.required {
		if s.members[m].kind == kindNone {
			return refuse(ReasonMissingMember, "member %q is missing", m)
		}
	}
	if t := s.members[memberType]; t.kind != kindString {
		return wrongType(memberType, t, "a string")
	}
	if t := s.members[memberAmount]; t.kind != kindString {
		if !d.options.AcceptNumericAmount {
			return wrongType(memberAmount, t, `a string like "42.00"`)
		}
		if t.kind != kindInteger && t.kind != kindNumber {
			return wrongType(memberAmount, t, "a string or a number")
		}
	}
	if t := s.members[memberUserID]; t.kind != kindInteger {
		return wrongType(memberUserID, t, "an integer")
	}
	if t := s.members[memberTime]; t.kind != kindInteger && s.required > memberTime {
		return wrongType(memberTime, t, "an integer")
	}
	return nil
}

func wrongType(m member, t token, want string) *Refusal {
	return refuse(ReasonWrongType, "member %q at byte %d is %s, must be %s", m, t.start, t.kind, want)
}

// text returns a string's text with its escapes decoded, or a number's text.
func (d *Decoder) text(t token) []byte {
	text := d.scanner.input[t.start:t.end]
	if t.escaped {
		return appendUnescaped(make([]byte, 0, len(text)), text)
	}
	return text
}

func (d *Decoder) decodeType(ev *Event) *Refusal {
	t := d.scanner.members[memberType]
	text := d.text(t)
	typ, ok := d.options.Types.Lookup(text)
	if !ok {
		return refuse(ReasonUnknownType, "type %s at byte %d is not configured", echo(text), t.start)
	}
	ev.Type = typ
	return nil
}

func (d *Decoder) decodeAmount(ev *Event) *Refusal {
	t := d.scanner.members[memberAmount]
	text := d.text(t)
	amount, err := rules.ParseAmount(text)
	switch {
	case err == nil:
		ev.Amount, ev.AmountText = amount, text
		return nil
	case errors.Is(err, rules.ErrAmountRange):
		return refuse(ReasonAmountRange,
			"amount %s at byte %d must be above 0 with at most 18 digits before and after the point", echo(text), t.start)
	default:
		return refuse(ReasonAmountFormat, `amount %s at byte %d is not a decimal number like "42.00"`, echo(text), t.start)
	}
}

func (d *Decoder) decodeUserID(ev *Event) *Refusal {
	t := d.scanner.members[memberUserID]
	id, ok := natural(d.scanner.input[t.start:t.end])
	if !ok {
		return refuse(ReasonUserIDRange, "user_id %s at byte %d must be 0 to %d",
			echo(d.scanner.input[t.start:t.end]), t.start, int64(math.MaxInt64))
	}
	ev.UserID = id
	return nil
}

// decodeTime sets the event's time, from the member or from the record's timestamp.
func (d *Decoder) decodeTime(recordTimeMillis int64, ev *Event) *Refusal {
	millis := recordTimeMillis
	if d.options.TimeFromRecord {
		if millis < 0 || millis >= TimeMillisEnd {
			return refuse(ReasonTimeRange, "the record's timestamp %d must be 0 to below %d milliseconds", millis, int64(TimeMillisEnd))
		}
	} else {
		t := d.scanner.members[memberTime]
		value, ok := natural(d.scanner.input[t.start:t.end])
		end, scale, hint := int64(TimeSecondsEnd), int64(1000), "looks like milliseconds, must be seconds"
		if d.options.TimeMillis {
			end, scale, hint = TimeMillisEnd, 1, "looks like microseconds, must be milliseconds"
		}
		if !ok || value >= end {
			text := d.scanner.input[t.start:t.end]
			if text[0] == '-' {
				hint = "must not be negative"
			}
			return refuse(ReasonTimeRange, "time %s at byte %d %s (0 to below %d)", echo(text), t.start, hint, end)
		}
		millis = value * scale
	}
	if d.options.MaxFuture > 0 {
		if recordTimeMillis < 0 {
			return refuse(ReasonTimeRange, "the record has no timestamp to hold its time against")
		}
		if ahead := millis - recordTimeMillis; ahead > d.options.MaxFuture.Milliseconds() {
			return refuse(ReasonTimeRange, "time is %d ms after the record's timestamp, at most %d are allowed",
				ahead, d.options.MaxFuture.Milliseconds())
		}
	}
	ev.Time = rules.Time(millis / 1000)
	return nil
}

// natural reads an integer of 0 to 2^63-1 from the text of a JSON integer; false: it is outside.
func natural(text []byte) (int64, bool) {
	const digitsMax = 19 // of 2^63-1; a number of 19 digits fits in 64 bits without sign
	if len(text) > digitsMax || text[0] == '-' {
		return 0, false
	}
	var n uint64
	for _, c := range text {
		n = n*10 + uint64(c-'0')
	}
	return int64(n), n <= math.MaxInt64
}
