package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	kafka "github.com/segmentio/kafka-go"
)

func TestDenied(t *testing.T) {
	for _, x := range []struct {
		err  error
		says []string // nil: it names nothing
	}{
		{partitionError("fetch", "events", 3, 7, kafka.TopicAuthorizationFailed), []string{`Read on topic "events"`, "--operation Read --topic events"}},
		{partitionError("produce", "alerts", 3, -1, kafka.TopicAuthorizationFailed), []string{`Write on topic "alerts"`, "--operation Write --topic alerts"}},
		{partitionError("metadata of", "alerts", -1, -1, kafka.TopicAuthorizationFailed), []string{"Describe on topic"}},
		{partitionError("create topic", "t", -1, -1, fmt.Errorf("%w no", kafka.TopicAuthorizationFailed)), []string{"Create on topic"}},
		{partitionError("create partitions of topic", "t", -1, -1, kafka.TopicAuthorizationFailed), []string{"--operation Alter --topic t"}},
		{partitionError("fetch", "events", 3, 7, kafka.NotLeaderForPartition), nil},
		{groupKey("g").deny(kafka.GroupAuthorizationFailed), []string{`Read on group "g"`, "--operation Read --group g"}},
		{groupKey("g").deny(kafka.TopicAuthorizationFailed), nil},
		{transactionKey("g-h-0a").deny(kafka.TransactionalIDAuthorizationFailed), []string{`Write on transactional-id "g-h-0a"`, "--operation Write --transactional-id g-h- --resource-pattern-type prefixed"}},
		{Deny(partitionError("fetch", "t", 1, 1, kafka.TopicAuthorizationFailed), "g", "x"), []string{"Read on topic"}},
		{denyCluster(kafka.ClusterAuthorizationFailed, OperationIdempotentWrite), []string{"IdempotentWrite on the cluster", "--operation IdempotentWrite --cluster"}},
	} {
		var denied *DeniedError
		if errors.As(x.err, &denied) != (x.says != nil) {
			t.Errorf("%v", x.err)
		}
		for _, says := range x.says {
			if !strings.Contains(x.err.Error(), says) {
				t.Errorf("%v does not say %q", x.err, says)
			}
		}
		if x.says != nil && (Classify(x.err) != Fatal || Hint(x.err) != denied.Hint() || !isCode(x.err)) {
			t.Errorf("%v: %v, %q", x.err, Classify(x.err), Hint(x.err))
		}
	}
}
