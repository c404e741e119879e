package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestTypes(t *testing.T) {
	types, err := NewTypes("deposit", "withdraw", "größe")
	if err != nil {
		t.Fatal(err)
	}
	if types.Len() != 3 || !slices.Equal(types.Names(), []string{"deposit", "withdraw", "größe"}) || types.Name(2) != "größe" {
		t.Errorf("%d types %q", types.Len(), types.Names())
	}
	if typ, ok := types.Lookup([]byte("withdraw")); !ok || typ != 1 {
		t.Errorf("withdraw is %d, %t", typ, ok)
	}
	for _, name := range []string{"", "Deposit", "deposi", "deposit ", "withdraw\x00"} {
		if typ, ok := types.Lookup([]byte(name)); ok {
			t.Errorf("%q is %d", name, typ)
		}
	}
	types.Names()[0] = "changed"
	if types.Name(0) != "deposit" {
		t.Error("Names is no copy")
	}
	name := []byte("withdraw")
	if n := testing.AllocsPerRun(100, func() { types.Lookup(name) }); n != 0 {
		t.Errorf("Lookup: %v allocations", n)
	}
}

func TestTypesLimits(t *testing.T) {
	names := make([]string, TypesMax+1)
	for i := range names {
		names[i] = fmt.Sprint("t", i)
	}
	longest := strings.Repeat("x", TypeNameBytesMax)
	for _, good := range [][]string{names[:1], names[:TypesMax], {longest}} {
		if _, err := NewTypes(good...); err != nil {
			t.Errorf("%.40q: %v", good, err)
		}
	}
	for want, bad := range map[string][]string{
		"0 names":            {},
		"65 names":           names,
		"name 2 is empty":    {"a", ""},
		"65 bytes":           {longest + "x"},
		`"a" is there twice`: {"a", "b", "a"},
		"control character":  {"a\nb"},
		"is not valid UTF-8": {"a\xff"},
	} {
		if _, err := NewTypes(bad...); !errors.Is(err, ErrTypes) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", bad, err, want)
		}
	}
	_, err := NewTypes("", "a", "a")
	if err == nil || !strings.Contains(err.Error(), "empty") || !strings.Contains(err.Error(), "twice") {
		t.Errorf("%v, want both problems", err)
	}
}
