package main

import (
	"strings"
	"unicode/utf8"
)

// table is written in Markdown. Its rows are as long as its head.
type table struct {
	head []string
	rows [][]string
}

// markdown writes the table with columns of one width, so that it can be read as it is too.
func (t table) markdown() string {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(escape(text)))
		}
	}
	var b strings.Builder
	write := func(row []string) {
		for i, text := range row {
			text = escape(text)
			b.WriteString("| " + text + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+1))
		}
		b.WriteString("|\n")
	}
	write(t.head)
	for _, width := range widths {
		b.WriteString("|" + strings.Repeat("-", width+2))
	}
	b.WriteString("|\n")
	for _, row := range t.rows {
		write(row)
	}
	return b.String()
}

// escape keeps a text in its cell.
func escape(text string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text) }
