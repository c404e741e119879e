package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// repeatHandler lets the first lines of a cause through, holds the others of an interval back, and says at its end how many
// there were, with what the last of them had. Errors are never held back: somebody has to do something about each.
//
// Lines are of one cause if they have the same level, message, component and error, numbers aside: so a hundred
// partitions whose broker is away are one cause.
type repeatHandler struct {
	next      slog.Handler
	repeats   *repeats // shared with all handlers that are derived from the same
	component string
}

// cause is what lines that are held back have in common.
type cause struct {
	level                   slog.Level
	message, component, err string
}

// repeats counts the lines of each cause. It is safe for concurrent use.
type repeats struct {
	max      int
	interval time.Duration

	mu     sync.Mutex
	of     map[cause]*repeated
	closed bool
}

// repeated are the lines of a cause in one interval.
type repeated struct {
	since   time.Time
	lines   int
	held    int
	last    slog.Record // of those that are held back
	handler slog.Handler
	end     *time.Timer // says what is held back; nil: nothing is
}

// causesMax bounds the causes that are counted at a time. Beyond it errors are not told apart.
const causesMax = 1000

// Keys of the line that stands for those that were held back.
const (
	messageRepeated = "held back: the same again"
	keyRepeated     = "repeated" // their message
	keyHeld         = "held"     // how many they were
)

func newRepeats(most int, interval time.Duration) *repeats {
	return &repeats{max: most, interval: interval, of: make(map[cause]*repeated)}
}

// Enabled implements slog.Handler.
func (h *repeatHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *repeatHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	derived := &repeatHandler{next: h.next.WithAttrs(attrs), repeats: h.repeats, component: h.component}
	for _, a := range attrs {
		if a.Key == "component" {
			derived.component = a.Value.String()
		}
	}
	return derived
}

// WithGroup implements slog.Handler.
func (h *repeatHandler) WithGroup(name string) slog.Handler {
	return &repeatHandler{next: h.next.WithGroup(name), repeats: h.repeats, component: h.component}
}

// Handle implements slog.Handler.
func (h *repeatHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelError && h.repeats.hold(h.causeOf(&r), r, h.next) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

func (h *repeatHandler) causeOf(r *slog.Record) cause {
	c := cause{level: r.Level, message: withoutNumbers(r.Message), component: h.component}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			c.err = withoutNumbers(a.Value.String())
		}
		return true
	})
	return c
}

// withoutNumbers replaces each number by a sign: offsets, partitions, ports and addresses make no other cause.
func withoutNumbers(text string) string {
	isDigit := func(r rune) bool { return '0' <= r && r <= '9' }
	if !strings.ContainsFunc(text, isDigit) {
		return text
	}
	var b strings.Builder
	number := false
	for _, r := range text {
		if was := number; isDigit(r) {
			if number = true; !was {
				b.WriteByte('#')
			}
			continue
		}
		number = false
		b.WriteRune(r)
	}
	return b.String()
}

// hold counts a line, and reports whether it is held back.
func (rs *repeats) hold(c cause, r slog.Record, next slog.Handler) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	now := time.Now()
	rep := rs.find(c, now)
	if rep.lines++; rep.lines <= rs.max || rs.closed {
		return false
	}
	rep.held++
	rep.last, rep.handler = r.Clone(), next
	if rep.end == nil {
		rep.end = time.AfterFunc(rep.since.Add(rs.interval).Sub(now), func() { rs.over(rep) })
	}
	return true
}

// find returns the lines of a cause in the present interval, and begins one if there is none. The caller holds mu.
func (rs *repeats) find(c cause, now time.Time) *repeated {
	rep := rs.of[c]
	if rep == nil && len(rs.of) >= causesMax {
		for known, r := range rs.of {
			if r.end == nil && now.Sub(r.since) >= rs.interval {
				delete(rs.of, known)
			}
		}
		if len(rs.of) >= causesMax {
			c.err, c.message = "", "" // also of those that another library wrote
			rep = rs.of[c]
		}
	}
	// What is held back stays until its timer has said it.
	if rep == nil || rep.end == nil && now.Sub(rep.since) >= rs.interval {
		rep = &repeated{since: now}
		rs.of[c] = rep
	}
	return rep
}

// over ends an interval in which lines were held back.
func (rs *repeats) over(rep *repeated) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if !rs.closed {
		rs.say(rep)
	}
}

// say writes what was held back, and lets the next lines through again. The caller holds mu: what is said stands before
// them.
func (rs *repeats) say(rep *repeated) {
	line := slog.NewRecord(time.Now(), rep.last.Level, messageRepeated, 0)
	line.AddAttrs(slog.String(keyRepeated, rep.last.Message), slog.Int(keyHeld, rep.held))
	rep.last.Attrs(func(a slog.Attr) bool { line.AddAttrs(a); return true })
	_ = rep.handler.Handle(context.Background(), line) // slog's own handlers have nowhere to say that they cannot write
	*rep = repeated{since: time.Now()}
}

// close says all that is held back; from now on nothing is.
func (rs *repeats) close() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.closed = true
	var held []*repeated
	for _, rep := range rs.of {
		if rep.end != nil {
			rep.end.Stop()
			held = append(held, rep)
		}
	}
	slices.SortFunc(held, func(a, b *repeated) int { return a.since.Compare(b.since) })
	for _, rep := range held {
		rs.say(rep)
	}
}
