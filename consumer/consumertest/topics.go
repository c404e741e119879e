package consumertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TopicSpec names a topic to create.
type TopicSpec struct {
	Name       string
	Partitions int32
	Configs    map[string]string // of the topic, like max.message.bytes
}

// CreateTopics creates topics with the broker's default replication and waits until each can be read.
func CreateTopics(ctx context.Context, brokers []string, specs ...TopicSpec) error {
	// By default the client holds its first metadata, which may know no leader yet, for 5 s.
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return fmt.Errorf("consumertest: client of %v: %w", brokers, err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var names []string
	for _, s := range specs {
		configs := map[string]*string{}
		for key, value := range s.Configs {
			configs[key] = &value
		}
		if _, err := admin.CreateTopic(ctx, s.Partitions, -1, configs, s.Name); err != nil {
			return fmt.Errorf("consumertest: create topic %s: %w", s.Name, err)
		}
		names = append(names, s.Name)
	}
	return awaitTopics(ctx, admin, names)
}

// GrowTopics gives topics more partitions, as kafka-topics --alter does, and waits until they take records.
func GrowTopics(ctx context.Context, brokers []string, partitions int, names ...string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return fmt.Errorf("consumertest: client of %v: %w", brokers, err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	grown, err := admin.UpdatePartitions(ctx, partitions, names...)
	if err == nil {
		err = grown.Error()
	}
	if err != nil {
		return fmt.Errorf("consumertest: grow %s to %d partitions: %w", strings.Join(names, ", "), partitions, err)
	}
	return awaitTopics(ctx, admin, names)
}

// awaitTopics waits until the leaders of all partitions answer.
func awaitTopics(ctx context.Context, admin *kadm.Client, names []string) error {
	for {
		listed, err := admin.ListEndOffsets(ctx, names...)
		if err == nil && listed.Error() == nil {
			return nil
		}
		select { // leaders take a moment to answer, although the metadata shows them
		case <-ctx.Done():
			return fmt.Errorf("consumertest: topics %s: %w", strings.Join(names, ", "), errors.Join(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// DeleteTopics deletes topics; one that is not there is no error.
func DeleteTopics(ctx context.Context, brokers []string, names ...string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return fmt.Errorf("consumertest: client of %v: %w", brokers, err)
	}
	defer client.Close()
	responses, err := kadm.NewClient(client).DeleteTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("consumertest: delete topics %v: %w", names, err)
	}
	var errs []error
	for _, r := range responses {
		if r.Err != nil && !errors.Is(r.Err, kerr.UnknownTopicOrPartition) {
			errs = append(errs, fmt.Errorf("consumertest: delete topic %s: %w", r.Topic, r.Err))
		}
	}
	return errors.Join(errs...)
}
