package main

import (
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// File is the name of a file. In a configuration file it is relative to that file, elsewhere to the working directory.
type File string

// Secret is a text that is never printed: not by fmt, slog, JSON or YAML. A conversion to string reveals it.
type Secret string

const redacted = "[redacted]"

// String returns a placeholder, or "" for no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is for %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText is for encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Bytes is a size in bytes.
type Bytes int64

// byteUnits are the units that a size may have; the largest that fits comes first.
var byteUnits = []struct {
	name string
	size Bytes
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText takes a whole number, with one of the units B, KiB, MiB, GiB or without.
func (b *Bytes) UnmarshalText(text []byte) error {
	number, unit := string(text), Bytes(1)
	for _, u := range byteUnits {
		if n, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSuffix(n, " "), u.size
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || Bytes(n) > math.MaxInt64/unit {
		return errors.New("must be a size like 900KiB, 1MiB or a number of bytes")
	}
	*b = Bytes(n) * unit
	return nil
}

// String returns the size in the largest unit that leaves no fraction.
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b != 0 && b%u.size == 0 && u.size > 1 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Ratio is a share from 0 to 1.
type Ratio float64

// UnmarshalText takes a number from 0 to 1.
func (r *Ratio) UnmarshalText(text []byte) error {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(f >= 0 && f <= 1) { // not a number is neither
		return errors.New("must be a number from 0 to 1, like 0.01")
	}
	*r = Ratio(f)
	return nil
}

// Start is where a group without committed offsets begins. The zero value is the earliest record that is kept.
type Start struct {
	Latest bool
	Time   time.Time // From the first record of this time on, unless zero.
}

// UnmarshalText takes earliest, latest or a time in the form of RFC 3339.
func (s *Start) UnmarshalText(text []byte) error {
	switch string(text) {
	case "earliest":
		*s = Start{}
		return nil
	case "latest":
		*s = Start{Latest: true}
		return nil
	}
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil || t.IsZero() {
		return errors.New("must be earliest, latest or a time like 2026-01-31T12:00:00Z")
	}
	*s = Start{Time: t}
	return nil
}

// String returns what UnmarshalText takes.
func (s Start) String() string {
	switch {
	case s.Latest:
		return "latest"
	case s.Time.IsZero():
		return "earliest"
	}
	return s.Time.Format(time.RFC3339Nano)
}

// setText sets a leaf that is not a list from its text. The error says what would be taken; it does not repeat the text,
// which may be a secret.
func setText(target reflect.Value, text string) error {
	if u, ok := target.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	if target.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("must be a duration like 300ms, 10s or 1h30m")
		}
		target.SetInt(int64(d))
		return nil
	}
	switch target.Kind() {
	case reflect.String:
		target.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return errors.New("must be true or false")
		}
		target.SetBool(text == "true")
	case reflect.Int, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, target.Type().Bits())
		if errors.Is(err, strconv.ErrRange) {
			return errors.New("is too large a number")
		}
		if err != nil {
			return errors.New("must be a whole number")
		}
		target.SetInt(n)
	default:
		panic(fmt.Sprintf("config: a key of type %v cannot be read", target.Type()))
	}
	return nil
}
