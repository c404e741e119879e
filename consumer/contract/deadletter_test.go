package contract

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestAppendDeadLetterHeaders(t *testing.T) {
	headers := AppendDeadLetterHeaders([]Header{{Name: "own", Value: []byte("1")}},
		&Refusal{Reason: ReasonTimeRange, Detail: "time is absurd"}, Source{"events", 3, 17}, 1700000000123)
	var got strings.Builder
	for _, h := range headers {
		fmt.Fprintf(&got, "%s=%s\n", h.Name, h.Value)
	}
	const want = "own=1\nlapwing-reason=time_range\nlapwing-detail=time is absurd\n" +
		"lapwing-source=events/3/17\nlapwing-timestamp=1700000000123\n"
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// TestDeadLetterReserve adds up the largest that a dead letter has beside the record's own.
func TestDeadLetterReserve(t *testing.T) {
	longest := ReasonNotJSON
	for _, r := range Reasons() {
		if len(r) > len(longest) {
			longest = r
		}
	}
	headers := AppendDeadLetterHeaders(nil, &Refusal{Reason: longest, Detail: strings.Repeat("x", DetailBytesMax)},
		Source{strings.Repeat("t", 249), math.MaxInt32, math.MaxInt64}, math.MinInt64)
	large := make([]byte, 1<<30)
	cut := CutDeadLetter(large, large, math.MaxInt32, DeadLetterReserve)
	headers = append(headers, Header{Name: HeaderCut, Value: []byte(cut.Text)})
	const batchHeader, recordHeader = 61, 36
	if size := batchHeader + recordHeader + HeadersSize(headers...); size > DeadLetterReserve {
		t.Errorf("%d bytes, reserved are %d", size, DeadLetterReserve)
	}
}

func TestHeadersSize(t *testing.T) {
	if got := HeadersSize(); got != 0 {
		t.Errorf("no headers: %d", got)
	}
	// Two varints of at most five bytes for each.
	if got := HeadersSize(Header{Name: "ab", Value: []byte("cde")}, Header{Name: "f"}); got != 10+2+3+10+1 {
		t.Errorf("got %d", got)
	}
}

func TestCutDeadLetter(t *testing.T) {
	key, value := []byte("0123456789"), bytes.Repeat([]byte("v"), 100)
	tests := []struct {
		name       string
		key, value []byte
		headers    int
		room       int // beside the reserve
		keptKey    int
		keptValue  int
		drop       bool
		text       string
	}{
		{"fits exactly", key, value, 50, 160, 10, 100, false, ""},
		{"a byte too many", key, value, 50, 159, 10, 99, false, "key 10 of 10 bytes, value 99 of 100 bytes"},
		{"no value fits", key, value, 50, 60, 10, 0, false, "key 10 of 10 bytes, value 0 of 100 bytes"},
		{"headers do not fit", key, value, 50, 59, 10, 49, true, "key 10 of 10 bytes, value 49 of 100 bytes, headers dropped (50 bytes)"},
		{"large headers of a small record", key, []byte("v"), 5000, 59, 10, 1, true, "key 10 of 10 bytes, value 1 of 1 bytes, headers dropped (5000 bytes)"},
		{"key alone fits", key, value, 0, 10, 10, 0, false, "key 10 of 10 bytes, value 0 of 100 bytes"},
		{"key does not fit", key, value, 50, 9, 9, 0, true, "key 9 of 10 bytes, value 0 of 100 bytes, headers dropped (50 bytes)"},
		{"no room at all", key, value, 50, 0, 0, 0, true, "key 0 of 10 bytes, value 0 of 100 bytes, headers dropped (50 bytes)"},
		{"less than the reserve", key, value, 0, -DeadLetterReserve, 0, 0, false, "key 0 of 10 bytes, value 0 of 100 bytes"},
		{"null key", nil, value, 0, 50, 0, 50, false, "key 0 of 0 bytes, value 50 of 100 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := CutDeadLetter(tt.key, tt.value, tt.headers, DeadLetterReserve+tt.room)
			if !bytes.Equal(c.Key, tt.key[:tt.keptKey]) || !bytes.Equal(c.Value, tt.value[:tt.keptValue]) {
				t.Errorf("kept %d and %d bytes, want %d and %d", len(c.Key), len(c.Value), tt.keptKey, tt.keptValue)
			}
			if (c.Key == nil) != (tt.key == nil) || (c.Value == nil) != (tt.value == nil) {
				t.Errorf("null changed: key %v, value %v", c.Key == nil, c.Value == nil)
			}
			if c.DropHeaders != tt.drop || c.Text != tt.text {
				t.Errorf("got %v, %q, want %v, %q", c.DropHeaders, c.Text, tt.drop, tt.text)
			}
		})
	}
}
