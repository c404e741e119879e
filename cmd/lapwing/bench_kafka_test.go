package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// benchRig is a broker in memory with topics, and a program in place of an engine.
type benchRig struct {
	t    *testing.T
	addr string
}

func newBenchRig(t *testing.T) *benchRig {
	t.Helper()
	return &benchRig{t, consumertest.Kfake(t, kfake.SeedTopics(3, "events", "alerts", "events.dead"))}
}

func (r *benchRig) client(opts ...kgo.Opt) *kgo.Client {
	r.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(r.addr), kgo.ProducerLinger(0)}, opts...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// bench runs the command, with a configuration that has some further lines.
func (r *benchRig) bench(ctx context.Context, config string, args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	file := writeFile(r.t, r.t.TempDir(), "lapwing.yaml", fmt.Sprintf("kafka:\n  brokers: [%q]\n  batch_bytes_max: 16KiB\n%s\n", r.addr, config))
	var out, errs bytes.Buffer
	code = run(ctx, append([]string{"bench", "--config", file}, args...), strings.NewReader(""), &out, &errs)
	inspectCommand(r.t, []string{"bench", "--config", file}, out.String(), errs.String())
	return code, out.String(), errs.String()
}

// engine writes for each record of the input what judge returns, until the test ends. Each partition's records come in
// order; index counts those of all.
func (r *benchRig) engine(judge func(index int, in *kgo.Record) []*kgo.Record) {
	r.t.Helper()
	reader := r.client(kgo.ConsumeTopics("events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	writer := r.client()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		index := 0
		for {
			fetches := reader.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			var out []*kgo.Record
			fetches.EachRecord(func(in *kgo.Record) {
				out = append(out, judge(index, in)...)
				index++
			})
			if err := writer.ProduceSync(ctx, out...).FirstErr(); err != nil && ctx.Err() == nil {
				r.t.Error(err)
				return
			}
		}
	}()
	r.t.Cleanup(func() { cancel(); <-done })
}

// benchResult is what a right engine would write, as far as it matters here.
func benchResult(topic string, in *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: in.Key, Value: []byte(`{}`), Headers: []kgo.RecordHeader{
		{Key: "lapwing-source", Value: fmt.Appendf(nil, "%s/%d/%d", in.Topic, in.Partition, in.Offset)},
	}}
}

func quickLoad(args ...string) []string {
	return append([]string{"--rate", "2000", "--warm", "100ms", "--for", "400ms", "--users", "50", "--drain", "1s"}, args...)
}

// TestBenchWrongEngines: what an engine does wrong is found, and told with the events.
func TestBenchWrongEngines(t *testing.T) {
	result := func(in *kgo.Record) *kgo.Record { return benchResult("alerts", in) }
	var held *kgo.Record // result that is to come later than the user's next
	for name, c := range map[string]struct {
		config string
		judge  func(index int, in *kgo.Record) []*kgo.Record
		code   int
		want   string // pattern of a line
	}{
		"right": {"", func(_ int, in *kgo.Record) []*kgo.Record { return []*kgo.Record{result(in)} },
			exitOK, `(?m)^ok +conservation +each event came out once, those of a user in their order$`},
		"loses": {"", func(i int, in *kgo.Record) []*kgo.Record {
			if i%100 == 50 {
				return nil
			}
			return []*kgo.Record{result(in)}
		}, exitFailure, `(?m)^fail +conservation +10 events not judged 1\.?\d*s after the load, the first: events/\d/\d+, .*; wait longer`},
		"is not there": {"", func(int, *kgo.Record) []*kgo.Record { return nil },
			exitFailure, `(?m)^fail +conservation +1,000 events not judged .*; does an engine run with this configuration\? `},
		"repeats": {"", func(i int, in *kgo.Record) []*kgo.Record {
			if i%100 == 50 {
				return []*kgo.Record{result(in), result(in)}
			}
			return []*kgo.Record{result(in)}
		}, exitFailure, `(?m)^fail +conservation +10 events with more than one result, the first: events/\d/\d+, `},
		"repeats as it may": {"  guarantee: at_least_once", func(i int, in *kgo.Record) []*kgo.Record {
			if i%100 == 50 {
				return []*kgo.Record{result(in), result(in)}
			}
			return []*kgo.Record{result(in)}
		}, exitOK, `(?m)^note +conservation +10 events with more than one result, which at_least_once allows`},
		"turns round": {"", func(i int, in *kgo.Record) []*kgo.Record {
			switch {
			case i == 50:
				held = result(in)
				return nil
			case held != nil && string(held.Key) == string(in.Key):
				both := []*kgo.Record{result(in), held}
				held = nil
				return both
			}
			return []*kgo.Record{result(in)}
		}, exitFailure, `(?m)^fail +conservation +1 event whose result is before that of an earlier event of the user, the first: events/\d/\d+$`},
		"cannot read some": {"", func(i int, in *kgo.Record) []*kgo.Record {
			if i%100 == 50 {
				letter := benchResult("events.dead", in)
				letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: "lapwing-reason", Value: []byte("unknown_type")})
				return []*kgo.Record{letter}
			}
			return []*kgo.Record{result(in)}
		}, exitOK, `(?m)^warn +results +the dead letters' reasons: unknown_type 10; `},
		"says two things": {"", func(i int, in *kgo.Record) []*kgo.Record {
			if i == 50 {
				return []*kgo.Record{result(in), benchResult("events.dead", in)}
			}
			return []*kgo.Record{result(in)}
		}, exitFailure, `(?m)^fail +conservation +1 event with a result and a dead letter, the first: events/\d/\d+$`},
		"has others' events too": {"", func(_ int, in *kgo.Record) []*kgo.Record {
			other := *in
			other.Topic = "elsewhere"
			early := *in
			early.Offset += 1_000_000
			return []*kgo.Record{result(in), result(&other), result(&early), {Topic: "alerts", Value: []byte("no result at all")}}
		}, exitOK, `(?m)^ok +results +1,000 events with a result, 0 with a dead letter, `},
	} {
		t.Run(name, func(t *testing.T) {
			r := newBenchRig(t)
			r.engine(c.judge)
			code, stdout, stderr := r.bench(t.Context(), c.config, quickLoad()...)
			if code != c.code || !regexp.MustCompile(c.want).MatchString(stdout) {
				t.Errorf("exit code %d, want %d and %s\n%s%s", code, c.code, c.want, stdout, stderr)
			}
			if !strings.Contains(stderr, "note: the group lapwing has no member") || !strings.Contains(stderr, "writing 1,000 events to topic events (3 partitions), 2,000 per second, the first 200 as warm-up") {
				t.Errorf("before the load it says\n%s", stderr)
			}
		})
	}
}

