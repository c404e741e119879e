package rules

import (
	_ "embed"
	"fmt"
	"sync"
)

//go:embed builtin.yaml
var builtinText []byte

var builtin = sync.OnceValue(func() *Set {
	s, err := Parse("builtin.yaml", builtinText, DefaultTypes())
	if err != nil {
		panic(fmt.Sprintf("rules: the embedded rules: %v", err))
	}
	return s
})

// Builtin is the set of the four built-in rules (codes 1100, 30, 300, 123) over DefaultTypes.
func Builtin() *Set { return builtin() }

// BuiltinText is the rule file of Builtin, a copy.
func BuiltinText() []byte { return append([]byte(nil), builtinText...) }
