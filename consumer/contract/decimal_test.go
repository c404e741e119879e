package contract

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestAppendDecimal compares with strconv around every power of ten, and for many numbers of up to nine digits, with room and without.
func TestAppendDecimal(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	check := func(n int64) {
		t.Helper()
		room := make([]byte, 1, 1+rng.IntN(25))
		if got, want := string(AppendDecimal(room, n)), "\x00"+strconv.FormatInt(n, 10); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	for n := range int64(100_000) {
		check(n)
	}
	for n := int64(0); n < 1_000_000_000; n += 1 + rng.Int64N(1000) {
		check(n)
	}
	for power := int64(1); power <= math.MaxInt64/10; power *= 10 {
		for d := int64(-12); d <= 12; d++ {
			check(power + d)
			check(-power + d)
			check(power*3 + d)
		}
	}
	check(math.MaxInt64)
	check(math.MinInt64)
}
