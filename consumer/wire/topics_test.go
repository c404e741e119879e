package wire

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kadm"
)

func TestTopics(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		admin := kadm.NewClient(b.franz(t))
		name := b.topic(t, c, 3)
		missing := unique("missing")
		got, err := c.Topics(ctx, missing, name)
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Name != missing || !errors.Is(got[0].Err, kafka.UnknownTopicOrPartition) || Classify(got[0].Err) != Retry {
			t.Fatalf("%+v", got[0])
		}
		detail, err := admin.ListTopics(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if got[1].Name != name || got[1].Err != nil || got[1].Partitions != 3 || got[1].ID != [16]byte(detail[name].ID) || got[1].ID == [16]byte{} {
			t.Fatalf("%+v, want id %v", got[1], detail[name].ID)
		}
		all, err := c.Topics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, x := range all {
			found = found || x == got[1]
		}
		if !found {
			t.Fatalf("%s is not among all %d topics", name, len(all))
		}

		// Made again, it has another id.
		if _, err := admin.DeleteTopics(ctx, name); err != nil {
			t.Fatal(err)
		}
		for {
			gone, err := c.Topics(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			if gone[0].Err != nil {
				break
			}
		}
		if err := c.CreateTopics(ctx, TopicSpec{Name: name, Partitions: 2, Replication: 1}); err != nil {
			t.Fatal(err)
		}
		again, err := c.Topics(ctx, name)
		if err != nil || again[0].Partitions != 2 || again[0].ID == got[1].ID {
			t.Fatalf("%+v, before %+v, %v", again, got[1], err)
		}
	})
}

func TestCreateTopics(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		specs := []TopicSpec{
			{Name: unique("wire"), Partitions: 2, Replication: 1, Configs: map[string]string{"max.message.bytes": "123456"}},
			{Name: unique("wire"), Partitions: 5, Replication: 1},
		}
		for range 2 { // The second time they exist.
			if err := c.CreateTopics(ctx, specs...); err != nil {
				t.Fatal(err)
			}
			// The leaders answer at once: no waiting, no retries.
			for _, s := range specs {
				for p := range s.Partitions {
					f := c.NewFetcher(s.Name, p, FetchOptions{WaitMax: 1})
					if next, err := f.Fetch(ctx, 0, func(*Record) error { return nil }); err != nil || next != 0 {
						t.Fatalf("%s/%d: %d, %v", s.Name, p, next, err)
					}
				}
			}
		}
		if n, err := c.MessageBytesMax(ctx, specs[0].Name); err != nil || n != 123456 {
			t.Fatalf("max.message.bytes %d, %v", n, err)
		}
		if err := c.CreateTopics(ctx); err != nil {
			t.Fatal(err)
		}
		if b.fake != nil {
			return // kfake takes any name and any number of replicas.
		}
		err := c.CreateTopics(ctx, TopicSpec{Name: "bad name!", Partitions: 1, Replication: 1})
		if !errors.Is(err, kafka.InvalidTopic) || Classify(err) != Fatal {
			t.Fatalf("bad name: %v", err)
		}
		err = c.CreateTopics(ctx, TopicSpec{Name: unique("wire"), Partitions: 1, Replication: 99})
		if !errors.Is(err, kafka.InvalidReplicationFactor) || Classify(err) != Fatal {
			t.Fatalf("99 replicas: %v", err)
		}
	})
}

// TestCreateTopicsWithLostAnswer: the repetition finds the topic there.
// TestCreatePartitions grows a topic, and does nothing to one that is large enough.
func TestCreatePartitions(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		name := b.topic(t, c, 2)
		for _, count := range []int32{5, 5, 3} {
			if err := c.CreatePartitions(ctx, name, count); err != nil {
				t.Fatal(err)
			}
			for p := range int32(5) {
				if _, err := c.EndOffset(ctx, name, p, true); err != nil {
					t.Fatalf("partition %d: %v", p, err)
				}
			}
		}
		topics, err := c.Topics(ctx, name)
		if err != nil || topics[0].Partitions != 5 {
			t.Fatalf("%+v, %v", topics, err)
		}
		missing := unique("missing")
		ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond) // it could be about to be made
		defer cancel()
		if err := c.CreatePartitions(ctx, missing, 5); !errors.Is(err, kafka.UnknownTopicOrPartition) || !strings.Contains(err.Error(), missing) {
			t.Fatal(err)
		}
	})
}

func TestCreateTopicsWithLostAnswer(t *testing.T) {
	b := fakeBroker(t)
	f := newFaults()
	c := b.client(t, func(o *Options) { o.Dial = f.dial })
	f.arm(protocol.CreateTopics, loseAnswer, loseRequest)
	f.arm(protocol.ListOffsets, loseAnswer)
	b.topic(t, c, 3)
	if f.hits(protocol.CreateTopics) != 2 || f.hits(protocol.ListOffsets) != 1 {
		t.Fatal("the faults were not met")
	}
}
