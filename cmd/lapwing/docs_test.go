package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/lapwing/lapwing/consumer/contract"
)

// The documents name files, commands, keys and metrics, and show what the program prints. These tests keep that true.

const rootDir = "../.."

var documents = []string{"README.md", "DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "deploy/README.md", ".github/pull_request_template.md"}

// document is a Markdown file, in parts.
type document struct {
	name   string
	text   string
	blocks []block
	prose  string   // what is in no block
	spans  []string // the inline code of the prose, without the quotes
	links  []string // the targets of links in the prose
}

// block is a fenced or indented block of code.
type block struct {
	language string
	text     string
}

var (
	inlineCode = regexp.MustCompile("`([^`\n]+)`")
	linkTarget = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

func readDocument(t *testing.T, name string) *document {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(rootDir, name))
	if err != nil {
		t.Fatal(err)
	}
	d := &document{name: name, text: string(text)}
	var prose, code strings.Builder
	language, fenced, indented := "", false, false
	end := func() {
		if code.Len() > 0 {
			d.blocks = append(d.blocks, block{language, code.String()})
		}
		code.Reset()
		indented = false
	}
	blank := true // the line before: an indented block does not interrupt a paragraph
	for line := range strings.Lines(d.text) {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence:
			end()
			fenced, language = !fenced, strings.TrimSpace(fence)
		case fenced:
			code.WriteString(line)
		case strings.HasPrefix(line, "    ") && (indented || blank):
			indented, language = true, ""
			code.WriteString(strings.TrimPrefix(line, "    "))
		default:
			end()
			prose.WriteString(line)
		}
		blank = strings.TrimSpace(line) == ""
	}
	end()
	if fenced {
		t.Errorf("%s: a fenced block has no end", name)
	}
	d.prose = prose.String()
	for _, m := range inlineCode.FindAllStringSubmatch(d.prose, -1) {
		d.spans = append(d.spans, m[1])
	}
	for _, m := range linkTarget.FindAllStringSubmatch(inlineCode.ReplaceAllString(d.prose, ""), -1) {
		d.links = append(d.links, m[1])
	}
	return d
}

// code returns all code of the document: the blocks by line, and the spans.
func (d *document) code() []string {
	code := slices.Clone(d.spans)
	for _, b := range d.blocks {
		code = append(code, strings.Split(b.text, "\n")...)
	}
	return code
}

// notFiles look like paths and are none: bytes of contracts, a media type, what make builds.
var notFiles = []string{"topic/partition/offset", "lapwing/1", "application/json", "bin/lapwing"}

var (
	pathLike = regexp.MustCompile(`^\.?[\w.-]+(/[\w.-]+)+/?$`)
	fileLike = regexp.MustCompile(`^[\w.-]+\.(go|md|ya?ml|lua|jsonl|json|txt|sh|mod|sum|xml)$`)
)

// TestDocumentsNameRealFiles: every path exists that is in a link, in inline code, or below a folder of the repository.
func TestDocumentsNameRealFiles(t *testing.T) {
	folders := topFolders(t)
	for _, name := range documents {
		d := readDocument(t, name)
		named := 0
		check := func(path string) {
			named++
			if _, err := os.Stat(filepath.Join(rootDir, filepath.FromSlash(path))); err != nil {
				t.Errorf("%s names %s, which does not exist", name, path)
			}
		}
		for _, target := range d.links {
			if path, _, _ := strings.Cut(target, "#"); path != "" && !strings.Contains(target, "://") {
				check(filepath.Join(filepath.Dir(name), path))
			}
		}
		for _, span := range d.spans {
			if (pathLike.MatchString(span) || fileLike.MatchString(span)) && !slices.Contains(notFiles, span) {
				check(span)
			}
		}
		for word := range strings.FieldsFuncSeq(d.text, func(r rune) bool { return strings.ContainsRune(" \n\t\"'()[]`,;:$<>=|#", r) }) {
			path, isLocal := strings.CutPrefix(strings.TrimSuffix(word, "/..."), "./")
			first, _, isBelow := strings.Cut(path, "/")
			if isLocal || isBelow && slices.Contains(folders, first) {
				check(strings.TrimRight(path, "."))
			}
		}
		if named == 0 && (name == "README.md" || name == "DESIGN.md" || name == "CONTRIBUTING.md") {
			t.Errorf("%s names no file", name)
		}
	}
}

