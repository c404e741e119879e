package rules

import (
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

// Limits of a Types table.
const (
	// TypesMax is the largest number of event types.
	TypesMax = 64
	// TypeNameBytesMax is the length of the longest event type name, in bytes of UTF-8.
	TypeNameBytesMax = 64
)

// ErrTypes is wrapped by every error of NewTypes.
var ErrTypes = errors.New("event types")

// Time is an event's own time in seconds, never the clock of a machine. An event's is 0 or later; a window may begin
// before that. Since windows are bounded (WindowSecondsMax), no arithmetic on such times overflows.
type Time int64

// Type is an event's type: an index into a Types table.
type Type uint8

// Event is what the rules judge.
type Event struct {
	Type   Type
	UserID int64
	Time   Time
	Amount Amount
}

// Types is an immutable table of event type names. It is safe for concurrent use.
type Types struct {
	names []string
}

// NewTypes makes a table of 1 to TypesMax names; a Type is the index of its name. Names are unique, not empty, valid
// UTF-8 without control characters and at most TypeNameBytesMax bytes long. All that is wrong comes as one error that
// wraps ErrTypes.
func NewTypes(names ...string) (*Types, error) {
	if len(names) == 0 || len(names) > TypesMax {
		return nil, fmt.Errorf("%w: %d names, want 1 to %d", ErrTypes, len(names), TypesMax)
	}
	var errs []error
	for i, name := range names {
		switch {
		case name == "":
			errs = append(errs, fmt.Errorf("%w: name %d is empty", ErrTypes, i+1))
		case len(name) > TypeNameBytesMax:
			errs = append(errs, fmt.Errorf("%w: name %d has %d bytes, at most %d are allowed", ErrTypes, i+1, len(name), TypeNameBytesMax))
		case !utf8.ValidString(name):
			errs = append(errs, fmt.Errorf("%w: %q is not valid UTF-8", ErrTypes, name))
		case slices.ContainsFunc([]rune(name), unicode.IsControl):
			errs = append(errs, fmt.Errorf("%w: %q has a control character", ErrTypes, name))
		case slices.Contains(names[:i], name):
			errs = append(errs, fmt.Errorf("%w: %q is there twice", ErrTypes, name))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &Types{names: slices.Clone(names)}, nil
}

// DefaultTypes is the table deposit, withdraw.
func DefaultTypes() *Types {
	return &Types{names: []string{"deposit", "withdraw"}}
}

// Lookup finds the type of this exact name, without allocating.
func (t *Types) Lookup(name []byte) (Type, bool) {
	// A scan: a table has a handful of names of different lengths, and string comparison looks at the length first.
	for i := range t.names {
		if t.names[i] == string(name) {
			return Type(i), true
		}
	}
	return 0, false
}

// Name is the name of a type of this table. It panics for a type that is not of this table.
func (t *Types) Name(typ Type) string { return t.names[typ] }

// Len is the number of types.
func (t *Types) Len() int { return len(t.names) }

// Names returns a copy of the names; a Type is an index into it.
func (t *Types) Names() []string { return slices.Clone(t.names) }
