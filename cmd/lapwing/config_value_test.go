package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  Bytes
		shown string
	}{
		{"0", 0, "0"},
		{"1", 1, "1"},
		{"1000", 1000, "1000"},
		{"12B", 12, "12"},
		{"900KiB", 921600, "900KiB"},
		{"1 MiB", 1048576, "1MiB"},
		{"1024KiB", 1048576, "1MiB"},
		{"3GiB", 3221225472, "3GiB"},
		{"8589934591GiB", 9223372035781033984, "8589934591GiB"},
	} {
		var got Bytes
		if err := got.UnmarshalText([]byte(c.text)); err != nil || got != c.want || got.String() != c.shown {
			t.Errorf("%q is %d (%v), error %v; want %d (%s)", c.text, int64(got), got, err, int64(c.want), c.shown)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "+1", "1.5MiB", "1KB", "1k", "1kib", "1  KiB", " 1", "1 ", "0x10", "1_000", "9223372036854775808", "8589934592GiB"} {
		var got Bytes
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %d", text, int64(got))
		}
	}
}

func TestStart(t *testing.T) {
	for text, want := range map[string]Start{
		"earliest":                  {},
		"latest":                    {Latest: true},
		"2026-01-31T12:00:00Z":      {Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)},
		"2026-01-31T12:00:00+01:00": {Time: time.Date(2026, 1, 31, 11, 0, 0, 0, time.UTC)},
	} {
		var got Start
		if err := got.UnmarshalText([]byte(text)); err != nil || got.Latest != want.Latest || !got.Time.Equal(want.Time) || got.String() != text {
			t.Errorf("%q is %+v, shown as %v, error %v; want %+v", text, got, got, err, want)
		}
	}
	for _, text := range []string{"", "Latest", "now", "2026-01-31", "1700000000", "0001-01-01T00:00:00Z"} {
		var got Start
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %+v", text, got)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	c := NewConfig()
	c.Kafka.SASL.Password, c.Redis.Password = "hunter2", "hunter2"
	printed := fmt.Sprintf("%v %+v %#v %s %q", *c, *c, *c, c.Redis.Password, c.Redis.Password)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{printed, string(asJSON), string(asYAML)} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, redacted) {
			t.Errorf("want the password redacted in\n%s", text)
		}
	}
	if got := fmt.Sprintf("%v%#v", Secret(""), Secret("")); got != `""` {
		t.Errorf("no secret is shown as %s", got)
	}
}

func TestSetText(t *testing.T) {
	var v struct {
		Text  string
		Flag  bool
		Small int16
		Large int
		Pause time.Duration
	}
	target := reflect.ValueOf(&v).Elem()
	for _, c := range []struct {
		field, text string
		taken       bool
	}{
		{"Text", "", true},
		{"Flag", "true", true},
		{"Flag", "false", true},
		{"Flag", "yes", false},
		{"Flag", "1", false},
		{"Small", "32767", true},
		{"Small", "32768", false},
		{"Small", "-1", true},
		{"Large", "1e3", false},
		{"Large", "", false},
		{"Pause", "1h30m", true},
		{"Pause", "0s", true},
		{"Pause", "10", false},
		{"Pause", "1d", false},
	} {
		if err := setText(target.FieldByName(c.field), c.text); (err == nil) != c.taken {
			t.Errorf("%s from %q: error %v, want it taken: %t", c.field, c.text, err, c.taken)
		}
	}
	if v.Pause != 0 || v.Small != -1 || v.Flag {
		t.Errorf("the last value that was taken must stand, got %+v", v)
	}
}

func TestShortDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                               "0s",
		2 * time.Millisecond:            "2ms",
		30 * time.Second:                "30s",
		time.Minute:                     "1m",
		90 * time.Second:                "1m30s",
		time.Hour:                       "1h",
		time.Hour + 5*time.Second:       "1h0m5s",
		10*time.Hour + 10*time.Minute:   "10h10m",
		24 * time.Hour:                  "24h",
		100*time.Minute + 1*time.Second: "1h40m1s",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
