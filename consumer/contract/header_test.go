package contract

import (
	"errors"
	"math"
	"testing"
)

func TestSource(t *testing.T) {
	tests := []struct {
		source Source
		text   string
	}{
		{Source{"events", 0, 0}, "events/0/0"},
		{Source{"a.b_c-D", 11, 1234567}, "a.b_c-D/11/1234567"},
		{Source{"t", math.MaxInt32, math.MaxInt64}, "t/2147483647/9223372036854775807"},
	}
	for _, tt := range tests {
		if got := string(AppendSource([]byte("x"), tt.source)); got != "x"+tt.text {
			t.Errorf("AppendSource(%+v) = %q", tt.source, got)
		}
		if got, err := ParseSource([]byte(tt.text)); err != nil || got != tt.source {
			t.Errorf("ParseSource(%q) = %+v, %v", tt.text, got, err)
		}
	}
}

func TestParseSourceRefuses(t *testing.T) {
	for _, text := range []string{
		"", "events", "events/1", "events/1/", "events//1", "/1/2", "events/1/2/3", "a/events/1/2", "events/-1/2",
		"events/1/-2", "events/+1/2", "events/01/2", "events/1/1_0", "events/1/2 ", "events/2147483648/0",
		"events/0/9223372036854775808", "events/x/0", "events/0/x",
	} {
		if got, err := ParseSource([]byte(text)); !errors.Is(err, ErrSource) {
			t.Errorf("ParseSource(%q) = %+v, %v", text, got, err)
		}
	}
}

// TestHeaderNames pins words that are a contract with others.
func TestHeaderNames(t *testing.T) {
	for name, want := range map[string]string{
		HeaderAlert:       "lapwing-alert",
		HeaderSource:      "lapwing-source",
		HeaderRules:       "lapwing-rules",
		HeaderReason:      "lapwing-reason",
		HeaderDetail:      "lapwing-detail",
		HeaderTimestamp:   "lapwing-timestamp",
		HeaderCut:         "lapwing-cut",
		HeaderRequestID:   "lapwing-request-id",
		HeaderTraceparent: "traceparent",
	} {
		if name != want {
			t.Errorf("got %q, want %q", name, want)
		}
	}
}
