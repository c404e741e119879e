package gateway

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/rules"
)

// startEngine runs an engine of few lines: it judges the input topic from its beginning on, in the order
// of each partition, by the built-in rules, and publishes a result of full detail for each event.
// Publish, if not nil, is asked for each event whether its result is published.
func (c *cluster) startEngine(t testing.TB, publish func(user int64) bool) {
	t.Helper()
	e := &engine{
		client: c.client(t, kgo.ConsumeTopics(c.input), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.DefaultProduceTopic(c.output), kgo.ProducerLinger(0), kgo.FetchMaxWait(fakeEngineWait)),
		publish: publish,
		decoder: contract.NewDecoder(contract.DecoderOptions{}),
		encoder: contract.NewResultEncoder(rules.DefaultTypes(), contract.DetailFull),
		rules:   rules.Builtin(),
		users:   make(map[int64]*rules.UserState),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { e.run(ctx, t) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
}

const fakeEngineWait = 200_000_000 // ns; kfake and the real broker answer at once when there is something

type engine struct {
	client  *kgo.Client
	publish func(user int64) bool
	decoder *contract.Decoder
	encoder *contract.ResultEncoder
	rules   *rules.Set
	users   map[int64]*rules.UserState
	verdict rules.Verdict
}

func (e *engine) run(ctx context.Context, t testing.TB) {
	for ctx.Err() == nil {
		fetches := e.client.PollFetches(ctx)
		var results []*kgo.Record
		fetches.EachRecord(func(r *kgo.Record) {
			if result := e.judge(t, r); result != nil {
				results = append(results, result)
			}
		})
		if err := e.client.ProduceSync(ctx, results...).FirstErr(); err != nil && ctx.Err() == nil {
			t.Errorf("engine of the test: %v", err)
			return
		}
	}
}

func (e *engine) judge(t testing.TB, r *kgo.Record) *kgo.Record {
	var ev contract.Event
	if refused := e.decoder.Decode(r.Value, r.Timestamp.UnixMilli(), &ev); refused != nil {
		t.Errorf("the gateway let through what is no event: %v", refused)
		return nil
	}
	if key := strconv.FormatInt(ev.UserID, 10); key != string(r.Key) {
		t.Errorf("key %q of an event of user %d", r.Key, ev.UserID)
	}
	user := e.users[ev.UserID]
	if user == nil {
		user = new(rules.UserState)
		e.users[ev.UserID] = user
	}
	e.rules.Judge(user, &ev.Event, &e.verdict)
	if e.publish != nil && !e.publish(ev.UserID) {
		return nil
	}
	source := contract.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
	result := &kgo.Record{Key: r.Key, Value: e.encoder.Append(nil, &ev, source, &e.verdict)}
	for _, h := range r.Headers {
		if h.Key == contract.HeaderRequestID || h.Key == contract.HeaderTraceparent {
			result.Headers = append(result.Headers, h)
		}
	}
	return result
}
