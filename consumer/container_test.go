package consumer

import (
	"testing"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/state"
)

// TestEngineInContainers runs the engine on a real Kafka and a real Redis in containers: the images that people run.
func TestEngineInContainers(t *testing.T) {
	b := newBench(t, consumertest.KafkaContainer(t), 3)
	o := state.DefaultRedisOptions()
	o.Addrs, o.Group = []string{consumertest.RedisContainer(t)}, b.group
	store, err := state.NewRedis(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	e, stop := b.engine(store, nil)
	waitReady(t, e)
	g := consumertest.NewGenerator(consumertest.EventOptions{Seed: 11, Users: 200, Bad: 0.02, Tombstones: 0.01, Headers: 0.05})
	n, err := consumertest.Produce(t.Context(), consumertest.ProduceOptions{Brokers: []string{b.broker}, Topic: b.input, Count: 5000}, g)
	if err != nil {
		t.Fatal(err)
	}
	report, err := consumertest.Check(t.Context(), consumertest.CheckOptions{
		Brokers: []string{b.broker}, Inputs: []string{b.input}, Output: b.output, DeadLetters: b.dead,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil || report.Records != n {
		t.Fatalf("%d records: %v\n%v", n, report, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := consumertest.CheckCheckpoints(t.Context(), []string{b.broker}, b.group, b.input, store, true); err != nil {
		t.Fatal(err)
	}
}
