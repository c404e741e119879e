package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// No cluster at all: 503 at once, not ready, alive. When it is there, all is well without a restart.
func TestClusterAwayAtFirst(t *testing.T) {
	c := newFake(t, 1, 1)
	c.startEngine(t, nil)
	network := newNetwork()
	network.cut()
	g := c.serve(t, func(o *Options) { o.Client = c.wire(t, network) })
	got := g.post(t, deposit(1, "1", 10))
	if got.status != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"reason":"not_ready"`) ||
		!strings.Contains(got.body, `"written":"no"`) {
		t.Errorf("%d %v %s, want 503 not_ready", got.status, got.header, got.body)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503} {
		if got := g.get(t, http.MethodGet, path); got.status != want {
			t.Errorf("%s: %d %s, want %d", path, got.status, got.body, want)
		}
	}
	network.mend()
	g.ready(t)
	if got := g.post(t, deposit(1, "1", 10)); got.status != 200 {
		t.Errorf("%d %s, want 200", got.status, got.body)
	}
	if got := g.get(t, http.MethodGet, "/readyz"); got.status != 200 || got.body != `{"status":"ok"}` {
		t.Errorf("/readyz: %d %s", got.status, got.body)
	}
}

// A topic that does not exist is named.
func TestMissingTopic(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		missing := c.output + "-missing"
		g := c.serve(t, func(o *Options) { o.Output = missing })
		eventually(t, "the topic is named", func() error {
			if err := g.Ready(); err == nil || !strings.Contains(err.Error(), missing) {
				return fmt.Errorf("Ready: %v", err)
			}
			return nil
		})
		if got := g.post(t, deposit(1, "1", 10)); got.status != 503 || !strings.Contains(got.body, missing) {
			t.Errorf("%d %s, want 503 that names %s", got.status, got.body, missing)
		}
	})
}

// The brokers go away while the gateway runs: an event that was never sent is surely not written. They
// come back: requests are answered, each written once.
func TestOutage(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		c.startEngine(t, nil)
		network := newNetwork()
		g := c.serve(t, func(o *Options) {
			o.Client = c.wire(t, network)
			o.WriteTimeout = 300 * time.Millisecond
		}).ready(t)
		if got := g.post(t, deposit(1, "1", 10)); got.status != 200 {
			t.Fatalf("before: %d %s", got.status, got.body)
		}
		network.cut()
		// The first request may meet a connection that is not known to be dead yet.
		eventually(t, "a request is refused for certain", func() error {
			got := g.post(t, deposit(1, "1", 10))
			if got.status != 503 || got.header.Get("Retry-After") == "" {
				t.Fatalf("during: %d %s, want 503", got.status, got.body)
			}
			if !strings.Contains(got.body, `"written":"no"`) {
				return errors.New(got.body)
			}
			return nil
		})
		eventually(t, "the outage is seen by the readers", func() error {
			if g.Ready() == nil {
				return errors.New("ready")
			}
			return nil
		})
		network.mend()
		g.ready(t)
		before := c.records(t, c.input)
		if got := g.post(t, deposit(1, "1", 10)); got.status != 200 {
			t.Fatalf("after: %d %s, want 200", got.status, got.body)
		}
		if n := c.records(t, c.input); n != before+1 {
			t.Errorf("%d records were written by one request", n-before)
		}
	})
}

// A result that is published while the gateway cannot read is read afterwards: its offset is kept.
func TestResultAcrossOutage(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		release := make(chan struct{})
		c.startEngine(t, func(int64) bool { <-release; return true })
		network := newNetwork()
		g := c.serve(t, func(o *Options) {
			o.Client = c.wire(t, network)
			o.ResultTimeout = patience
		}).ready(t)
		answered := make(chan reply, 1)
		var group sync.WaitGroup
		defer group.Wait()
		group.Go(func() {
			got, err := g.tryPost(t.Context(), deposit(1, "1", 10))
			if err != nil {
				t.Error(err)
			}
			answered <- got
		})
		eventually(t, "the event is acknowledged", func() error {
			if observations(t, g.metrics.writeTime) == 0 {
				return errors.New("not yet")
			}
			return nil
		})
		network.cut()
		eventually(t, "the outage is seen by the readers", func() error {
			if g.Ready() == nil {
				return errors.New("ready")
			}
			return nil
		})
		close(release)
		eventually(t, "the result is in the topic", func() error {
			if n := c.records(t, c.output); n != 1 {
				return fmt.Errorf("%d results", n)
			}
			return nil
		})
		network.mend()
		if got := <-answered; got.status != 200 {
			t.Errorf("%d %s, want 200", got.status, got.body)
		}
	})
}

// The answer of a write is lost: the event may be in the topic, and is not sent a second time.
func TestLostAcknowledgement(t *testing.T) {
	c := newFake(t, 1, 1)
	g := c.serve(t, func(o *Options) { o.WriteTimeout = 500 * time.Millisecond }).ready(t)
	var produced atomic.Int64
	c.fake.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.fake.KeepControl()
		produced.Add(1)
		if acks := r.(*kmsg.ProduceRequest).Acks; acks != -1 {
			t.Errorf("acks %d, want -1 (all)", acks)
		}
		return nil, errNetworkDown, true // kfake closes the connection
	})
	got := g.post(t, deposit(1, "1", 10))
	if got.status != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"written":"unknown"`) ||
		!strings.Contains(got.body, "may or may not be in the topic") {
		t.Errorf("%d %s, want 503 and written unknown", got.status, got.body)
	}
	if n := produced.Load(); n != 1 {
		t.Errorf("the event was sent %d times, want 1", n)
	}
}

