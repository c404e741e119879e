package main

import (
	"strings"
	"time"

	"github.com/lapwing/lapwing/rules"
)

// EventsConfig is the section events: what is an event.
type EventsConfig struct {
	Types []string `yaml:"types"`
	// TimeUnit is the unit of the member time.
	TimeUnit string `yaml:"time_unit" allow:"s|ms"`
	// TimeFrom takes the time from the event's member or from the Kafka record's timestamp.
	TimeFrom            string `yaml:"time_from" allow:"event|record"`
	AcceptNumericAmount bool   `yaml:"accept_numeric_amount"`
	// StripFrame judges what follows a schema registry's frame.
	StripFrame bool `yaml:"strip_frame"`
	// MaxFuture is how far an event may be ahead of its record's timestamp; 0: no limit.
	MaxFuture time.Duration `yaml:"max_future" min:"0s" max:"87600h"`
	BytesMax  Bytes         `yaml:"bytes_max" min:"64" max:"100MiB"`
}

func newEventsConfig() EventsConfig {
	return EventsConfig{
		Types:    rules.DefaultTypes().Names(),
		TimeUnit: "s",
		TimeFrom: "event",
		BytesMax: 64 << 10,
	}
}

func (l *loader) checkEvents() {
	if _, err := rules.NewTypes(l.config.Events.Types...); err != nil {
		for line := range strings.Lines(err.Error()) {
			l.wrong("events.types", strings.TrimPrefix(strings.TrimSpace(line), rules.ErrTypes.Error()+": "))
		}
	}
}
