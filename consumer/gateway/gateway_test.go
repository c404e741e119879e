package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/contract"
)

// The ten published cases of the service that Lapwing grew from, in one run (issue 3, item 2), and again
// by other users, whose histories are their own.
func TestPublishedCases(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		c.startEngine(t, nil)
		g := c.serve(t, nil).ready(t)
		for _, shift := range []int64{0, 1000} {
			for i, test := range []struct {
				event string
				alert bool
				codes string
				user  int64
			}{
				{event("withdraw", 3+shift, "200.00", 10), true, "1100", 3},
				{event("withdraw", 3+shift, "99.99", 20), false, "", 3},
				{event("withdraw", 3+shift, "101", 30), true, "1100,30", 3},
				{event("withdraw", 3+shift, "99.99", 40), true, "30", 3},
				{event("deposit", 4+shift, "10", 10), false, "", 4},
				{event("deposit", 4+shift, "15", 20), false, "", 4},
				{event("deposit", 4+shift, "20", 32), true, "300", 4},
				{event("deposit", 5+shift, "100", 40), false, "", 5},
				{event("deposit", 5+shift, "101", 41), true, "123", 5},
				{event("deposit", 5+shift, "103", 42), true, "300,123", 5},
			} {
				got := g.post(t, test.event)
				want := fmt.Sprintf(`{"alert":%t,"alert_codes":[%s],"user_id":%d}`, test.alert, test.codes, test.user+shift)
				if got.status != 200 || got.body != want {
					t.Errorf("case %d: %d %s\nwant 200 %s", i+1, got.status, got.body, want)
				}
				if media := got.header.Get("Content-Type"); media != "application/json" {
					t.Errorf("case %d: Content-Type %q", i+1, media)
				}
			}
		}
	})
}

// What is in the topic: the body byte for byte, the user's key and partition, the id and the trace.
func TestRecordInTheTopic(t *testing.T) {
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	onEachKafka(t, func(t *testing.T, c *cluster) {
		c.startEngine(t, nil)
		for _, partitioner := range []contract.Partitioner{contract.Murmur2, contract.CRC32, contract.FNV1a} {
			g := c.serve(t, func(o *Options) { o.Partitioner = partitioner }).ready(t)
			before := c.records(t, c.input)
			user := int64(77)
			// White space at both ends, an unknown member: nothing of it is Lapwing's to change.
			body := "\n  {\"note\": [1, 2] ,\"time\":10,\"user_id\":77,\"amount\":\"42.00\",\"type\":\"deposit\"}\t\n"
			if got := g.post(t, body, "Traceparent", trace, "Content-Type", "application/json; charset=utf-8"); got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			r := c.last(t, before+1)
			if string(r.Value) != body || string(r.Key) != "77" {
				t.Errorf("record %q: %q", r.Key, r.Value)
			}
			if want := partitioner.UserPartition(user, 3); r.Partition != want {
				t.Errorf("partition %d by %s, want %d", r.Partition, partitioner, want)
			}
			if len(r.Headers) != 2 || r.Headers[0].Key != "lapwing-request-id" || r.Headers[1].Key != "traceparent" ||
				string(r.Headers[1].Value) != trace {
				t.Errorf("headers %v", r.Headers)
			}
			if age := time.Since(r.Timestamp); age < -time.Second || age > patience {
				t.Errorf("the record's time is %v ago", age)
			}
		}
	})
}

// last reads the input topic, which has n records, and returns the youngest.
func (c *cluster) last(t *testing.T, n int64) *kgo.Record {
	t.Helper()
	client := c.client(t, kgo.ConsumeTopics(c.input), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var records []*kgo.Record
	for int64(len(records)) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d records: %v", len(records), n, err)
		}
		records = append(records, fetches.Records()...)
	}
	return slices.MaxFunc(records, func(a, b *kgo.Record) int { return a.Timestamp.Compare(b.Timestamp) })
}

// What is no event never reaches the topic.
func TestBadEventsNeverReachTheTopic(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		g := c.serve(t, nil).ready(t)
		for body, want := range map[string]string{
			``:           "not_json",
			`{`:          "not_json",
			`null`:       "wrong_type",
			"\xff":       "not_utf8",
			`{"type":1}`: "missing_member",
			`{"type":"refund","amount":"1","user_id":1,"time":1}`:             "unknown_type",
			`{"type":"deposit","amount":"-1","user_id":1,"time":1}`:           "amount_format",
			`{"type":"deposit","amount":"0","user_id":1,"time":1}`:            "amount_range",
			`{"type":"deposit","amount":"1","user_id":-1,"time":1}`:           "user_id_range",
			`{"type":"deposit","amount":"1","user_id":1,"time":100000000000}`: "time_range",
			`{"type":"deposit","amount":"1","user_id":1,"time":1,"time":1}`:   "duplicate_member",
		} {
			got := g.post(t, body)
			if got.status != 400 || !strings.HasPrefix(got.body, `{"error":{"reason":"`+want+`","detail":"`) {
				t.Errorf("%q: %d %s, want 400 %s", body, got.status, got.body, want)
			}
		}
		if n := c.records(t, c.input); n != 0 {
			t.Errorf("%d records are in the topic", n)
		}
	})
}

