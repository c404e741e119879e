package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/lapwing/lapwing/consumer/wire"
)

// writeError says why an event was not acknowledged, and what is certain all the same.
type writeError struct {
	// certain: the event is not in the topic. Otherwise it may be.
	certain bool
	err     error
}

// Error returns the cause.
func (e *writeError) Error() string {
	if e.certain {
		return "not written: " + e.err.Error()
	}
	return "may or may not be written: " + e.err.Error()
}

// Unwrap returns the cause.
func (e *writeError) Unwrap() error { return e.err }

// produceFunc writes messages to one partition, once, and returns the first one's offset. Any error is
// a *writeError.
type produceFunc func(ctx context.Context, partition int32, batch []*message) (base int64, err error)

// producer returns the produceFunc of a topic. It uses kafka-go's own produce request, which one
// partition and no transaction need nothing more than.
func producer(c *wire.Client, topic string) produceFunc {
	client := &kafka.Client{Addr: c.Addr(), Transport: c.Transport()}
	return func(ctx context.Context, partition int32, batch []*message) (int64, error) {
		records := &records{batch: batch}
		answer, err := client.Produce(ctx, &kafka.ProduceRequest{
			Topic: topic, Partition: int(partition), RequiredAcks: kafka.RequireAll, Records: records,
		})
		switch {
		case err != nil:
			return -1, &writeError{certain: records.unread(), err: fmt.Errorf("write to %s/%d: %w", topic, partition, err)}
		case answer.Error != nil:
			return -1, &writeError{
				certain: nothingAppended(answer.Error, answer.BaseOffset),
				err:     fmt.Errorf("write to %s/%d: %w", topic, partition, wire.DenyTopic(answer.Error, wire.OperationWrite, topic)),
			}
		default:
			return answer.BaseOffset, nil
		}
	}
}

// nothingAppended reports whether the broker's error means that no record is in the log. It is about
// one answer's meaning for these records, not about what to do next, which is wire.Classify's.
func nothingAppended(err error, base int64) bool {
	var code kafka.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case kafka.UnknownTopicOrPartition, kafka.LeaderNotAvailable, kafka.MessageSizeTooLarge, kafka.InvalidTopic,
		kafka.RecordListTooLarge, kafka.NotEnoughReplicas, kafka.TopicAuthorizationFailed,
		kafka.ClusterAuthorizationFailed, kafka.InvalidTimestamp, kafka.UnsupportedForMessageFormat,
		kafka.PolicyViolation, kafka.UnsupportedCompressionType, kafka.InvalidRecord, kafka.ThrottlingQuotaExceeded:
		return true // checks before the append
	case kafka.NotLeaderForPartition:
		// A leader that is deposed while it waits for the other replicas gives the same code as one that
		// never was it, after the append. Then it names the base offset (Kafka's DelayedProduce), before
		// it -1 (LogAppendInfo.UNKNOWN_LOG_APPEND_INFO).
		return base < 0
	}
	// Above all 7 (no acknowledgement in time) and 20 (too few replicas after the append), 56 (disk).
	return false
}

// records hands a batch to kafka-go, and knows whether it was: kafka-go reads it when it is about to
// put it on a connection, so that a batch that nobody has read was certainly not sent. Without that,
// a broker that cannot be reached (the dialing took all of the time) would look the same as one that
// did not answer.
type records struct {
	batch []*message
	next  int // of the batch; used by kafka-go's one goroutine only
	state atomic.Int32
}

const (
	recordsFresh int32 = iota
	recordsRead
	recordsClosed
)

var errAbandoned = errors.New("the write was given up before it was sent")

// ReadRecord returns the next record, io.EOF after the last.
func (r *records) ReadRecord() (*kafka.Record, error) {
	if !r.state.CompareAndSwap(recordsFresh, recordsRead) && r.state.Load() == recordsClosed {
		return nil, errAbandoned
	}
	if r.next == len(r.batch) {
		return nil, io.EOF
	}
	m := r.batch[r.next]
	r.next++
	return &kafka.Record{
		Time: m.time, Key: protocol.NewBytes(m.key), Value: protocol.NewBytes(m.value), Headers: m.headers,
	}, nil
}

// unread reports whether no record was read, and then lets none be read any more: kafka-go may still
// hold the request when the caller's context has ended.
func (r *records) unread() bool { return r.state.CompareAndSwap(recordsFresh, recordsClosed) }
