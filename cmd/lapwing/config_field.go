package main

import (
	"reflect"
	"strings"
)

// variablePrefix begins the names of all environment variables.
const variablePrefix = "LAPWING_"

// field is a leaf of a Config.
type field struct {
	path     string // like kafka.tls.ca_file
	variable string // like LAPWING_KAFKA_TLS_CA_FILE
	value    reflect.Value
	tag      reflect.StructTag
}

// fieldsOf returns the leaves of a Config, in its order. They set it.
func fieldsOf(c *Config) []field {
	return appendFields(nil, reflect.ValueOf(c).Elem(), "")
}

func appendFields(fields []field, section reflect.Value, prefix string) []field {
	for i := range section.NumField() {
		path := prefix + keyOf(section.Type().Field(i))
		if value := section.Field(i); isSection(value.Type()) {
			fields = appendFields(fields, value, path+".")
		} else {
			fields = append(fields, field{
				path:     path,
				variable: variablePrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_")),
				value:    value,
				tag:      section.Type().Field(i).Tag,
			})
		}
	}
	return fields
}

// keyOf is the key of a field of a section.
func keyOf(f reflect.StructField) string { return f.Tag.Get("yaml") }

// isSection tells a section from a leaf that happens to be a struct.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[Start]()
}

// isList reports whether the leaf is a list of texts.
func (f *field) isList() bool { return f.value.Kind() == reflect.Slice }

// isSecret reports whether the leaf's value must not be shown.
func (f *field) isSecret() bool { return f.value.Type() == reflect.TypeFor[Secret]() }

// keysOf returns the keys of a section.
func keysOf(section reflect.Type) []string {
	keys := make([]string, 0, section.NumField())
	for i := range section.NumField() {
		keys = append(keys, keyOf(section.Field(i)))
	}
	return keys
}

// field returns the leaf of a path, which must exist.
func (l *loader) field(path string) *field {
	for i := range l.fields {
		if l.fields[i].path == path {
			return &l.fields[i]
		}
	}
	panic("config: no key " + path)
}
