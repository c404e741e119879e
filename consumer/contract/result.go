package contract

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/lapwing/lapwing/rules"
)

// Detail is how much a result says.
type Detail int

const (
	// DetailMinimal is the three members alert, alert_codes and user_id only.
	DetailMinimal Detail = iota
	// DetailFull adds the event, how late it was, and the evidence of each alert.
	DetailFull
)

// ResultEncoder writes results. It is immutable and safe for concurrent use.
//
// A result is an object with these members, in this order and without white space:
//
//	alert        true if any rule was raised
//	alert_codes  the codes of the raised rules, in the order of the rules
//	user_id      the user
//
// and in full detail also:
//
//	event        type, amount (a string, as given), time (seconds), topic, partition, offset
//	late_by      seconds behind the latest event of the user and type; only of a late event
//	evidence     only if alert is true: an object for each code, in the same order
//
// An evidence has code, kind, and by kind:
//
//	amount                    limit, amount
//	streak                    run_length
//	rising                    run_length, amounts (the last of the run, oldest first)
//	window_sum, window_count  limit, sum, count, from, to: of the events with time in (from, to]
//
// Amounts are strings in canonical decimal form (the limit of window_count is a number); counts and
// times are numbers. Readers must allow for further members.
type ResultEncoder struct {
	detail Detail
	types  [][]byte // by rules.Type: the beginning of member event, up to its amount's text
}

// NewResultEncoder returns an encoder of results of events of these types.
func NewResultEncoder(types *rules.Types, d Detail) *ResultEncoder {
	e := &ResultEncoder{detail: d}
	for _, name := range types.Names() {
		begin := appendString([]byte(`,"event":{"type":`), name)
		e.types = append(e.types, append(begin, `,"amount":"`...))
	}
	return e
}

// Append appends the result of an event. It allocates nothing if dst has room, and keeps none of its
// arguments.
func (e *ResultEncoder) Append(dst []byte, ev *Event, src Source, v *rules.Verdict) []byte {
	var key [20]byte
	return e.AppendKeyed(dst, AppendUserKey(key[:0], ev.UserID), &ev.Event, ev.AmountText, src, v)
}

// AppendKeyed is Append for a caller who has the result's key, as AppendUserKey writes it. The amount's text is that of
// [Event.AmountText]; nothing but DetailFull needs it.
func (e *ResultEncoder) AppendKeyed(dst, key []byte, ev *rules.Event, amountText []byte, src Source, v *rules.Verdict) []byte {
	alert := len(v.Alerts) > 0
	if alert {
		dst = append(dst, `{"alert":true,"alert_codes":[`...)
		for i := range v.Alerts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendDecimal(dst, int64(v.Alerts[i].Rule.Code))
		}
		dst = append(dst, `],"user_id":`...)
	} else {
		dst = append(dst, `{"alert":false,"alert_codes":[],"user_id":`...)
	}
	dst = append(dst, key...)
	if e.detail == DetailFull {
		dst = e.appendEvent(dst, ev, amountText, src)
		if v.LateBy > 0 {
			dst = append(dst, `,"late_by":`...)
			dst = AppendDecimal(dst, v.LateBy)
		}
		if alert {
			dst = appendEvidence(dst, v.Alerts)
		}
	}
	return append(dst, '}')
}

func (e *ResultEncoder) appendEvent(dst []byte, ev *rules.Event, amountText []byte, src Source) []byte {
	dst = append(dst, e.types[ev.Type]...)
	dst = append(dst, amountText...) // digits and at most one point: the decoder saw to it
	dst = append(dst, `","time":`...)
	dst = AppendDecimal(dst, int64(ev.Time))
	dst = append(dst, `,"topic":`...)
	dst = appendString(dst, src.Topic)
	dst = append(dst, `,"partition":`...)
	dst = AppendDecimal(dst, int64(src.Partition))
	dst = append(dst, `,"offset":`...)
	dst = AppendDecimal(dst, src.Offset)
	return append(dst, '}')
}

func appendEvidence(dst []byte, alerts []rules.Alert) []byte {
	dst = append(dst, `,"evidence":[`...)
	for i := range alerts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendAlert(dst, &alerts[i])
	}
	return append(dst, ']')
}

