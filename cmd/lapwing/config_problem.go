package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// origin is where a value stands: in a file, or in an environment variable. The zero value is a default.
type origin struct {
	file         string
	line, column int // 0: the file as a whole
	variable     string
}

// String returns file:line:column, the variable's name, or "configuration".
func (o origin) String() string {
	switch {
	case o.variable != "":
		return o.variable
	case o.line > 0:
		return fmt.Sprintf("%s:%d:%d", o.file, o.line, o.column)
	case o.file != "":
		return o.file
	}
	return "configuration"
}

// problem is one thing that is wrong with a configuration.
type problem struct {
	origin  origin
	path    string // of the key, like kafka.group; empty for a problem of syntax
	message string
	got     string // the value, quoted; empty where it says nothing or is a secret
}

// String returns one line: where, which key, what is wrong, and the value. A key may be any text, so what is not printable
// is replaced.
func (p problem) String() string {
	var b strings.Builder
	b.WriteString(p.origin.String())
	if p.path != "" {
		b.WriteString(": " + p.path)
	}
	b.WriteString(": " + p.message)
	if p.got != "" {
		b.WriteString(" (got " + p.got + ")")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, b.String())
}

// problems is all that is wrong, as one error.
type problems []problem

// Error returns the headline and one line for each problem.
func (p problems) Error() string {
	lines := []string{countProblems(len(p)) + " in the configuration"}
	for _, one := range p {
		lines = append(lines, one.String())
	}
	return strings.Join(lines, "\n")
}

func countProblems(n int) string {
	if n == 1 {
		return "1 problem"
	}
	return fmt.Sprintf("%d problems", n)
}

// sort orders the problems as they stand in the file, those without a line after them, then those of the environment.
func (p problems) sort() {
	rank := func(o origin) int {
		switch {
		case o.variable != "":
			return 2
		case o.line == 0:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(p, func(a, b problem) int {
		return cmp.Or(
			cmp.Compare(rank(a.origin), rank(b.origin)),
			cmp.Compare(a.origin.line, b.origin.line),
			cmp.Compare(a.origin.column, b.origin.column),
			cmp.Compare(a.origin.variable, b.origin.variable),
		)
	})
}

// nearest returns the word that was probably meant, or "" if none is near.
func nearest(word string, words []string) string {
	best, bestDistance := "", max(2, len(word)/3)+1
	for _, w := range words {
		if d := distance(word, w); d < bestDistance {
			best, bestDistance = w, d
		}
	}
	return best
}

// distance is the Levenshtein distance in bytes: how many must be changed, added or removed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
