package consumertest

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ended is how a test ended that called a helper.
type ended struct {
	skipped, failed string // the reason
}

// recorder stands for the test that calls a helper, and notes how that one ends it.
type recorder struct {
	testing.TB
	ended ended
}

func (r *recorder) Helper() {}
func (r *recorder) Skip(args ...any) {
	r.ended.skipped = fmt.Sprint(args...)
	runtime.Goexit()
}
func (r *recorder) Fatal(args ...any) {
	r.ended.failed = fmt.Sprint(args...)
	runtime.Goexit()
}
func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

// ending runs a helper in a test of its own and tells how that ended.
func ending(t *testing.T, helper func(tb testing.TB)) ended {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		helper(r)
	}()
	<-done
	return r.ended
}

func TestLack(t *testing.T) {
	for _, test := range []struct {
		require       string
		skips, failed bool
	}{
		{require: "", skips: true},
		{require: "containers", skips: true},
		{require: "services", failed: true},
		{require: "containers,services", failed: true},
		{require: "service", failed: true}, // a word misspelt
	} {
		t.Run(test.require, func(t *testing.T) {
			t.Setenv(EnvRequire, test.require)
			got := ending(t, func(tb testing.TB) { lack(tb, RequireServices, "no %s", "broker") })
			if (got.skipped != "") != test.skips || (got.failed != "") != test.failed {
				t.Fatalf("the test ended as %+v", got)
			}
			if test.skips && got.skipped != "no broker" {
				t.Fatalf("skipped for %q, want the reason given", got.skipped)
			}
		})
	}
}

func TestServiceNamed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	addr := listener.Addr().String()
	t.Setenv(EnvKafka, addr)
	t.Setenv(EnvRedis, addr)
	if got := Kafka(t); got != addr {
		t.Fatalf("Kafka returns %q, want %q", got, addr)
	}
	if got := Redis(t); got != addr {
		t.Fatalf("Redis returns %q, want %q", got, addr)
	}
}

func TestServiceNamedButDown(t *testing.T) {
	t.Setenv(EnvKafka, "127.0.0.1:"+strconv.Itoa(FreePort(t)))
	got := ending(t, func(tb testing.TB) { Kafka(tb) })
	if !strings.Contains(got.failed, EnvKafka) || !strings.Contains(got.failed, "deploy/local/up") {
		t.Fatalf("the test ended as %+v, want a failure that names the variable and the remedy", got)
	}
}

func TestServiceNotNamed(t *testing.T) {
	t.Setenv(EnvKafka, "")
	t.Setenv(EnvRequire, "")
	none := &container{err: fmt.Errorf("%w: no engine", errNoContainer)}
	got := ending(t, func(tb testing.TB) { service(tb, "Kafka", EnvKafka, none) })
	for _, want := range []string{EnvKafka, "deploy/local/up", "no engine"} {
		if !strings.Contains(got.skipped, want) {
			t.Errorf("skipped for %q, which does not tell of %q", got.skipped, want)
		}
	}
	t.Setenv(EnvRequire, RequireServices)
	if got := ending(t, func(tb testing.TB) { service(tb, "Kafka", EnvKafka, none) }); got.failed == "" {
		t.Fatalf("the test ended as %+v where %s=%s", got, EnvRequire, RequireServices)
	}
}

// TestKfakeTransactions shows what the other packages' tests rely on: transactions, read_committed,
// the partition default, and no topic that nobody created.
func TestKfakeTransactions(t *testing.T) {
	addr := Kfake(t, kfake.SeedTopics(2, "seeded"))
	brokerTransactions(t, addr)

	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(t.Context(), -1, -1, nil, "default"); err != nil {
		t.Fatal(err)
	}
	topics, err := admin.ListTopics(t.Context(), "seeded", "default", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	if s, d := len(topics["seeded"].Partitions), len(topics["default"].Partitions); s != 2 || d != 6 {
		t.Errorf("seeded has %d partitions and default %d, want 2 and 6", s, d)
	}
	if err := topics["nobody"].Err; err != kerr.UnknownTopicOrPartition {
		t.Errorf("a topic that nobody created: %v, want %v", err, kerr.UnknownTopicOrPartition)
	}
}

// brokerTransactions writes an aborted and a committed transaction, and wants to read the second
// alone at read_committed.
func brokerTransactions(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	topic := Topic(t, "transactions")
	client, err := kgo.NewClient(
		kgo.SeedBrokers(addr), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 3, 1, nil, topic); err != nil {
		t.Fatalf("create %s at %s: %v", topic, addr, err)
	}
	for _, commit := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		value := strconv.FormatBool(bool(commit))
		if err := client.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(ctx, commit); err != nil {
			t.Fatal(err)
		}
	}
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	records := fetches.Records()
	if len(records) != 1 || string(records[0].Value) != "true" {
		t.Fatalf("read %d records, want the committed one alone", len(records))
	}
}

func TestTopicUnique(t *testing.T) {
	a, b := Topic(t, "events"), Topic(t, "events")
	if a == b || !strings.HasPrefix(a, "events-") {
		t.Fatalf("Topic returned %q and %q", a, b)
	}
}

func TestFreePort(t *testing.T) {
	port := FreePort(t)
	listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatalf("port %d is not free: %v", port, err)
	}
	listener.Close()
}

// TestRealServices is the path that integration tests take: named services, or containers.
func TestRealServices(t *testing.T) {
	t.Run("kafka", func(t *testing.T) { brokerTransactions(t, Kafka(t)) })
	t.Run("redis", func(t *testing.T) { redisKeeps(t, Redis(t)) })
}