func appendAlert(dst []byte, a *rules.Alert) []byte {
	dst = append(dst, `{"code":`...)
	dst = AppendDecimal(dst, int64(a.Rule.Code))
	dst = append(dst, `,"kind":"`...)
	dst = append(dst, a.Rule.Kind.String()...)
	dst = append(dst, '"')
	switch a.Rule.Kind {
	case rules.KindAmount:
		dst = append(dst, `,"limit":`...)
		dst = appendAmount(dst, a.Limit)
		dst = append(dst, `,"amount":`...)
		dst = appendAmount(dst, a.Amount)
	case rules.KindStreak:
		dst = appendRunLength(dst, a)
	case rules.KindRising:
		dst = appendRunLength(dst, a)
		dst = append(dst, `,"amounts":[`...)
		for i, amount := range a.Amounts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendAmount(dst, amount)
		}
		dst = append(dst, ']')
	case rules.KindWindowSum:
		dst = append(dst, `,"limit":`...)
		dst = appendAmount(dst, a.Limit)
		dst = appendWindow(dst, a)
	case rules.KindWindowCount:
		dst = append(dst, `,"limit":`...)
		dst = a.Limit.AppendText(dst)
		dst = appendWindow(dst, a)
	}
	return append(dst, '}')
}

func appendRunLength(dst []byte, a *rules.Alert) []byte {
	dst = append(dst, `,"run_length":`...)
	return strconv.AppendUint(dst, a.RunLength, 10)
}

func appendWindow(dst []byte, a *rules.Alert) []byte {
	dst = append(dst, `,"sum":`...)
	dst = appendAmount(dst, a.Sum)
	dst = append(dst, `,"count":`...)
	dst = strconv.AppendUint(dst, a.Count, 10)
	dst = append(dst, `,"from":`...)
	dst = AppendDecimal(dst, int64(a.From))
	dst = append(dst, `,"to":`...)
	return AppendDecimal(dst, int64(a.To))
}

func appendAmount(dst []byte, a rules.Amount) []byte {
	dst = append(dst, '"')
	dst = a.AppendText(dst)
	return append(dst, '"')
}

// appendString appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, size := utf8.DecodeRuneInString(text[i:])
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		}
		i++
	}
	return append(dst, '"')
}

// AppendResultCut appends the text of header lapwing-cut of a result that is not whole, since the output topic does not
// take it: what was left out, separated by ", ". Without its detail a result has its first three members only; the
// headers are those that travel from the event.
func AppendResultCut(dst []byte, detail, traceparent, requestID bool) []byte {
	begin := len(dst)
	for _, part := range []struct {
		out  bool
		name string
	}{{detail, "detail"}, {traceparent, HeaderTraceparent}, {requestID, HeaderRequestID}} {
		if !part.out {
			continue
		}
		if len(dst) > begin {
			dst = append(dst, ", "...)
		}
		dst = append(dst, part.name...)
	}
	return dst
}

// ErrResult is returned for bytes that are not a published result.
var ErrResult = errors.New("not a result")

// MinimalResult cuts a published result of any detail to its three members. The answer aliases value
// if that has no more, and is fresh memory otherwise; value is not changed. Only the beginning, which
// is always written in one way, is looked at.
func MinimalResult(value []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(value, []byte(`{"alert":false,"alert_codes":[]`))
	if !ok {
		if rest, ok = bytes.CutPrefix(value, []byte(`{"alert":true,"alert_codes":[`)); ok {
			rest, ok = cutCodes(rest)
		}
	}
	if ok {
		rest, ok = bytes.CutPrefix(rest, []byte(`,"user_id":`))
	}
	if ok {
		rest, ok = cutNumber(rest)
	}
	if !ok || !bytes.HasSuffix(rest, []byte("}")) {
		return nil, fmt.Errorf("%w: %s", ErrResult, echo(value))
	}
	end := len(value) - len(rest)
	switch {
	case len(rest) == 1:
		return value, nil
	case rest[0] == ',':
		minimal := make([]byte, 0, end+1)
		return append(append(minimal, value[:end]...), '}'), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrResult, echo(value))
}

// cutCodes cuts at least one number and the array's end off a text.
func cutCodes(text []byte) (rest []byte, ok bool) {
	for {
		if text, ok = cutNumber(text); !ok || len(text) == 0 {
			return nil, false
		}
		switch text[0] {
		case ',':
			text = text[1:]
		case ']':
			return text[1:], true
		default:
			return nil, false
		}
	}
}

// cutNumber cuts an integer off a text.
func cutNumber(text []byte) (rest []byte, ok bool) {
	text = bytes.TrimPrefix(text, []byte("-")) // a code may be negative
	rest = bytes.TrimLeft(text, "0123456789")
	return rest, len(rest) < len(text)
}
