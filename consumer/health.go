package consumer

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// health holds what keeps the engine from being ready: one message for each subject ("kafka", "redis", "lane 3"), and
// what makes the process not alive. Safe for concurrent use.
type health struct {
	mu        sync.Mutex
	problems  map[string]string
	failures  map[string]uint64 // how often each subject was noted
	condemned map[string]string // by subject: the process is not alive
}

func newHealth() *health {
	return &health{problems: make(map[string]string), failures: make(map[string]uint64), condemned: make(map[string]string)}
}

// set notes the subject's problem and reports whether it is a new one, so that the caller logs it once. It is called for
// each failure, also for one like the last: the watch tells by it a lane that is refused from one that hangs.
func (h *health) set(subject, problem string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures[subject]++
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

// note counts a failure of the subject that is no problem yet.
func (h *health) note(subject string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures[subject]++
}

// failuresOf returns how often something was noted of the lane or of what it shares with others.
func (h *health) failuresOf(lane int32) (n uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, subject := range []string{laneSubject(lane), partitionSubject(lane), "redis", "transactions"} {
		n += h.failures[subject]
	}
	return n
}

// condemn makes the process not alive for the subject's problem.
func (h *health) condemn(subject, problem string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.condemned[subject] = problem
}

// absolve takes back what condemn said of the subject.
func (h *health) absolve(subject string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.condemned, subject)
}

// alive reports whether nothing is condemned, and otherwise what is, sorted by subject.
func (h *health) alive() (bool, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.condemned) == 0, lines(h.condemned)
}

// ready reports whether nothing stands in the way, and otherwise what does, sorted by subject.
func (h *health) ready() (bool, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.problems) == 0 && len(h.condemned) == 0, lines(h.condemned) + lines(h.problems)
}

func lines(problems map[string]string) string {
	var b strings.Builder
	for _, subject := range slices.Sorted(maps.Keys(problems)) {
		b.WriteString(subject + ": " + problems[subject] + "\n")
	}
	return b.String()
}
