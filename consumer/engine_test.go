package consumer

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(lastPolls{consumertest.Main{M: m}}) }

// lastPolls lets the long polls that the last test gave up on get their answers: only then kafka-go's goroutines end.
type lastPolls struct{ consumertest.Main }

func (m lastPolls) Run() int {
	code := m.Main.Run()
	time.Sleep(2 * DefaultOptions().FetchWaitMax)
	return code
}

// bench is a broker with four topics, and clients of it that share no code with the engine.
type bench struct {
	t      *testing.T
	broker string
	group  string
	input  string
	output string
	dead   string
	lanes  int32
	client *kgo.Client
}

// newBench makes topics of their own on the broker.
func newBench(t *testing.T, broker string, lanes int32) *bench {
	t.Helper()
	b := &bench{
		t: t, broker: broker, lanes: lanes, group: consumertest.Topic(t, "group"),
		input: consumertest.Topic(t, "in"), output: consumertest.Topic(t, "out"), dead: consumertest.Topic(t, "dead"),
	}
	b.client = b.newClient()
	if err := consumertest.CreateTopics(t.Context(), []string{broker},
		consumertest.TopicSpec{Name: b.input, Partitions: lanes}, consumertest.TopicSpec{Name: b.output, Partitions: lanes},
		consumertest.TopicSpec{Name: b.dead, Partitions: lanes}, consumertest.TopicSpec{Name: b.group + ".rekey", Partitions: lanes}); err != nil {
		t.Fatal(err)
	}
	return b
}

// newClient returns a producer to the input that knows nothing yet.
func (b *bench) newClient() *kgo.Client {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker), kgo.DefaultProduceTopic(b.input))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(client.Close)
	return client
}

// onEachKafka runs a test on kfake, and on a real broker where there is one.
func onEachKafka(t *testing.T, lanes int32, test func(t *testing.T, b *bench)) {
	t.Run("kfake", func(t *testing.T) { test(t, newBench(t, consumertest.Kfake(t), lanes)) })
	t.Run("kafka", func(t *testing.T) { test(t, newBench(t, consumertest.Kafka(t), lanes)) })
}

// engine starts an engine on the bench; the returned function stops it and gives its error.
func (b *bench) engine(store state.Store, change func(*Options)) (e *Engine, stop func() error) {
	b.t.Helper()
	logs := io.Writer(io.Discard)
	if testing.Verbose() {
		logs = os.Stderr
	}
	client, err := wire.New(wire.Options{Brokers: []string{b.broker}, ClientID: "test"})
	if err != nil {
		b.t.Fatal(err)
	}
	o := DefaultOptions()
	o.Client, o.Store, o.Rules = client, store, rules.Builtin()
	o.Logger = slog.New(slog.NewTextHandler(logs, nil))
	o.Brokers, o.Group, o.Inputs, o.Output, o.DeadLetters = []string{b.broker}, b.group, []string{b.input}, b.output, b.dead
	o.TransactionTimeout = 5 * time.Second
	o.FlushInterval = 50 * time.Millisecond
	if change != nil {
		change(&o)
	}
	if e, err = New(o); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		defer client.Close()
		select {
		case err := <-done:
			return err
		case <-time.After(30 * time.Second):
			b.t.Error("the engine did not stop within 30s")
			return nil
		}
	}
	b.t.Cleanup(func() { _ = stop() })
	return e, stop
}

// send produces values keyed by their user, to the partition that murmur2 gives.
func (b *bench) send(values ...string) {
	b.t.Helper()
	var records []*kgo.Record
	for _, v := range values {
		r := &kgo.Record{Value: []byte(v)}
		var ev contract.Event
		if contract.NewDecoder(contract.DecoderOptions{Types: rules.DefaultTypes()}).Decode([]byte(v), 0, &ev) == nil {
			r.Key = contract.AppendUserKey(nil, ev.UserID)
		}
		records = append(records, r)
	}
	if err := b.client.ProduceSync(b.t.Context(), records...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// read returns n records of a topic at read_committed, and fails when they do not come or more than n do.
func (b *bench) read(topic string, n int) []*kgo.Record {
	b.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(b.broker), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	var got []*kgo.Record
	for deadline := time.Now().Add(30 * time.Second); len(got) < n && time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(b.t.Context(), time.Second)
		got = append(got, c.PollFetches(ctx).Records()...)
		cancel()
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 300*time.Millisecond)
	got = append(got, c.PollFetches(ctx).Records()...)
	cancel()
	if len(got) != n {
		b.t.Fatalf("%d records in %s, want %d", len(got), topic, n)
	}
	return got
}

func waitReady(t *testing.T, e *Engine) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		ok, problems := e.Ready()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready after 30s:\n%s", problems)
		}
	}
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func event(kind, amount string, user, at int) string {
	return fmt.Sprintf(`{"type":%q,"amount":%q,"user_id":%d,"time":%d}`, kind, amount, user, at)
}

