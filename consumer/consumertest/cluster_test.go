package consumertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clusterStep bounds each step of a test. The longest takes 10 s on a quiet machine: a killed broker is let in again.
const clusterStep = 3 * time.Minute

func stepContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clusterStep)
	t.Cleanup(cancel)
	return ctx
}

func clusterClient(t *testing.T, addrs []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequestTimeoutOverhead(5 * time.Second),
		kgo.DialTimeout(2 * time.Second), kgo.MetadataMinAge(100 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// writeEach produces a record to each partition and waits for the replicas in sync.
func writeEach(ctx context.Context, client *kgo.Client, topic, value string, partitions int32) error {
	var records []*kgo.Record
	for p := range partitions {
		records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: []byte(value)})
	}
	return client.ProduceSync(ctx, records...).FirstErr()
}

// readValues reads the topic from its start until it has n records and returns their values, sorted.
func readValues(t *testing.T, addrs []string, topic string, n int) []string {
	t.Helper()
	client := clusterClient(t, addrs, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx := stepContext(t)
	var values []string
	for len(values) < n {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records, then %v", len(values), n, fetches.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	slices.Sort(values)
	return values
}

func TestClusterLosesABroker(t *testing.T) {
	if testing.Short() {
		t.Skip("three brokers: about half a minute")
	}
	const partitions = 6
	began := time.Now()
	step := func(what string) {
		t.Logf("%5.1f s: %s", time.Since(began).Seconds(), what)
	}
	c := OwnCluster(t, ClusterOptions{Links: 2})
	step("three brokers are up")
	topic, group := Topic(t, "cluster"), Topic(t, "group")
	if err := CreateTopics(stepContext(t), c.Addrs(), TopicSpec{Name: topic, Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitInSync(stepContext(t), topic); err != nil {
		t.Fatal(err)
	}
	through := clusterClient(t, c.LinkAddrs(0))
	mustWrite := func(value string) {
		t.Helper()
		if err := writeEach(stepContext(t), through, topic, value, partitions); err != nil {
			t.Fatalf("write %s: %v", value, err)
		}
	}
	mustWrite("a")
	// All three lead partitions, and all was written past the first link's proxies.
	for i, p := range c.Link(0) {
		if p.Accepted() == 0 {
			t.Errorf("no connection passed the link to broker %d", i)
		}
		if n := c.Link(1)[i].Accepted(); n != 0 {
			t.Errorf("%d connections passed the other link to broker %d", n, i)
		}
	}
	replicas := topicReplicas(t, c.Addrs(), topic)
	if want := slices.Repeat([]int{3}, partitions); !slices.Equal(replicas, want) {
		t.Errorf("the partitions have %v replicas, want %v", replicas, want)
	}
	coordinator, err := c.Coordinator(stepContext(t), group)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.TransactionCoordinator(stepContext(t), group); err != nil || n < 0 || n > 2 {
		t.Fatalf("TransactionCoordinator = %d, %v", n, err)
	}
	if err := c.WaitInSync(stepContext(t), topic); err != nil { // the brokers' own topics are new
		t.Fatal(err)
	}
	step("the topics are in sync")

	old, err := c.Leader(stepContext(t), topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	c.Kill(old)
	if c.Running(old) {
		t.Error("runs after Kill")
	}
	step(fmt.Sprintf("broker %d is killed", old))
	if err := c.WaitUp(stepContext(t), 2); err != nil {
		t.Fatal(err)
	}
	step("its death is noticed")
	if now, err := c.Leader(stepContext(t), topic, 0); err != nil || now == old {
		t.Fatalf("the leader is %d, %v, and was %d when that was killed", now, err, old)
	}
	if now, err := c.Coordinator(stepContext(t), group); err != nil || coordinator == old && now == old {
		t.Fatalf("the coordinator is %d, %v; broker %d was killed", now, err, old)
	}
	mustWrite("b")
	step("written without it")
	brief, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.WaitInSync(brief, topic); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "in sync") {
		t.Errorf("WaitInSync without a broker: %v", err)
	}
	c.Start(old)
	if err := c.WaitUp(stepContext(t), 3); err != nil {
		t.Fatal(err)
	}
	step("it is up again")
	if err := c.WaitInSync(stepContext(t), topic); err != nil {
		t.Fatal(err)
	}
	step("all is in sync")
	mustWrite("c")

	c.Stop(old)
	if c.Running(old) {
		t.Error("runs after Stop")
	}
	step("it is stopped")
	if err := c.WaitUp(stepContext(t), 2); err != nil {
		t.Fatal(err)
	}
	mustWrite("d")
	c.Start(old)
	if err := errors.Join(c.WaitUp(stepContext(t), 3), c.WaitInSync(stepContext(t), topic)); err != nil {
		t.Fatal(err)
	}
	step("and in sync again")
	want := strings.Split(strings.Repeat("a", partitions)+strings.Repeat("b", partitions)+strings.Repeat("c", partitions)+
		strings.Repeat("d", partitions), "")
	if got := readValues(t, c.LinkAddrs(1), topic, len(want)); !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
	clusterLinkCut(t, c, topic, partitions)
	step("a link was cut")
	clusterFreeze(t, c, old)
	step("a broker was frozen")
	for i, n := range c.nodes {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.process.Pid)) // on Linux
		t.Logf("broker %d: %s", i, regexp.MustCompile(`VmRSS.*`).Find(status))
	}
}

// clusterLinkCut: what is cut is cut for the clients of this link alone.
func clusterLinkCut(t *testing.T, c *Cluster, topic string, partitions int32) {
	t.Helper()
	cut, whole := clusterClient(t, c.LinkAddrs(0)), clusterClient(t, c.LinkAddrs(1))
	for _, client := range []*kgo.Client{cut, whole} {
		if err := writeEach(stepContext(t), client, topic, "e", partitions); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range c.Link(0) {
		p.Refuse()
	}
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := cut.Ping(short); err == nil { // a record that may be on its way cannot be given up
		t.Error("a broker answers through a link that is cut")
	}
	if err := writeEach(stepContext(t), whole, topic, "f", partitions); err != nil {
		t.Errorf("write through the other link: %v", err)
	}
	for _, p := range c.Link(0) {
		p.Pass()
	}
	if err := writeEach(stepContext(t), cut, topic, "g", partitions); err != nil {
		t.Errorf("write through the link that was cut: %v", err)
	}
}

// clusterFreeze: a frozen broker counts as gone when its session is over, and as there when it goes on.
func clusterFreeze(t *testing.T, c *Cluster, broker int) {
	t.Helper()
	c.Freeze(broker)
	if !c.Running(broker) {
		t.Error("a frozen broker does not run")
	}
	if err := c.WaitUp(stepContext(t), 2); err != nil {
		t.Fatal(err)
	}
	c.Thaw(broker)
	if err := errors.Join(c.WaitUp(stepContext(t), 3), c.WaitInSync(stepContext(t))); err != nil {
		t.Fatal(err)
	}
}

func topicReplicas(t *testing.T, addrs []string, topic string) []int {
	t.Helper()
	topics, err := kadm.NewClient(clusterClient(t, addrs)).ListTopics(stepContext(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	var replicas []int
	for _, p := range topics[topic].Partitions.Sorted() {
		replicas = append(replicas, len(p.Replicas))
	}
	return replicas
}

// TestClusterOfOne: one broker, without replicas, with a further setting; it keeps its data through a kill.
func TestClusterOfOne(t *testing.T) {
	if testing.Short() {
		t.Skip("a broker starts twice: about 15 s")
	}
	c := OwnCluster(t, ClusterOptions{Brokers: 1, HeapMiB: 256, Settings: map[string]string{"num.partitions": "3"}})
	topic := Topic(t, "one")
	if err := CreateTopics(stepContext(t), c.Addrs(), TopicSpec{Name: topic, Partitions: -1}); err != nil {
		t.Fatal(err)
	}
	if replicas := topicReplicas(t, c.Addrs(), topic); !slices.Equal(replicas, []int{1, 1, 1}) {
		t.Errorf("the partitions have %v replicas, want one each of three", replicas)
	}
	brokerTransactions(t, c.Addrs()[0])
	if n, err := c.TransactionCoordinator(stepContext(t), topic); err != nil || n != 0 {
		t.Errorf("TransactionCoordinator = %d, %v", n, err)
	}
	c.Kill(0)
	c.Kill(0) // does nothing
	brief, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := c.WaitUp(brief, 1); !errors.Is(err, errNoBroker) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WaitUp without a broker: %v", err)
	}
	c.Start(0)
	if err := errors.Join(c.WaitUp(stepContext(t), 1), c.WaitInSync(stepContext(t), topic)); err != nil {
		t.Fatal(err)
	}
}

// TestClusterThatCannotStart: a broker that ends at its start ends the wait for it, with its own words.
func TestClusterThatCannotStart(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker")
	}
	got := ending(t, func(tb testing.TB) {
		OwnCluster(tb, ClusterOptions{Brokers: 1, HeapMiB: 256, Settings: map[string]string{"metric.reporters": "no.such.Reporter"}})
	})
	if got.skipped != "" {
		t.Skip(got.skipped)
	}
	if !strings.Contains(got.failed, "broker 0 ended") || !strings.Contains(got.failed, "no.such.Reporter") {
		t.Errorf("the test failed with %q", got.failed)
	}
}

func TestClusterMissing(t *testing.T) {
	_, err := askJars("--no-such-option")
	if err == nil || !strings.Contains(err.Error(), "usage:") {
		t.Errorf("the error is %v, want the script's own words", err)
	}
}
