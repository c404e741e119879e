package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

// stubTopic takes what is written, as a test tells it.
type stubTopic struct {
	mu      sync.Mutex
	batches [][]string // by produce request: the values
	fail    func(try int, batch []*message) error
	gate    chan struct{} // if not nil, each request takes one element before it is answered
	entered chan struct{} // if not nil, gets one element from each request
}

func (s *stubTopic) produce(ctx context.Context, _ int32, batch []*message) (int64, error) {
	s.mu.Lock()
	var values []string
	for _, m := range batch {
		values = append(values, string(m.value))
	}
	s.batches = append(s.batches, values)
	try := len(s.batches)
	s.mu.Unlock()
	if s.entered != nil {
		s.entered <- struct{}{}
	}
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return -1, &writeError{certain: true, err: ctx.Err()}
		}
	}
	if s.fail != nil {
		if err := s.fail(try, batch); err != nil {
			return -1, err
		}
	}
	return int64(100 * try), nil
}

// writer starts a writer to the stub, which ends with the test.
func (s *stubTopic) writer(t *testing.T, adjust func(*Options)) *writer {
	t.Helper()
	o := DefaultOptions()
	if adjust != nil {
		adjust(&o)
	}
	m, err := newMetrics(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	return newWriter(ctx, &group, &o, m, s.produce)
}

func text(value string) *message { return newMessage(0, time.Now(), []byte("1"), []byte(value), nil) }

func submit(t *testing.T, w *writer, messages ...*message) {
	t.Helper()
	for _, m := range messages {
		if err := w.submit(m); err != nil {
			t.Fatal(err)
		}
	}
}

// What waits while a request is under way goes together with the next, in order, with its own offset.
func TestWriterBatches(t *testing.T) {
	s := &stubTopic{gate: make(chan struct{}), entered: make(chan struct{}, 8)}
	w := s.writer(t, nil)
	first, second, third := text("a"), text("b"), text("c")
	submit(t, w, first)
	<-s.entered
	submit(t, w, second, third)
	close(s.gate)
	for i, want := range []int64{100, 200, 201} {
		if got := <-[]*message{first, second, third}[i].done; got.err != nil || got.offset != want {
			t.Errorf("message %d: %+v, want offset %d", i, got, want)
		}
	}
	if want := [][]string{{"a"}, {"b", "c"}}; fmt.Sprint(s.batches) != fmt.Sprint(want) {
		t.Errorf("requests %v, want %v", s.batches, want)
	}
}

func TestWriterBatchBytesMax(t *testing.T) {
	s := &stubTopic{gate: make(chan struct{}), entered: make(chan struct{}, 8)}
	w := s.writer(t, func(o *Options) { o.BatchBytesMax = 2*text("xx").size() + 1 })
	messages := []*message{text("00"), text("11"), text("22"), text("33"), text(strings.Repeat("4", 5000))}
	submit(t, w, messages[0])
	<-s.entered
	submit(t, w, messages[1:]...)
	close(s.gate)
	for _, m := range messages {
		if got := <-m.done; got.err != nil {
			t.Errorf("%s: %v", m.value, got.err)
		}
	}
	var sizes []int
	for _, b := range s.batches {
		sizes = append(sizes, len(b))
	}
	if !slices.Equal(sizes, []int{1, 2, 1, 1}) {
		t.Errorf("requests of %v messages, want 1 2 1 1 (a single one may be larger)", sizes)
	}
}

var errTest = errors.New("the test's error")

// What is certainly not written is sent again; what may be written never.
func TestWriterRetries(t *testing.T) {
	for name, test := range map[string]struct {
		failure error
		again   bool
	}{
		"not sent":                {&writeError{certain: true, err: errTest}, true},
		"broker busy":             {&writeError{certain: true, err: kafka.NotEnoughReplicas}, true},
		"broker forbids":          {&writeError{certain: true, err: kafka.TopicAuthorizationFailed}, false},
		"broker refuses record":   {&writeError{certain: true, err: kafka.InvalidTimestamp}, false},
		"too large, alone":        {&writeError{certain: true, err: kafka.MessageSizeTooLarge}, false},
		"unknown, network":        {&writeError{err: errTest}, false},
		"unknown, by a busy code": {&writeError{err: kafka.RequestTimedOut}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stubTopic{fail: func(try int, _ []*message) error {
				if try == 1 {
					return test.failure
				}
				return nil
			}}
			m := text("a")
			submit(t, s.writer(t, nil), m)
			got := <-m.done
			if test.again {
				if got.err != nil || got.offset != 200 || len(s.batches) != 2 {
					t.Errorf("%+v after %d tries, want offset 200 after 2", got, len(s.batches))
				}
			} else if !errors.Is(got.err, test.failure) || len(s.batches) != 1 {
				t.Errorf("%+v after %d tries, want the error after 1", got, len(s.batches))
			}
		})
	}
}

