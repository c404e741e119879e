package consumertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/contract"
)

// otherPartitions has the partitions of the producers that no contract.Partitioner fits.
var otherPartitions = map[string]func(key []byte, n int32) int32{
	"kafka-go ReferenceHash": func(key []byte, n int32) int32 { return int32(fnvOf(key)%(1<<31)) % n },
	"franz-go SaramaHasher":  func(key []byte, n int32) int32 { return int32(fnvOf(key) % uint32(n)) },
}

func fnvOf(key []byte) uint32 {
	h := fnv.New32a()
	h.Write(key)
	return h.Sum32()
}

// partitionsOf returns the function that says where a producer's keyed records must be.
func partitionsOf(t *testing.T, p Producer) func(key []byte, n int32) int32 {
	if p.Partitioner == "" {
		other := otherPartitions[p.Name]
		if other == nil {
			t.Fatalf("nobody says where %s puts its keys", p.Name)
		}
		return other
	}
	partitioner, err := contract.ParsePartitioner(p.Partitioner)
	if err != nil {
		t.Fatal(err)
	}
	return partitioner.Partition
}

// sentRecords makes records to send: keys of 1 to 19 digits, ten times each, every fifth record without key, a tombstone, and
// values with bytes that a careless transport would cut at. The value begins with the record's place in the order; the
// tombstone is the one record without.
func sentRecords(rng *rand.Rand) []ProducerRecord {
	keys := []string{"0", strconv.FormatInt(math.MaxInt64, 10)}
	low := int64(1)
	for digits := 1; digits <= 19; digits++ {
		span := 9 * low
		if digits == 19 {
			span = math.MaxInt64 - low
		}
		for range 16 {
			keys = append(keys, strconv.FormatInt(low+rng.Int64N(span), 10))
		}
		if digits < 19 {
			low *= 10
		}
	}
	keys = slices.Repeat(keys, 10) // several batches of each client
	rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	odd := []string{"", "\n", "\r\n", "\t", "\x00", "<key0>", "<end0>", "<end", "\xff\xfe", strings.Repeat("long ", 500)}
	var records []ProducerRecord
	add := func(key []byte) {
		n := len(records)
		records = append(records, ProducerRecord{Key: key, Value: fmt.Appendf(nil, "%d %s", n, odd[n%len(odd)])})
	}
	for i, key := range keys {
		if i%4 == 3 {
			add(nil)
		}
		add([]byte(key))
	}
	return append(records, ProducerRecord{Key: []byte("4711")})
}

// TestProducersPartition has each producer write to topics of 6 and 12 partitions, and reads where every record came to be.
func TestProducersPartition(t *testing.T) {
	if testing.Short() {
		t.Skip("20 topics, and each producer twice")
	}
	brokers := Kafka(t)
	seed := testSeed(t)
	producers := Producers(t)
	var specs []TopicSpec
	for range producers {
		specs = append(specs, TopicSpec{Partitions: 6}, TopicSpec{Partitions: 12})
	}
	topics := producerTopics(t, brokers, specs...)
	for i, p := range producers {
		for j, partitions := range []int32{6, 12} {
			t.Run(fmt.Sprintf("%s/%d", p.Name, partitions), func(t *testing.T) {
				records := sentRecords(rand.New(rand.NewPCG(seed, uint64(partitions))))
				topic := topics[2*i+j]
				if err := p.Send(testContext(t), t, brokers, topic, records); err != nil {
					t.Fatal(err)
				}
				checkSent(t, brokers, topic, records, partitions, partitionsOf(t, p))
			})
		}
	}
}

// producerTopics makes topics, all at once, that end with the test, and returns their names.
func producerTopics(t *testing.T, brokers string, specs ...TopicSpec) []string {
	t.Helper()
	var names []string
	for i := range specs {
		specs[i].Name = Topic(t, "producers")
		names = append(names, specs[i].Name)
	}
	list := []string{brokers}
	if err := CreateTopics(testContext(t), list, specs...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := DeleteTopics(ctx, list, names...); err != nil {
			t.Error(err)
		}
	})
	return names
}

