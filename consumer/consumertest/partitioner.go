package consumertest

import (
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
)

// partitioner gives the partition of a key. It is used by one goroutine at a time.
type partitioner func(key []byte) int32

// newPartitioner returns the partitioner of this name for a topic of so many partitions; "": murmur2. It is the checker's
// own: the judge must not take it from what it judges.
func newPartitioner(name string, partitions int32) (partitioner, error) {
	switch name {
	case "", "murmur2":
		by, r := newKeyPartitioner(), new(kgo.Record)
		return func(key []byte) int32 {
			r.Key = key
			return int32(by.Partition(r, int(partitions)))
		}, nil
	case "crc32": // librdkafka: the remainder of the unsigned hash
		return func(key []byte) int32 { return int32(crc32.ChecksumIEEE(key) % uint32(partitions)) }, nil
	case "fnv1a": // Sarama: the remainder of the signed hash, without its sign
		return func(key []byte) int32 {
			p := int32(fnv1a32(key)) % partitions
			return max(p, -p)
		}, nil
	}
	return nil, fmt.Errorf("consumertest: partitioner %q is not murmur2, crc32 or fnv1a", name)
}
