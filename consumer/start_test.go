package consumer

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// waitProblem waits until the engine says what keeps it from being ready.
func waitProblem(t *testing.T, e *Engine, want string) {
	t.Helper()
	problems := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, problems = e.Ready(); strings.Contains(problems, want) {
			return
		}
	}
	t.Fatalf("after 30s not %q but:\n%s", want, problems)
}

// minimal runs an engine with minimal results until it is ready.
func (b *bench) minimal(store state.Store, change func(*Options)) (*Engine, func() error) {
	b.t.Helper()
	e, stop := b.engine(store, func(o *Options) {
		o.Detail = contract.DetailMinimal
		if change != nil {
			change(o)
		}
	})
	return e, stop
}

func (b *bench) judge(store state.Store, change func(*Options), total int, values ...string) {
	b.t.Helper()
	e, stop := b.minimal(store, change)
	waitReady(b.t, e)
	if len(values) > 0 {
		b.send(values...)
	}
	b.read(b.output, total)
	if err := stop(); err != nil {
		b.t.Fatal(err)
	}
}

func withdraw(at int) string { return event("withdraw", "1", 1, at) }

const streak = `{"alert":true,"alert_codes":[30],"user_id":1}`

func TestStartLatestIsWarm(t *testing.T) { onEachKafka(t, 1, testStartLatestIsWarm) }

func testStartLatestIsWarm(t *testing.T, b *bench) {
	b.send(withdraw(1), withdraw(2))
	e, _ := b.minimal(state.NewMemory(), func(o *Options) { o.Start, o.Warm = StartPosition{Latest: true}, time.Hour })
	waitReady(t, e)
	b.send(withdraw(3))
	if got := string(b.read(b.output, 1)[0].Value); got != streak {
		t.Fatalf("got %s: the two events before the start are not in the state", got)
	}
}

func TestStartAtTime(t *testing.T) { onEachKafka(t, 1, testStartAtTime) }

func testStartAtTime(t *testing.T, b *bench) {
	b.send(withdraw(1))
	time.Sleep(20 * time.Millisecond) // record timestamps are milliseconds
	from := time.Now()
	b.send(withdraw(2), withdraw(3))
	e, _ := b.minimal(state.NewMemory(), func(o *Options) { o.Start = StartPosition{Time: from} })
	waitReady(t, e)
	for _, r := range b.read(b.output, 2) {
		if strings.Contains(string(r.Value), "true") {
			t.Fatalf("%s: the first event was judged too", r.Value)
		}
	}
}

func TestAlertsOnly(t *testing.T) { onEachKafka(t, 1, testAlertsOnly) }

