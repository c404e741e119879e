package consumer

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// health holds what keeps the engine from being ready: one message for each subject ("kafka", "redis", "lane 3").
// Safe for concurrent use.
type health struct {
	mu       sync.Mutex
	problems map[string]string
}

func newHealth() *health { return &health{problems: make(map[string]string)} }

// set notes the subject's problem and reports whether it is a new one, so that the caller logs it once.
func (h *health) set(subject, problem string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.problems[subject] == problem {
		return false
	}
	h.problems[subject] = problem
	return true
}

// clear removes the subject's problem.
func (h *health) clear(subject string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.problems, subject)
}

// ready reports whether nothing stands in the way, and otherwise what does, sorted by subject.
func (h *health) ready() (bool, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, subject := range slices.Sorted(maps.Keys(h.problems)) {
		b.WriteString(subject + ": " + h.problems[subject] + "\n")
	}
	return len(h.problems) == 0, b.String()
}
