package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
)

// batchBytesFloor is the least that kafka.batch_bytes_max may be.
const batchBytesFloor = 16 << 10

// messageBytesDefault is max.message.bytes of a topic that says nothing else (Kafka's default).
const messageBytesDefault = 1<<20 + 12

// limits are the sizes of record batches that the topics take. Safe for concurrent use.
type limits struct {
	output, dead, rekey topicLimit
}

// topicLimit is what one topic takes, in bytes of a record batch with its header.
type topicLimit struct {
	topic string
	joint int          // kafka.batch_bytes_max: what a batch of several records may have
	least int          // every result, or dead letter, fits into so much when all is cut that may be
	takes atomic.Int64 // max.message.bytes, as far as is known: what a batch of one record may have
}

func newLimits(o *Options) *limits {
	l := new(limits)
	l.output.topic, l.output.joint, l.output.least = o.Output, o.BatchBytesMax, leastResult(o)
	l.dead.topic, l.dead.joint, l.dead.least = o.DeadLetters, o.BatchBytesMax, leastDeadLetter(o)
	l.rekey.topic, l.rekey.joint, l.rekey.least = o.rekeyTopic(), o.BatchBytesMax, boundaryBytesMax
	for _, t := range l.all() {
		t.takes.Store(messageBytesDefault)
	}
	return l
}

func (l *limits) all() []*topicLimit { return []*topicLimit{&l.output, &l.dead, &l.rekey} }

// single is the size of the largest batch with one record.
func (l *topicLimit) single() int { return int(l.takes.Load()) }

// several is the size of the largest batch with more records.
func (l *topicLimit) several() int { return min(l.joint, l.single()) }

// of returns the limit of a topic, nil if it is none of them.
func (l *limits) of(topic string) *topicLimit {
	switch topic {
	case l.output.topic:
		return &l.output
	case l.dead.topic:
		return &l.dead
	case l.rekey.topic:
		return &l.rekey
	}
	return nil
}

// check returns a *stopError if a topic takes so little that not every record could be written, however much of it is
// cut. To go on would end in a transaction that fails again and again.
func (l *limits) check() error {
	for _, t := range l.all() {
		if n := t.single(); n < t.least {
			return &stopError{
				cause:  causeTakesLess,
				what:   fmt.Sprintf("topic %s takes batches of %d bytes (max.message.bytes), a record that is cut to its least may have %d", t.topic, n, t.least),
				remedy: "raise max.message.bytes of the topic",
			}
		}
	}
	return nil
}

// readLimits asks what the topics take. Without the permission to read a topic's configuration what is known so far
// stays, at first Kafka's default; a batch that turns out too large lowers it (shrink).
func (e *Engine) readLimits(ctx context.Context) error {
	for _, t := range e.limits.all() {
		if t == &e.limits.rekey && len(e.sources) < 2 {
			continue // there is none
		}
		n, err := e.options.Client.MessageBytesMax(ctx, t.topic)
		switch {
		case err == nil:
			t.takes.Store(int64(n))
		case classify(err) == fatal:
			e.log.Info("max.message.bytes cannot be read", "topic", t.topic, "assumed", t.single(), "err", err)
		default:
			return fmt.Errorf("max.message.bytes of %s: %w", t.topic, err)
		}
	}
	return nil
}

// checkLimits stops a lane where a topic takes too little, as soon as that is so and until it is mended.
func (e *Engine) checkLimits(ctx context.Context) error {
	if e.limits.check() == nil {
		return nil
	}
	if err := e.call(ctx, e.readLimits); err != nil {
		return err
	}
	return e.limits.check()
}

// shrink answers a transaction that failed for a batch that was larger than its topic takes: the topic's limit was
// lowered meanwhile, or could not be read. If the topic does not say a lower one, half of what was held is tried next.
func (e *Engine) shrink(ctx context.Context, err error) {
	refused := e.limits.all()
	var at *wire.PartitionError
	if errors.As(err, &at) {
		if t := e.limits.of(at.Topic); t != nil {
			refused = []*topicLimit{t}
		}
	}
	for _, t := range refused {
		held := t.single()
		var n int
		readErr := e.call(ctx, func(ctx context.Context) (err error) {
			n, err = e.options.Client.MessageBytesMax(ctx, t.topic)
			return err
		})
		if readErr != nil || n >= held {
			n = max(held/2, min(held, t.least))
		}
		t.takes.Store(int64(n))
		e.log.Warn("a batch was too large for its topic: smaller ones are written from now on", "topic", t.topic, "former_bytes", held, "bytes", n, "err", readErr)
	}
}

// leastResult bounds the batch of a single result of which all is cut that may be: all rules raised, the largest
// numbers, no detail, none of the headers that travel.
func leastResult(o *Options) int {
	codes := 0
	value := []byte(`{"alert":false,"alert_codes":[],"user_id":-9223372036854775808}`)
	for _, r := range o.Rules.Rules() {
		value = fmt.Appendf(value, "%d,", r.Code)
		codes++
	}
	cut := contract.AppendResultCut(nil, true, true, true)
	return leastBatch(o.Output, fmt.Append(nil, uint64(math.MaxUint64)), value,
		headerAlert, wire.Header{Key: contract.HeaderSource, Value: longestSource(o)},
		wire.Header{Key: contract.HeaderRules, Value: []byte(o.Rules.Hash())}, wire.Header{Key: contract.HeaderCut, Value: cut})
}

// leastDeadLetter bounds the batch of a single dead letter of which all is cut that may be.
func leastDeadLetter(o *Options) int {
	longest := ""
	for _, r := range contract.Reasons() {
		if len(r) > len(longest) {
			longest = string(r)
		}
	}
	cut := contract.CutDeadLetter(make([]byte, 1), make([]byte, 1), 1, 0)
	// Each of the five numbers of the text has one digit here and ten at most.
	text := cut.Text + strings.Repeat("0", 5*9) + contract.DetailDropped
	return leastBatch(o.DeadLetters, nil, nil,
		wire.Header{Key: contract.HeaderReason, Value: []byte(longest)}, wire.Header{Key: contract.HeaderDetail, Value: nil},
		wire.Header{Key: contract.HeaderSource, Value: longestSource(o)},
		wire.Header{Key: contract.HeaderTimestamp, Value: fmt.Append(nil, int64(math.MinInt64))},
		wire.Header{Key: contract.HeaderCut, Value: []byte(text)})
}

func longestSource(o *Options) []byte {
	return contract.AppendSource(nil, contract.Source{Topic: slices.MaxFunc(o.Inputs, func(a, b string) int { return cmp.Compare(len(a), len(b)) }), Partition: math.MaxInt32, Offset: math.MaxInt64})
}

func leastBatch(topic string, key, value []byte, headers ...wire.Header) int {
	b := wire.NewBatch(topic, 0)
	b.Append(0, key, value, headers...)
	return b.Len()
}