// TestBenchAlertsOnly: where only alerts are published, the group's offsets say what is judged.
func TestBenchAlertsOnly(t *testing.T) {
	for _, lag := range []int64{0, 2} {
		r := newBenchRig(t)
		admin := kadm.NewClient(r.client())
		r.engine(func(i int, in *kgo.Record) []*kgo.Record {
			if err := admin.CommitAllOffsets(context.Background(), "lapwing", kadm.OffsetsFromRecords(kgo.Record{Topic: in.Topic, Partition: in.Partition, Offset: max(in.Offset-lag, 0), LeaderEpoch: -1})); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
			if i%10 != 0 {
				return nil
			}
			return []*kgo.Record{benchResult("alerts", in)}
		})
		code, stdout, stderr := r.bench(t.Context(), "results: alerts", quickLoad("--rate", "200", "--json")...)
		var document benchDocument
		if err := json.Unmarshal([]byte(stdout), &document); err != nil {
			t.Fatalf("%v: %s%s", err, stdout, stderr)
		}
		d := &document
		if d.Written != 100 || d.WithResult != 10 || d.WithResult+d.JudgedSilently+d.Missing.Count != d.Written || d.Latency.Count == 0 {
			t.Errorf("%+v", d)
		}
		if right := code == exitOK && d.OK && d.JudgedSilently == 90 && d.JudgedPerSecond > 0; right != (lag == 0) {
			t.Errorf("with a group that lags %d behind: exit code %d, %+v", lag, code, d)
		}
		// Of each of three partitions the last two are not judged, unless one is an alert.
		if lag > 0 && (d.Missing.Count < 1 || d.Missing.Count > 6) {
			t.Errorf("%d are missing", d.Missing.Count)
		}
	}
}

