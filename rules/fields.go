package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// fields are the keys and values of one mapping of a rule file. Its methods read a key's value and note what is wrong
// with it; they return a zero value then.
type fields struct {
	*document
	node   ast.Node
	rule   string // how messages name the rule; empty: the file itself
	order  []string
	keys   map[string]ast.Node
	values map[string]ast.Node
}

func (f *fields) has(key string) bool {
	_, ok := f.keys[key]
	return ok
}

// require notes a missing key and returns nil for it.
func (f *fields) require(key string) ast.Node {
	if !f.has(key) {
		f.note(f.node, f.rule, "key %q is missing", key)
	}
	return f.values[key]
}

// refuseOthers notes each key that is not among those that the owner takes.
func (f *fields) refuseOthers(owner string, allowed []string) {
	for _, key := range f.order {
		switch {
		case slices.Contains(allowed, key):
		case f.rule != "" && slices.Contains(allKeys(), key):
			f.note(f.keys[key], f.rule, "%s does not take the key %q, only %s", owner, key, strings.Join(allowed, ", "))
		default:
			f.note(f.keys[key], f.rule, "unknown key %q, %s takes %s", key, owner, strings.Join(allowed, ", "))
		}
	}
}

// label names the rule by what it has of code and name; mapping has named it by its place.
func (f *fields) label() {
	var parts []string
	if code, ok := scalar(f.values[keyCode]); ok && isDigits(code) {
		parts = append(parts, code)
	}
	if name, ok := scalar(f.values[keyName]); ok && name != "" {
		parts = append(parts, quote(f.values[keyName]))
	}
	if len(parts) > 0 {
		f.rule = strings.Join(parts, " ")
	}
}

// name reads the optional name.
func (f *fields) name() string {
	if !f.has(keyName) {
		return ""
	}
	value := f.values[keyName]
	name, ok := scalar(value)
	switch {
	case !ok:
		f.note(value, f.rule, "name %s is not a text", quote(value))
	case name == "" || len(name) > RuleNameBytesMax:
		f.note(value, f.rule, "name has %d bytes, want 1 to %d", len(name), RuleNameBytesMax)
	case strings.ContainsFunc(name, unicode.IsControl):
		f.note(value, f.rule, "name %q has a control character", name)
	}
	return name
}

// number reads a required whole number.
func (f *fields) number(key string, least, most uint64) uint64 {
	value := f.require(key)
	if value == nil {
		return 0
	}
	text, _ := scalar(value)
	quoted := slices.Contains([]token.Type{token.DoubleQuoteType, token.SingleQuoteType}, value.GetToken().Type)
	// 010 is refused, since some YAML readers take it for 8.
	if quoted || !isDigits(text) || len(text) > 1 && text[0] == '0' {
		f.note(value, f.rule, "%s %s is not a whole number of plain digits", key, quote(value))
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < least || n > most {
		f.note(value, f.rule, "%s %s is out of range, want %d to %d", key, quote(value), least, most)
		return 0
	}
	return n
}

// isDigits reports whether the text is one or more of the digits 0 to 9.
func isDigits(text string) bool {
	_, rest := digits([]byte(text))
	return text != "" && len(rest) == 0
}

// run reads the count of a streak or rising rule.
func (f *fields) run() uint64 { return f.number(keyCount, 2, CountMax) }

// amount reads an amount of money by its own text, quoted or not.
func (f *fields) amount(key string) Amount {
	value := f.values[key]
	text, ok := scalar(value)
	if !ok {
		f.note(value, f.rule, "%s %s is not an amount", key, quote(value))
		return Amount{}
	}
	a, err := ParseAmount([]byte(text))
	if err != nil {
		f.note(value, f.rule, "%s: %v", key, err)
	}
	return a
}

// limit reads the one of over and at_least that is there.
func (f *fields) limit(r *Rule, read func(key string) Amount) {
	over, atLeast := f.has(keyOver), f.has(keyAtLeast)
	switch {
	case over && atLeast:
		f.note(f.keys[keyAtLeast], f.rule, "over and at_least are both there, want one of them")
	case over:
		r.Limit = read(keyOver)
	case atLeast:
		r.Limit, r.Inclusive = read(keyAtLeast), true
	default:
		f.note(f.node, f.rule, "a limit is missing, want one of the keys over and at_least")
	}
}

// window reads the window and its resolution, which must divide it; 1 s is the default.
func (f *fields) window(r *Rule) {
	r.Resolution = 1
	if f.require(keyWindow) != nil {
		r.Window = f.duration(keyWindow, 1)
	}
	if !f.has(keyResolution) {
		return
	}
	r.Resolution = f.duration(keyResolution, 1)
	if r.Window > 0 && r.Resolution > 0 && r.Window%r.Resolution != 0 {
		f.note(f.values[keyResolution], f.rule, "resolution %ds does not divide the window of %ds", r.Resolution, r.Window)
	}
}

// duration reads whole seconds, least or more, from a text such as 30s, 10m or 24h.
func (f *fields) duration(key string, least int64) int64 {
	value := f.values[key]
	text, _ := scalar(value)
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		f.note(value, f.rule, "%s %s is not a duration, want one such as 30s, 10m or 24h", key, quote(value))
	case d%time.Second != 0:
		f.note(value, f.rule, "%s %s is not a whole number of seconds", key, text)
	case d < 0:
		f.note(value, f.rule, "%s %s is negative", key, text)
	case d < time.Duration(least)*time.Second:
		f.note(value, f.rule, "%s %s is too short, want %ds or more", key, text, least)
	case d > WindowSecondsMax*time.Second:
		f.note(value, f.rule, "%s %s is too long, want at most %s", key, text, WindowSecondsMax*time.Second)
	default:
		return int64(d / time.Second)
	}
	return 0
}

// eventTypes reads the required list of event types.
func (f *fields) eventTypes(one bool) []Type {
	value := f.require(keyTypes)
	if value == nil {
		return nil
	}
	list, ok := value.(*ast.SequenceNode)
	if !ok {
		f.note(value, f.rule, "types must be a list such as [%s]", f.types.Name(0))
		return nil
	}
	if n := len(list.Values); n == 0 || one && n > 1 {
		want := "at least one"
		if one {
			want = "exactly one"
		}
		f.note(value, f.rule, "types has %d entries, want %s", n, want)
	}
	var types []Type
	for _, node := range list.Values {
		name, _ := scalar(node)
		t, ok := f.types.Lookup([]byte(name))
		switch {
		case !ok:
			f.note(node, f.rule, "unknown type %s, want one of %s", quote(node), strings.Join(f.types.names, ", "))
		case slices.Contains(types, t):
			f.note(node, f.rule, "type %q is there twice", name)
		default:
			types = append(types, t)
		}
	}
	return types
}

// scalar is the text of a string or a number as it is written. False: the node is neither.
func scalar(node ast.Node) (string, bool) {
	switch node := node.(type) {
	case *ast.StringNode:
		return node.Value, true
	case *ast.IntegerNode, *ast.FloatNode:
		return node.GetToken().Value, true
	}
	return "", false
}

// quote shows a value in a message, cut to a length that fits a line.
func quote(node ast.Node) string {
	const shownMax = 60
	if text, ok := scalar(node); ok {
		return fmt.Sprintf("%.*q", shownMax, text)
	}
	switch node.(type) {
	case nil:
		return "nothing"
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "null"
	}
	return fmt.Sprintf("%.*q", shownMax, node.GetToken().Value)
}
