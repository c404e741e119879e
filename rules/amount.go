package rules

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strconv"

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
// Its value is a coefficient of 128 bits / 10^scale: every single amount fits (36 digits), and sums of money do. A sum
// that does not is left to a decimal library, so that it is exact however many amounts it has.
type Amount struct {
	hi, lo uint64
	scale  uint8
	large  *udecimal.Decimal // the value instead, if its coefficient has more than 128 bits
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

// ScanAmount reads the amount that b begins with, up to the first byte that is not of it, and returns its length: 0 unless
// it is one that ParseAmount takes and has AmountDigitsMax digits in all at most. It takes a third of the instructions.
func ScanAmount(b []byte) (a Amount, n int) {
	var coefficient uint64
	point := -1
	for n < len(b) {
		if digit := b[n] - '0'; digit <= 9 {
			coefficient = coefficient*10 + uint64(digit)
		} else if b[n] == '.' && point < 0 {
			point = n
		} else {
			break
		}
		n++
	}
	digits, scale := n, 0
	if point >= 0 {
		digits, scale = n-1, n-1-point
		if point == 0 || scale == 0 {
			return a, 0
		}
	}
	if digits > AmountDigitsMax || coefficient == 0 {
		return a, 0
	}
	return newAmount(0, coefficient, uint8(scale)), n
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
func newAmount(hi, lo uint64, scale uint8) Amount { return Amount{hi: hi, lo: lo, scale: scale} }

// newLarge is the amount of a decimal, in the form that fits.
func newLarge(d udecimal.Decimal) Amount {
	if _, hi, lo, scale, ok := d.ToHiLo(); ok {
		return newAmount(hi, lo, scale)
	}
	return Amount{large: &d}
}

// Hundredths returns a as a number of hundredths, if that is a whole one of 64 bits. It is for compact storage.
func (a *Amount) Hundredths() (n uint64, ok bool) {
	if a.scale == shortScale && a.hi == 0 && a.large == nil {
		return a.lo, true
	}
	return a.otherHundredths()
}

func (a *Amount) otherHundredths() (n uint64, ok bool) {
	if a.large != nil {
		return 0, false
	}
	hi, lo, scale := trim(a.hi, a.lo, a.scale, shortScale)
	if scale > shortScale || hi > 0 {
		return 0, false
	}
	over, n := bits.Mul64(lo, pow10[shortScale-scale])
	return n, over == 0
}

// SetHundredths makes a the amount of n hundredths.
func (a *Amount) SetHundredths(n uint64) { *a = Amount{lo: n, scale: shortScale} }

// decimal is a for the library.
func (a *Amount) decimal() udecimal.Decimal {
	if a.large != nil {
		return *a.large
	}
	d, err := udecimal.NewFromHiLo(false, a.hi, a.lo, a.scale)
	if err != nil {
		panic(fmt.Sprintf("rules: amount of scale %d: %v", a.scale, err))
	}
	return d
}

// scaled is the coefficient of a, which is not large, at a scale that is not smaller than its own.
func (a *Amount) scaled(scale uint8) (top, hi, lo uint64) {
	if scale == a.scale {
		return 0, a.hi, a.lo
	}
	by := pow10[scale-a.scale]
	hi, lo = bits.Mul64(a.lo, by)
	top, high := bits.Mul64(a.hi, by)
	hi, carry := bits.Add64(hi, high, 0)
	return top + carry, hi, lo
}

// Add is a + b, exactly.
func (a Amount) Add(b Amount) Amount {
	a.add(&b)
	return a
}

// add makes a the sum of a and b.
func (a *Amount) add(b *Amount) {
	if a.large == nil && b.large == nil {
		scale := max(a.scale, b.scale)
		aTop, aHi, aLo := a.scaled(scale)
		bTop, bHi, bLo := b.scaled(scale)
		lo, carry := bits.Add64(aLo, bLo, 0)
		hi, carry := bits.Add64(aHi, bHi, carry)
		if aTop|bTop|carry == 0 {
			a.hi, a.lo, a.scale = hi, lo, scale
			return
		}
	}
	*a = newLarge(a.decimal().Add(b.decimal()))
}

// Cmp is -1, 0 or 1 as a is less than, equal to or greater than b.
func (a Amount) Cmp(b Amount) int { return a.cmp(&b) }

func (a *Amount) cmp(b *Amount) int {
	if a.large != nil || b.large != nil {
		return a.decimal().Cmp(b.decimal())
	}
	if a.scale == b.scale && a.hi|b.hi == 0 {
		return cmp.Compare(a.lo, b.lo)
	}
	scale := max(a.scale, b.scale)
	aTop, aHi, aLo := a.scaled(scale)
	bTop, bHi, bLo := b.scaled(scale)
	return cmp.Or(cmp.Compare(aTop, bTop), cmp.Compare(aHi, bHi), cmp.Compare(aLo, bLo))
}

// AppendText appends the canonical text: no leading zeros but one before a point, no trailing zeros after it.
func (a Amount) AppendText(b []byte) []byte {
	if a.large == nil && a.hi == 0 {
		return appendDecimal(b, a.lo, a.scale)
	}
	b, err := a.decimal().AppendText(b)
	if err != nil {
		panic(fmt.Sprintf("rules: text of an amount: %v", err)) // udecimal documents none.
	}
	return b
}

// appendDecimal appends the canonical text of coefficient/10^scale.
func appendDecimal(b []byte, coefficient uint64, scale uint8) []byte {
	_, coefficient, scale = trim(0, coefficient, scale, 0)
	b = strconv.AppendUint(b, coefficient/pow10[scale], 10)
	if scale == 0 {
		return b
	}
	at := len(b)
	b = strconv.AppendUint(b, coefficient%pow10[scale]+pow10[scale], 10) // the 1 in front keeps the zeros after the point
	b[at] = '.'
	return b
}

// String is the text of AppendText.
func (a Amount) String() string { return string(a.AppendText(nil)) }

// The binary form begins with a uvarint:
//
//	0          long: a byte with the scale and a byte with the size follow, then size bytes of coefficient, big-endian;
//	           the value is coefficient/10^scale
//	n+1        short: the value is n hundredths
//
// It is canonical: the short form wherever it fits, otherwise the smallest scale, and no leading zero byte. So equal
// amounts have equal bytes, and bytes that are not canonical are refused.
const (
	shortScale   = 2
	longBytesMax = 32 // 2^64 amounts of 36 digits add up to less than 23 bytes.
)

// AppendBinary appends the compact, self-delimiting, canonical binary form: 1 to 3 bytes for usual amounts of money.
func (a Amount) AppendBinary(b []byte) []byte { return a.appendBinary(b) }

func (a *Amount) appendBinary(b []byte) []byte {
	if a.scale == shortScale && a.hi == 0 && a.large == nil && a.lo < math.MaxUint64 {
		return binary.AppendUvarint(b, a.lo+1)
	}
	if a.large != nil {
		coefficient, scale := a.big()
		if coefficient.BitLen() > 128 {
			return appendLong(b, coefficient.Bytes(), scale)
		}
		var c [16]byte
		coefficient.FillBytes(c[:])
		return appendCoefficient(b, binary.BigEndian.Uint64(c[:8]), binary.BigEndian.Uint64(c[8:]), scale)
	}
	return appendCoefficient(b, a.hi, a.lo, a.scale)
}

// appendCoefficient appends (hi*2^64 + lo) / 10^scale.
func appendCoefficient(b []byte, hi, lo uint64, scale uint8) []byte {
	hi, lo, scale = trim(hi, lo, scale, shortScale)
	if scale <= shortScale && hi == 0 {
		if over, short := bits.Mul64(lo, pow10[shortScale-scale]); over == 0 && short < math.MaxUint64 {
			return binary.AppendUvarint(b, short+1)
		}
	}
	hi, lo, scale = trim(hi, lo, scale, 0)
	var c [16]byte
	binary.BigEndian.PutUint64(c[:8], hi)
	binary.BigEndian.PutUint64(c[8:], lo)
	return appendLong(b, bytes.TrimLeft(c[:], "\x00"), scale)
}

// trim takes trailing zeros from a coefficient as long as its scale is above a least one.
func trim(hi, lo uint64, scale, least uint8) (uint64, uint64, uint8) {
	for scale > least {
		high, rest := bits.Div64(0, hi, 10)
		low, rest := bits.Div64(rest, lo, 10)
		if rest != 0 {
			break
		}
		hi, lo, scale = high, low, scale-1
	}
	return hi, lo, scale
}

func appendLong(b, coefficient []byte, scale uint8) []byte {
	b = append(b, 0, scale, byte(len(coefficient)))
	return append(b, coefficient...)
}

// big is a as coefficient/10^scale with the smallest scale.
func (a *Amount) big() (coefficient *big.Int, scale uint8) {
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
	var a Amount
	rest, err := a.DecodeBinary(b)
	return a, rest, err
}

// DecodeBinary is DecodeAmount into a, which is 0 after an error.
func (a *Amount) DecodeBinary(b []byte) (rest []byte, err error) {
	// Nearly all amounts have two bytes or one.
	switch {
	case len(b) > 0 && b[0] < 0x80 && b[0] > 0:
		*a = Amount{lo: uint64(b[0]) - 1, scale: shortScale}
		return b[1:], nil
	case len(b) > 1 && b[0] >= 0x80 && b[1] < 0x80 && b[1] > 0:
		*a = Amount{lo: (uint64(b[0]&0x7f) | uint64(b[1])<<7) - 1, scale: shortScale}
		return b[2:], nil
	}
	head, n := binary.Uvarint(b)
	switch {
	case n <= 0:
		*a, err = Amount{}, fmt.Errorf("%w: bad varint", ErrAmountBinary)
	case n > 1 && b[n-1] == 0:
		*a, err = Amount{}, fmt.Errorf("%w: varint is longer than needed", ErrAmountBinary)
	case head > 0:
		*a, rest = newAmount(0, head-1, shortScale), b[n:]
	default:
		*a, rest, err = decodeLong(b)
	}
	return rest, err
}

// decodeLong reads the long form.
func decodeLong(b []byte) (Amount, []byte, error) {
	const headBytes = 3
	if len(b) < headBytes {
		return Amount{}, nil, fmt.Errorf("%w: it is cut", ErrAmountBinary)
	}
	scale, size := b[1], int(b[2])
	switch {
	case size > longBytesMax:
		return Amount{}, nil, fmt.Errorf("%w: coefficient of %d bytes, at most %d are allowed", ErrAmountBinary, size, longBytesMax)
	case scale > AmountDigitsMax:
		return Amount{}, nil, fmt.Errorf("%w: scale %d, at most %d is allowed", ErrAmountBinary, scale, AmountDigitsMax)
	case len(b)-headBytes < size:
		return Amount{}, nil, fmt.Errorf("%w: coefficient of %d bytes, %d are left", ErrAmountBinary, size, len(b)-headBytes)
	case size == 0 || b[headBytes] == 0:
		return Amount{}, nil, fmt.Errorf("%w: coefficient begins with a zero byte or is empty", ErrAmountBinary)
	}
	end := headBytes + size
	a, err := amountOfBytes(b[headBytes:end], scale)
	if err != nil {
		return Amount{}, nil, err
	}
	var again [headBytes + longBytesMax]byte
	if !bytes.Equal(a.AppendBinary(again[:0]), b[:end]) {
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
	return newLarge(d), nil
}
