package consumer

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// TestWaiting goes through what can become of the first record that is not committed.
func TestWaiting(t *testing.T) {
	start := time.UnixMilli(1_000_000)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	type answer struct {
		at   time.Time
		next int64
		err  error
	}
	type step struct {
		committed, end int64
		now            int
		answer         *answer // nil: nothing may be asked
		from           int64   // of what is asked
		age            int     // seconds
	}
	for name, steps := range map[string][]step{
		"nothing waits": {{0, 0, 0, nil, 0, 0}, {0, 0, 100, nil, 0, 0}, {7, 7, 200, nil, 0, 0}},
		"asked once while C stands": {
			{5, 8, 100, &answer{at(40), 5, nil}, 5, 60}, {5, 9, 110, nil, 0, 70}, {5, 900, 1100, nil, 0, 1060}},
		"asked anew when C has passed it": {
			{5, 8, 100, &answer{at(40), 5, nil}, 5, 60}, {6, 8, 102, &answer{at(41), 6, nil}, 6, 61}, {8, 8, 104, nil, 0, 0}},
		"not asked when C has moved up to it": {
			{5, 9, 100, &answer{at(90), 7, nil}, 5, 10}, {7, 9, 102, nil, 0, 12}},
		"C goes back": {
			{5, 8, 100, &answer{at(90), 5, nil}, 5, 10}, {2, 8, 102, &answer{at(10), 2, nil}, 2, 92}},
		"markers alone": {
			{5, 6, 100, &answer{time.Time{}, 6, errNoRecord}, 5, 0}, {5, 6, 900, nil, 0, 0},
			{5, 7, 1000, &answer{at(998), 6, nil}, 6, 2}},
		"a record behind markers": {
			{5, 8, 100, &answer{time.Time{}, 7, errNoRecord}, 5, 0}, {5, 8, 102, &answer{at(98), 7, nil}, 7, 4}},
		"a broker that shows nothing of what it has": {
			{5, 8, 100, &answer{time.Time{}, 5, errNoRecord}, 5, 0}, {5, 8, 130, &answer{time.Time{}, 5, errNoRecord}, 5, 30}},
		"a broker that does not answer": {
			{5, 8, 100, &answer{time.Time{}, 5, wire.ErrChecksum}, 5, 0}, {5, 8, 130, &answer{time.Time{}, 5, errors.New("away")}, 5, 30},
			{5, 8, 132, &answer{at(1), 5, nil}, 5, 131}},
		"no time":        {{5, 8, 100, &answer{time.Time{}, 5, nil}, 5, 0}, {5, 8, 160, nil, 0, 60}},
		"a time to come": {{5, 8, 100, &answer{at(9999), 5, nil}, 5, 0}, {5, 8, 160, nil, 0, 60}},
		"a batch that cannot be read is asked for once": {
			{5, 8, 100, &answer{time.Time{}, 5, wire.ErrTooLarge}, 5, 0}, {5, 8, 160, nil, 0, 60}},
		"the clock goes back": {{5, 8, 100, &answer{at(100), 5, nil}, 5, 0}, {5, 8, 60, nil, 0, 0}},
		"all done, and another": {
			{5, 8, 100, &answer{at(40), 5, nil}, 5, 60}, {8, 8, 102, nil, 0, 0}, {8, 9, 200, &answer{time.Time{}, 8, errors.New("away")}, 8, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var w waiting
			for i, s := range steps {
				asked := false
				w.follow(s.committed, s.end, at(s.now), func(from int64) (time.Time, int64, error) {
					asked = true
					if s.answer == nil {
						t.Fatalf("step %d: asked for offset %d", i, from)
					}
					if from != s.from {
						t.Errorf("step %d: asked for offset %d, want %d", i, from, s.from)
					}
					return s.answer.at, s.answer.next, s.answer.err
				})
				if s.answer != nil && !asked {
					t.Errorf("step %d: nothing was asked", i)
				}
				if got, want := w.age(at(s.now)), time.Duration(s.age)*time.Second; got != want {
					t.Errorf("step %d: %v old, want %v", i, got, want)
				}
			}
		})
	}
}

// lagOf returns the lag metrics of a lane.
func lagOf(e *Engine, lane int) (records, seconds float64) {
	label := strconv.Itoa(lane)
	return testutil.ToFloat64(e.metrics.lag.WithLabelValues(label)), testutil.ToFloat64(e.metrics.lagSeconds.WithLabelValues(label))
}

// waitLag waits until the metrics of a lane are as wanted.
func waitLag(t *testing.T, e *Engine, lane int, what string, right func(records, seconds float64) bool) (records, seconds float64) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		records, seconds = lagOf(e, lane)
		if records < 0 || seconds < 0 {
			t.Fatalf("%s: a negative lag: %v records, %v seconds", what, records, seconds)
		}
		if right(records, seconds) {
			return records, seconds
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: after 30s the lag is %v records and %v seconds", what, records, seconds)
		}
	}
}

// TestLag: the lag in records and seconds is 0 when all is judged, rises while a tenure is held up and while a stopped lane
// has none, and is never negative. The times are the producer's: an hour ago, a minute ago, and one to come.
func TestLag(t *testing.T) { onEachKafka(t, 1, testLag) }

