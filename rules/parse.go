package rules

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of a rule file.
const (
	// FileBytesMax is the size of the largest rule file.
	FileBytesMax = 1 << 20
	// RuleNameBytesMax is the length of the longest rule name.
	RuleNameBytesMax = 128
)

// Keys of the file itself.
const (
	keyLateness = "lateness"
	keyRules    = "rules"
)

// Parse compiles the text of a rule file (see doc.go) for these event types. Where anything is wrong the error is a
// Problems with all of it. The file's name is used in messages only.
func Parse(file string, text []byte, types *Types) (*Set, error) {
	d := &document{file: file, types: types}
	set := d.read(text)
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, d.problems
	}
	return set, nil
}

// document reads one rule file. It walks the syntax tree, not decoded values, since the decoder prints numbers anew
// (an unquoted 100.10 becomes 100.1), stops at the first problem and forgets where a value stood.
type document struct {
	file     string
	types    *Types
	problems Problems
}

// note adds a problem at a node; rule is empty for the file as a whole.
func (d *document) note(at ast.Node, rule, format string, args ...any) {
	p := Problem{File: d.file, Line: 1, Column: 1, Rule: rule, Message: fmt.Sprintf(format, args...)}
	// The token of a block mapping is the colon behind its first key.
	if m, ok := at.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		at = m.Values[0].Key
	}
	if at != nil {
		p.locate(at.GetToken())
	}
	d.problems = append(d.problems, p)
}

// read returns a set that is only meaningful if no problem was noted.
func (d *document) read(text []byte) *Set {
	body := d.body(text)
	if body == nil {
		return nil
	}
	f := d.mapping(body, "", "a mapping with the keys lateness and rules")
	if f == nil {
		return nil
	}
	f.refuseOthers("the file", []string{keyLateness, keyRules})
	rules := d.rules(f)
	lateness := longestWindow(rules)
	if f.has(keyLateness) {
		lateness = f.duration(keyLateness, 0)
	}
	if len(d.problems) > 0 {
		return nil
	}
	return newSet(d.types, rules, lateness)
}

// body parses the text down to the one document that it must hold.
func (d *document) body(text []byte) ast.Node {
	switch {
	case len(text) > FileBytesMax:
		d.note(nil, "", "the file has %d bytes, at most %d are allowed", len(text), FileBytesMax)
		return nil
	case !utf8.Valid(text):
		d.note(nil, "", "the file is not valid UTF-8")
		return nil
	}
	tree, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.noteSyntax(err)
		return nil
	}
	var bodies []ast.Node
	for _, doc := range tree.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch len(bodies) {
	case 0:
		d.note(nil, "", "the file is empty, want the key rules")
		return nil
	case 1:
		return bodies[0]
	}
	d.note(bodies[1], "", "a second document in the file, want one")
	return nil
}

// noteSyntax keeps the place that the YAML parser names.
func (d *document) noteSyntax(err error) {
	p := Problem{File: d.file, Line: 1, Column: 1, Message: "not YAML: " + err.Error()}
	var located yaml.Error
	if errors.As(err, &located) {
		p.Message = "not YAML: " + located.GetMessage()
		p.locate(located.GetToken())
	}
	d.problems = append(d.problems, p)
}

// locate takes the place of a token that has one.
func (p *Problem) locate(t *token.Token) {
	if t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
}

// rules reads the list of rules; a rule with problems is returned as far as it goes.
func (d *document) rules(f *fields) []Rule {
	value := f.require(keyRules)
	if value == nil {
		return nil
	}
	list, ok := value.(*ast.SequenceNode)
	if !ok {
		d.note(value, "", "rules must be a list")
		return nil
	}
	switch {
	case len(list.Values) == 0:
		d.note(value, "", "rules is empty, want at least one")
	case len(list.Values) > RulesMax:
		d.note(value, "", "%d rules, at most %d are allowed", len(list.Values), RulesMax)
		return nil
	}
	rules := make([]Rule, 0, len(list.Values))
	first := map[int]string{} // code -> where it was used first
	for i, node := range list.Values {
		rules = append(rules, d.rule(node, i+1, first))
	}
	return rules
}

// rule reads the rule in this place (from 1).
func (d *document) rule(node ast.Node, place int, first map[int]string) Rule {
	var r Rule
	label := fmt.Sprintf("#%d", place)
	f := d.mapping(node, label, "a mapping")
	if f == nil {
		return r
	}
	f.label()
	d.ruleCode(f, &r, first)
	r.Name = f.name()
	kind := f.require(keyKind)
	if kind == nil {
		f.readWithoutKind()
		return r
	}
	name, _ := scalar(kind)
	spec := kindNamed(name)
	if spec == nil {
		d.note(kind, f.rule, "unknown kind %s, want one of %s", quote(kind), strings.Join(kindNames(), ", "))
		f.readWithoutKind()
		return r
	}
	r.Kind = spec.kind
	f.refuseOthers("kind "+spec.name, append([]string{keyCode, keyName, keyKind, keyTypes}, spec.keys...))
	r.Types = f.eventTypes(spec.oneType)
	spec.read(f, &r)
	return r
}

// readWithoutKind finds what is wrong with a rule whatever kind it was meant to be.
func (f *fields) readWithoutKind() {
	f.refuseOthers("a rule", allKeys())
	f.eventTypes(false)
}

// ruleCode reads the code and refuses one that an earlier rule has.
func (d *document) ruleCode(f *fields, r *Rule, first map[int]string) {
	r.Code = int(f.number(keyCode, 1, math.MaxInt32))
	if r.Code == 0 {
		return
	}
	if where, ok := first[r.Code]; ok {
		d.note(f.values[keyCode], f.rule, "code %d is used before, in line %s", r.Code, where)
		return
	}
	first[r.Code] = fmt.Sprint(f.values[keyCode].GetToken().Position.Line)
}

// mapping reads the keys of a mapping and refuses those that are there twice. Nil: the node is no mapping.
func (d *document) mapping(node ast.Node, rule, want string) *fields {
	m, ok := node.(*ast.MappingNode)
	if !ok {
		d.note(node, rule, "%s is not %s", quote(node), want)
		return nil
	}
	f := &fields{document: d, node: node, rule: rule, keys: map[string]ast.Node{}, values: map[string]ast.Node{}}
	for _, entry := range m.Values {
		key, ok := scalar(entry.Key)
		switch {
		case !ok:
			d.note(entry.Key, rule, "%s is not allowed as a key", quote(entry.Key))
		case f.has(key):
			d.note(entry.Key, rule, "key %q is there twice, first in line %d", key, f.keys[key].GetToken().Position.Line)
		case entry.Value == nil:
			d.note(entry.Key, rule, "key %q has no value", key)
		default:
			f.order = append(f.order, key)
			f.keys[key], f.values[key] = entry.Key, entry.Value
		}
	}
	return f
}

func kindNames() []string {
	names := make([]string, 0, len(kindSpecs))
	for _, spec := range kindSpecs {
		names = append(names, spec.name)
	}
	return names
}

// allKeys are the keys that some kind takes.
func allKeys() []string {
	keys := []string{keyCode, keyName, keyKind, keyTypes}
	for _, spec := range kindSpecs {
		keys = append(keys, spec.keys...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