func topFolders(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(rootDir)
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "bin" && e.Name() != ".git" {
			folders = append(folders, e.Name())
		}
	}
	return folders
}

func TestDocumentsNameRealMakeTargets(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(rootDir, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, m[1])
	}
	command := regexp.MustCompile(`(?:^|&& |\$\()make(?: ([a-z][a-z-]*))?`)
	for _, name := range documents {
		for _, code := range readDocument(t, name).code() {
			for _, m := range command.FindAllStringSubmatch(code, -1) {
				if m[1] != "" && !slices.Contains(targets, m[1]) {
					t.Errorf("%s: make has no target %s", name, m[1])
				}
			}
		}
	}
	readme := readDocument(t, "README.md").code()
	for _, want := range []string{"make run", "make test"} {
		if !slices.Contains(readme, want) {
			t.Errorf("README.md does not say %q", want)
		}
	}
}

// TestDocumentsNameRealTests: every test, fuzz target and benchmark that is named is one.
func TestDocumentsNameRealTests(t *testing.T) {
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
	var known []string
	err := filepath.WalkDir(rootDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(text, -1) {
			known = append(known, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	count := 0
	for _, name := range documents {
		for _, code := range readDocument(t, name).code() {
			for _, function := range named.FindAllString(code, -1) {
				count++
				if !slices.Contains(known, function) {
					t.Errorf("%s names %s, which is no test", name, function)
				}
			}
		}
	}
	if count == 0 {
		t.Error("no test is named")
	}
}

// TestDocumentsNameRealCommands: each `lapwing COMMAND --flag` exists, and the README has every command.
func TestDocumentsNameRealCommands(t *testing.T) {
	parser, err := kong.New(&cli{}, kong.Name("lapwing"))
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string][]string{} // its flags
	for _, node := range parser.Model.Children {
		commands[node.Name] = []string{"help"}
		for _, f := range node.Flags {
			commands[node.Name] = append(commands[node.Name], f.Name)
		}
	}
	shown := map[string]bool{}
	command := regexp.MustCompile(`^(?:\$ )?(?:bin/)?lapwing ([a-z][a-z-]*)(.*)`)
	flag := regexp.MustCompile(`--([a-z][a-z-]*)`)
	for _, name := range documents {
		for _, code := range readDocument(t, name).code() {
			m := command.FindStringSubmatch(code)
			if m == nil {
				continue
			}
			flags, ok := commands[m[1]]
			if !ok {
				t.Errorf("%s: lapwing has no command %s", name, m[1])
			}
			for _, f := range flag.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(flags, f[1]) {
					t.Errorf("%s: lapwing %s has no flag --%s", name, m[1], f[1])
				}
			}
			if name == "README.md" {
				shown[m[1]] = true
			}
		}
	}
	for name := range commands {
		if !shown[name] {
			t.Errorf("README.md does not show lapwing %s", name)
		}
	}
}

// TestDocumentsNameRealKeys: each key of the configuration and each variable that is named exists.
func TestDocumentsNameRealKeys(t *testing.T) {
	keys, variables := map[string]bool{}, map[string]bool{}
	for _, f := range fieldsOf(NewConfig()) {
		variables[f.variable] = true
		for path := f.path; ; {
			keys[path] = true
			at := strings.LastIndexByte(path, '.')
			if at < 0 {
				break
			}
			path = path[:at]
		}
	}
	key := regexp.MustCompile(`^(?:kafka|redis|events|gateway|log|tracing)\.[a-z_.]+$`)
	variable := regexp.MustCompile(`\bLAPWING_[A-Z_]+\b`)
	ofTests := []string{"LAPWING_TEST_KAFKA", "LAPWING_TEST_REDIS", "LAPWING_TEST_REQUIRE", "LAPWING_TEST_SEED"}
	for _, name := range documents {
		d := readDocument(t, name)
		for _, span := range d.spans {
			if key.MatchString(span) && span != "events.dead" && !keys[span] {
				t.Errorf("%s names the key %s, which does not exist", name, span)
			}
		}
		for _, v := range variable.FindAllString(d.text, -1) {
			if v != variablePrefix && !variables[v] && !slices.Contains(ofTests, v) {
				t.Errorf("%s names the variable %s, which does not exist", name, v)
			}
		}
	}
}

// TestReadmeHasTheContracts: the dead letters' reasons in their order, and every header.
func TestReadmeHasTheContracts(t *testing.T) {
	readme := readDocument(t, "README.md")
	_, section, _ := strings.Cut(readme.prose, "### Dead letters")
	section, _, _ = strings.Cut(section, "### ")
	var reasons []contract.Reason
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|").FindAllStringSubmatch(section, -1) {
		reasons = append(reasons, contract.Reason(m[1]))
	}
	if !slices.Equal(reasons, contract.Reasons()) {
		t.Errorf("README.md has the reasons %q, there are %q", reasons, contract.Reasons())
	}
	for _, header := range []string{
		contract.HeaderAlert, contract.HeaderSource, contract.HeaderRules, contract.HeaderReason, contract.HeaderDetail,
		contract.HeaderTimestamp, contract.HeaderCut, contract.HeaderRequestID, contract.HeaderTraceparent,
	} {
		if !slices.Contains(readme.spans, header) {
			t.Errorf("README.md does not have the header %s", header)
		}
	}
}

