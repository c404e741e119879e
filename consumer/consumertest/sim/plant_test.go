package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lapwing/lapwing/consumer"
)

// once lets the nth request that do takes be the only one that is tampered with.
func once(nth int32, key kmsg.Key, do func(r request, m kmsg.Request, forward func([]byte) ([]byte, error)) ([]byte, bool, error)) tamper {
	var seen atomic.Int32
	return func(r request, forward func([]byte) ([]byte, error)) ([]byte, bool, error) {
		if r.key != int16(key) || seen.Add(1) != nth {
			return nil, false, nil
		}
		answer, handled, err := do(r, r.message(), forward)
		if !handled {
			seen.Add(-1) // this one had nothing to do it to
		}
		return answer, handled, err
	}
}

// withResults says whether a Produce request has results.
func withResults(m kmsg.Request) (*kmsg.ProduceRequest, *kmsg.ProduceRequestTopicPartition) {
	p := m.(*kmsg.ProduceRequest)
	for i := range p.Topics {
		if p.Topics[i].Topic == output {
			return p, &p.Topics[i].Partitions[0]
		}
	}
	return p, nil
}

// dropResults tells the engine that its batches are written, and writes nothing.
func dropResults(r request, m kmsg.Request, _ func([]byte) ([]byte, error)) ([]byte, bool, error) {
	if _, part := withResults(m); part == nil {
		return nil, false, nil
	}
	return r.answer(blank(m)), true, nil
}

// writeTwice writes a batch of results a second time, outside of any transaction.
func writeTwice(r request, m kmsg.Request, forward func([]byte) ([]byte, error)) ([]byte, bool, error) {
	p, part := withResults(m)
	if part == nil {
		return nil, false, nil
	}
	answer, err := forward(r.frame)
	if err != nil {
		return nil, true, err
	}
	const crcAt, attributesAt, producerAt, countAt = 17, 21, 43, 57 // of a record batch of version 2
	b := append([]byte{}, part.Records...)
	binary.BigEndian.PutUint16(b[attributesAt:], binary.BigEndian.Uint16(b[attributesAt:])&^0x10)
	for i := producerAt; i < countAt; i++ {
		b[i] = 0xff // no producer, no epoch, no sequence
	}
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], crc32.MakeTable(crc32.Castagnoli)))
	copied := kmsg.NewProduceRequestTopicPartition()
	copied.Partition, copied.Records = part.Partition, b
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = output, append(topic.Partitions, copied)
	p.TransactionID, p.Topics = nil, []kmsg.ProduceRequestTopic{topic}
	_, err = forward(r.with(p))
	return answer, true, err
}

// abortInstead aborts a transaction that the engine is told was committed.
func abortInstead(r request, m kmsg.Request, forward func([]byte) ([]byte, error)) ([]byte, bool, error) {
	end := m.(*kmsg.EndTxnRequest)
	if !end.Commit {
		return nil, false, nil
	}
	end.Commit = false
	answer, err := forward(r.with(end))
	return answer, true, err
}

// TestPlantedFaultsAreFound makes faults that no repair of the engine can hide, on an otherwise quiet run: the simulation
// fails, and for the right reason.
func TestPlantedFaultsAreFound(t *testing.T) {
	grows := &changes{grow: 4, by: 2, stopped: true} // with a backlog in the old partitions
	plants := []struct {
		name  string
		plant func() plant
		found func(r Result) int
	}{
		{"nothing", func() plant { return plant{} }, nil},
		{"results dropped", func() plant { return plant{tamper: once(2, kmsg.Produce, dropResults)} }, func(r Result) int { return r.Report.Lost }},
		{"results twice", func() plant { return plant{tamper: once(2, kmsg.Produce, writeTwice)} }, func(r Result) int { return r.Report.Twice }},
		{"commit aborted", func() plant { return plant{tamper: once(2, kmsg.EndTxn, abortInstead)} }, func(r Result) int {
			if errors.Is(r.Err, errNotDrained) { // the lane has stopped by itself: its checkpoint is ahead of the committed offset
				return 1
			}
			return r.Report.Lost
		}},
		{"states forgotten", func() plant { return plant{forget: true} }, func(r Result) int { return r.Report.Wrong }},
		{"a layout changed", func() plant { return plant{changes: grows} }, nil},
		{"states not inherited", func() plant { return plant{changes: grows, disinherit: true} }, func(r Result) int { return r.Report.Wrong }},
		{"a layout begun too early", func() plant { return plant{changes: grows, unsettled: true} }, func(r Result) int {
			return r.Report.Wrong + r.Report.Disorder + r.Report.StatesWrong
		}},
	}
	for _, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			seed := uint64(1000)
			for s := drawSettings(seed); s.guarantee != consumer.ExactlyOnce || s.alertsOnly; s = drawSettings(seed) {
				seed++
			}
			o := Options{Seed: seed, plant: p.plant()}
			o.plant.calm = true
			r := Run(t.Context(), o)
			switch {
			case p.found == nil && r.Err != nil:
				t.Fatalf("without a fault: %v\n%s", r.Err, r.Log)
			case p.found != nil && (r.Err == nil || p.found(r) == 0):
				t.Fatalf("not found: %v\n%v", r.Report, r.Err)
			}
		})
	}
}

// TestPlansCoverTheTable checks that each row of seeds plans every fault, whatever it draws beside.
func TestPlansCoverTheTable(t *testing.T) {
	for row := range uint64(3) {
		planned := map[cell]int{}
		for seed := row * spread; seed < (row+1)*spread; seed++ {
			for _, f := range plan(seed, true, true) {
				planned[f.cell]++
			}
		}
		for _, c := range table() {
			if planned[c] != 2 {
				t.Errorf("row %d plans %v %d times", row, c, planned[c])
			}
		}
	}
}

// TestSameSeedSameScript checks that nothing but the seed decides what is planned.
func TestSameSeedSameScript(t *testing.T) {
	for seed := range uint64(50) {
		script := func(seed uint64) string {
			s := drawSettings(seed)
			return fmt.Sprint(s, s.happenings, describe(plan(seed, true, true)))
		}
		first := script(seed)
		if script(seed) != first {
			t.Fatalf("seed %d has two scripts", seed)
		}
		if script(seed+1) == first {
			t.Errorf("seeds %d and %d have the same script", seed, seed+1)
		}
	}
}
