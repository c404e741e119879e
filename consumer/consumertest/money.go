package consumertest

import (
	"cmp"
	"fmt"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// money is an exact decimal that is not negative: (hi*2^64 + lo) + fraction/10^18. Its zero value is 0. It is the
// checker's own: the judge must not add with what it judges.
type money struct {
	hi, lo   uint64
	fraction uint64 // in 10^-18, below 10^18
}

const (
	fractionDigits = 18
	fractionOne    = 1_000_000_000_000_000_000
)

// wholeMoney returns a whole number.
func wholeMoney(n uint64) money { return money{lo: n} }

// parseMoney reads digits with an optional fraction, at most 18 digits each.
func parseMoney(text string) (money, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	if len(whole) > fractionDigits || len(fraction) > fractionDigits {
		return money{}, fmt.Errorf("consumertest: amount %q has more than %d digits on a side", text, fractionDigits)
	}
	n, err := strconv.ParseUint(whole, 10, 64)
	if err != nil {
		return money{}, fmt.Errorf("consumertest: amount %q: %w", text, err)
	}
	m := money{lo: n}
	if fraction == "" {
		return m, nil
	}
	if m.fraction, err = strconv.ParseUint(fraction, 10, 64); err != nil {
		return money{}, fmt.Errorf("consumertest: amount %q: %w", text, err)
	}
	for range fractionDigits - len(fraction) {
		m.fraction *= 10
	}
	return m, nil
}

// add returns the sum. It is exact up to 2^128, which is 2^68 of the largest amounts.
func (m money) add(o money) money {
	var carry uint64
	if m.fraction += o.fraction; m.fraction >= fractionOne {
		m.fraction -= fractionOne
		carry = 1
	}
	m.lo, carry = bits.Add64(m.lo, o.lo, carry)
	m.hi, _ = bits.Add64(m.hi, o.hi, carry)
	return m
}

func (m money) cmp(o money) int {
	return cmp.Or(cmp.Compare(m.hi, o.hi), cmp.Compare(m.lo, o.lo), cmp.Compare(m.fraction, o.fraction))
}

// appendText appends the canonical decimal form: no leading zero but one before a point, no trailing zero after it.
func (m money) appendText(b []byte) []byte {
	if m.hi == 0 {
		b = strconv.AppendUint(b, m.lo, 10)
	} else {
		whole := new(big.Int).SetUint64(m.hi)
		whole.Lsh(whole, 64)
		b = whole.Or(whole, new(big.Int).SetUint64(m.lo)).Append(b, 10)
	}
	if m.fraction == 0 {
		return b
	}
	b = append(b, '.')
	from := len(b)
	b = strconv.AppendUint(b, fractionOne+m.fraction, 10) // a leading 1 keeps the zeros
	b = append(b[:from], b[from+1:]...)
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

// String is the text of appendText.
func (m money) String() string { return string(m.appendText(nil)) }
