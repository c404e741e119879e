package consumertest

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

// SecretMarker is in every password, token and other secret text that a test gives to a program. What programs print and
// answer is searched for it, and for private keys ([Inspect]).
const SecretMarker = "lapwing-test-secret"

// Output is a kind of what programs tell the world. An admin endpoint is a kind of its own, named by its path.
type Output string

// Kinds of output.
const (
	OutputProcess Output = "process" // all that a process printed
	OutputCommand Output = "command" // all that a command printed within the test's own process
)

// inspection is what was searched in this test process. Safe for concurrent use.
type inspection struct {
	mu      sync.Mutex
	outputs map[Output]int
	given   map[string]int // secrets, by variable: starts that were given it
	leaks   []string
}

var inspected = inspection{outputs: map[Output]int{}, given: map[string]int{}}

// leaksMax bounds what is remembered: one leak is enough to fail.
const leaksMax = 20

// Inspect searches an output, one of a source like "engine two", for secrets of tests. What it finds makes [Main] fail.
func Inspect(kind Output, source, text string) { inspected.inspect(kind, source, text) }

func (i *inspection) inspect(kind Output, source, text string) {
	found := leakedLines(text)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.outputs[kind]++
	for _, line := range found {
		if len(i.leaks) < leaksMax {
			i.leaks = append(i.leaks, fmt.Sprintf("%s, %s: %s", kind, source, line))
		}
	}
}

// leakedForms are the shapes in which the marker may be printed, and what begins every private key.
var leakedForms = formsOf(SecretMarker, privateKey)

// privateKey is in the first line of every private key in PEM form.
const privateKey = "PRIVATE KEY-----"

// formsOf returns the words as they are, in hex, as numbers of bytes, and in base64 at each of the three places that a
// text may have in a longer one (without the characters at its ends, which depend on what is beside it).
func formsOf(words ...string) []string {
	var forms []string
	for _, word := range words {
		numbers := strings.Trim(fmt.Sprint([]byte(word)), "[]")
		forms = append(forms, word, hex.EncodeToString([]byte(word)), strings.ToUpper(hex.EncodeToString([]byte(word))),
			numbers, strings.ReplaceAll(numbers, " ", ", "))
		for before := range 3 {
			text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("-", before) + word))
			whole := (before + len(word)) / 3 * 4 // characters that depend on the word alone, from the second group on
			first := (before + 2) / 3 * 4
			forms = append(forms, text[first:whole])
		}
	}
	return forms
}

// leakedLines returns the lines of a text that have a secret in them, shortened.
func leakedLines(text string) []string {
	const shownMax = 300
	var lines []string
	for line := range strings.Lines(text) {
		for _, form := range leakedForms {
			if at := strings.Index(line, form); at >= 0 {
				start := max(0, at-shownMax/2)
				lines = append(lines, strings.TrimSpace(line[start:min(len(line), at+shownMax/2)]))
				break
			}
		}
	}
	return lines
}

// NoteSecrets notes which secrets a program was given: by its environment, NAME=value, or by its configuration file, in
// the value of a key or in a file that the value names. What a file gives has the file's variable, like
// LAPWING_REDIS_PASSWORD_FILE.
func NoteSecrets(config string, environ []string) {
	for _, name := range secretsOf(config, environ) {
		inspected.mu.Lock()
		inspected.given[name]++
		inspected.mu.Unlock()
	}
}

func secretsOf(config string, environ []string) []string {
	var names []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "LAPWING_") && isSecret(value, "") {
			names = append(names, name)
		}
	}
	text, err := os.ReadFile(config)
	if err != nil {
		return names // no file, or one that the program complains about
	}
	var root any
	if yaml.Unmarshal(text, &root) != nil {
		return names // likewise
	}
	var walk func(value any, name string)
	walk = func(value any, name string) {
		switch v := value.(type) {
		case map[string]any:
			for key, below := range v {
				walk(below, name+"_"+strings.ToUpper(key))
			}
		case string:
			if isSecret(v, filepath.Dir(config)) {
				names = append(names, name)
			}
		}
	}
	walk(root, "LAPWING")
	return names
}

// isSecret reports whether a value is a secret, or names a file in the folder that has one.
func isSecret(value, folder string) bool {
	if strings.Contains(value, SecretMarker) {
		return true
	}
	if !filepath.IsAbs(value) {
		value = filepath.Join(folder, value)
	}
	text, err := os.ReadFile(value)
	return err == nil && (strings.Contains(string(text), SecretMarker) || strings.Contains(string(text), privateKey))
}

// Inspected returns how many outputs of each kind have been searched, and how many starts of programs were given each
// secret, by the variable that it can be given by.
func Inspected() (outputs map[Output]int, given map[string]int) {
	inspected.mu.Lock()
	defer inspected.mu.Unlock()
	return maps.Clone(inspected.outputs), maps.Clone(inspected.given)
}

// err returns what was found, nil for nothing.
func (i *inspection) err() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	var errs []error
	for _, leak := range i.leaks {
		errs = append(errs, fmt.Errorf("a secret of the tests was printed: %s", leak))
	}
	return errors.Join(errs...)
}
