package rules

import "math/bits"

// amountSum adds up many amounts; its zero value is 0. It gives what Amount.Add gives, several times faster for a
// window of many buckets: what fits 128 bits at the scale of the sum, the usual case, is added without udecimal.
type amountSum struct {
	// The sum is (hi*2^64 + lo) / 10^scale + rest.
	hi, lo uint64
	scale  uint8
	rest   Amount
}

func (s *amountSum) add(a *Amount) {
	_, hi, lo, scale, small := a.d.ToHiLo()
	if small && hi == 0 && scale < s.scale {
		hi, lo = bits.Mul64(lo, pow10[s.scale-scale])
		scale = s.scale
	}
	if small && scale == s.scale {
		lo, carry := bits.Add64(s.lo, lo, 0)
		hi, carry := bits.Add64(s.hi, hi, carry)
		if carry == 0 {
			s.hi, s.lo = hi, lo
			return
		}
	}
	s.addSlow(a)
}

// addSlow adds what does not fit. Where the amount by itself would, the sum goes on at its scale.
func (s *amountSum) addSlow(a *Amount) {
	if s.hi != 0 || s.lo != 0 {
		s.rest = s.amount()
	}
	s.hi, s.lo, s.scale = 0, 0, 0
	if _, hi, lo, scale, small := a.d.ToHiLo(); small {
		s.hi, s.lo, s.scale = hi, lo, scale
	} else {
		s.rest = s.rest.Add(*a)
	}
}

func (s *amountSum) amount() Amount { return s.rest.Add(newAmount(s.hi, s.lo, s.scale)) }
