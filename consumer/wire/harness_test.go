package wire

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a cluster that a test runs on.
type broker struct {
	name string
	addr string
	fake *kfake.Cluster // nil on a real broker.
	// firstProtocol is for the test's producers.
	firstProtocol bool
}

// onBrokers runs a test on kfake and, where LAPWING_TEST_KAFKA names one, on a
// real broker.
func onBrokers(t *testing.T, test func(t *testing.T, b broker)) {
	t.Helper()
	t.Run("kfake", func(t *testing.T) { test(t, fakeBroker(t)) })
	t.Run("kafka", func(t *testing.T) { test(t, realBroker(t)) })
}

// onProtocols is onBrokers under each of the two transaction protocols.
func onProtocols(t *testing.T, test func(t *testing.T, b broker)) {
	t.Helper()
	onBrokers(t, func(t *testing.T, b broker) { eachProtocol(t, b, test) })
}

func eachProtocol(t *testing.T, b broker, test func(t *testing.T, b broker)) {
	t.Helper()
	for _, name := range []string{"second protocol", "first protocol"} {
		t.Run(name, func(t *testing.T) {
			b.firstProtocol = name == "first protocol"
			test(t, b)
		})
	}
}

// producer returns a producer of the test's protocol.
func (b broker) producer(c *Client, o ProducerOptions) *Producer {
	o.FirstProtocol = o.FirstProtocol || b.firstProtocol
	if o.TransactionalID == "" {
		o.TransactionalID = unique("tx")
	}
	return c.NewProducer(o)
}

// ready returns a producer after Init, which must have found the test's protocol.
func (b broker) ready(t testing.TB, c *Client, o ProducerOptions) *Producer {
	t.Helper()
	p := b.producer(c, o)
	if err := p.Init(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if want := !p.options.FirstProtocol; p.protocol.implicit != want {
		t.Fatalf("Init found protocol %+v", p.protocol)
	}
	return p
}

func fakeBroker(t testing.TB, opts ...kfake.Opt) broker {
	t.Helper()
	opts = append([]kfake.Opt{kfake.NumBrokers(1), kfake.ListenFn(func(network, _ string) (net.Listener, error) {
		return net.Listen(network, "127.0.0.1:0")
	})}, opts...)
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return broker{name: "kfake", addr: strings.Join(c.ListenAddrs(), ","), fake: c}
}

func realBroker(t testing.TB) broker {
	t.Helper()
	addr := os.Getenv("LAPWING_TEST_KAFKA")
	if addr == "" {
		const why = "LAPWING_TEST_KAFKA names no broker (host:port)"
		if strings.Contains(os.Getenv("LAPWING_TEST_REQUIRE"), "services") {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return broker{name: "kafka", addr: addr}
}

// client returns a client that is closed with the test.
func (b broker) client(t testing.TB, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{Brokers: strings.Split(b.addr, ","), ClientID: "wire-test"}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// topic creates a topic of its own for the test.
func (b broker) topic(t testing.TB, c *Client, partitions int32, configs ...string) string {
	t.Helper()
	spec := TopicSpec{Name: unique("wire"), Partitions: partitions, Replication: 1, Configs: map[string]string{
		// Records of tests have times of 1970. By default the broker looks every five minutes for what is to be deleted by its time.
		"retention.ms": "-1",
	}}
	for i := 0; i < len(configs); i += 2 {
		spec.Configs[configs[i]] = configs[i+1]
	}
	if err := c.CreateTopics(testContext(t), spec); err != nil {
		t.Fatal(err)
	}
	if b.fake == nil {
		t.Cleanup(func() { // A real broker is shared with others.
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			admin, err := kgo.NewClient(kgo.SeedBrokers(b.addr))
			if err != nil {
				t.Error(err)
				return
			}
			defer admin.Close()
			if _, err := kadm.NewClient(admin).DeleteTopics(ctx, spec.Name); err != nil {
				t.Error(err)
			}
		})
	}
	return spec.Name
}

// franz returns a franz-go client: the independent witness.
func (b broker) franz(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(b.addr, ",")...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// join makes the test a member of a group, by kafka-go's ConsumerGroup.
func (b broker) join(t testing.TB, c *Client, group, topic string) Member {
	t.Helper()
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: strings.Split(b.addr, ","), Dialer: c.Dialer(), Topics: []string{topic},
		HeartbeatInterval: 300 * time.Millisecond, SessionTimeout: 6 * time.Second, JoinGroupBackoff: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	ctx := testContext(t)
	for {
		generation, err := g.Next(ctx)
		if err == nil {
			return Member{Group: group, Generation: generation.ID, ID: generation.MemberID}
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// testContext ends with the test, or after a time that no test needs.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func unique(prefix string) string {
	return prefix + "-" + strings.ToLower(rand.Text()[:10])
}

// seen is a record as a reader got it.
type seen struct {
	offset  int64
	key     string
	value   string
	headers string
}

func (s seen) String() string { return fmt.Sprintf("%d:%s", s.offset, s.value) }

func text(b []byte) string {
	if b == nil {
		return "<null>"
	}
	return string(b)
}

// readAll reads a partition from an offset up to the end that its reader can
// reach, several records or none at a time.
func readAll(t testing.TB, c *Client, topic string, partition int32, from int64, o FetchOptions) (records []seen, next int64) {
	t.Helper()
	ctx := testContext(t)
	end, err := c.EndOffset(ctx, topic, partition, o.Committed)
	if err != nil {
		t.Fatal(err)
	}
	o.WaitMax = 10 * time.Millisecond
	f := c.NewFetcher(topic, partition, o)
	for next = from; next < end; {
		next, err = f.Fetch(ctx, next, func(r *Record) error {
			s := seen{offset: r.Offset, key: text(r.Key), value: text(r.Value)}
			for k, v := range r.Headers() {
				s.headers += fmt.Sprintf("%s=%s;", k, text(v))
			}
			records = append(records, s)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return records, next
}

// franzReadAll is readAll by franz-go.
func (b broker) franzReadAll(t testing.TB, topic string, from, end int64, committed bool) []seen {
	t.Helper()
	level := kgo.ReadUncommitted()
	if committed {
		level = kgo.ReadCommitted()
	}
	c := b.franz(t, kgo.FetchIsolationLevel(level), kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(from)}}))
	defer c.Close()
	var records []seen
	ctx := testContext(t)
	for next := from; next < end; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if r.Attrs.IsControl() {
				return
			}
			s := seen{offset: r.Offset, key: text(r.Key), value: text(r.Value)}
			for _, h := range r.Headers {
				s.headers += fmt.Sprintf("%s=%s;", h.Key, text(h.Value))
			}
			records = append(records, s)
		})
	}
	return records
}