func testAlertsOnly(t *testing.T, b *bench) {
	e, _ := b.minimal(state.NewMemory(), func(o *Options) { o.AlertsOnly = true })
	waitReady(t, e)
	b.send(withdraw(1), withdraw(2), withdraw(3))
	if err := b.client.ProduceSync(t.Context(), &kgo.Record{Key: []byte("2"), Value: []byte(event("deposit", "1", 2, 1)),
		Headers: []kgo.RecordHeader{{Key: contract.HeaderRequestID, Value: []byte("somebody waits")}, {Key: contract.HeaderTraceparent, Value: []byte("00-trace")}}}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	huge := []kgo.RecordHeader{{Key: contract.HeaderRequestID, Value: make([]byte, 300_000)}, {Key: contract.HeaderTraceparent, Value: make([]byte, 600_000)}}
	if err := b.client.ProduceSync(t.Context(), &kgo.Record{Key: []byte("3"), Value: []byte(event("withdraw", "101", 3, 1)), Headers: huge}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	got := b.read(b.output, 3)
	if header(got[2], contract.HeaderRequestID) != "" || header(got[2], contract.HeaderTraceparent) != "" || header(got[2], contract.HeaderAlert) != "1" {
		t.Errorf("headers that are nobody's travel: %d of them", len(got[2].Headers))
	}
	if string(got[0].Value) != streak || header(got[0], contract.HeaderAlert) != "1" {
		t.Errorf("%s %v", got[0].Value, got[0].Headers)
	}
	if header(got[1], contract.HeaderRequestID) != "somebody waits" || header(got[1], contract.HeaderTraceparent) != "00-trace" || header(got[1], contract.HeaderAlert) != "0" {
		t.Errorf("%s %v", got[1].Value, got[1].Headers)
	}
}

// crashed leaves the store as a crash does: the checkpoint behind the committed offset, an owner that did not clear its
// name.
func crashed(t *testing.T, store state.Store, offset int64) {
	t.Helper()
	lane, err := store.Claim(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := lane.Previous()
	c.Offset, c.Owner = offset, "a-dead-owner"
	s := new(state.Snapshot)
	s.Reset(0, rules.DefaultTypes(), c)
	if err := lane.Flush(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// TestChangedSettings checks that other decoding settings start only on settled lanes.
func TestChangedSettings(t *testing.T) { onEachKafka(t, 1, testChangedSettings) }

func testChangedSettings(t *testing.T, b *bench) {
	store := state.NewMemory()
	numeric := func(o *Options) { o.Decoder.AcceptNumericAmount = true }
	b.judge(store, nil, 2, withdraw(1), withdraw(2))
	crashed(t, store, 1)
	e, stop := b.minimal(store, numeric)
	waitProblem(t, e, "start once with the former settings and stop cleanly")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b.judge(store, nil, 2) // the former settings replay and settle
	b.judge(store, numeric, 3, `{"type":"withdraw","amount":1,"user_id":1,"time":3}`)
	if got := string(b.read(b.output, 3)[2].Value); got != streak {
		t.Fatalf("got %s: the state did not survive the change", got)
	}
}

// TestAnotherRedis moves a group to another number of shards, and with it to a Redis that has none of its states.
func TestAnotherRedis(t *testing.T) { onEachKafka(t, 1, testAnotherRedis) }

func testAnotherRedis(t *testing.T, b *bench) {
	b.judge(state.NewMemory(), nil, 2, withdraw(1), withdraw(2))
	memory := state.DefaultMemoryOptions()
	memory.Shards = state.ClusterShards
	store := state.NewMemoryWith(memory)
	sharded := func(o *Options) { o.Shards = state.ClusterShards }
	e, stop := b.minimal(store, sharded)
	waitProblem(t, e, "on_offset_reset: rebuild makes the states anew")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b.judge(store, func(o *Options) { sharded(o); o.OnReset = OffsetResetRebuild }, 3, withdraw(3))
	if got := string(b.read(b.output, 3)[2].Value); got != streak {
		t.Fatalf("got %s: the states were not made anew", got)
	}
	b.judge(store, sharded, 3) // and from now on there is nothing to say
}

// TestTopicMadeAgain checks that a topic deleted and made again finds none of the old states and offsets.
func TestTopicMadeAgain(t *testing.T) { onEachKafka(t, 1, testTopicMadeAgain) }

func testTopicMadeAgain(t *testing.T, b *bench) {
	store := state.NewMemory()
	b.judge(store, nil, 2, withdraw(1), withdraw(2))
	admin := kadm.NewClient(b.client)
	if _, err := admin.DeleteTopics(t.Context(), b.input); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r, err := admin.CreateTopic(t.Context(), 1, 1, nil, b.input)
		if err == nil && r.Err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err, r.Err)
		}
	}
	b.client = b.newClient() // the other one remembers the old topic
	b.judge(store, nil, 3, withdraw(3))
	if got := string(b.read(b.output, 3)[2].Value); got == streak {
		t.Fatal("the old topic's state was used")
	}
}

// TestRetention deletes input that was not judged yet: the lane stops with exact counts, and goes on when told to.
func TestRetention(t *testing.T) { onEachKafka(t, 1, testRetention) }

func testRetention(t *testing.T, b *bench) {
	store := state.NewMemory()
	b.judge(store, nil, 2, withdraw(1), withdraw(2))
	crashed(t, store, 1)
	b.send(withdraw(3), withdraw(4), withdraw(5), withdraw(6))
	deletion := kadm.Offsets{}
	deletion.Add(kadm.Offset{Topic: b.input, Partition: 0, At: 4})
	if r, err := kadm.NewClient(b.client).DeleteRecords(t.Context(), deletion); err != nil || r.Error() != nil {
		t.Fatal(err, r.Error())
	}
	e, stop := b.minimal(store, nil)
	waitProblem(t, e, "of [1, 4), 1 records are missing for the states and 2 were never judged")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b.judge(store, func(o *Options) { o.OnDataLoss = true }, 4)
	for _, r := range b.read(b.output, 4) {
		if strings.Contains(string(r.Value), "true") {
			t.Fatalf("%s: an alert joins both sides of the hole", r.Value)
		}
	}
}

// TestResumeAfterCutFlush lets a flush be cut short, so that some states are ahead of the checkpoint, and takes the group's
// offsets away: what these states include was committed, and is not judged again.
func TestResumeAfterCutFlush(t *testing.T) { onEachKafka(t, 1, testResumeAfterCutFlush) }

func testResumeAfterCutFlush(t *testing.T, b *bench) {
	store := state.NewMemory()
	b.judge(store, nil, 4, withdraw(1), event("withdraw", "1", 2, 1), withdraw(2), event("withdraw", "1", 2, 2))
	crashed(t, store, 1) // the two states' tags are 3 and 4
	if _, err := kadm.NewClient(b.client).DeleteGroup(t.Context(), b.group); err != nil {
		t.Fatal(err)
	}
	e, stop := b.minimal(store, nil)
	waitProblem(t, e, "no committed offset although the checkpoint in Redis is 1")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b.judge(store, func(o *Options) { o.OnReset = OffsetResetResume }, 6, withdraw(3), event("withdraw", "1", 2, 3))
	for _, r := range b.read(b.output, 6)[4:] {
		if !strings.Contains(string(r.Value), "[30]") {
			t.Errorf("got %s: not on the state of three withdraws", r.Value)
		}
	}
}

// TestStopMetric counts the lanes that stand still, each once and for what it stands still now.
func TestStopMetric(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	check := func(what cause, want float64) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, sample := range f.GetMetric() {
				if f.GetName() == "lapwing_stopped_lanes" && sample.GetLabel()[0].GetValue() == string(what) {
					if got := sample.GetGauge().GetValue(); got != want {
						t.Errorf("%s: %v, want %v", what, got, want)
					}
					return
				}
			}
		}
		t.Errorf("%s has no sample", what)
	}
	m.stop(1, causeDataLoss)
	m.stop(1, causeDataLoss)
	m.stop(2, causeDataLoss)
	check(causeDataLoss, 2)
	m.stop(1, causeNoOffset)
	check(causeDataLoss, 1)
	check(causeNoOffset, 1)
	m.stop(1, "")
	m.stop(1, "")
	m.forget(2)
	check(causeDataLoss, 0)
	check(causeNoOffset, 0)
}

