package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The table of log keys in deploy/README.md is checked against every call of a logger in the product.

// logCall is a call of a logger.
type logCall struct {
	at      string
	message ast.Expr // nil: With
	args    []ast.Expr
}

// argumentsBefore is how many arguments stand before the message; of With there is none.
var argumentsBefore = map[string]int{"Debug": 0, "Info": 0, "Warn": 0, "Error": 0, "Log": 2, "LogAttrs": 2,
	"DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1}

// isLogger reports whether an expression is a logger, which all are named alike.
func isLogger(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return slices.Contains([]string{"log", "logger", "slog"}, e.Name)
	case *ast.SelectorExpr:
		return slices.Contains([]string{"log", "Logger"}, e.Sel.Name)
	case *ast.CallExpr: // log.With(...).Info(...)
		of, ok := e.Fun.(*ast.SelectorExpr)
		return ok && of.Sel.Name == "With" && isLogger(of.X)
	}
	return false
}

// logCalls returns the calls of loggers in a file.
func logCalls(files *token.FileSet, file *ast.File) (calls []logCall) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !isLogger(method.X) {
			return true
		}
		c := logCall{at: files.Position(call.Pos()).String(), args: call.Args}
		if before, ok := argumentsBefore[method.Sel.Name]; ok {
			c.message, c.args = call.Args[before], call.Args[before+1:]
		} else if method.Sel.Name != "With" {
			return true // log.Handler()
		}
		if call.Ellipsis.IsValid() {
			c.args = append(slices.Clone(c.args), nil) // which is no key
		}
		calls = append(calls, c)
		return true
	})
	return calls
}

// productFiles parses the product: not the tests, nor what helps them.
func productFiles(t *testing.T) (*token.FileSet, []*ast.File) {
	t.Helper()
	files := token.NewFileSet()
	var parsed []*ast.File
	for _, dir := range []string{"cmd", "consumer", "state", "rules"} {
		err := filepath.WalkDir(filepath.Join(rootDir, dir), func(path string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case e.IsDir() && slices.Contains([]string{"consumertest", "storetest", "rulestest", "testdata"}, e.Name()):
				return filepath.SkipDir
			case e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			parsed = append(parsed, file)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files, parsed
}

// text returns what a literal stands for; false: it is none.
func text(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// checkLogCall returns the keys of a call, and what is wrong with it.
func checkLogCall(c logCall) (keys, problems []string) {
	if c.message != nil {
		if message, ok := text(c.message); !ok || message == "" || strings.TrimSpace(message) != message {
			problems = append(problems, "the message is no constant text")
		}
	}
	if len(c.args)%2 != 0 {
		problems = append(problems, "the keys and values are no pairs")
	}
	for i := 0; i < len(c.args); i += 2 {
		key, ok := text(c.args[i])
		if !ok {
			problems = append(problems, fmt.Sprintf("argument %d is no constant key", i))
			continue
		}
		keys = append(keys, key)
	}
	return keys, problems
}

// TestLogKeys: each message is a constant, each key is in the table, and the table has no other.
func TestLogKeys(t *testing.T) {
	_, section, _ := strings.Cut(readRepository(t, "deploy/README.md"), "\n## Logs\n")
	section, _, _ = strings.Cut(section, "\n## ")
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([^|]+) \\|$").FindAllStringSubmatch(section, -1) {
		if listed[row[1]] {
			t.Errorf("%s is listed twice", row[1])
		}
		listed[row[1]] = true
	}
	used := map[string]bool{"time": true, "level": true, "msg": true, keyRepeated: true, keyHeld: true} // the handlers' own
	files, parsed := productFiles(t)
	calls := 0
	for _, file := range parsed {
		for _, c := range logCalls(files, file) {
			calls++
			keys, problems := checkLogCall(c)
			for _, p := range problems {
				t.Errorf("%s: %s", c.at, p)
			}
			for _, key := range keys {
				if used[key] = true; !listed[key] {
					t.Errorf("%s: the key %s is not in the table of deploy/README.md", c.at, key)
				}
			}
		}
	}
	for key := range listed {
		if !used[key] {
			t.Errorf("deploy/README.md lists the key %s, which no line has", key)
		}
	}
	if calls < 30 {
		t.Errorf("only %d calls were found", calls)
	}
}

// TestLogCallsAreRead: what TestLogKeys would miss, it would pass.
func TestLogCallsAreRead(t *testing.T) {
	const source = `package p
func f() {
	e.log.Warn("a", "x", 1)
	log.With("y", 2).Info("b" + c, "z", 3)
	c.engine.log.Log(ctx, level, "c", key, 4)
	o.Logger.Error(fmt.Sprintf("d"), attrs...)
	slog.Info("e", slog.Int("n", 1))
	math.Log(3)
}`
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range logCalls(files, file) {
		keys, problems := checkLogCall(c)
		got = append(got, fmt.Sprintf("%s %q %d", strings.TrimPrefix(c.at, "p.go:"), keys, len(problems)))
	}
	want := []string{`3:2 ["x"] 0`, `4:2 ["z"] 1`, `4:2 ["y"] 0`, `5:2 [] 1`, `6:2 [] 2`, `7:2 [] 2`}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
