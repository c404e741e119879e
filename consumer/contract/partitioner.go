package contract

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
)

// Partitioner finds the partition of a key as a family of Kafka clients does by default. Clients of
// different families put the same key into different partitions (tulios/kafkajs#1154,
// confluentinc/librdkafka#3985). The zero value is Murmur2.
type Partitioner uint8

const (
	// Murmur2 is the Java client's, franz-go's and kafkajs's, and librdkafka's murmur2_random.
	Murmur2 Partitioner = iota
	// CRC32 is librdkafka's consistent_random, and so kcat's and that of the clients built on it.
	CRC32
	// FNV1a is Sarama's, and kafka-go's Hash.
	FNV1a
)

var partitionerNames = [...]string{Murmur2: "murmur2", CRC32: "crc32", FNV1a: "fnv1a"}

// ParsePartitioner returns the partitioner of a name: murmur2, crc32 or fnv1a.
func ParsePartitioner(name string) (Partitioner, error) {
	for p, known := range partitionerNames {
		if name == known {
			return Partitioner(p), nil
		}
	}
	return 0, fmt.Errorf("unknown partitioner %q, must be murmur2, crc32 or fnv1a", name)
}

// String returns the partitioner's name.
func (p Partitioner) String() string {
	if int(p) < len(partitionerNames) {
		return partitionerNames[p]
	}
	return "partitioner " + strconv.Itoa(int(p))
}

// Partition returns the partition of a key among n, n at least 1. The key must not be empty: clients
// spread records without key as they like.
func (p Partitioner) Partition(key []byte, n int32) int32 {
	switch p {
	case Murmur2:
		return int32(murmur2(key)&0x7fffffff) % n
	case CRC32:
		return int32(crc(key) % uint32(n))
	case FNV1a:
		// Sarama takes the hash as signed and turns a negative remainder round.
		partition := int32(fnv1a(key)) % n
		if partition < 0 {
			return -partition
		}
		return partition
	default:
		panic("contract: " + p.String() + " does not exist")
	}
}

// AppendUserKey appends the key of a user's records: the user_id in decimal digits.
func AppendUserKey(dst []byte, userID int64) []byte { return AppendDecimal(dst, userID) }

// UserPartition returns the partition of a user's key among n, n at least 1.
func (p Partitioner) UserPartition(userID int64, n int32) int32 {
	var buffer [20]byte
	return p.Partition(AppendUserKey(buffer[:0], userID), n)
}

// murmur2 is the hash of Kafka's Java client (org.apache.kafka.common.utils.Utils.murmur2): MurmurHash2
// by Austin Appleby with the client's own seed.
func murmur2(data []byte) uint32 {
	const (
		seed  uint32 = 0x9747b28c
		mix   uint32 = 0x5bd1e995
		shift        = 24
	)
	h := seed ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * mix
		k ^= k >> shift
		h = h*mix ^ k*mix
	}
	if len(data) > 0 {
		for i := len(data) - 1; i >= 0; i-- {
			h ^= uint32(data[i]) << (8 * i)
		}
		h *= mix
	}
	h ^= h >> 13
	h *= mix
	return h ^ h>>15
}

// crc is the CRC-32 of IEEE 802.3. Unlike crc32.ChecksumIEEE, whose argument escapes to the heap, it
// lets a short key stay on the stack.
func crc(data []byte) uint32 {
	h := ^uint32(0)
	for _, c := range data {
		h = crc32.IEEETable[byte(h)^c] ^ h>>8
	}
	return ^h
}

// fnv1a is the 32-bit FNV-1a hash, like hash/fnv's but without allocation.
func fnv1a(data []byte) uint32 {
	const (
		basis uint32 = 2166136261
		prime uint32 = 16777619
	)
	h := basis
	for _, c := range data {
		h = (h ^ uint32(c)) * prime
	}
	return h
}