func testLag(t *testing.T, b *bench) {
	gate := make(chan struct{})
	store := &stuckStore{state.NewMemory(), gate}
	e, stop := b.engine(store, nil)
	waitReady(t, e)
	waitLag(t, e, 0, "nothing was written", func(records, seconds float64) bool { return records == 0 && seconds == 0 })

	// A tenure that is held up: its load of states does not return.
	b.sendAt(time.Now().Add(-time.Hour), 1)
	b.sendAt(time.Now().Add(-time.Minute), 2)
	const hour, minute = 3600, 60
	held := func(records, seconds float64) bool { return records == 2 && seconds >= hour && seconds < hour+minute }
	_, before := waitLag(t, e, 0, "held up", held)
	waitLag(t, e, 0, "held up for longer", func(records, seconds float64) bool { return held(records, seconds) && seconds > before+1 })
	close(gate)
	waitLag(t, e, 0, "let go", func(records, seconds float64) bool { return records == 0 && seconds == 0 })

	// A time to come.
	b.sendAt(time.Now().Add(30*time.Minute), 1)
	b.read(b.output, 3)
	waitLag(t, e, 0, "a time to come", func(records, seconds float64) bool { return records == 0 && seconds == 0 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	if n := testutil.CollectAndCount(e.metrics.lag) + testutil.CollectAndCount(e.metrics.lagSeconds); n != 0 {
		t.Errorf("%d lags of lanes that this member has no longer", n)
	}

	// A lane that is stopped: somebody set the offset back, behind what was written an hour ago.
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: b.input, Partition: 0, At: 1, LeaderEpoch: -1})
	if err := kadm.NewClient(b.client).CommitAllOffsets(t.Context(), b.group, offsets); err != nil {
		t.Fatal(err)
	}
	e, _ = b.engine(store, nil)
	waitProblem(t, e, "was not set by Lapwing")
	stopped := func(records, seconds float64) bool { return records == 2 && seconds >= minute && seconds < 2*minute }
	_, before = waitLag(t, e, 0, "stopped", stopped)
	waitLag(t, e, 0, "stopped for longer", func(records, seconds float64) bool { return stopped(records, seconds) && seconds > before+1 })
}

// sendAt writes a withdrawal of the user, with a time that the producer gives.
func (b *bench) sendAt(at time.Time, user int) {
	b.t.Helper()
	r := &kgo.Record{Key: []byte(strconv.Itoa(user)), Value: []byte(event("withdraw", "1", user, 1)), Timestamp: at}
	if err := b.client.ProduceSync(b.t.Context(), r).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// TestTimeOfRecord reads the times of single records out of a batch of many, past what an aborted transaction wrote, and
// of a batch larger than any fetch.
func TestTimeOfRecord(t *testing.T) { onEachKafka(t, 1, testTimeOfRecord) }

func testTimeOfRecord(t *testing.T, b *bench) {
	base := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	second := func(i int) time.Time { return base.Add(time.Duration(i) * time.Second) }
	var records []*kgo.Record
	for i := range 10 {
		records = append(records, &kgo.Record{Timestamp: second(i), Value: []byte("x")})
	}
	slices.Reverse(records) // times need not rise
	if err := b.client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	aborted, err := kgo.NewClient(kgo.SeedBrokers(b.broker), kgo.DefaultProduceTopic(b.input), kgo.TransactionalID(b.group+"-aborted"))
	if err != nil {
		t.Fatal(err)
	}
	defer aborted.Close()
	if err := aborted.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := aborted.ProduceSync(t.Context(), &kgo.Record{Value: []byte("y")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := aborted.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	last := &kgo.Record{Timestamp: second(100), Value: make([]byte, 100_000)}
	if err := b.client.ProduceSync(t.Context(), last).FirstErr(); err != nil {
		t.Fatal(err)
	}
	e, _ := b.engine(state.NewMemory(), nil)
	waitReady(t, e)
	g := &generation{engine: e}
	// Offset 10 is the aborted record. Its marker is at 11, or, where the broker was slow to write it, at 12.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		end, err := e.options.Client.EndOffset(t.Context(), b.input, 0, true)
		if err != nil {
			t.Fatal(err)
		}
		if end == 13 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 30s what can be read ends at %d, want 13", end)
		}
	}
	for from, want := range map[int64]time.Time{0: second(9), 4: second(5), 9: second(0), last.Offset: second(100)} {
		at, next, err := g.timeOfRecord(t.Context(), e.sources[0], 0, from)
		if err != nil || !at.Equal(want) || next != from {
			t.Errorf("from %d: %v at %d, %v; want %v there", from, at, next, err, want)
		}
	}
	from := int64(10)
	for range 3 { // a broker may answer with one batch at a time
		at, next, err := g.timeOfRecord(t.Context(), e.sources[0], 0, from)
		if errors.Is(err, errNoRecord) && next > from {
			from = next
			continue
		}
		if err != nil || !at.Equal(second(100)) || next != last.Offset {
			t.Errorf("past the aborted one: %v at %d, %v; want %v at %d", at, next, err, second(100), last.Offset)
		}
		return
	}
	t.Error("past the aborted one nothing is found")
}