// TestOffsetReset sets the group's offset from outside: the lane stops, or rebuilds its states up to there.
func TestOffsetReset(t *testing.T) { onEachKafka(t, 1, testOffsetReset) }

func testOffsetReset(t *testing.T, b *bench) {
	store := state.NewMemory()
	b.judge(store, nil, 3, withdraw(1), withdraw(2), withdraw(3))
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: b.input, Partition: 0, At: 2, LeaderEpoch: -1})
	if err := kadm.NewClient(b.client).CommitAllOffsets(t.Context(), b.group, offsets); err != nil {
		t.Fatal(err)
	}
	e, stop := b.minimal(store, nil)
	waitProblem(t, e, "the committed offset 2 was not set by Lapwing")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b.judge(store, func(o *Options) { o.OnReset = OffsetResetRebuild }, 4)
	if got := string(b.read(b.output, 4)[3].Value); got != streak {
		t.Fatalf("got %s: the third event was judged on other states than the two before it give", got)
	}
	b.judge(store, nil, 4) // the offset is Lapwing's again
}

// TestSmallCache judges more users than memory holds: states go to the store and come back.
func TestSmallCache(t *testing.T) { onEachKafka(t, 1, testSmallCache) }

func testSmallCache(t *testing.T, b *bench) {
	store := state.NewMemory()
	var values []string
	for round := range 3 {
		for user := range 50 {
			values = append(values, event("withdraw", "1", user, round))
		}
	}
	e, _ := b.minimal(store, func(o *Options) {
		o.CacheMax, o.DirtyMax, o.FetchBytesMax, o.FlushInterval = 5, 10, 1<<10, time.Hour
	})
	waitReady(t, e)
	b.send(values...)
	alerts := 0
	for _, r := range b.read(b.output, 150) {
		if strings.Contains(string(r.Value), "[30]") {
			alerts++
		}
	}
	if alerts != 50 {
		t.Fatalf("%d alerts, want one for each user's third withdraw", alerts)
	}
}

// TestStartPastTheHole stops a lane right after it went past deleted input, before it commits a batch: the next start
// finds a position that fits.
func TestStartPastTheHole(t *testing.T) { onEachKafka(t, 1, testStartPastTheHole) }

func testStartPastTheHole(t *testing.T, b *bench) {
	store := state.NewMemory()
	b.judge(store, nil, 2, withdraw(1), withdraw(2))
	b.send(withdraw(3), withdraw(4))
	deletion := kadm.Offsets{}
	deletion.Add(kadm.Offset{Topic: b.input, Partition: 0, At: 4}) // everything: nothing is left to judge
	if r, err := kadm.NewClient(b.client).DeleteRecords(t.Context(), deletion); err != nil || r.Error() != nil {
		t.Fatal(err, r.Error())
	}
	b.judge(store, func(o *Options) { o.OnDataLoss = true }, 2)
	b.judge(store, nil, 3, withdraw(5))
}
