package contract

import (
	"encoding/binary"
	"math/bits"

	"github.com/lapwing/lapwing/rules"
)

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
// tenth of the instructions of the whole way. It says false of any other value, which may be an event all the same: then
// ev is undefined.
//
// Whatever it takes the whole way takes too, with the same result: FuzzDecode holds both against the same oracle.
func (d *Decoder) plain(value []byte, ev *Event) bool {
	pos := 0
	for seen, opening := 0, byte('{'); ; opening = ',' {
		if pos >= len(value) || value[pos] != opening {
			return pos == len(value)-1 && value[pos] == '}' && seen == plainAll
		}
		if pos++; opening == ',' {
			pos = plainSpace(value, pos)
		}
		member, size := plainName(value[pos:])
		if seen&member != 0 {
			return false
		}
		seen |= member
		pos = plainSpace(value, pos+size)
		switch member {
		case plainType:
			text := plainText(value[pos:])
			var ok bool
			if ev.Type, ok = d.options.Types.Lookup(text); !ok {
				return false // also of no text: no type is empty
			}
			pos += len(text) + 2
		case plainAmount:
			text, ok := plainAmountText(value[pos:], &ev.Amount)
			if !ok {
				return false
			}
			ev.AmountText = text
			pos += len(text) + 2
		case plainUserID:
			n, size := plainNatural(value[pos:])
			if size == 0 {
				return false
			}
			ev.UserID = n
			pos += size
		case plainTime:
			n, size := plainNatural(value[pos:])
			if size == 0 || n >= TimeSecondsEnd {
				return false
			}
			ev.Time = rules.Time(n)
			pos += size
		default:
			return false
		}
	}
}

// plainName reads a member's name with its colon; 0: it is none of an event's.
func plainName(b []byte) (member, size int) {
	const least = len(`"time":0}`)
	if len(b) < least {
		return 0, 0
	}
	switch b[1] {
	case 't':
		if string(b[:7]) == `"type":` {
			return plainType, 7
		}
		if string(b[:7]) == `"time":` {
			return plainTime, 7
		}
	case 'a':
		if string(b[:9]) == `"amount":` {
			return plainAmount, 9
		}
	case 'u':
		if len(b) > least && string(b[:10]) == `"user_id":` {
			return plainUserID, 10
		}
	}
	return 0, 0
}

func plainSpace(b []byte, pos int) int {
	if pos < len(b) && b[pos] == ' ' {
		return pos + 1
	}
	return pos
}

// plainText reads a string without escapes and returns what is between its quotes, or nil. It may be no UTF-8.
func plainText(b []byte) []byte {
	if len(b) == 0 || b[0] != '"' {
		return nil
	}
	if end := plainEnd(b, 1); end < len(b) && b[end] == '"' {
		return b[1:end]
	}
	return nil
}

// plainAmountText reads an amount in quotes and returns its text.
func plainAmountText(b []byte, a *rules.Amount) (text []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, false
	}
	amount, n := rules.ScanAmount(b[1:])
	if n == 0 {
		var err error
		text = plainText(b)
		*a, err = rules.ParseAmount(text)
		return text, err == nil
	}
	*a = amount
	return b[1 : 1+n], 1+n < len(b) && b[1+n] == '"'
}

// plainNatural reads an integer that is not negative and has few enough digits for an int64; 0 bytes: it is none.
func plainNatural(b []byte) (n int64, size int) {
	const digitsMax = 18
	if len(b) >= 8 {
		n, size = leadingDigits(binary.LittleEndian.Uint64(b))
		if size < 8 {
			if size > 1 && b[0] == '0' {
				return 0, 0
			}
			return n, size
		}
	}
	for size < len(b) && b[size]-'0' <= 9 {
		n = n*10 + int64(b[size]-'0')
		size++
	}
	if size > digitsMax || size > 1 && b[0] == '0' {
		return 0, 0
	}
	return n, size
}

// leadingDigits reads the digits that eight bytes begin with, the first byte being the lowest.
func leadingDigits(w uint64) (n int64, size int) {
	const ones = 0x0101010101010101
	// The highest bit of a byte is set where it is no digit. A carry or borrow may set it after such a byte too; only the
	// first counts.
	other := ((w + ones*(0x80-'9'-1)) | (w - ones*'0')) & (ones * 0x80)
	size = bits.TrailingZeros64(other) / 8
	if size == 0 {
		return 0, 0
	}
	w <<= 64 - 8*size // now zeros stand before the digits
	w = (w & (ones * 0x0f)) * (10<<8 + 1) >> 8
	w = (w & 0x00ff00ff00ff00ff) * (100<<16 + 1) >> 16
	w = (w & 0x0000ffff0000ffff) * (10000<<32 + 1) >> 32
	return int64(w), size
}