// An error that the broker gives before it appends is tried again; one from after it is not.
func TestBrokerRefusesWrite(t *testing.T) {
	for name, test := range map[string]struct {
		code    int16
		base    int64
		status  int
		written string
		sent    bool // again
	}{
		"no replicas":            {kerr.NotEnoughReplicas.Code, -1, 200, "", true},
		"not the leader":         {kerr.NotLeaderForPartition.Code, -1, 200, "", true},
		"deposed after append":   {kerr.NotLeaderForPartition.Code, 0, 503, "unknown", false},
		"no replicas any more":   {kerr.NotEnoughReplicasAfterAppend.Code, 0, 503, "unknown", false},
		"no acknowledgement":     {kerr.RequestTimedOut.Code, 0, 503, "unknown", false},
		"not authorized":         {kerr.TopicAuthorizationFailed.Code, -1, 503, "no", false},
		"larger than topic":      {kerr.MessageTooLarge.Code, -1, 413, "no", false},
		"refused for its time":   {kerr.InvalidTimestamp.Code, -1, 503, "no", false},
		"code of a newer broker": {999, -1, 503, "unknown", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newFake(t, 1, 1)
			c.startEngine(t, nil)
			g := c.serve(t, nil).ready(t)
			var sent atomic.Int64
			c.fake.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
				request := r.(*kmsg.ProduceRequest)
				if request.Topics[0].Topic != c.input {
					c.fake.KeepControl()
					return nil, nil, false
				}
				if sent.Add(1) > 1 {
					return nil, nil, false
				}
				c.fake.KeepControl()
				return refuseProduce(request, test.code, test.base), nil, true
			})
			got := g.post(t, deposit(1, "1", 10))
			if got.status != test.status || (test.written != "" && !strings.Contains(got.body, `"written":"`+test.written+`"`)) {
				t.Errorf("%d %s, want %d, written %s", got.status, got.body, test.status, test.written)
			}
			if again := sent.Load() > 1; again != test.sent {
				t.Errorf("sent %d times", sent.Load())
			}
		})
	}
}

// refuseProduce answers a produce request of one partition.
func refuseProduce(request *kmsg.ProduceRequest, code int16, base int64) kmsg.Response {
	response := request.ResponseKind().(*kmsg.ProduceResponse)
	topic := kmsg.NewProduceResponseTopic()
	topic.Topic = request.Topics[0].Topic
	partition := kmsg.NewProduceResponseTopicPartition()
	partition.Partition = request.Topics[0].Partitions[0].Partition
	partition.ErrorCode, partition.BaseOffset = code, base
	topic.Partitions = append(topic.Partitions, partition)
	response.Topics = append(response.Topics, topic)
	return response
}

// The output topic grows: results in its new partitions are found.
func TestOutputGrows(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		g := c.serve(t, func(o *Options) { o.MetadataInterval = 50 * time.Millisecond }).ready(t)
		if _, err := c.admin.CreatePartitions(t.Context(), 4, c.output); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the readers of the new partitions have begun", func() error {
			if n := value(t, g.metrics.readers); n != 6 {
				return fmt.Errorf("%v readers, want 6", n)
			}
			return g.Ready()
		})
		c.startEngine(t, nil) // knows six partitions from its start on
		for user := range int64(30) {
			if got := g.post(t, deposit(user, "1", 10)); got.status != 200 {
				t.Errorf("user %d: %d %s", user, got.status, got.body)
			}
		}
	})
}

// The offset that is read at is gone: on at the end.
func TestOffsetOutOfRange(t *testing.T) {
	onEachKafka(t, func(t *testing.T, c *cluster) {
		g := c.serve(t, func(o *Options) { o.ResultTimeout = 500 * time.Millisecond }).ready(t)
		// Made again, the topic is shorter than what was read of it.
		client := c.client(t, kgo.DefaultProduceTopic(c.output))
		for i := range 20 {
			if err := client.ProduceSync(t.Context(), kgo.KeySliceRecord(fmt.Append(nil, i), []byte("x"))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all is read", func() error {
			if n := value(t, g.metrics.results[fateForeign]); n != 20 {
				return fmt.Errorf("%v of 20", n)
			}
			return nil
		})
		if _, err := c.admin.DeleteTopics(t.Context(), c.output); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the topic is made again", func() error {
			response, err := c.admin.CreateTopics(t.Context(), 2, 1, nil, c.output)
			return errors.Join(err, response.Error())
		})
		c.startEngine(t, nil)
		eventually(t, "a request is answered", func() error {
			got := g.post(t, deposit(1, "1", 10))
			if got.status != 200 {
				return errors.New(got.body)
			}
			return nil
		})
	})
}
