package consumertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// difference names the first member in which a JSON value is not the wanted one. Numbers are compared by their text.
func difference(got, want []byte) string {
	a, err := decodeExact(got)
	if err != nil {
		return fmt.Sprintf("it is no JSON value: %v", err)
	}
	b, err := decodeExact(want)
	if err != nil {
		return fmt.Sprintf("the wanted one is no JSON value: %v", err)
	}
	if path := firstDifference("", a, b); path != "" {
		return strings.TrimPrefix(path, ".")
	}
	return "the values are the same, the bytes are not"
}

func decodeExact(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err = d.Decode(&v); err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return v, nil
		}
		err = fmt.Errorf("more than one value (%w)", err)
	}
	return nil, err
}

func firstDifference(path string, got, want any) string {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			break
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			member, ok := got[name]
			if !ok {
				return fmt.Sprintf("%s.%s is missing, want %s", path, name, encode(want[name]))
			}
			if d := firstDifference(path+"."+name, member, want[name]); d != "" {
				return d
			}
		}
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if _, ok := want[name]; !ok {
				return fmt.Sprintf("%s.%s is not due: %s", path, name, encode(got[name]))
			}
		}
		return ""
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			break
		}
		for i := range want {
			if d := firstDifference(fmt.Sprintf("%s[%d]", path, i), got[i], want[i]); d != "" {
				return d
			}
		}
		return ""
	default:
		if got == want {
			return ""
		}
	}
	return fmt.Sprintf("%s is %s, not %s", path, encode(got), encode(want))
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Append(nil, v)
	}
	return text
}
