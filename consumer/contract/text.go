package contract

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// string scans a string, from its opening quote on.
func (s *scanner) string(pos int) (token, int) {
	t := token{start: pos + 1, kind: kindString}
	for pos++; ; {
		if pos = plainEnd(s.input, pos); pos >= len(s.input) {
			return t, s.fail(pos, "a string without end")
		}
		switch s.input[pos] {
		case '"':
			t.end = pos
			return t, pos + 1
		case '\\':
			t.escaped = true
			if pos = s.escape(pos); pos == failed {
				return t, failed
			}
		default:
			return t, s.fail(pos, "a control character in a string")
		}
	}
}

// plainEnd returns the offset, from pos on, of the first byte that does not stand for itself in a
// string: a quote, a backslash or a control character; the input's length if there is none. It looks
// at eight bytes at once, which is more than most strings of an event have.
func plainEnd(input []byte, pos int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; pos+8 <= len(input); pos += 8 {
		w := binary.LittleEndian.Uint64(input[pos:])
		quote, slash := w^ones*'"', w^ones*'\\'
		// The highest bit of a byte is set where the byte is below a space, or is zero in quote or
		// slash. A borrow may set those after such a byte too; only the first counts.
		if found := ((w-ones*' ')&^w | (quote-ones)&^quote | (slash-ones)&^slash) & highs; found != 0 {
			return pos + bits.TrailingZeros64(found)/8
		}
	}
	for ; pos < len(input); pos++ {
		if c := input[pos]; c < ' ' || c == '"' || c == '\\' {
			return pos
		}
	}
	return pos
}

// escape scans an escape sequence, for a surrogate its partner too.
func (s *scanner) escape(pos int) int {
	if pos+1 >= len(s.input) {
		return s.fail(pos, "a string without end")
	}
	switch s.input[pos+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return pos + 2
	case 'u':
	default:
		return s.fail(pos, "an unknown escape sequence")
	}
	r, ok := hexRune(s.input[pos:])
	if !ok {
		return s.fail(pos, `\u without four hexadecimal digits`)
	}
	if !utf16.IsSurrogate(r) {
		return pos + 6
	}
	low, ok := hexRune(s.input[pos+6:])
	if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
		return s.fail(pos, "an escaped surrogate without its partner")
	}
	return pos + 12
}

// hexRune reads a sequence \uXXXX at the beginning of a text.
func hexRune(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range text[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendUnescaped appends a scanned string's text with its escapes decoded.
func appendUnescaped(dst, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return append(dst, text...)
		}
		dst = append(dst, text[:i]...)
		text = text[i:]
		size := 2
		switch c := text[1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hexRune(text)
			size = 6
			if utf16.IsSurrogate(r) {
				low, _ := hexRune(text[6:])
				r = utf16.DecodeRune(r, low)
				size = 12
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
		text = text[size:]
	}
}
