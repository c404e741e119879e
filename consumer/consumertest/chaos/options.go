package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/contract"
)

// Options configures a run. The zero value of a field stands for its default.
type Options struct {
	Seed     uint64        // of the schedule and the events
	Duration time.Duration // of the load; 0: 90 s
	Rate     int           // input records a second; 0: 5000
	Faults   []string      // names of faults, or "all" (the default), or "none"
	Brokers  int           // 1 or 3; 0: 3
	Members  int           // engines from beginning to end; 0: 3
	Users    int           // distinct; 0: 20,000
	Lanes    int           // partitions of the input and the output; 0: 6
	// Strays is the share of events in another partition than their user's, which are forwarded. With any the fault "delete"
	// is not among all: what a user's events of two sources were before a hole cannot be told from the output.
	Strays float64
	// Warm is how long the load goes on before the first fault: the engines have met their users then. 0: 2 s, after which
	// all of them have been at work.
	Warm time.Duration
	// Hold replaces how long each fault lasts, which the schedule draws otherwise. 0: drawn.
	Hold time.Duration
	// Gap replaces the pause between two faults of a track. 0: drawn.
	Gap time.Duration
	// Drain bounds how long the engines may take for what is left when load and faults have ended; 0: 3 min.
	Drain time.Duration
	// Logs is a folder, made where it is missing, for what the engines print; empty: it is kept only of a run that fails.
	Logs string
	// Binary is the engine; empty: it is built.
	Binary string
}

// sessionTimeout is the engines' and brokerSession the brokers': a member, or a broker, that is silent for longer is over.
const (
	sessionTimeout     = 3 * time.Second
	brokerSession      = 3 * time.Second
	transactionTimeout = 10 * time.Second
)

func (o Options) withDefaults() Options {
	o.Duration = cmp.Or(o.Duration, 90*time.Second)
	o.Rate = cmp.Or(o.Rate, 5000)
	o.Brokers = cmp.Or(o.Brokers, 3)
	o.Members = cmp.Or(o.Members, 3)
	o.Users = cmp.Or(o.Users, 20_000)
	o.Lanes = cmp.Or(o.Lanes, 6)
	o.Warm = cmp.Or(o.Warm, 2*time.Second)
	o.Drain = cmp.Or(o.Drain, 3*time.Minute)
	if len(o.Faults) == 0 {
		o.Faults = []string{"all"}
	}
	return o
}

// events is the load.
func (o Options) events() consumertest.EventOptions {
	e := consumertest.EventOptions{Seed: o.Seed, Users: o.Users, Bad: 0.01, Strays: o.Strays, Tombstones: 0.005, Headers: 0.05}
	if o.Strays == 0 { // not one, see Strays
		e.Reasons = slices.DeleteFunc(consumertest.BadReasons(), func(r string) bool { return r == string(contract.ReasonWrongPartition) })
	}
	return e
}

// faults returns the faults that the options name, in the order of the catalogue.
func (o Options) faults() ([]*fault, error) {
	for _, name := range o.Faults {
		if name == "none" || name == "all" {
			continue
		}
		at := slices.IndexFunc(catalogue, func(f *fault) bool { return f.name == name })
		if at < 0 {
			return nil, fmt.Errorf("chaos: unknown fault %q; there are all, none, %s", name, strings.Join(FaultNames(), ", "))
		}
		if f := catalogue[at]; o.Brokers < f.brokersMin {
			return nil, fmt.Errorf("chaos: fault %s needs %d brokers, and there are %d", name, f.brokersMin, o.Brokers)
		}
	}
	var chosen []*fault
	for _, f := range catalogue {
		all := slices.Contains(o.Faults, "all") && o.Brokers >= f.brokersMin && (o.Strays == 0 || f.track != trackData)
		if all || slices.Contains(o.Faults, f.name) {
			chosen = append(chosen, f)
		}
	}
	return chosen, nil
}

func (o Options) validate() error {
	switch {
	case o.Brokers != 1 && o.Brokers != 3:
		return fmt.Errorf("chaos: %d brokers; 1 or 3 are possible", o.Brokers)
	case o.Rate < 1 || o.Members < 1 || o.Users < 1 || o.Lanes < 1:
		return fmt.Errorf("chaos: rate %d, members %d, users %d and lanes %d must be above 0", o.Rate, o.Members, o.Users, o.Lanes)
	case o.Strays < 0 || o.Strays > 1:
		return fmt.Errorf("chaos: a share of %v strays is not within 0..1", o.Strays)
	case o.Strays > 0 && slices.Contains(o.Faults, "delete"):
		return errors.New("chaos: the fault delete is checked without strays only")
	case o.Duration < time.Second:
		return fmt.Errorf("chaos: a duration of %v is below 1s", o.Duration)
	}
	_, err := o.faults()
	return err
}
