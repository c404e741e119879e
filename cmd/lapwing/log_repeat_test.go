package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs a test with a fake clock and a logger whose lines it can see: level and message, and what it counts.
func inBubble(t *testing.T, most int, test func(t *testing.T, log *slog.Logger, closeLog func(), lines func() []string)) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		read := 0
		log, closeLog := newLogger(&out, LogConfig{Level: "debug", Format: "json", RepeatMax: most, RepeatInterval: time.Minute})
		lines := func() (all []string) {
			synctest.Wait() // what the clock has set off is done
			text := out.String()
			for line := range strings.Lines(text[read:]) {
				var entry map[string]any
				if err := json.Unmarshal([]byte(line), &entry); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				got := fmt.Sprint(entry["level"], " ", entry["msg"])
				for _, key := range []string{"repeated", "held", "component", "partition", "err"} {
					if value, ok := entry[key]; ok {
						got += fmt.Sprintf(" %s=%v", key, value)
					}
				}
				all = append(all, got)
			}
			read = len(text)
			return all
		}
		test(t, log, closeLog, lines)
		closeLog() // also so that no timer outlives the bubble
	})
}

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestRepeatsAreHeld(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, log *slog.Logger, _ func(), lines func() []string) {
		for partition := range 5 {
			log.Warn("fetch failed", "partition", partition, "err", fmt.Errorf("dial 10.0.0.%d:9092: refused", partition))
			time.Sleep(time.Second)
		}
		wantLines(t, lines(), "WARN fetch failed partition=0 err=dial 10.0.0.0:9092: refused", "WARN fetch failed partition=1 err=dial 10.0.0.1:9092: refused")
		time.Sleep(54*time.Second + 999*time.Millisecond) // 59.999s after the first
		wantLines(t, lines())
		time.Sleep(time.Millisecond)
		wantLines(t, lines(), "WARN held back: the same again repeated=fetch failed held=3 partition=4 err=dial 10.0.0.4:9092: refused")
		time.Sleep(time.Hour)
		wantLines(t, lines())

		// The next interval begins with the next line, and one without anything held back ends without a word.
		for range 2 {
			log.Warn("fetch failed", "err", errors.New("dial 10.0.0.9:9092: refused"))
		}
		wantLines(t, lines(), "WARN fetch failed err=dial 10.0.0.9:9092: refused", "WARN fetch failed err=dial 10.0.0.9:9092: refused")
		time.Sleep(time.Hour)
		wantLines(t, lines())
	})
}

// TestRepeatsGoOn: a cause that goes on for hours has so many lines and one more for each interval.
func TestRepeatsGoOn(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, log *slog.Logger, closeLog func(), lines func() []string) {
		const seconds = 3600
		for range seconds {
			log.Warn("fetch failed")
			time.Sleep(time.Second)
		}
		closeLog()
		shown, held := 0, 0
		for _, line := range lines() {
			n := 0
			if _, err := fmt.Sscanf(line, "WARN held back: the same again repeated=fetch failed held=%d", &n); err == nil {
				held += n
				continue
			}
			shown++
		}
		if shown+held != seconds || shown < 3*58 || shown > 3*61 {
			t.Errorf("%d lines are shown and %d held back, of %d", shown, held, seconds)
		}
	})
}

func TestCausesAreToldApart(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, log *slog.Logger, _ func(), lines func() []string) {
		gateway := log.With("component", "gateway")
		all := func() {
			log.Warn("a")
			log.Info("a")
			log.Debug("a")
			log.Warn("b")
			gateway.Warn("a")
			gateway.With("partition", 1).WithGroup("g").Warn("a") // the same cause
			log.Warn("a", "err", errors.New("x"))
			log.Warn("a", "err", errors.New("y"))
			log.Warn("a 17")
			log.Warn("a 4711 ") // another one, for its last sign
		}
		all()
		wantLines(t, lines(), "WARN a", "INFO a", "DEBUG a", "WARN b", "WARN a component=gateway", "WARN a err=x", "WARN a err=y", "WARN a 17", "WARN a 4711 ")
		all()
		log.Warn("a 18")
		wantLines(t, lines())
	})
}

// TestErrorsAreNotHeld: somebody has to do something about each.
func TestErrorsAreNotHeld(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, log *slog.Logger, _ func(), lines func() []string) {
		for range 3 {
			log.Error("stopped")
		}
		wantLines(t, lines(), "ERROR stopped", "ERROR stopped", "ERROR stopped")
	})
}

// TestCloseSaysWhatIsHeld: nothing is lost at the end, and nothing is held back any more.
func TestCloseSaysWhatIsHeld(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, log *slog.Logger, closeLog func(), lines func() []string) {
		for range 3 {
			log.Warn("a")
			time.Sleep(time.Second)
			log.Warn("b")
		}
		lines()
		closeLog()
		wantLines(t, lines(), "WARN held back: the same again repeated=a held=2", "WARN held back: the same again repeated=b held=2")
		for range 3 {
			log.Warn("a")
		}
		wantLines(t, lines(), "WARN a", "WARN a", "WARN a")
		closeLog()
		time.Sleep(time.Hour)
		wantLines(t, lines())
	})
}

// TestCausesAreBounded: texts that are new each time take no more memory, and are held back together.
func TestCausesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		rs := newRepeats(1, time.Minute)
		log := slog.New(&repeatHandler{next: slog.NewTextHandler(&out, nil), repeats: rs})
		word := func(i int) string { return strings.Repeat("x", i%100) + strings.Repeat("y", i/100) }
		for i := range 3 * causesMax {
			log.Warn("w", "err", errors.New(word(i)))
		}
		before := out.String()
		if n := strings.Count(before, "\n"); len(rs.of) > causesMax+1 || n != causesMax+1 {
			t.Errorf("%d causes are kept, %d lines are written", len(rs.of), n)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()                       // what was held back is said
		log.Warn("w", "err", errors.New("z")) // room is made
		if after := strings.TrimPrefix(out.String(), before); len(rs.of) > 2 || !strings.Contains(after, "err=z") {
			t.Errorf("%d causes are kept after their time, and there is %q", len(rs.of), after)
		}
		rs.close()
	})
}

func TestRepeatsOff(t *testing.T) {
	var out bytes.Buffer
	log, closeLog := newLogger(&out, LogConfig{Level: "info", Format: "text", RepeatMax: 1})
	for range 100 {
		log.Warn("a")
	}
	closeLog()
	if n := strings.Count(out.String(), "msg=a"); n != 100 {
		t.Errorf("%d lines, want all 100", n)
	}
	if log.Enabled(context.Background(), slog.LevelDebug) {
		t.Error("debug is on")
	}
}

func BenchmarkRepeatHandler(b *testing.B) {
	log, closeLog := newLogger(new(bytes.Buffer), newLogConfig())
	defer closeLog()
	err := errors.New("dial 10.0.0.1:9092: refused")
	b.ReportAllocs()
	for b.Loop() {
		log.Warn("fetch failed, trying again", "partition", 7, "err", err)
	}
}
