package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong in a rule file.
type Problem struct {
	// File is the name given to Parse. Line and Column count from 1.
	File         string
	Line, Column int
	// Rule names the rule by code and name, or by its place (#2) where it has neither; empty: the file as a whole.
	Rule    string
	Message string
}

// String is file:line:column: rule ...: message.
func (p Problem) String() string {
	var rule string
	if p.Rule != "" {
		rule = "rule " + p.Rule + ": "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", p.File, p.Line, p.Column, rule, p.Message)
}

// Problems is the error of Parse: all that is wrong, in the order of the file.
type Problems []Problem

// Error has one problem a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