// A batch that is too large for the topic is split until only the one that is too large is refused.
func TestWriterSplits(t *testing.T) {
	s := &stubTopic{gate: make(chan struct{}), entered: make(chan struct{}, 32)}
	s.fail = func(_ int, batch []*message) error {
		for _, m := range batch {
			if len(batch) > 2 || string(m.value) == "large" {
				return &writeError{certain: true, err: kafka.MessageSizeTooLarge}
			}
		}
		return nil
	}
	w := s.writer(t, nil)
	messages := []*message{text("first"), text("1"), text("2"), text("large"), text("3"), text("4")}
	submit(t, w, messages[0])
	<-s.entered
	submit(t, w, messages[1:]...)
	close(s.gate)
	for _, m := range messages {
		got := <-m.done
		if large := string(m.value) == "large"; large != errors.Is(got.err, kafka.MessageSizeTooLarge) || (!large && got.err != nil) {
			t.Errorf("%s: %+v", m.value, got)
		}
	}
}

// A cluster that is away all the time: the error says that, and that nothing was written.
func TestWriterGivesUp(t *testing.T) {
	s := &stubTopic{fail: func(int, []*message) error { return &writeError{certain: true, err: errTest} }}
	w := s.writer(t, func(o *Options) { o.WriteTimeout = 50 * time.Millisecond })
	m := text("a")
	submit(t, w, m)
	got := <-m.done
	var failure *writeError
	if !errors.As(got.err, &failure) || !failure.certain || !errors.Is(got.err, errTest) {
		t.Errorf("%+v, want the last error, certain", got)
	}
	if value(t, w.metrics.writeRetries) == 0 {
		t.Error("it was not tried again")
	}
}

// A message is withdrawn while it waits for its turn, or between two tries; never while it is sent.
func TestWriterWithdraw(t *testing.T) {
	s := &stubTopic{gate: make(chan struct{}), entered: make(chan struct{}, 8)}
	w := s.writer(t, nil)
	sent, waiting, last := text("sent"), text("waiting"), text("last")
	submit(t, w, sent)
	<-s.entered
	submit(t, w, waiting, last)
	if sent.withdraw() {
		t.Error("withdrawn while it was sent")
	}
	if !waiting.withdraw() {
		t.Error("not withdrawn while it waited")
	}
	close(s.gate)
	<-sent.done
	<-last.done
	if want := [][]string{{"sent"}, {"last"}}; fmt.Sprint(s.batches) != fmt.Sprint(want) {
		t.Errorf("requests %v, want %v", s.batches, want)
	}
	if last.withdraw() {
		t.Error("withdrawn after it was written")
	}
}

func TestWriterQueueMax(t *testing.T) {
	s := &stubTopic{gate: make(chan struct{}), entered: make(chan struct{}, 8)}
	w := s.writer(t, func(o *Options) { o.InFlightMax = 2 })
	submit(t, w, text("sent"))
	<-s.entered
	submit(t, w, text("1"), text("2"))
	var failure *writeError
	if err := w.submit(text("3")); !errors.Is(err, errQueueFull) || !errors.As(err, &failure) || !failure.certain {
		t.Errorf("%v, want errQueueFull, certain", err)
	}
	close(s.gate)
}

func TestMessageStates(t *testing.T) {
	legal := map[[2]messageState]bool{
		{stateQueued, stateSending}: true, {stateSending, stateQueued}: true,
		{stateSending, stateDone}: true, {stateQueued, stateWithdrawn}: true,
	}
	states := []messageState{stateQueued, stateSending, stateDone, stateWithdrawn}
	for _, from := range states {
		for name, try := range map[string]func(*message) messageState{
			"claim":    func(m *message) messageState { claim([]*message{m}); return stateSending },
			"release":  func(m *message) messageState { release([]*message{m}); return stateQueued },
			"withdraw": func(m *message) messageState { m.withdraw(); return stateWithdrawn },
		} {
			m := text("a")
			m.state.Store(int32(from))
			to := try(m)
			want := from
			if legal[[2]messageState{from, to}] {
				want = to
			}
			if got := messageState(m.state.Load()); got != want {
				t.Errorf("%s of a message that is %v: %v, want %v", name, from, got, want)
			}
		}
	}
}

// A batch that nobody read was not sent, and cannot be any more.
func TestRecordsUnread(t *testing.T) {
	r := &records{batch: []*message{text("a")}}
	if !r.unread() {
		t.Error("fresh records count as read")
	}
	if _, err := r.ReadRecord(); !errors.Is(err, errAbandoned) {
		t.Errorf("read after it was given up: %v, want errAbandoned", err)
	}
	r = &records{batch: []*message{text("a")}}
	if _, err := r.ReadRecord(); err != nil {
		t.Error(err)
	}
	if r.unread() {
		t.Error("records that were read count as unread")
	}
}
