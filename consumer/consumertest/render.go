package consumertest

import (
	"math/bits"
	"strconv"
)

// appendResult appends the value of the result that is due for an event, by the words of the topics' contract. A nil
// source: only the three members.
func appendResult(b []byte, e *expected, v *verdict, source *resultSource) []byte {
	b = append(b, `{"alert":`...)
	b = strconv.AppendBool(b, v.codes != 0)
	b = append(b, `,"alert_codes":`...)
	b = appendCodes(b, v.codes)
	b = append(b, `,"user_id":`...)
	b = strconv.AppendInt(b, e.user, 10)
	if source == nil {
		return append(b, '}')
	}
	b = append(b, `,"event":{"type":"`...)
	b = append(b, typeNames[e.typ]...)
	b = append(b, `","amount":"`...)
	b = append(b, source.amount.text...)
	b = append(b, `","time":`...)
	b = strconv.AppendInt(b, e.time, 10)
	b = append(b, `,"topic":"`...)
	b = append(b, source.topic...)
	b = append(b, `","partition":`...)
	b = strconv.AppendInt(b, int64(source.partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, source.offset, 10)
	b = append(b, '}')
	if v.lateBy > 0 {
		b = append(b, `,"late_by":`...)
		b = strconv.AppendInt(b, v.lateBy, 10)
	}
	if v.codes != 0 {
		b = appendEvidence(b, e, v, source.amount.value)
	}
	return append(b, '}')
}

// resultSource is where an event stands, and its amount; a result in full detail shows both.
type resultSource struct {
	topic     string
	partition int32
	offset    int64
	amount    *amount
}

// appendCodes appends a set of codes as JSON.
func appendCodes(b []byte, set uint8) []byte {
	b = append(b, '[')
	for i, code := range codes {
		if set&(1<<i) == 0 {
			continue
		}
		if set&(1<<i-1) != 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(code), 10)
	}
	return append(b, ']')
}

// alerts counts the codes of a set.
func alerts(set uint8) int { return bits.OnesCount8(set) }

func appendEvidence(b []byte, e *expected, v *verdict, of money) []byte {
	b = append(b, `,"evidence":[`...)
	from := len(b)
	next := func(bit uint8, text string) bool {
		if v.codes&bit == 0 {
			return false
		}
		if len(b) > from {
			b = append(b, ',')
		}
		b = append(b, text...)
		return true
	}
	if next(bitLarge, `{"code":1100,"kind":"amount","limit":"100","amount":"`) {
		b = append(of.appendText(b), `"}`...)
	}
	if next(bitStreak, `{"code":30,"kind":"streak","run_length":`) {
		b = append(strconv.AppendUint(b, v.run, 10), '}')
	}
	if next(bitRising, `{"code":300,"kind":"rising","run_length":`) {
		b = append(strconv.AppendUint(b, v.rising, 10), `,"amounts":[`...)
		for i, m := range v.last {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(m.appendText(append(b, '"')), '"')
		}
		b = append(b, `]}`...)
	}
	if next(bitWindow, `{"code":123,"kind":"window_sum","limit":"200","sum":"`) {
		b = append(v.sum.appendText(b), `","count":`...)
		b = append(strconv.AppendUint(b, v.count, 10), `,"from":`...)
		b = append(strconv.AppendInt(b, e.time-windowLength, 10), `,"to":`...)
		b = append(strconv.AppendInt(b, e.time, 10), '}')
	}
	return append(b, ']')
}
