package wire

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"
)

var allCompressions = []Compression{None, Gzip, Snappy, LZ4, Zstd}

func TestCommitAndReadInEveryCodec(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		for _, codec := range allCompressions {
			topic := b.topic(t, c, 1)
			p := b.producer(c, ProducerOptions{Compression: codec})
			if err := p.Init(ctx); err != nil {
				t.Fatal(err)
			}
			var want []seen
			offset := int64(0)
			for round := range 3 {
				batch := NewBatch(topic, 0)
				for i := range 200 {
					key, value := fmt.Sprintf("k%d", i%7), fmt.Sprintf("value %d of round %d", i, round)
					batch.Append(1700000000000+int64(i), []byte(key), []byte(value), Header{"a", []byte("1")}, Header{"n", nil})
					want = append(want, seen{offset, key, value, "a=1;n=<null>;"})
					offset++
				}
				batch.Append(1700000000000-5, nil, nil)
				want = append(want, seen{offset, "<null>", "<null>", ""})
				offset += 2 // And the commit marker.
				if err := p.Commit(ctx, &Transaction{Batches: []*Batch{batch}}); err != nil {
					t.Fatal(err)
				}
			}
			waitStable(t, c, topic, 0, offset)
			if got, next := readAll(t, c, topic, 0, 0, FetchOptions{Committed: true}); !reflect.DeepEqual(got, want) || next != offset {
				t.Fatalf("%v: read %d records up to %d, want %d up to %d", codec, len(got), next, len(want), offset)
			}
			if got := b.franzReadAll(t, topic, 0, offset, true); !reflect.DeepEqual(got, want) {
				t.Fatalf("%v: franz-go read %d records, want %d", codec, len(got), len(want))
			}
		}
	})
}

// waitStable waits for the markers of the last transaction.
func waitStable(t testing.TB, c *Client, topic string, partition int32, end int64) {
	t.Helper()
	ctx := testContext(t)
	for {
		got, err := c.EndOffset(ctx, topic, partition, true)
		if err != nil {
			t.Fatal(err)
		}
		if got >= end {
			return
		}
	}
}

func TestCommitOffsets(t *testing.T) {
	onProtocols(t, func(t *testing.T, b broker) {
		c := b.client(t)
		ctx := testContext(t)
		topic := b.topic(t, c, 2)
		member := b.join(t, c, unique("group"), topic)
		if err := c.Heartbeat(ctx, member); err != nil {
			t.Fatal(err)
		}
		p := b.producer(c, ProducerOptions{})
		if err := p.Init(ctx); err != nil {
			t.Fatal(err)
		}
		for i := range int64(20) {
			one, two := NewBatch(topic, 0), NewBatch(topic, 1)
			one.Append(1, nil, []byte("a"))
			two.Append(1, nil, []byte("b"))
			again := NewBatch(topic, 1)
			again.Append(1, nil, []byte("c"))
			err := p.Commit(ctx, &Transaction{
				Batches: []*Batch{one, two, again},
				Member:  member,
				Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {i + 10, "mark"}, 1: {i + 20, ""}}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			got := stableOffsets(t, c, member.Group, topic, 0, 1)
			want := map[int32]Committed{0: {Offset: i + 10, Metadata: "mark"}, 1: {Offset: i + 20}}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("offsets %+v, want %+v", got, want)
			}
		}
		stale := member
		stale.Generation--
		batch := NewBatch(topic, 0)
		batch.Append(1, nil, []byte("stale"))
		err := p.Commit(ctx, &Transaction{Batches: []*Batch{batch}, Member: stale,
			Offsets: []TopicOffsets{{topic, map[int32]OffsetMeta{0: {99, ""}}}}})
		var code kafka.Error
		if !errors.As(err, &code) || code != kafka.IllegalGeneration || Classify(err) != Rejoin {
			t.Fatalf("stale generation: %v", err)
		}
		if p.State() != StateDoubtful {
			t.Fatalf("state %v", p.State())
		}
		if got := stableOffsets(t, c, member.Group, topic, 0); got[0].Offset != 29 {
			t.Fatalf("offset %+v after a stale commit", got)
		}
	})
}

// stableOffsets waits until no transaction is about to change the offsets.
func stableOffsets(t testing.TB, c *Client, group, topic string, partitions ...int32) map[int32]Committed {
	t.Helper()
	ctx := testContext(t)
	for {
		got, err := c.StableOffsets(ctx, group, topic, partitions)
		if err != nil {
			t.Fatal(err)
		}
		stable := true
		for _, o := range got {
			var code kafka.Error
			if errors.As(o.Err, &code) && code == kafka.UnstableOffsetCommit {
				stable = false
			} else if o.Err != nil {
				t.Fatal(o.Err)
			}
		}
		if stable {
			return got
		}
	}
}

// TestProducerStates has every pair of states.
func TestProducerStates(t *testing.T) {
	all := []ProducerState{StateNew, StateInitializing, StateReady, StateInTransaction, StateDoubtful, StateFenced}
	legal := map[ProducerState][]ProducerState{
		StateNew:           {StateInitializing},
		StateInitializing:  {StateReady, StateDoubtful, StateFenced},
		StateReady:         {StateInitializing, StateInTransaction},
		StateInTransaction: {StateReady, StateDoubtful, StateFenced},
		StateDoubtful:      {StateInitializing},
		StateFenced:        {StateInitializing},
	}
	for _, from := range all {
		for _, to := range all {
			p := &Producer{state: from}
			err := p.become(to)
			if slices.Contains(legal[from], to) {
				if err != nil || p.State() != to {
					t.Errorf("%v to %v: state %v, %v", from, to, p.State(), err)
				}
			} else if !errors.Is(err, ErrState) || p.State() != from {
				t.Errorf("%v to %v: state %v, %v", from, to, p.State(), err)
			}
		}
	}
	names := []string{"new", "initializing", "ready", "in transaction", "doubtful", "fenced"}
	for i, s := range all {
		if s.String() != names[i] {
			t.Errorf("%q, want %q", s, names[i])
		}
	}
	if got := ProducerState(9).String(); got != "ProducerState(9)" {
		t.Error(got)
	}
}