// checkSent reads the topic with franz-go and finds each record once, in the partition that its key names, and those of a
// partition in the order of sending.
func checkSent(
	t *testing.T, brokers, topic string, records []ProducerRecord, partitions int32, partition func([]byte, int32) int32,
) {
	t.Helper()
	f, err := newFollower([]string{brokers}, topic)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	seen := make([]int, len(records))
	last := make([]int, partitions)
	for i := range last {
		last[i] = -1
	}
	elsewhere := 0
	ends, err := f.readAll(testContext(t), func(r *kgo.Record) {
		n := len(records) - 1 // the tombstone
		if r.Value != nil {
			number, _, _ := strings.Cut(string(r.Value), " ")
			var err error
			if n, err = strconv.Atoi(number); err != nil || n < 0 || n >= len(records) {
				t.Errorf("partition %d offset %d: nobody sent %q", r.Partition, r.Offset, r.Value)
				return
			}
		}
		seen[n]++
		want := records[n]
		if !bytes.Equal(r.Key, want.Key) || (r.Key == nil) != (want.Key == nil) || !bytes.Equal(r.Value, want.Value) {
			t.Errorf("record %d: read %q %q, sent %q %q", n, r.Key, r.Value, want.Key, want.Value)
		}
		if age := time.Since(r.Timestamp).Abs(); age > time.Hour {
			t.Errorf("record %d has the timestamp %v", n, r.Timestamp)
		}
		if n <= last[r.Partition] {
			t.Errorf("partition %d offset %d: record %d comes after %d", r.Partition, r.Offset, n, last[r.Partition])
		}
		last[r.Partition] = n
		if want.Key != nil && partition(want.Key, partitions) != r.Partition {
			if elsewhere++; elsewhere > 5 {
				return
			}
			t.Logf("key %s in partition %d, want %d", want.Key, r.Partition, partition(want.Key, partitions))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if elsewhere > 0 {
		t.Errorf("%d of %d records are in another partition than their key's", elsewhere, len(records))
	}
	if i := slices.IndexFunc(seen, func(times int) bool { return times != 1 }); i >= 0 {
		t.Errorf("record %d is in the topic %d times", i, seen[i])
	}
	total := int64(0)
	for _, end := range ends {
		total += end
	}
	if total != int64(len(records)) {
		t.Errorf("%d offsets for %d records", total, len(records))
	}
}

// TestProducersOfNoFamily holds "" against each partitioner: a producer may have it only if none of them fits.
func TestProducersOfNoFamily(t *testing.T) {
	for name, partition := range otherPartitions {
		for _, fits := range []contract.Partitioner{contract.Murmur2, contract.CRC32, contract.FNV1a} {
			differ := 0
			for user := range int64(1000) {
				key := strconv.AppendInt(nil, user, 10)
				if partition(key, 12) != fits.Partition(key, 12) {
					differ++
				}
			}
			if differ < 100 {
				t.Errorf("%s: %d of 1000 keys are elsewhere by %v", name, differ, fits)
			}
		}
	}
}

// TestProducersNameTheCause has the broker refuse one record among others: a compacted topic takes none without key.
func TestProducersNameTheCause(t *testing.T) {
	brokers := Kafka(t)
	topic := producerTopics(t, brokers, TopicSpec{Partitions: 1, Configs: map[string]string{"cleanup.policy": "compact"}})[0]
	for _, p := range Producers(t) {
		t.Run(p.Name, func(t *testing.T) {
			err := p.Send(testContext(t), t, brokers, topic, []ProducerRecord{
				{Key: []byte("1"), Value: []byte("right")}, {Value: []byte("wrong")}, {Key: []byte("1"), Value: []byte("right")},
			})
			if err == nil {
				t.Fatal("no error")
			}
			named := func(cause string) bool { return strings.Contains(err.Error(), cause) }
			// librdkafka, Java, kafka-go, franz-go.
			causes := []string{"failed to validate record", "InvalidRecordException", "Invalid Record", "INVALID_RECORD"}
			if !slices.ContainsFunc(causes, named) || !named(topic) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestProducersAtOnce has all producers write to one topic at the same time, with keys of every kind.
func TestProducersAtOnce(t *testing.T) {
	brokers := Kafka(t)
	topic := producerTopics(t, brokers, TopicSpec{Partitions: 6})[0]
	producers := Producers(t)
	missing := map[string]int{} // times that a key and value are still to be read
	ident := func(key, value []byte) string { return fmt.Sprintf("%t %q %q", key == nil, key, value) }
	errs := make(chan error, len(producers))
	for _, p := range producers {
		p.Need(t)
	}
	for i, p := range producers {
		records := MixedKeys(EventOptions{Seed: uint64(i)}, 500, KeyShares{None: 0.3, Other: 0.3})
		for _, r := range records {
			missing[ident(r.Key, r.Value)]++
		}
		go func() { errs <- p.Send(testContext(t), t, brokers, topic, records) }()
	}
	for range producers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	f, err := newFollower([]string{brokers}, topic)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if _, err := f.readAll(testContext(t), func(r *kgo.Record) { missing[ident(r.Key, r.Value)]-- }); err != nil {
		t.Fatal(err)
	}
	for record, times := range missing {
		if times != 0 {
			t.Errorf("%d times too few in the topic: %s", times, record)
		}
	}
}

// TestProducersEndWithTheContext sends to a port that takes connections and answers nothing.
func TestProducersEndWithTheContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, p := range Producers(t) {
		t.Run(p.Name, func(t *testing.T) {
			p.Need(t)
			ctx, cancel := context.WithTimeout(testContext(t), 500*time.Millisecond)
			defer cancel()
			started := time.Now()
			err := p.Send(ctx, t, silent.Addr().String(), "nowhere", []ProducerRecord{{Value: []byte("v")}})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(started); took > 20*time.Second {
				t.Errorf("the context ended after 0.5 s, Send after %v", took)
			}
		})
	}
}

func TestKcatInput(t *testing.T) {
	tests := []struct {
		name    string
		records []ProducerRecord
		want    string // "": refused
	}{
		{"plain", []ProducerRecord{{Key: []byte("k"), Value: []byte("v")}, {Value: []byte("w")}, {Key: []byte("t")}},
			"k<key0>v<end0>w<end0>t<key0><end0>"},
		{"key end in a value without key", []ProducerRecord{{Value: []byte("a<key0>b")}}, "a<key0>b<end1>"},
		{"key end in a value with key", []ProducerRecord{{Key: []byte("k"), Value: []byte("a<key0>")}}, "k<key0>a<key0><end0>"},
		{"record end in a key", []ProducerRecord{{Key: []byte("<end0>"), Value: []byte("v")}}, "<end0><key1>v<end1>"},
		{"two in turn", []ProducerRecord{{Value: []byte("<key0>")}, {Value: []byte("<end1>")}}, "<key0><end2><end1><end2>"},
		{"empty key", []ProducerRecord{{Key: []byte{}, Value: []byte("v")}}, ""},
		{"empty value", []ProducerRecord{{Key: []byte("k"), Value: []byte{}}}, ""},
		{"nothing", []ProducerRecord{{}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			input, err := newKcatInput(tt.records)
			if (err == nil) != (tt.want != "") || string(input.text) != tt.want {
				t.Errorf("got %q, %v, want %q", input.text, err, tt.want)
			}
		})
	}
	var all []ProducerRecord
	for try := range 16 {
		all = append(all, ProducerRecord{Value: fmt.Appendf(nil, "<end%d>", try)})
	}
	if _, err := newKcatInput(all); err == nil {
		t.Error("found delimiters where there are none")
	}
}
