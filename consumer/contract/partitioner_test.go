package contract

import (
	"hash/crc32"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestMurmur2Vectors has the values of the Java client's own test (UtilsTest.testMurmur2).
func TestMurmur2Vectors(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

// TestPartitionGolden pins partitions worked out by hand from published hashes: murmur2 of the Java
// client's tests, the check value of CRC-32 ("123456789": CBF43926), and the FNV-1a vectors of the
// hash's authors ("a": E40C292C, "foobar": BF9CF968, both negative as signed numbers).
func TestPartitionGolden(t *testing.T) {
	tests := []struct {
		partitioner Partitioner
		key         string
		n, want     int32
	}{
		{Murmur2, "abc", 12, 479470107 % 12},
		{Murmur2, "21", 12, (-973932308 + 1<<31) % 12},
		{Murmur2, "foobar", 7, (-790332482 + 1<<31) % 7},
		{CRC32, "123456789", 12, 0xCBF43926 % 12},
		{CRC32, "123456789", 7, 0xCBF43926 % 7},
		{FNV1a, "a", 12, (1<<32 - 0xE40C292C) % 12},
		{FNV1a, "foobar", 7, (1<<32 - 0xBF9CF968) % 7},
		{Murmur2, "21", 1, 0},
		{CRC32, "21", 1, 0},
		{FNV1a, "21", 1, 0},
	}
	for _, tt := range tests {
		if got := tt.partitioner.Partition([]byte(tt.key), tt.n); got != tt.want {
			t.Errorf("%v of %q among %d: %d, want %d", tt.partitioner, tt.key, tt.n, got, tt.want)
		}
	}
}

// TestPartitionAsClients compares with the balancers of kafka-go and the hashers of franz-go.
func TestPartitionAsClients(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	fnvSum := func(key []byte) uint32 {
		h := fnv.New32a()
		h.Write(key)
		return h.Sum32()
	}
	sarama, crc := kgo.SaramaCompatHasher(fnvSum), kgo.KafkaHasher(crc32.ChecksumIEEE)
	java := kgo.KafkaHasher(murmur2)
	for i := range 20000 {
		key := strconv.AppendInt(nil, random.Int64N(1<<random.IntN(63)), 10)
		if i%2 == 0 {
			key = make([]byte, 1+random.IntN(40))
			for j := range key {
				key[j] = byte(random.Uint32())
			}
		}
		n := 1 + random.IntN(200)
		partitions := make([]int, n)
		for p := range partitions {
			partitions[p] = p
		}
		message := kafka.Message{Key: key}
		want := map[Partitioner][]int{
			Murmur2: {(kafka.Murmur2Balancer{}).Balance(message, partitions...), java(key, n)},
			CRC32:   {(kafka.CRC32Balancer{}).Balance(message, partitions...)},
			FNV1a:   {(&kafka.Hash{}).Balance(message, partitions...), sarama(key, n)},
		}
		if crc32.ChecksumIEEE(key) <= math.MaxInt32 {
			// franz-go's hasher strips the sign bit, which librdkafka does not.
			want[CRC32] = append(want[CRC32], crc(key, n))
		}
		for p, answers := range want {
			for _, answer := range answers {
				if got := p.Partition(key, int32(n)); got != int32(answer) {
					t.Fatalf("%v of %q among %d: %d, the client says %d", p, key, n, got, answer)
				}
			}
		}
	}
}

func TestUserPartition(t *testing.T) {
	for _, user := range []int64{0, 7, 21, math.MaxInt64} {
		text := strconv.FormatInt(user, 10)
		if got := string(AppendUserKey([]byte("k"), user)); got != "k"+text {
			t.Errorf("key of %d: %q", user, got)
		}
		for _, p := range []Partitioner{Murmur2, CRC32, FNV1a} {
			if got, want := p.UserPartition(user, 12), p.Partition([]byte(text), 12); got != want {
				t.Errorf("%v of user %d: %d, want %d", p, user, got, want)
			}
			if n := testing.AllocsPerRun(100, func() { p.UserPartition(user, 12) }); n != 0 {
				t.Errorf("%v: %v allocations", p, n)
			}
		}
	}
	// The Java client's vector for the key "21".
	if got := Murmur2.UserPartition(21, 12); got != 1173551340%12 {
		t.Errorf("user 21: %d", got)
	}
}

func TestParsePartitioner(t *testing.T) {
	for name, want := range map[string]Partitioner{"murmur2": Murmur2, "crc32": CRC32, "fnv1a": FNV1a} {
		got, err := ParsePartitioner(name)
		if err != nil || got != want || got.String() != name {
			t.Errorf("ParsePartitioner(%q) = %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "Murmur2", "any"} {
		if got, err := ParsePartitioner(name); err == nil {
			t.Errorf("ParsePartitioner(%q) = %v", name, got)
		}
	}
	if got := Partitioner(9).String(); got != "partitioner 9" {
		t.Errorf("got %q", got)
	}
}
