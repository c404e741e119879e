package rules

import (
	"bytes"
	"errors"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

const nines = "999999999999999999" // AmountDigitsMax of them

func TestParseAmount(t *testing.T) {
	for text, want := range map[string]string{
		"1":                             "1",
		"0.01":                          "0.01",
		"42.00":                         "42",
		"100.10":                        "100.1",
		"007":                           "7",
		"10.050":                        "10.05",
		"0.000000000000000001":          "0.000000000000000001",
		"1.000000000000000000":          "1",
		nines:                           nines,
		nines + "." + nines:             nines + "." + nines,
		"000000000000000001":            "1",
		"18446744073709551.616":         "18446744073709551.616",
		"184467440737095516.15":         "184467440737095516.15",
		"123456789012345678.1234567890": "123456789012345678.123456789",
	} {
		a, err := ParseAmount([]byte(text))
		if err != nil || a.String() != want {
			t.Errorf("%q: %q, %v, want %q", text, a, err, want)
		}
	}
	for text, want := range map[string]error{
		"": ErrAmountFormat, ".": ErrAmountFormat, "1.": ErrAmountFormat, ".5": ErrAmountFormat, "+1": ErrAmountFormat,
		"-1": ErrAmountFormat, " 1": ErrAmountFormat, "1 ": ErrAmountFormat, "1e3": ErrAmountFormat, "0x10": ErrAmountFormat,
		"1_000": ErrAmountFormat, "1,5": ErrAmountFormat, "1.2.3": ErrAmountFormat, "1..2": ErrAmountFormat, "NaN": ErrAmountFormat,
		"Inf": ErrAmountFormat, "1.5x": ErrAmountFormat, "١": ErrAmountFormat, "1\x00": ErrAmountFormat, "-0": ErrAmountFormat,
		strings.Repeat("9", 1000) + "x": ErrAmountFormat,
		"0":                             ErrAmountRange, "0.00": ErrAmountRange, "000": ErrAmountRange,
		"1" + nines: ErrAmountRange, "0" + nines: ErrAmountRange, "1.0" + nines: ErrAmountRange,
		"0.0000000000000000001": ErrAmountRange, "1.0000000000000000000": ErrAmountRange,
		strings.Repeat("9", 1000): ErrAmountRange,
		// 2^64 and 2^64 * 10: what wraps around must not come out small.
		"18446744073709551616": ErrAmountRange, "1.18446744073709551616": ErrAmountRange,
	} {
		a, err := ParseAmount([]byte(text))
		if !errors.Is(err, want) || a != (Amount{}) {
			t.Errorf("%.40q: %q, %v, want %v", text, a, err, want)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("%.40q: an error of %d bytes", text, len(err.Error()))
		}
	}
}

// TestParseAmountAllocates checks that success costs no memory, nor does a sum in the usual range.
func TestParseAmountAllocates(t *testing.T) {
	for _, text := range []string{"42.00", "9999999999.99", nines + "." + nines} {
		b := []byte(text)
		sum := Amount{}
		if n := testing.AllocsPerRun(100, func() {
			a, err := ParseAmount(b)
			if err != nil {
				t.Fatal(err)
			}
			sum = sum.Add(a)
			if sum.Cmp(a) < 0 {
				t.Fatal("the sum is less than its part")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

func TestAmountCmp(t *testing.T) {
	ascending := []string{"0.000000000000000001", "0.1", "0.11", "1", "1.000000000000000001", "1.5", "2", "10", "99.99", "100", nines, nines + "." + nines}
	for i, a := range ascending {
		for j, b := range ascending {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := mustAmount(t, a).Cmp(mustAmount(t, b)); got != want {
				t.Errorf("%s compared with %s: %d, want %d", a, b, got, want)
			}
		}
	}
	if mustAmount(t, "1.50").Cmp(mustAmount(t, "1.5")) != 0 || (Amount{}).Cmp(mustAmount(t, "0.01")) != -1 {
		t.Error("equal values differ, or zero is not the least")
	}
}

// TestAmountRandom compares Cmp, Add and amountSum with math/big on random amounts of every size and scale.
func TestAmountRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	amount := func() Amount {
		a := mustAmount(t, randomAmount(random))
		for range random.IntN(40) * (random.IntN(8) / 7) {
			a = a.Add(a)
		}
		return a
	}
	for range 5000 {
		var sum Amount
		want, before := new(big.Rat), Amount{}
		for range 1 + random.IntN(12) {
			a := amount()
			if got := a.Cmp(before); got != rat(a).Cmp(rat(before)) {
				t.Fatalf("%s compared with %s: %d", a, before, got)
			}
			if got := a.Add(before); rat(got).Cmp(new(big.Rat).Add(rat(a), rat(before))) != 0 {
				t.Fatalf("%s + %s = %s", a, before, got)
			}
			sum.add(&a)
			want.Add(want, rat(a))
			if rat(sum).Cmp(want) != 0 {
				t.Fatalf("sum %s, want %s, after %s", sum, want.FloatString(18), a)
			}
			before = a
		}
	}
}

// TestAmountSums adds the largest amounts far beyond 128 bits and compares with math/big at each step.
func TestAmountSums(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	want := new(big.Rat)
	var sum Amount
	for i := range 2000 { // 341 amounts of 36 digits fill 128 bits.
		text := nines + "." + nines
		if i > 1000 && i%3 == 0 {
			text = randomAmount(random)
		}
		part, _ := new(big.Rat).SetString(text)
		want.Add(want, part)
		sum = sum.Add(mustAmount(t, text))
		if rat(sum).Cmp(want) != 0 {
			t.Fatalf("sum of %d: %s, want %s", i+1, sum, want.FloatString(18))
		}
	}
	// Doubling goes on to 2^64 times that, what a bucket's count can hold at most, and stays decodable.
	for range 64 {
		sum = sum.Add(sum)
		want.Add(want, want)
	}
	if rat(sum).Cmp(want) != 0 {
		t.Fatalf("doubled sum %s, want %s", sum, want.FloatString(18))
	}
	checkBinary(t, sum)
}

// randomAmount is the text of a valid amount.
func randomAmount(r *rand.Rand) string {
	text := strconv.Itoa(1 + r.IntN(1000))
	if r.IntN(4) == 0 {
		text = strconv.FormatUint(1+r.Uint64N(999_999_999_999_999_999), 10)
	}
	if n := r.IntN(AmountDigitsMax + 1); r.IntN(2) == 0 && n > 0 {
		text += "."
		for range n {
			text += strconv.Itoa(r.IntN(10))
		}
	}
	return text
}

// checkBinary checks that an amount and what follows survive the binary form.
func checkBinary(t *testing.T, a Amount) []byte {
	t.Helper()
	b := a.AppendBinary([]byte("before"))
	if !bytes.HasPrefix(b, []byte("before")) {
		t.Fatalf("%s: the bytes before it were changed: %q", a, b)
	}
	b = b[len("before"):]
	got, rest, err := DecodeAmount(append(bytes.Clone(b), "after"...))
	if err != nil || got.Cmp(a) != 0 || string(rest) != "after" {
		t.Fatalf("%s -> %x -> %s, rest %q, %v", a, b, got, rest, err)
	}
	return b
}

// TestAmountBinary holds the bytes: stored states have them.
func TestAmountBinary(t *testing.T) {
	for text, want := range map[string]string{
		"0.01":                  "\x02",                                         // 1 cent + 1
		"1.26":                  "\x7f",                                         // the last of one byte
		"1.27":                  "\x80\x01",                                     // 127 cents + 1 = 128
		"42.00":                 "\xe9\x20",                                     // 4201 = 32*128 + 105
		"1.5":                   "\x97\x01",                                     // 151
		"100":                   "\x91\x4e",                                     // 10001 = 78*128 + 17
		"0.001":                 "\x00\x03\x01\x01",                             // scale 3, one byte
		"0.000000000000000001":  "\x00\x12\x01\x01",                             // scale 18, one byte
		"184467440737095516.14": "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",     // 2^64-2 cents + 1
		"184467440737095516.15": "\x00\x02\x08\xff\xff\xff\xff\xff\xff\xff\xff", // 2^64-1 cents
		nines:                   "\x00\x00\x08\x0d\xe0\xb6\xb3\xa7\x63\xff\xff", // 10^18-1 units
	} {
		if got := checkBinary(t, mustAmount(t, text)); string(got) != want {
			t.Errorf("%s: %x, want %x", text, got, want)
		}
	}
	if got := checkBinary(t, Amount{}); string(got) != "\x01" {
		t.Errorf("0: %x, want 01", got)
	}
	for _, same := range [][2]string{{"1.5", "1.500000000000000000"}, {"42", "42.00"}, {"0.125", "0.1250"}, {nines, nines + ".000"}} {
		a, b := checkBinary(t, mustAmount(t, same[0])), checkBinary(t, mustAmount(t, same[1]))
		if !bytes.Equal(a, b) {
			t.Errorf("%s is %x and %s is %x", same[0], a, same[1], b)
		}
	}
}

// TestAmountBinaryRandom takes random sums of every size through the binary form.
func TestAmountBinaryRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		a := mustAmount(t, randomAmount(random))
		for range random.IntN(3) {
			a = a.Add(mustAmount(t, randomAmount(random)))
		}
		for range random.IntN(80) * random.IntN(2) {
			a = a.Add(a)
		}
		checkBinary(t, a)
	}
}

func TestDecodeAmountRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":                {},
		"an open varint":         {0x80},
		"a varint beyond 64 bit": bytes.Repeat([]byte{0xff}, 11),
		"a long varint of zero":  {0x80, 0x00},
		"a long varint":          {0xd0, 0xc1, 0x00},
		"no coefficient":         binaryHead(0, 0),
		"a cut coefficient":      append(binaryHead(9, 3), 1, 2, 3, 4, 5, 6, 7, 8),
		"a huge size":            append(binaryHead(255, 3), 1),
		"33 bytes":               append(binaryHead(33, 3), bytes.Repeat([]byte{1}, 33)...),
		"scale 19":               append(binaryHead(1, 19), 1),
		"scale 31":               append(binaryHead(1, 31), 1),
		"a zero byte first":      append(binaryHead(2, 3), 0, 1),
		"cents in the long form": append(binaryHead(1, 2), 1),
		"units in the long form": append(binaryHead(1, 0), 1),
		"a scale too large":      append(binaryHead(1, 4), 10),
		"a large scale of units": append(binaryHead(9, 1), new(big.Int).Lsh(big.NewInt(10), 62).Bytes()...),
	} {
		if a, rest, err := DecodeAmount(b); !errors.Is(err, ErrAmountBinary) || a != (Amount{}) || rest != nil {
			t.Errorf("%s: %s, rest %x, %v", name, a, rest, err)
		}
	}
}

// binaryHead begins the long form.
func binaryHead(size, scale byte) []byte { return []byte{0, scale, size} }

// FuzzDecodeAmount: any bytes give an error or an amount that has exactly these bytes.
func FuzzDecodeAmount(f *testing.F) {
	for _, text := range []string{"0.01", "42.00", "0.001", nines, nines + "." + nines} {
		f.Add(mustAmount(f, text).AppendBinary(nil))
	}
	f.Add(append(binaryHead(32, 18), bytes.Repeat([]byte{0xff}, 32)...))
	f.Add(append(binaryHead(17, 0), bytes.Repeat([]byte{0x0a}, 17)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, rest, err := DecodeAmount(b)
		if err != nil {
			if !errors.Is(err, ErrAmountBinary) {
				t.Fatal(err)
			}
			return
		}
		used := b[:len(b)-len(rest)]
		if again := a.AppendBinary(nil); !bytes.Equal(again, used) {
			t.Fatalf("%x is %s, which is %x", used, a, again)
		}
	})
}

// FuzzParseAmount compares with the grammar and with math/big.
func FuzzParseAmount(f *testing.F) {
	for _, text := range []string{"42.00", "1e3", "+1", ".5", "5.", "1.2.3", nines + "." + nines, "0", "0.000000000000000001"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := ParseAmount(text)
		whole, fraction, point := strings.Cut(string(text), ".")
		onlyDigits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
		form := onlyDigits(whole) && (!point || onlyDigits(fraction))
		value, ok := new(big.Rat).SetString(string(text))
		good := form && ok && value.Sign() > 0 && len(whole) <= AmountDigitsMax && len(fraction) <= AmountDigitsMax
		switch {
		case good != (err == nil):
			t.Fatalf("%q: %v, want an error: %t", text, err, !good)
		case err != nil && !errors.Is(err, ErrAmountFormat) && !errors.Is(err, ErrAmountRange):
			t.Fatalf("%q: %v is of neither kind", text, err)
		case err != nil && errors.Is(err, ErrAmountFormat) == form:
			t.Fatalf("%q: %v, the form is right: %t", text, err, form)
		}
		if err == nil {
			if got, _ := new(big.Rat).SetString(a.String()); got.Cmp(value) != 0 {
				t.Fatalf("%q became %s", text, a)
			}
			checkBinary(t, a)
		}
	})
}