// TestBenchUsedTopic: a topic that has records is not touched, unless told so.
func TestBenchUsedTopic(t *testing.T) {
	r := newBenchRig(t)
	r.engine(func(_ int, in *kgo.Record) []*kgo.Record { return []*kgo.Record{benchResult("alerts", in)} })
	client := r.client()
	if err := client.ProduceSync(t.Context(), kgo.KeyStringRecord("1", "{}"), kgo.KeyStringRecord("2", "{}")).FirstErr(); err == nil {
		t.Fatal("wrote without a topic")
	}
	records := []*kgo.Record{{Topic: "events", Key: []byte("1")}, {Topic: "events", Key: []byte("2")}}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := r.bench(t.Context(), "", quickLoad()...)
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, "topic events has 2 records already") || !strings.Contains(stderr, "--into-used-topic with --user-first") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	ends := func() (n int64) {
		listed, err := kadm.NewClient(client).ListEndOffsets(t.Context(), "events")
		if err != nil {
			t.Fatal(err)
		}
		listed.Each(func(o kadm.ListedOffset) { n += o.Offset })
		return n
	}
	if n := ends(); n != 2 {
		t.Errorf("the topic has %d records after it was refused", n)
	}
	code, stdout, stderr = r.bench(t.Context(), "", quickLoad("--into-used-topic", "--user-first", "1000000")...)
	if code != exitOK || ends() != 1002 {
		t.Errorf("exit code %d, %d records, %s%s", code, ends(), stdout, stderr)
	}
	// Records that retention has taken are none.
	starts := kadm.Offsets{}
	listed, err := kadm.NewClient(client).ListEndOffsets(t.Context(), "events")
	if err != nil {
		t.Fatal(err)
	}
	listed.Each(func(o kadm.ListedOffset) { starts.AddOffset(o.Topic, o.Partition, o.Offset, -1) })
	if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), starts); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr = r.bench(t.Context(), "", quickLoad()...); code != exitOK || ends() != 2002 {
		t.Errorf("an emptied topic: exit code %d, %s%s", code, stdout, stderr)
	}
}

// TestBenchUnfit: what is missing is told before anything is written.
func TestBenchUnfit(t *testing.T) {
	r := newBenchRig(t)
	for config, want := range map[string]string{
		"  input: [nowhere]":                        "topic nowhere: does not exist; make it: kafka-topics ",
		"  output: nowhere":                         "topic nowhere: does not exist; make it: kafka-topics ",
		"  dead_letters: nowhere":                   "topic nowhere: does not exist; make it: kafka-topics ",
		"  input: [nowhere]\n  create_topics: true": "topic nowhere: does not exist; lapwing run makes it with 6 partitions",
		"  group: ''":                               "kafka.group: must not be empty",
	} {
		if code, stdout, stderr := r.bench(t.Context(), config, quickLoad()...); code != exitFailure || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s%s; want %q", config, code, stdout, stderr, want)
		}
	}
	r.addr = "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
	if code, stdout, stderr := r.bench(t.Context(), "", quickLoad()...); code != exitFailure || stdout != "" ||
		!strings.Contains(stderr, "broker "+r.addr+": TCP: ") || !strings.Contains(stderr, "nothing accepts connections there") {
		t.Errorf("no broker: exit code %d, %s%s", code, stdout, stderr)
	}
}

// TestBenchEndedEarly: a signal ends the load, not the report.
func TestBenchEndedEarly(t *testing.T) {
	r := newBenchRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.engine(func(i int, in *kgo.Record) []*kgo.Record {
		if i == 300 {
			cancel()
		}
		return []*kgo.Record{benchResult("alerts", in)}
	})
	code, stdout, stderr := r.bench(ctx, "", quickLoad("--for", "1m")...)
	early := regexp.MustCompile(`(?m)^note +load +ended early: [\d,]+ of 120,200 events were made$`)
	if code != exitOK || !early.MatchString(stdout) || !strings.Contains(stdout, "each event came out once") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
}

// TestBenchDev puts a load on `lapwing dev`, as fast as it goes, and reads the figures as a program would.
func TestBenchDev(t *testing.T) {
	printed, _ := startDev(t)
	where := regexp.MustCompile(`Kafka +(\S+)`).FindStringSubmatch(printed)
	r := &benchRig{t, where[1]}
	admin := kadm.NewClient(r.client())
	for members := 0; members == 0; { // the engine needs a moment to join
		groups, err := admin.DescribeGroups(t.Context(), "lapwing")
		if err != nil {
			t.Fatal(err)
		}
		members = len(groups["lapwing"].Members)
	}
	code, stdout, stderr := r.bench(t.Context(), "", "--rate", "0", "--events", "3000", "--users", "100", "--zipf", "1.5", "--json")
	var d benchDocument
	if err := json.Unmarshal([]byte(stdout), &d); err != nil {
		t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	if code != exitOK || !d.OK || d.Written != 3000 || d.WithResult != 3000 || d.Counted != 2700 || d.Latency.Count != 2700 || d.Missing.Count+d.Repeated.Count+d.Disordered.Count != 0 {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	l := d.Latency
	if quantiles := []float64{l.P50, l.P90, l.P99, l.P999, l.Max}; l.P50 <= 0 || !slices.IsSorted(quantiles) || d.SentPerSecond < d.JudgedPerSecond || d.JudgedPerSecond <= 0 {
		t.Errorf("figures: %s", stdout)
	}
	if strings.Contains(stderr, "no member") {
		t.Errorf("an engine runs: %s", stderr)
	}
}