// TestReadmeFirstSteps: the commands that dev prints are the README's, and the answer to the first event is the one shown.
func TestReadmeFirstSteps(t *testing.T) {
	readme := readDocument(t, "README.md")
	var lines []string
	for _, b := range readme.blocks {
		lines = append(lines, strings.Split(b.text, "\n")...)
	}
	var out bytes.Buffer
	config := NewConfig()
	(&devCmd{}).introduce(&console{stdout: &out}, config, config.Gateway.Listen)
	_, try, _ := strings.Cut(out.String(), "Try:\n")
	commands := 0
	for line := range strings.Lines(try) {
		command, isCommand := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "  ")
		if !isCommand {
			continue
		}
		commands++
		if !slices.Contains(lines, command) {
			t.Errorf("README.md does not have the command that dev prints:\n%s", command)
		}
	}
	if commands < 3 {
		t.Errorf("dev prints %d commands to try, want 3", commands)
	}

	const event = `{"type":"deposit","amount":"42.00","user_id":1,"time":10}`
	at := slices.IndexFunc(lines, func(line string) bool {
		return strings.HasPrefix(line, "curl -XPOST http://127.0.0.1:5001/event ") && strings.HasSuffix(line, " -d '"+event+"'")
	})
	if at < 0 {
		t.Fatalf("README.md does not post %s", event)
	}
	code, stdout, stderr := lapwing(t, event+"\n", "eval")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	if want := strings.TrimSuffix(stdout, "\n"); !slices.Contains(lines[at:], want) {
		t.Errorf("README.md does not show the answer %s", want)
	}
}

// TestReadmeExamples runs the examples of eval and compares what they print.
func TestReadmeExamples(t *testing.T) {
	examples := 0
	for _, b := range readDocument(t, "README.md").blocks {
		if b.language != "console" {
			continue
		}
		examples++
		head, rest, _ := strings.Cut(b.text, "\n")
		command, ok := strings.CutPrefix(head, "$ lapwing ")
		arguments, okHere := strings.CutSuffix(command, " <<'END'")
		input, want, okEnd := strings.Cut(rest, "END\n")
		if !ok || !okHere || !okEnd {
			t.Errorf("not an example: %s", b.text)
			continue
		}
		if code, stdout, stderr := lapwing(t, input, strings.Fields(arguments)...); code != exitOK || stdout != want {
			t.Errorf("%s\nprints\n%s%s, README.md shows\n%s", head, stdout, stderr, want)
		}
	}
	if examples < 4 {
		t.Errorf("%d examples, want one for each built-in rule", examples)
	}
}

