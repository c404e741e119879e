package contract

import "github.com/lapwing/lapwing/rules"

// The members of a plain event, as bits and as they are written.
const (
	plainType = 1 << iota
	plainAmount
	plainUserID
	plainTime
	plainAll = plainType | plainAmount | plainUserID | plainTime
)

// plain decodes an event as nearly all producers write it: an object of the four members alone, in any order, none with
// an escape or a letter beyond ASCII, without white space but for at most one space after a colon or a comma. It takes a
// fifth of the instructions of the whole way. It says false of any other value, which may be an event all the same: then
// ev is undefined.
//
// Whatever it takes the whole way takes too, with the same result: FuzzDecode holds both against the same oracle.
func (d *Decoder) plain(value []byte, ev *Event) bool {
	if len(value) == 0 || value[0] != '{' {
		return false
	}
	rest := value[1:]
	for seen := 0; ; {
		member, after := plainName(rest)
		if member == 0 || seen&member != 0 {
			return false
		}
		seen |= member
		rest = plainSpace(after)
		ok := false
		switch member {
		case plainType:
			var text []byte
			if text, rest, ok = plainString(rest); ok {
				ev.Type, ok = d.options.Types.Lookup(text)
			}
		case plainAmount:
			if ev.AmountText, rest, ok = plainString(rest); ok {
				var err error
				ev.Amount, err = rules.ParseAmount(ev.AmountText)
				ok = err == nil
			}
		case plainUserID:
			ev.UserID, rest, ok = plainNatural(rest)
		case plainTime:
			var t int64
			t, rest, ok = plainNatural(rest)
			ev.Time = rules.Time(t)
			ok = ok && t < TimeSecondsEnd
		}
		switch {
		case !ok || len(rest) == 0:
			return false
		case rest[0] == ',':
			rest = plainSpace(rest[1:])
		default:
			return rest[0] == '}' && len(rest) == 1 && seen == plainAll
		}
	}
}

// plainName reads a member's name with its colon; 0: it is none of an event's.
func plainName(b []byte) (member int, rest []byte) {
	switch {
	case len(b) < len(`"user_id":`): // the last is `"time":0}` at the shortest
		if len(b) > 7 && string(b[:7]) == `"time":` {
			return plainTime, b[7:]
		}
	case string(b[:7]) == `"type":`:
		return plainType, b[7:]
	case string(b[:7]) == `"time":`:
		return plainTime, b[7:]
	case string(b[:9]) == `"amount":`:
		return plainAmount, b[9:]
	case string(b[:10]) == `"user_id":`:
		return plainUserID, b[10:]
	}
	return 0, b
}

func plainSpace(b []byte) []byte {
	if len(b) > 0 && b[0] == ' ' {
		return b[1:]
	}
	return b
}

// plainString reads a string and returns what is between its quotes.
func plainString(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, b, false
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return b[1:i], b[i+1:], true
		case c < ' ' || c >= 0x7f || c == '\\':
			return nil, b, false
		}
	}
	return nil, b, false
}

// plainNatural reads an integer that is not negative and has few enough digits for an int64.
func plainNatural(b []byte) (n int64, rest []byte, ok bool) {
	const digitsMax = 18
	i := 0
	for i < len(b) && b[i]-'0' <= 9 {
		n = n*10 + int64(b[i]-'0')
		i++
	}
	return n, b[i:], i > 0 && i <= digitsMax && (i == 1 || b[0] != '0')
}
