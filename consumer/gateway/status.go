package gateway

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// status is what is wrong, by subject, and how many partitions the input has. It is safe for
// concurrent use.
type status struct {
	mu              sync.Mutex
	inputPartitions int32            // 0: not known yet
	blocking        map[string]error // requests are refused
	failing         map[string]error // requests go on
}

// errUnknownYet is the first state of what the cluster has not been asked for.
var errUnknownYet = errors.New("not known yet")

// topicsSubject is the subject of the topics' partitions.
const topicsSubject = "topics"

func newStatus() *status {
	return &status{
		blocking: map[string]error{topicsSubject: errUnknownYet},
		failing:  make(map[string]error),
	}
}

// block makes the gateway refuse requests because of a subject; true: its problem is new.
func (s *status) block(subject string, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.blocking[subject]
	s.blocking[subject] = err
	return old == nil || old.Error() != err.Error()
}

// fail notes a problem that may pass before anybody notices; true: it is new.
func (s *status) fail(subject string, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.failing[subject]
	s.failing[subject] = err
	return old == nil || old.Error() != err.Error()
}

// clear removes a subject's problems.
func (s *status) clear(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blocking, subject)
	delete(s.failing, subject)
}

func (s *status) setInputPartitions(n int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inputPartitions = n
}

// admit returns the input's number of partitions, or why no request can be taken.
func (s *status) admit() (inputPartitions int32, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := joined(s.blocking); err != nil {
		return 0, err
	}
	return s.inputPartitions, nil
}

// err returns all problems, nil for none.
func (s *status) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(joined(s.blocking), joined(s.failing))
}

func joined(problems map[string]error) error {
	var errs []error
	for _, subject := range slices.Sorted(maps.Keys(problems)) {
		errs = append(errs, fmt.Errorf("%s: %w", subject, problems[subject]))
	}
	return errors.Join(errs...)
}