// TestReadmeQuotesMessages: the messages that "What to do when" is looked up by are in the code.
func TestReadmeQuotesMessages(t *testing.T) {
	var source []byte
	err := filepath.WalkDir(filepath.Join(rootDir, "consumer"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		source = append(source, text...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(readDocument(t, "README.md").prose, "### What to do when")
	section, _, _ = strings.Cut(section, "### ")
	quoted := 0
	for _, m := range regexp.MustCompile(`(?m)^\*\*[^*]+\*\* \(([^)]*)\)`).FindAllStringSubmatch(section, -1) {
		for _, message := range inlineCode.FindAllStringSubmatch(m[1], -1) {
			quoted++
			if !bytes.Contains(source, []byte(message[1])) {
				t.Errorf("no message says %q", message[1])
			}
		}
	}
	if quoted < 6 {
		t.Errorf("%d messages are quoted", quoted)
	}
}

// TestDocumentsAreTidy: no line of prose is too long to read, no address of a machine, no path of one.
func TestDocumentsAreTidy(t *testing.T) {
	const columns = 120
	private := regexp.MustCompile(`/(?:home|root|work|Users)/`)
	for _, name := range documents {
		d := readDocument(t, name)
		for line := range strings.Lines(d.prose) {
			line = strings.TrimSuffix(line, "\n")
			if len([]rune(line)) > columns && !strings.HasPrefix(line, "|") {
				t.Errorf("%s: more than %d columns: %s", name, columns, line)
			}
			if strings.TrimRight(line, " \t") != line {
				t.Errorf("%s: space at the end of: %s", name, line)
			}
		}
		if found := private.FindString(d.text); found != "" {
			t.Errorf("%s has a path of one machine: %s", name, found)
		}
		if !strings.HasSuffix(d.text, "\n") {
			t.Errorf("%s does not end with a line end", name)
		}
	}
}

// TestSizingIsMeasured: each figure of the tables under "Sizing" that is said to be measured stands in the results, and each
// multiplication and division there is right.
func TestSizingIsMeasured(t *testing.T) {
	results := readDocument(t, "deploy/bench/RESULTS.md").text
	_, section, _ := strings.Cut(readDocument(t, "deploy/README.md").text, "\n## Sizing\n")
	section, rest, _ := strings.Cut(section, "\n## ")
	table, _, _ := strings.Cut(section, "\n\n**Engines.**")
	// Three figures of a row stand in one row of the results, before their bounds.
	rows := 0
	for _, m := range regexp.MustCompile(`\| (\d+\.\d\d) \| (\d+\.\d\d) \| (\d+\.\d\d) \|`).FindAllStringSubmatch(table, -1) {
		rows++
		if !strings.Contains(regexp.MustCompile(` \([^)]*\)`).ReplaceAllString(results, ""), m[0]) {
			t.Errorf("Sizing says %s, which no row of the results does", m[0])
		}
	}
	if rows < 4 {
		t.Errorf("%d rows are compared", rows)
	}
	var measured []string
	for _, sentence := range []string{"145 MB", "388 MB", "864,701", "154 bytes", "218 bytes", "78 bytes", "267 bytes", "133 bytes", "2.6 to 2.7"} {
		unit := strings.TrimSuffix(sentence, " bytes")
		if !strings.Contains(section, unit) {
			t.Errorf("Sizing does not say %s any more", unit)
		}
		measured = append(measured, strings.TrimSuffix(sentence, " MB"))
	}
	for _, figure := range measured {
		if !strings.Contains(results, figure) {
			t.Errorf("Sizing says %s, which no result does", figure)
		}
	}
	// What the document rounds has two figures at least.
	const rounded = 0.05
	sums := 0
	text := strings.ReplaceAll(section+rest, "\n", " ")
	for _, m := range regexp.MustCompile(`([\d,.]+(?: [*/+-] [\d,.]+)+) = ([\d,]+(?:\.\d+)?)( [MG]B)?`).FindAllStringSubmatch(text, -1) {
		want := calculated(t, m[1])
		got := calculated(t, m[2]) * map[string]float64{"": 1, " MB": 1, " GB": 1e3}[m[3]]
		if m[3] != "" && want > 1e6 {
			want /= 1e6 // in bytes
		}
		sums++
		if got < want*(1-rounded) || got > want*(1+rounded) {
			t.Errorf("%q is %v", m[0], want)
		}
	}
	if sums < 15 {
		t.Errorf("%d sums are checked", sums)
	}
}

// calculated returns the value of a sum of products, such as 100 + 0.0004 * 864,701.
func calculated(t *testing.T, text string) float64 {
	t.Helper()
	sum, sign := 0.0, 1.0
	product, divide := 1.0, false
	for _, word := range strings.Fields(text) {
		switch word {
		case "+", "-":
			sum += sign * product
			sign, product, divide = 1, 1, false
			if word == "-" {
				sign = -1
			}
		case "*", "/":
			divide = word == "/"
		default:
			v, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSuffix(word, ","), ",", ""), 64)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if divide {
				v = 1 / v
			}
			product *= v
		}
	}
	return sum + sign*product
}