// published are the ten published cases of the service that Lapwing grew from, with their codes.
var published = []struct {
	value string
	codes string
}{
	{event("withdraw", "200.00", 3, 10), "1100"}, {event("withdraw", "99.99", 3, 11), ""},
	{event("withdraw", "101", 3, 12), "1100,30"}, {event("withdraw", "99.99", 3, 13), "30"},
	{event("deposit", "10", 4, 10), ""}, {event("deposit", "15", 4, 20), ""}, {event("deposit", "20", 4, 32), "300"},
	{event("deposit", "100", 5, 40), ""}, {event("deposit", "101", 5, 41), "123"}, {event("deposit", "103", 5, 42), "300,123"},
}

func TestEngineJudgesThePublishedCases(t *testing.T) {
	for _, guarantee := range []Guarantee{ExactlyOnce, AtLeastOnce} {
		onEachKafka(t, 6, func(t *testing.T, b *bench) {
			e, stop := b.engine(state.NewMemory(), func(o *Options) { o.Detail, o.Guarantee = contract.DetailMinimal, guarantee })
			waitReady(t, e)
			var values []string
			want := map[string]int{}
			for _, p := range published {
				values = append(values, p.value)
				user := p.value[strings.Index(p.value, `"user_id":`)+10:][:1]
				want[fmt.Sprintf(`{"alert":%t,"alert_codes":[%s],"user_id":%s}`, p.codes != "", p.codes, user)]++
			}
			b.send(values...)
			for _, r := range b.read(b.output, len(published)) {
				want[string(r.Value)]--
				if header(r, "lapwing-rules") != rules.Builtin().Hash() || !strings.HasPrefix(header(r, "lapwing-source"), b.input+"/") {
					t.Errorf("headers %v", r.Headers)
				}
			}
			for value, n := range want {
				if n != 0 {
					t.Errorf("%s: %d missing", value, n)
				}
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestEngineBuriesWhatIsNoEvent(t *testing.T) {
	onEachKafka(t, 1, testBuries)
}

func testBuries(t *testing.T, b *bench) {
	e, _ := b.engine(state.NewMemory(), nil)
	waitReady(t, e)
	b.send("not json", event("deposit", "1", 1, 1), `{"type":"deposit"}`, event("withdraw", "1", 1, 2))
	if err := b.client.ProduceSync(t.Context(), &kgo.Record{Key: []byte("1"), Value: nil},
		&kgo.Record{Key: []byte{0xff}, Value: []byte{0xfe}, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{1, 2}}}}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	reasons := map[string]int{}
	for _, r := range b.read(b.dead, 3) {
		reasons[header(r, "lapwing-reason")]++
		if header(r, "lapwing-reason") == "not_utf8" && (string(r.Value) != "\xfe" || string(r.Key) != "\xff" || header(r, "h") != "\x01\x02") {
			t.Errorf("not byte for byte: %q %q %v", r.Key, r.Value, r.Headers)
		}
	}
	if reasons["not_json"] != 1 || reasons["missing_member"] != 1 || reasons["not_utf8"] != 1 {
		t.Errorf("reasons %v", reasons)
	}
	b.read(b.output, 2)
}

// TestEngineRestarts checks that windows survive clean stops and changes of owner.
func TestEngineRestarts(t *testing.T) {
	onEachKafka(t, 2, testRestarts)
}

func testRestarts(t *testing.T, b *bench) {
	store := state.NewMemory()
	for i := range 4 {
		e, stop := b.engine(store, func(o *Options) { o.Detail = contract.DetailMinimal })
		waitReady(t, e)
		b.send(event("withdraw", "1", 1, i), event("withdraw", "1", 2, i))
		b.read(b.output, 2*(i+1))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		for lane := range int32(2) {
			if c, found, err := store.Peek(t.Context(), lane); err != nil || !found || c.Owner != "" {
				t.Errorf("lane %d after a clean stop: %+v, %t, %v", lane, c, found, err)
			}
		}
	}
	alerts := 0
	for _, r := range b.read(b.output, 8) {
		if strings.Contains(string(r.Value), "[30]") {
			alerts++
		}
	}
	if alerts != 4 { // the third and the fourth of each user
		t.Errorf("%d alerts, want 4", alerts)
	}
}
