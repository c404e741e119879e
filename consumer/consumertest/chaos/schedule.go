package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// track is what breaks one thing after the other.
type track int

// The tracks. They are planned in this order.
const (
	trackProcess track = iota
	trackNetwork
	trackBroker
	trackRedis
	trackData
	tracks
)

// gaps between the faults of each track: enough for most faults to meet a system at work, and too little for all.
var gaps = [tracks][2]time.Duration{
	trackProcess: {500 * time.Millisecond, 5 * time.Second},
	trackNetwork: {500 * time.Millisecond, 5 * time.Second},
	trackBroker:  {5 * time.Second, 15 * time.Second},
	trackRedis:   {2 * time.Second, 12 * time.Second},
	trackData:    {20 * time.Second, 40 * time.Second},
}

// step is one fault of the schedule.
type step struct {
	track track
	fault *fault
	at    time.Duration // since the load began
	hold  time.Duration // how long it lasts
	pick  uint64        // chooses the member, the broker, what is lost
}

// String gives the step in one line.
func (s step) String() string {
	return fmt.Sprintf("%7.1fs %s for %.1fs", s.at.Seconds(), s.fault.name, s.hold.Seconds())
}

// rng is the source of what is drawn while the step is carried out.
func (s step) rng() *rand.Rand { return rand.New(rand.NewPCG(s.pick, uint64(s.track))) }

// schedule plans each track's steps. It depends on the options alone.
func schedule(o Options) ([tracks][]step, error) {
	var plan [tracks][]step
	chosen, err := o.faults()
	if err != nil {
		return plan, err
	}
	for t := range tracks {
		// Each track draws from a source of its own, so that one fault more or less changes no other track.
		rng := rand.New(rand.NewPCG(o.Seed, uint64(t)))
		var deck []*fault
		at := o.Warm + between(rng, 0, gaps[t][0])
		for {
			if len(deck) == 0 {
				deck = shuffled(rng, chosen, t)
			}
			if len(deck) == 0 {
				break // no fault of this track
			}
			f := deck[0]
			deck = deck[1:]
			s := step{track: t, fault: f, at: at, hold: between(rng, f.hold[0], f.hold[1]), pick: rng.Uint64()}
			gap := between(rng, gaps[t][0], gaps[t][1])
			if o.Hold > 0 && f.hold[1] > 0 {
				s.hold = o.Hold
			}
			if o.Gap > 0 {
				gap = o.Gap
			}
			if s.at+s.hold > o.Duration {
				break
			}
			plan[t] = append(plan[t], s)
			at += s.hold + f.settle + gap
		}
	}
	return plan, nil
}

// shuffled returns the chosen faults of a track in a drawn order: each comes once before any comes again.
func shuffled(rng *rand.Rand, chosen []*fault, t track) []*fault {
	var deck []*fault
	for _, f := range chosen {
		if f.track == t {
			deck = append(deck, f)
		}
	}
	rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	return deck
}

func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(rng.Int64N(int64(high-low)))
}
