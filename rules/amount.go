package rules

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"math/bits"

	"github.com/quagmt/udecimal"
)

// AmountDigitsMax is the largest number of digits that an amount has before, and again after, its decimal point.
// All digits that are written count, leading and trailing zeros too.
const AmountDigitsMax = 18

var (
	// ErrAmountFormat is wrapped when a text is not digits with an optional fraction.
	ErrAmountFormat = errors.New("amount is not of the form digits or digits.digits")
	// ErrAmountRange is wrapped when an amount is zero or has too many digits.
	ErrAmountRange = errors.New("amount is out of range")
	// ErrAmountBinary is wrapped when bytes do not begin with the binary form of an amount.
	ErrAmountBinary = errors.New("not the binary form of an amount")
)

// Amount is an exact decimal of zero or more. The zero value is 0. An Amount is immutable and may be copied; amounts
// are compared with Cmp, since equal ones can differ in their representation (1.5 and 1.50).
//
// It hides the decimal library (udecimal): a coefficient of 128 bits, and big.Int beyond, so that a sum is exact
// however many amounts it has.
type Amount struct {
	d udecimal.Decimal
}

// pow10 holds the powers of ten that AmountDigitsMax needs.
var pow10 = func() (p [AmountDigitsMax + 1]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

// ParseAmount reads a decimal of the form [0-9]+(\.[0-9]+)? that is greater than zero and has at most AmountDigitsMax
// digits on each side of the point. It never rounds and does not allocate on success. An error wraps ErrAmountFormat
// or, where the form is right, ErrAmountRange.
//
// The digits are read here and not by udecimal.Parse, which takes a sign, reads other lengths and wants a string.
func ParseAmount(text []byte) (Amount, error) {
	whole, rest := digits(text)
	wholeDigits, fractionDigits := len(text)-len(rest), 0
	var fraction uint64
	if wholeDigits > 0 && len(rest) > 0 && rest[0] == '.' {
		tail := rest[1:]
		fraction, rest = digits(tail)
		fractionDigits = len(tail) - len(rest)
		if fractionDigits == 0 {
			return Amount{}, formatError(text)
		}
	}
	switch {
	case wholeDigits == 0 || len(rest) > 0:
		return Amount{}, formatError(text)
	case wholeDigits > AmountDigitsMax:
		return Amount{}, fmt.Errorf("%w: %d digits before the point, at most %d are allowed", ErrAmountRange, wholeDigits, AmountDigitsMax)
	case fractionDigits > AmountDigitsMax:
		return Amount{}, fmt.Errorf("%w: %d digits after the point, at most %d are allowed", ErrAmountRange, fractionDigits, AmountDigitsMax)
	case whole == 0 && fraction == 0:
		return Amount{}, fmt.Errorf("%w: zero", ErrAmountRange)
	}
	hi, lo := bits.Mul64(whole, pow10[fractionDigits])
	lo, carry := bits.Add64(lo, fraction, 0)
	return newAmount(hi+carry, lo, uint8(fractionDigits)), nil
}

// digits reads the digits that text begins with. The value is meaningless beyond AmountDigitsMax digits.
func digits(text []byte) (value uint64, rest []byte) {
	i := 0
	for i < len(text) && '0' <= text[i] && text[i] <= '9' {
		value = value*10 + uint64(text[i]-'0')
		i++
	}
	return value, text[i:]
}

// formatError quotes the text, cut to a length that fits a log line or a header.
func formatError(text []byte) error {
	const shownMax = 40
	if len(text) > shownMax {
		return fmt.Errorf("%w: %q and %d bytes more", ErrAmountFormat, string(text[:shownMax]), len(text)-shownMax)
	}
	return fmt.Errorf("%w: %q", ErrAmountFormat, string(text))
}

// newAmount is (hi*2^64 + lo) / 10^scale, for a scale of at most AmountDigitsMax.
func newAmount(hi, lo uint64, scale uint8) Amount {
	d, err := udecimal.NewFromHiLo(false, hi, lo, scale)
	if err != nil {
		panic(fmt.Sprintf("rules: amount of scale %d: %v", scale, err))
	}
	return Amount{d}
}

// Add is a + b, exactly.
func (a Amount) Add(b Amount) Amount { return Amount{a.d.Add(b.d)} }

// Cmp is -1, 0 or 1 as a is less than, equal to or greater than b.
func (a Amount) Cmp(b Amount) int {
	_, aHi, aLo, aScale, aSmall := a.d.ToHiLo()
	_, bHi, bLo, bScale, bSmall := b.d.ToHiLo()
	if !aSmall || !bSmall || aHi != 0 || bHi != 0 {
		return a.d.Cmp(b.d)
	}
	// Two coefficients of one word, the usual case, fit 128 bits at the larger scale. udecimal takes three times as
	// long, and this is a quarter of Judge.
	scale := max(aScale, bScale)
	aHi, aLo = bits.Mul64(aLo, pow10[scale-aScale])
	bHi, bLo = bits.Mul64(bLo, pow10[scale-bScale])
	return cmp.Or(cmp.Compare(aHi, bHi), cmp.Compare(aLo, bLo))
}

// AppendText appends the canonical text: no leading zeros but one before a point, no trailing zeros after it.
func (a Amount) AppendText(b []byte) []byte {
	b, err := a.d.AppendText(b)
	if err != nil {
		panic(fmt.Sprintf("rules: text of an amount: %v", err)) // udecimal documents none.
	}
	return b
}

// String is the text of AppendText.
func (a Amount) String() string { return string(a.AppendText(nil)) }

// The binary form. A uvarint comes first; its lowest bit tells two forms apart:
//
//	0: short: the rest is the amount in hundredths, below 2^63
//	1: long: the rest is size*32 + scale, then size bytes of coefficient, big-endian; the value is coefficient/10^scale
//
// It is canonical: the short form wherever it fits, otherwise the smallest scale, and no leading zero byte. So equal
// amounts have equal bytes, and bytes that are not canonical are refused.
const (
	shortScale   = 2
	scaleBits    = 5
	scaleMask    = 1<<scaleBits - 1
	longBytesMax = 32 // 2^64 amounts of 36 digits add up to less than 23 bytes.
)

// AppendBinary appends the compact, self-delimiting, canonical binary form: 2 to 4 bytes for usual amounts of money.
func (a Amount) AppendBinary(b []byte) []byte {
	if _, hi, lo, scale, ok := a.d.ToHiLo(); ok && hi == 0 {
		return appendSmall(b, lo, scale)
	}
	coefficient, scale := a.big()
	if coefficient.IsUint64() {
		return appendSmall(b, coefficient.Uint64(), scale)
	}
	return appendLong(b, coefficient.Bytes(), scale)
}

// appendSmall appends the amount lo/10^scale.
func appendSmall(b []byte, lo uint64, scale uint8) []byte {
	for scale > shortScale && lo%10 == 0 {
		lo, scale = lo/10, scale-1
	}
	if scale <= shortScale {
		if hi, short := bits.Mul64(lo, pow10[shortScale-scale]); hi == 0 && short < 1<<63 {
			return binary.AppendUvarint(b, short<<1)
		}
		for scale > 0 && lo%10 == 0 {
			lo, scale = lo/10, scale-1
		}
	}
	var coefficient [8]byte
	binary.BigEndian.PutUint64(coefficient[:], lo)
	return appendLong(b, bytes.TrimLeft(coefficient[:], "\x00"), scale)
}

func appendLong(b, coefficient []byte, scale uint8) []byte {
	b = binary.AppendUvarint(b, uint64(len(coefficient))<<(scaleBits+1)|uint64(scale)<<1|1)
	return append(b, coefficient...)
}

// big is a as coefficient/10^scale with the smallest scale.
func (a Amount) big() (coefficient *big.Int, scale uint8) {
	text := a.AppendText(nil)
	if point := bytes.IndexByte(text, '.'); point >= 0 {
		scale = uint8(len(text) - point - 1)
		text = append(text[:point], text[point+1:]...)
	}
	coefficient, ok := new(big.Int).SetString(string(text), 10)
	if !ok {
		panic(fmt.Sprintf("rules: amount %q is no number", text))
	}
	return coefficient, scale
}

// DecodeAmount reads the binary form that b begins with and returns what follows it. Bytes that AppendBinary does not
// write give an error that wraps ErrAmountBinary.
func DecodeAmount(b []byte) (Amount, []byte, error) {
	head, n := binary.Uvarint(b)
	switch {
	case n <= 0:
		return Amount{}, nil, fmt.Errorf("%w: bad varint", ErrAmountBinary)
	case n > 1 && b[n-1] == 0:
		return Amount{}, nil, fmt.Errorf("%w: varint is longer than needed", ErrAmountBinary)
	case head&1 == 0:
		return newAmount(0, head>>1, shortScale), b[n:], nil
	}
	return decodeLong(b, n, head>>1)
}

// decodeLong reads the long form; its first n bytes are the varint, head what that holds above the form bit.
func decodeLong(b []byte, n int, head uint64) (Amount, []byte, error) {
	size, scale := head>>scaleBits, uint8(head&scaleMask)
	switch {
	case size > longBytesMax:
		return Amount{}, nil, fmt.Errorf("%w: coefficient of %d bytes, at most %d are allowed", ErrAmountBinary, size, longBytesMax)
	case scale > AmountDigitsMax:
		return Amount{}, nil, fmt.Errorf("%w: scale %d, at most %d is allowed", ErrAmountBinary, scale, AmountDigitsMax)
	case uint64(len(b)-n) < size:
		return Amount{}, nil, fmt.Errorf("%w: coefficient of %d bytes, %d are left", ErrAmountBinary, size, len(b)-n)
	case size == 0 || b[n] == 0:
		return Amount{}, nil, fmt.Errorf("%w: coefficient begins with a zero byte or is empty", ErrAmountBinary)
	}
	end := n + int(size)
	a, err := amountOfBytes(b[n:end], scale)
	if err != nil {
		return Amount{}, nil, err
	}
	if !bytes.Equal(a.AppendBinary(nil), b[:end]) {
		return Amount{}, nil, fmt.Errorf("%w: it is not canonical", ErrAmountBinary)
	}
	return a, b[end:], nil
}

// amountOfBytes is the big-endian coefficient, which does not begin with a zero byte, / 10^scale.
func amountOfBytes(coefficient []byte, scale uint8) (Amount, error) {
	if len(coefficient) <= 16 {
		var c [16]byte
		copy(c[16-len(coefficient):], coefficient)
		return newAmount(binary.BigEndian.Uint64(c[:8]), binary.BigEndian.Uint64(c[8:]), scale), nil
	}
	// udecimal takes a larger coefficient as text only. This one has 39 digits or more, so some stand before the point.
	text := new(big.Int).SetBytes(coefficient).String()
	if point := len(text) - int(scale); scale > 0 {
		text = text[:point] + "." + text[point:]
	}
	d, err := udecimal.Parse(text)
	if err != nil {
		return Amount{}, fmt.Errorf("%w: %w", ErrAmountBinary, err)
	}
	return Amount{d}, nil
}