// Many requests at a time, several of one user: each gets its own result.
func TestConcurrentRequests(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		c.startEngine(t, nil)
		g := c.serve(t, nil).ready(t)
		const requests, users = 200, 40
		var (
			group sync.WaitGroup
			large atomic.Int64
		)
		for i := range requests {
			group.Go(func() {
				user := int64(1 + i%users)
				// Of each user's five events, just one raises 1100, and none of the others any.
				amount, kind := "1", "deposit"
				if i < users {
					kind, amount = "withdraw", "100.01"
				}
				got, err := g.tryPost(t.Context(), event(kind, user, amount, 10))
				if err != nil || got.status != 200 {
					t.Errorf("request %d: %d %s %v", i, got.status, got.body, err)
					return
				}
				want := fmt.Sprintf(`{"alert":false,"alert_codes":[],"user_id":%d}`, user)
				if i < users {
					want = fmt.Sprintf(`{"alert":true,"alert_codes":[1100],"user_id":%d}`, user)
					large.Add(1)
				}
				if got.body != want {
					t.Errorf("request %d: %s, want %s", i, got.body, want)
				}
			})
		}
		group.Wait()
		if large.Load() != users {
			t.Errorf("%d of %d large withdrawals were answered", large.Load(), users)
		}
		if n := c.records(t, c.input); n != requests {
			t.Errorf("%d records in the topic, want %d", n, requests)
		}
	})
}

// Two gateways on the same topics: each answers all of its own requests and only those.
func TestTwoGateways(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		c.startEngine(t, nil)
		gateways := []*running{c.serve(t, nil).ready(t), c.serve(t, nil).ready(t)}
		var group sync.WaitGroup
		const each = 50
		for i := range each * len(gateways) {
			group.Go(func() {
				user := int64(10_000 + i)
				got, err := gateways[i%2].tryPost(t.Context(), deposit(user, "1", 10))
				if want := fmt.Sprintf(`{"alert":false,"alert_codes":[],"user_id":%d}`, user); err != nil || got.status != 200 || got.body != want {
					t.Errorf("request %d: %d %s %v, want %s", i, got.status, got.body, err, want)
				}
			})
		}
		group.Wait()
		for i, g := range gateways {
			eventually(t, "all results are read", func() error {
				mine, others := value(t, g.metrics.results[fateDelivered]), value(t, g.metrics.results[fateForeign])
				if mine != each || others != each {
					return fmt.Errorf("gateway %d: %v delivered and %v foreign, want %d each", i, mine, others, each)
				}
				return nil
			})
		}
	})
}

// An engine that says nothing: 504 that tells that and where the event is.
func TestSlowEngine(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		c.startEngine(t, func(user int64) bool { return user != 13 })
		g := c.serve(t, func(o *Options) { o.ResultTimeout = 300 * time.Millisecond }).ready(t)
		got := g.post(t, deposit(13, "1", 10))
		partition := contract.Murmur2.UserPartition(13, 3)
		for _, want := range []string{
			`"reason":"no_result"`, `"written":"yes"`, fmt.Sprintf(`"source":"%s/%d/0"`, c.input, partition), "in the topic all the same",
		} {
			if got.status != 504 || !strings.Contains(got.body, want) {
				t.Errorf("%d %s, want 504 with %s", got.status, got.body, want)
			}
		}
		if n := c.records(t, c.input); n != 1 {
			t.Errorf("%d records in the topic, want 1", n)
		}
	})
}

// Results of an aborted transaction are none.
func TestAbortedResults(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		g := c.serve(t, nil).ready(t)
		answered := make(chan reply, 1)
		var group sync.WaitGroup
		defer group.Wait()
		group.Go(func() {
			got, err := g.tryPost(t.Context(), deposit(9, "1", 10))
			if err != nil {
				t.Error(err)
			}
			answered <- got
		})
		request := c.last(t, 1)
		client := c.client(t, kgo.TransactionalID(c.output), kgo.DefaultProduceTopic(c.output), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for i, commit := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
			if err := client.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			body := fmt.Sprintf(`{"alert":true,"alert_codes":[%d],"user_id":9}`, i)
			if err := client.ProduceSync(ctx, &kgo.Record{Value: []byte(body), Headers: request.Headers[:1]}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if err := client.EndTransaction(ctx, commit); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-answered; got.status != 200 || got.body != `{"alert":true,"alert_codes":[1],"user_id":9}` {
			t.Errorf("%d %s, want the committed result", got.status, got.body)
		}
	})
}

// BenchmarkGateway is the whole way over kfake and the engine of few lines, many requests at a time.
func BenchmarkGateway(b *testing.B) {
	c := newFake(b, 3, 2)
	c.startEngine(b, nil)
	g := c.serve(b, nil).ready(b)
	var users atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			got, err := g.tryPost(b.Context(), deposit(users.Add(1), "1", 10))
			if err != nil || got.status != 200 {
				b.Errorf("%d %s %v", got.status, got.body, err)
			}
		}
	})
}
