package contract

import (
	"strings"
	"testing"
)

func TestAppendUnescaped(t *testing.T) {
	for text, want := range map[string]string{
		``:                               "",
		`plain`:                          "plain",
		`\"\\\/\b\f\n\r\t`:               "\"\\/\b\f\n\r\t",
		`a\u0041\u00e9\u20AC\u0000z`:     "aAé€\x00z",
		`\ud83d\ude00 and \uD834\uDD1E.`: "😀 and 𝄞.",
		`😀\u0021`:                        "😀!",
	} {
		if got := string(appendUnescaped([]byte("x"), []byte(text))); got != "x"+want {
			t.Errorf("%s: %q, want %q", text, got, "x"+want)
		}
	}
}

// TestPlainEnd has each byte at each place of two words, among bytes that stand for themselves.
func TestPlainEnd(t *testing.T) {
	for c := range 256 {
		for length := range 18 {
			for at := range length {
				text := []byte(strings.Repeat("\xff", length))
				text[at] = byte(c)
				want := length
				if c < 0x20 || c == 0x22 || c == 0x5c {
					want = at
				}
				if got := plainEnd(text, 0); got != want {
					t.Fatalf("byte %#x at %d of %d: %d, want %d", c, at, length, got, want)
				}
			}
		}
	}
	if got := plainEnd([]byte(`"\ab"`), 2); got != 4 {
		t.Errorf("from 2 on: %d, want 4", got)
	}
}
