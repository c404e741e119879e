package consumertest

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
)

// KeyShares says which share of events does not have its user_id as key.
type KeyShares struct {
	None float64 // no key
	// Other is the share with a key that is not the user_id: another user's, a text around the user_id, or the user_id as
	// eight bytes.
	Other float64
}

// MixedKeys returns n good events of generated users with keys as producers give them; the same options, n and shares give
// the same records. Of the options, Bad, Tombstones and Headers do not count: a Producer has no headers.
func MixedKeys(o EventOptions, n int, shares KeyShares) []ProducerRecord {
	o.Bad, o.Tombstones, o.Headers = 0, 0, 0
	g := NewGenerator(o)
	// Not the generator's numbers: its events stay the same whatever the shares.
	rng := rand.New(rand.NewPCG(o.Seed, 0x6d697865646b6579))
	records := make([]ProducerRecord, n)
	for i := range records {
		in := g.Next()
		records[i] = ProducerRecord{Key: in.Key, Value: in.Value}
		switch draw := rng.Float64(); {
		case draw < shares.None:
			records[i].Key = nil
		case draw < shares.None+shares.Other:
			records[i].Key = otherKey(rng, g.o, in.User)
		}
	}
	return records
}

// otherKey returns a key that is not the user_id in digits, and not empty.
func otherKey(rng *rand.Rand, o EventOptions, user int64) []byte {
	switch rng.IntN(3) {
	case 0:
		other := user
		if o.Users > 1 { // another user of the generator, each as likely
			other = o.UserFirst + (user-o.UserFirst+1+rng.Int64N(int64(o.Users-1)))%int64(o.Users)
		} else {
			other++
		}
		return strconv.AppendInt(nil, other, 10)
	case 1:
		return strconv.AppendInt([]byte("account-"), user, 10)
	default:
		return binary.BigEndian.AppendUint64(nil, uint64(user))
	}
}
