package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// readYAML sets what a configuration file says. It returns false where the text is not YAML; the problem is noted then.
//
// It walks the syntax tree, not decoded values: the decoder stops at the first mistake, forgets where a value stood, and
// prints numbers anew (a password 0100 becomes 64).
func (l *loader) readYAML(text []byte) bool {
	if !utf8.Valid(text) {
		l.syntax(origin{file: l.file, line: 1, column: 1}, "the file is not valid UTF-8")
		return false
	}
	tree, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		l.syntaxError(err)
		return false
	}
	var bodies []ast.Node
	for _, document := range tree.Docs {
		if document.Body != nil {
			bodies = append(bodies, document.Body)
		}
	}
	switch {
	case len(bodies) == 0: // Comments only: all defaults.
		return true
	case len(bodies) > 1:
		l.syntax(l.at(bodies[1]), "a second document in the file; one is allowed")
		return false
	}
	l.section("", bodies[0], reflect.ValueOf(l.config).Elem())
	return true
}

func (l *loader) syntax(at origin, message string) {
	l.problems = append(l.problems, problem{origin: at, message: message})
}

// syntaxError keeps the message and the place of the parser's error, and not the excerpt, which may show a password.
func (l *loader) syntaxError(err error) {
	at, message := origin{file: l.file, line: 1, column: 1}, "cannot be parsed"
	var located yaml.Error
	if errors.As(err, &located) {
		message = located.GetMessage()
		if t := located.GetToken(); t != nil && t.Position != nil {
			at.line, at.column = t.Position.Line, t.Position.Column
		}
	}
	l.syntax(at, "not YAML: "+message)
}

// at is where a node stands.
func (l *loader) at(node ast.Node) origin {
	o := origin{file: l.file, line: 1, column: 1}
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		node = m.Values[0].Key // The mapping's own token is the colon after its first key.
	}
	if t := node.GetToken(); t != nil && t.Position != nil {
		o.line, o.column = t.Position.Line, t.Position.Column
	}
	return o
}

// section reads a mapping into a section of the configuration. The path is empty for the file as a whole.
func (l *loader) section(path string, node ast.Node, target reflect.Value) {
	if _, ok := node.(*ast.NullNode); ok {
		return // A section without a key is one of defaults.
	}
	mapping, ok := node.(*ast.MappingNode)
	if !ok {
		message := "must be a section, which has keys like " + keysOf(target.Type())[0]
		if isReference(node) {
			message = referenceRefused
		}
		l.problems = append(l.problems, problem{origin: l.at(node), path: path, message: message})
		return
	}
	lines := map[string]int{}
	for _, entry := range mapping.Values {
		name := entry.Key.GetToken().Value
		key := shownKey(name)
		if path != "" {
			key = path + "." + key
		}
		at := l.at(entry.Key)
		index := slices.Index(keysOf(target.Type()), name)
		switch {
		case !isPlainKey(entry.Key):
			l.syntax(at, "this kind of key is not supported; write a plain word")
		case lines[name] > 0:
			l.problems = append(l.problems, problem{origin: at, path: key,
				message: fmt.Sprintf("is there twice, first in line %d; remove one", lines[name])})
		case index < 0:
			l.unknownKey(at, key, name, target.Type())
		case isSection(target.Field(index).Type()):
			l.section(key, entry.Value, target.Field(index))
		default:
			l.leaf(l.field(key), entry.Value)
		}
		lines[name] = at.line
	}
}

// shownKey is a key for messages: of one that is no word, what begins like one, since "password:secret" is a key too.
func shownKey(name string) string {
	end := strings.IndexFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.", r)
	})
	if end < 0 {
		return name
	}
	return name[:end] + "..."
}

// isReference tells what makes one part of a file depend on another, which a reader of a configuration need not look for.
func isReference(node ast.Node) bool {
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return true
	}
	return false
}

const referenceRefused = "anchors, aliases and tags are not supported; write the value out"

// isPlainKey refuses merge keys, explicit keys ("? key"), aliases and the like.
func isPlainKey(key ast.Node) bool {
	switch key.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return true
	}
	return false
}

// unknownKey says what was probably meant: a key of the section, or the same key elsewhere.
func (l *loader) unknownKey(at origin, key, name string, target reflect.Type) {
	const listedMax = 12 // A longer list helps nobody.
	message := "unknown key; "
	keys := keysOf(target)
	elsewhere := slices.IndexFunc(l.fields, func(f field) bool { return strings.HasSuffix(f.path, "."+name) })
	switch meant := nearest(name, keys); {
	case meant != "":
		message += "did you mean " + meant + "?"
	case elsewhere >= 0:
		message += "did you mean " + l.fields[elsewhere].path + "?"
	case len(keys) <= listedMax:
		message += "known here are " + strings.Join(keys, ", ")
	default:
		message += "remove it"
	}
	l.problems = append(l.problems, problem{origin: at, path: key, message: message})
}

// leaf reads a value or a list of values.
func (l *loader) leaf(f *field, node ast.Node) {
	if !f.isList() {
		switch text, ok := l.scalar(f.path, node); {
		case ok && f.isSecret() && text != "":
			l.secretInFile(f, l.at(node))
		case ok:
			l.set(f, given{origin: l.at(node), text: text})
		}
		return
	}
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		l.failed[f.path] = true
		l.problems = append(l.problems, problem{origin: l.at(node), path: f.path, message: "must be a list, like [a, b]"})
		return
	}
	var texts []string
	for i, item := range list.Values {
		text, ok := l.scalar(element(f.path, i), item)
		if !ok {
			l.failed[f.path] = true
			continue
		}
		l.given[element(f.path, i)] = given{origin: l.at(item), text: text}
		texts = append(texts, text)
	}
	l.given[f.path] = given{origin: l.at(list), text: strings.Join(texts, ",")}
	if !l.failed[f.path] {
		f.value.Set(reflect.ValueOf(texts))
	}
}

// secretInFile refuses a secret that stands in the configuration: such a file is copied, shown and kept in a repository.
func (l *loader) secretInFile(f *field, at origin) {
	l.failed[f.path] = true
	l.problems = append(l.problems, problem{origin: at, path: f.path, message: fmt.Sprintf(
		"a secret must not stand in this file; take it out, and name a file that has it in %[1]s_file, or set the variable %[2]s_FILE or %[2]s", f.path, f.variable)})
}

// scalar returns the text of a value as it is written, without quotes.
func (l *loader) scalar(path string, node ast.Node) (text string, ok bool) {
	message := "must be a single value"
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.NullNode:
		message = `has no value; write "" for an empty one or leave the key out`
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		message = referenceRefused
	case *ast.MappingNode:
		// The parser takes {addrs: [redis:6379]} for a mapping in the list, other than a block's addrs: [redis:6379].
		message = "must be a single value; if it is a text with a colon, quote it"
	}
	l.failed[path] = true
	l.problems = append(l.problems, problem{origin: l.at(node), path: path, message: message})
	return "", false
}

// set sets a leaf that is not a list.
func (l *loader) set(f *field, g given) {
	l.given[f.path] = g
	if err := setText(f.value, g.text); err != nil {
		l.failed[f.path] = true
		l.note(f.path, err.Error())
		return
	}
	if f.value.Type() == reflect.TypeFor[File]() && g.origin.variable == "" {
		f.value.SetString(l.inDirectory(f.value.String()))
	}
}
