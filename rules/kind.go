package rules

// Keys of a rule in a rule file.
const (
	keyCode       = "code"
	keyName       = "name"
	keyKind       = "kind"
	keyTypes      = "types"
	keyOver       = "over"
	keyAtLeast    = "at_least"
	keyCount      = "count"
	keyWindow     = "window"
	keyResolution = "resolution"
)

// Limits of the values in a rule file.
const (
	// CountMax is the largest count of a streak or rising rule.
	CountMax = 1_000_000
	// WindowCountMax is the largest limit of a window_count rule.
	WindowCountMax = 1_000_000_000
	// WindowSecondsMax is the longest window, and the largest lateness: 366 days.
	WindowSecondsMax = 366 * 24 * 60 * 60
	// RulesMax is the largest number of rules in a set.
	RulesMax = 1000
)

// kindSpec says how a kind is written in a rule file. Each kind has a file of its own with its spec and its judgement.
type kindSpec struct {
	kind Kind
	name string
	// keys are what the kind takes beside code, name, kind and types, in the order in which messages name them.
	keys []string
	// oneType: the rule takes exactly one event type.
	oneType bool
	// read fills in the rule from its keys and notes what is wrong with them.
	read func(f *fields, r *Rule)
}

// kindSpecs has every kind, in the order in which messages name them.
var kindSpecs = [...]*kindSpec{&amountSpec, &streakSpec, &risingSpec, &windowSumSpec, &windowCountSpec}

// spec is nil for what is no kind.
func (k Kind) spec() *kindSpec {
	for _, spec := range kindSpecs {
		if spec.kind == k {
			return spec
		}
	}
	return nil
}

// kindNamed is nil for a name that is no kind's.
func kindNamed(name string) *kindSpec {
	for _, spec := range kindSpecs {
		if spec.name == name {
			return spec
		}
	}
	return nil
}
