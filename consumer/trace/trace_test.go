package trace

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"
)

// The example of the standard (W3C Trace Context, 3.2.3).
const example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       string // the text that is written for it; empty: it is none
	}{
		{"sampled", example, example},
		{"not sampled", example[:53] + "00", example[:53] + "00"},
		{"sampled and random", example[:53] + "03", example[:53] + "03"},
		{"unknown flags", example[:53] + "ff", example[:53] + "03"},
		{"later version", "cc" + example[2:], example},
		{"later version with more", "cc" + example[2:] + "-what-the-future-will-be-like", example},
		{"later version with more of the flags", "cc" + example[2:] + "00", ""},
		{"version 00 with more", example + "-00", ""},
		{"forbidden version", "ff" + example[2:], ""},
		{"no trace", "00-" + strings.Repeat("0", 32) + example[35:], ""},
		{"no span", example[:36] + strings.Repeat("0", 16) + "-01", ""},
		{"upper case", strings.ToUpper(example), ""},
		{"upper case of one", strings.Replace(example, "4b", "4B", 1), ""},
		{"no hex", strings.Replace(example, "4b", "4g", 1), ""},
		{"no hex of the flags", example[:53] + "0x", ""},
		{"no hex of the version", "0x" + example[2:], ""},
		{"other signs between", strings.ReplaceAll(example, "-", "_"), ""},
		{"too short", example[:54], ""},
		{"empty", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Parse([]byte(tt.text))
			if c.Valid() != (tt.want != "") {
				t.Fatalf("valid: %t", c.Valid())
			}
			if got := string(c.AppendTraceparent(nil)); c.Valid() && got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if !c.Valid() && c != (Context{}) {
				t.Errorf("of what is none there is left %+v", c)
			}
		})
	}
	if c := Parse([]byte(example)); hex.EncodeToString(c.Trace[:]) != example[3:35] || hex.EncodeToString(c.Span[:]) != example[36:52] || !c.Sampled() {
		t.Errorf("got %+v", c)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("cc" + example[2:] + "-x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := Parse(text)
		if !c.Valid() {
			return
		}
		if again := Parse(c.AppendTraceparent(nil)); again != c {
			t.Errorf("%q is %+v, and after writing %+v", text, c, again)
		}
	})
}

// The outputs of SplitMix64 with the seed 0, as its author published them.
func TestMix(t *testing.T) {
	state := uint64(0)
	for i, want := range []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f} {
		if state += golden; mix(state) != want {
			t.Errorf("output %d is %x, want %x", i, mix(state), want)
		}
	}
}

// TestRecordIsItsPlace: the ids are the same each time, and different for each place, group and topic.
func TestRecordIsItsPlace(t *testing.T) {
	tracer := &Tracer{Ratio: 1}
	traces, spans := map[ID]bool{}, map[SpanID]bool{}
	const offsets = 1000
	names := [][]string{{"g", "t", "0"}, {"g", "t", "1"}, {"h", "t", "0"}, {"g", "u", "0"}, {"gt", "", "0"}}
	for _, n := range names {
		p, again := NewPartition(n...), NewPartition(n...)
		for offset := range int64(offsets) {
			c, ok := tracer.Record(&p, offset, Context{})
			if same, _ := tracer.Record(&again, offset, Context{}); same != c || !ok || !c.Valid() || !c.Sampled() {
				t.Fatalf("offset %d: %+v, then %+v", offset, c, same)
			}
			traces[c.Trace], spans[c.Span] = true, true
			for number := range 5 {
				spans[c.Child(number).Span] = true
			}
		}
	}
	if want := len(names) * offsets; len(traces) != want || len(spans) != 6*want {
		t.Errorf("%d traces and %d spans, want %d and %d", len(traces), len(spans), want, 6*want)
	}
}

func TestSampling(t *testing.T) {
	p := NewPartition("t")
	parent := Parse([]byte(example))
	unsampled := parent
	unsampled.Flags = 0
	none := &Tracer{}
	if c, ok := none.Record(&p, 7, parent); !ok || c.Trace != parent.Trace || c.Span == parent.Span || c.Flags != parent.Flags {
		t.Errorf("a sampled parent: %+v, %t", c, ok)
	}
	all := &Tracer{Ratio: 1}
	if _, ok := all.Record(&p, 7, unsampled); ok {
		t.Error("sampled although the parent is not")
	}
	if c := all.Request(unsampled); c.Sampled() || c.Trace != unsampled.Trace || c.Span == unsampled.Span {
		t.Errorf("a request below what is not sampled: %+v", c)
	}
	if c := all.Request(Context{}); !c.Valid() || !c.Sampled() || c == all.Request(Context{}) {
		t.Errorf("a request without a parent: %+v", c)
	}
	for _, ratio := range []float64{0, 0.001, 0.25, 1} {
		tracer := &Tracer{Ratio: ratio}
		const count = 200_000
		records, requests := 0, 0
		for offset := range int64(count) {
			if _, ok := tracer.Record(&p, offset, Context{}); ok {
				records++
			}
			if tracer.Request(Context{}).Sampled() {
				requests++
			}
		}
		// Six standard deviations of a binomial distribution.
		margin := 6 * math.Sqrt(ratio*(1-ratio)*count)
		for what, n := range map[string]int{"records": records, "requests": requests} {
			if math.Abs(float64(n)-ratio*count) > margin {
				t.Errorf("ratio %v: %d of %d %s", ratio, n, count, what)
			}
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	p := NewPartition("t")
	tracer := &Tracer{Ratio: 0.001}
	offset := int64(0)
	for b.Loop() {
		tracer.Record(&p, offset, Context{})
		offset++
	}
}
