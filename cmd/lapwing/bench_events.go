package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
)

// benchUsers are the users of a load and how often each comes.
type benchUsers struct {
	count int64
	first int64
	zipf  float64 // exponent of a Zipf distribution, above 1; 0: all come equally often
	seed  uint64
}

// String describes the users in a few words.
func (u benchUsers) String() string {
	how := "uniform"
	if u.zipf > 0 {
		how = fmt.Sprintf("zipf %v", u.zipf)
	}
	return fmt.Sprintf("%s from %d on, %s, seed %d", plural(u.count, "user"), u.first, how, u.seed)
}

// benchAmountMax is the largest amount, in hundredths: above the limits of the built-in rules at times.
const benchAmountMax = 12_000

// benchEvents makes a sequence of events that depends on its users, its types and the times it is given alone.
type benchEvents struct {
	users  benchUsers
	types  [][]byte // each as a JSON string
	millis bool     // unit of time

	rng  *rand.Rand
	zipf *rand.Zipf // nil: uniform

	// Of the last event; valid until the next.
	key, value []byte
}

func newBenchEvents(u benchUsers, types []string, millis bool) *benchEvents {
	const stream = 0x62656e6368 // beside the seed, which people count up
	e := &benchEvents{users: u, millis: millis, rng: rand.New(rand.NewPCG(u.seed, stream))}
	if u.zipf > 0 {
		e.zipf = rand.NewZipf(e.rng, u.zipf, 1, uint64(u.count-1))
	}
	for _, name := range types {
		text, err := json.Marshal(name)
		if err != nil {
			panic(fmt.Sprintf("bench: a name of valid UTF-8: %v", err))
		}
		e.types = append(e.types, text)
	}
	return e
}

// next makes the event that is created at a time, and returns its user.
func (e *benchEvents) next(at time.Time) (user int64) {
	user = e.users.first
	if e.zipf != nil {
		user += int64(e.zipf.Uint64())
	} else {
		user += e.rng.Int64N(e.users.count)
	}
	clock := at.Unix()
	if e.millis {
		clock = at.UnixMilli()
	}
	cents := 1 + e.rng.Int64N(benchAmountMax)
	b := append(e.value[:0], `{"type":`...)
	b = append(b, e.types[e.rng.IntN(len(e.types))]...)
	b = append(b, `,"amount":"`...)
	b = strconv.AppendInt(b, cents/100, 10)
	b = append(b, '.', byte('0'+cents/10%10), byte('0'+cents%10))
	b = append(b, `","user_id":`...)
	b = strconv.AppendInt(b, user, 10)
	b = append(b, `,"time":`...)
	b = strconv.AppendInt(b, clock, 10)
	e.value = append(b, '}')
	e.key = contract.AppendUserKey(e.key[:0], user)
	return user
}
