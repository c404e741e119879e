package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/wire"
)

func TestOptionsValidate(t *testing.T) {
	client, err := wire.New(wire.Options{Brokers: []string{"127.0.0.1:9"}})
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Options){
		"":                   func(*Options) {},
		"Client is missing":  func(o *Options) { o.Client = nil },
		"Input is empty":     func(o *Options) { o.Input = "" },
		"Output is empty":    func(o *Options) { o.Output = "" },
		"Listen is empty":    func(o *Options) { o.HTTP.Listen = "" },
		`both "alerts"`:      func(o *Options) { o.Input = "alerts" },
		"WriteTimeout is 0s": func(o *Options) { o.WriteTimeout = 0 },
		"ResultTimeout is -1s, must be at least 1ms": func(o *Options) { o.ResultTimeout = -time.Second },
		"ReadHeaderTimeout is 0s":                    func(o *Options) { o.HTTP.ReadHeaderTimeout = 0 },
		"ReadTimeout is 1µs":                         func(o *Options) { o.HTTP.ReadTimeout = time.Microsecond },
		"IdleTimeout is 0s":                          func(o *Options) { o.HTTP.IdleTimeout = 0 },
		"DrainTimeout is 0s":                         func(o *Options) { o.DrainTimeout = 0 },
		"MetadataInterval is 0s":                     func(o *Options) { o.MetadataInterval = 0 },
		"FetchWaitMax is 0s":                         func(o *Options) { o.FetchWaitMax = 0 },
		"RequestTimeout is 0s":                       func(o *Options) { o.RequestTimeout = 0 },
		"BodyBytesMax is -1":                         func(o *Options) { o.BodyBytesMax = -1 },
		"InFlightMax is 0":                           func(o *Options) { o.InFlightMax = 0 },
		"RateMax is -1":                              func(o *Options) { o.RateMax = -1 },
		"tokens: open /nowhere":                      func(o *Options) { o.HTTP.TokensFile = "/nowhere" },
		"BatchBytesMax is 0":                         func(o *Options) { o.BatchBytesMax = 0 },
		"HeaderBytesMax is 0":                        func(o *Options) { o.HTTP.HeaderBytesMax = 0 },
		"FetchBytesMax is 0":                         func(o *Options) { o.FetchBytesMax = 0 },
		"DecompressedBytesMax is 0":                  func(o *Options) { o.DecompressedBytesMax = 0 },
	} {
		o := DefaultOptions()
		o.Client = client
		change(&o)
		_, err := New(o)
		if want == "" {
			if err != nil {
				t.Errorf("the defaults: %v", err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	if _, err := New(Options{}); err == nil || strings.Count(err.Error(), "\n") < 10 {
		t.Errorf("not all problems at once: %v", err)
	}
}
