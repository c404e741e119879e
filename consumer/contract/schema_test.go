package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lapwing/lapwing/rules"
)

// The files in deploy/contracts say what this package does. These tests keep that true, in both directions.

const (
	contractsDir     = "../../deploy/contracts"
	eventSchema      = "event.schema.json"
	resultSchema     = "result.schema.json"
	deadLetterSchema = "dead-letter.schema.json"
)

// schemas are the parsed files, by name. A test may change its own.
type schemas map[string]any

func readContracts(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(contractsDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func readSchemas(t *testing.T) schemas {
	t.Helper()
	s := schemas{}
	for _, name := range []string{eventSchema, resultSchema, deadLetterSchema} {
		s[name] = parseJSON(t, readContracts(t, name))
		if got := s[name].(map[string]any)["$schema"]; got != jsonschema.Draft2020.String() {
			t.Errorf("%s is of the dialect %v, want %s", name, got, jsonschema.Draft2020)
		}
	}
	return s
}

func parseJSON(t *testing.T, text []byte) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return value
}

// schema is one schema by draft 2020-12 and by draft 07, which must mean the same.
type schema struct{ newer, older *jsonschema.Schema }

// compile compiles the schema at a place such as result.schema.json#/$defs/headers.
func (s schemas) compile(t *testing.T, place string) schema {
	t.Helper()
	by := func(draft *jsonschema.Draft) *jsonschema.Schema {
		c := jsonschema.NewCompiler()
		c.DefaultDraft(draft)
		for name, doc := range s {
			doc := maps.Clone(doc.(map[string]any))
			delete(doc, "$schema")
			if err := c.AddResource(name, doc); err != nil {
				t.Fatal(err)
			}
		}
		compiled, err := c.Compile(place)
		if err != nil {
			t.Fatalf("%s by %s: %v", place, draft, err)
		}
		return compiled
	}
	return schema{by(jsonschema.Draft2020), by(jsonschema.Draft7)}
}

// validate returns what is wrong with a value.
func (s schema) validate(t *testing.T, value any) error {
	t.Helper()
	newer, older := s.newer.Validate(value), s.older.Validate(value)
	if (newer == nil) != (older == nil) {
		t.Errorf("%v: %v by draft 2020-12, %v by draft 07", value, newer, older)
	}
	return newer
}

// takes reports whether a validator takes a record's value: what its JSON reader takes, and the schema.
func (s schema) takes(t *testing.T, value string) bool {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(value))
	return err == nil && s.validate(t, doc) == nil
}

// patched returns the files with a JSON Merge Patch (RFC 7396) of the events' schema.
func (s schemas) patched(patch any) schemas {
	s = maps.Clone(s)
	s[eventSchema] = mergePatch(s[eventSchema], patch)
	return s
}

func mergePatch(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, _ := target.(map[string]any)
	object = maps.Clone(object)
	if object == nil {
		object = map[string]any{}
	}
	for name, change := range changes {
		if change == nil {
			delete(object, name)
			continue
		}
		object[name] = mergePatch(object[name], change)
	}
	return object
}

// The options that change the events' schema, as README.md beside it heads their patches.
const (
	patchTypes   = "types: [deposit, withdraw, bonus]"
	patchNumeric = "accept_numeric_amount: true"
	patchMillis  = "time_unit: ms"
	patchRecord  = "time_from: record"
)

// readPatches returns the patches that README.md of the files has, by their options.
func readPatches(t *testing.T) map[string]any {
	t.Helper()
	patches := map[string]any{}
	block := regexp.MustCompile("(?m)^`events\\.([^`]+)`.*\n\n```json\n([^`]+)```$")
	for _, m := range block.FindAllStringSubmatch(string(readContracts(t, "README.md")), -1) {
		patches[m[1]] = parseJSON(t, []byte(m[2]))
	}
	found := slices.Sorted(maps.Keys(patches))
	want := []string{patchNumeric, patchRecord, patchMillis, patchTypes}
	if !slices.Equal(found, want) {
		t.Fatalf("README.md has patches for %q, want %q", found, want)
	}
	return patches
}

// eventSchemas are the events' schema by options.
type eventSchemas struct {
	files   schemas
	patches map[string]any
	by      map[string]schema // by the names of the patches
}

func readEventSchemas(t *testing.T) *eventSchemas {
	t.Helper()
	return &eventSchemas{files: readSchemas(t), patches: readPatches(t), by: map[string]schema{}}
}

func (e *eventSchemas) of(t *testing.T, o DecoderOptions) schema {
	t.Helper()
	var names []string
	for _, option := range []struct {
		on   bool
		name string
	}{{o.AcceptNumericAmount, patchNumeric}, {o.TimeMillis, patchMillis}, {o.TimeFromRecord, patchRecord}} {
		if option.on {
			names = append(names, option.name)
		}
	}
	key := strings.Join(names, ", ")
	if _, known := e.by[key]; !known {
		files := e.files
		for _, name := range names {
			files = files.patched(e.patches[name])
		}
		e.by[key] = files.compile(t, eventSchema)
	}
	return e.by[key]
}

// unframed returns what a schema is about.
func unframed(value string, o DecoderOptions) string {
	if o.StripFrame && len(value) >= 5 && value[0] == 0 {
		return value[5:]
	}
	return value
}

// beyondSchema are the refusals that a schema cannot give: README.md of the files says why.
var beyondSchema = []string{
	// bytes, and depth
	"one byte too many", "one byte more than an own limit", "too large with its frame", "one too deep", "an object too deep",
	// not UTF-8, lone surrogates
	"overlong slash", "raw surrogate", "truncated rune in a name",
	"lone high surrogate", "lone low surrogate", "high surrogate twice",
	// duplicates
	"member twice", "escaped member twice", "unknown member twice", "nested member twice", "first duplicate of several",
	"escaped surrogate pair beside its rune", "time twice though it is ignored",
	// how numbers are written
	"user_id with fraction", "user_id with exponent", "user_id minus zero", "amount number with exponent",
	// the record's timestamp
	"a second too far ahead", "a millisecond too far ahead",
}

// TestEventSchema: the schema takes each event that the decoder takes, and refuses each that it refuses but for those that
// a schema cannot.
func TestEventSchema(t *testing.T) {
	e := readEventSchemas(t)
	for _, tt := range accepted {
		if !e.of(t, tt.options).takes(t, unframed(tt.value, tt.options)) {
			t.Errorf("%s: the schema refuses %.200q", tt.name, tt.value)
		}
	}
	seen := 0
	for _, tt := range refusals {
		beyond := slices.Contains(beyondSchema, tt.name)
		if beyond {
			seen++
		}
		if got := e.of(t, tt.options).takes(t, unframed(tt.value, tt.options)); got != beyond {
			t.Errorf("%s: taken by the schema: %t, want %t: %.200q", tt.name, got, beyond, tt.value)
		}
	}
	if seen != len(beyondSchema) {
		t.Errorf("%d of %d names are refusals", seen, len(beyondSchema))
	}
}

// TestEventSchemaByMember puts many values into each member: schema and decoder must agree on all.
func TestEventSchemaByMember(t *testing.T) {
	values := []string{
		"null", "true", "[]", "{}", `""`, `" "`, "0", "1", "-1", "0.5", "1.5", "-1.5", "42.00", "0.00", "1e30", "1e-30",
		`"0"`, `"00"`, `"0.0"`, `"."`, `".0"`, `"0."`, `"00.10"`, `"0.000000000000000001"`, `"0.0000000000000000001"`,
		`"000000000000000001"`, `"0000000000000000001"`, `"1.5"`, `"1.5.5"`, `"1,5"`, `"-1"`, `"+1"`, `"1e3"`, `"1 "`, `"1\n"`, `"x"`,
		"999999999999999999", "1000000000000000000", `"999999999999999999"`, `"1000000000000000000"`,
		"99999999999", "100000000000", "99999999999999", "100000000000000",
		"9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616",
		`"deposit"`, `"withdraw"`, `"Deposit"`, `"deposit "`, `"bonus"`,
	}
	e := readEventSchemas(t)
	taken := map[bool]int{}
	for setting := range 8 {
		o := DecoderOptions{AcceptNumericAmount: setting&1 != 0, TimeMillis: setting&2 != 0, TimeFromRecord: setting&4 != 0}
		d, s := NewDecoder(o), e.of(t, o)
		for _, member := range []string{"type", "amount", "user_id", "time", "Type", "AMOUNT", "uſer_id", "tIme", "tim", "extra"} {
			for _, value := range values {
				text := eventOf(fmt.Sprintf("%q:%s", member, value))
				if strings.Contains(plain, `"`+member+`"`) {
					text = eventWith(member, value)
				}
				if value == "1e-30" && member == "amount" || strings.HasSuffix(value, ".00") && (member == "user_id" || member == "time") {
					continue // how numbers are written is beyond a schema
				}
				var ev Event
				refusal := d.Decode([]byte(text), 1600000000000, &ev)
				taken[refusal == nil]++
				if got := s.takes(t, text); got != (refusal == nil) {
					t.Errorf("%+v: %s: taken by the schema: %t, decoder: %v", o, text, got, refusal)
				}
			}
		}
	}
	if taken[true] < 1000 || taken[false] < 1000 {
		t.Errorf("taken and refused: %v; want many of both", taken)
	}
}

// TestEventSchemaOfVectors judges each event of the rules' test cases by the schema.
func TestEventSchemaOfVectors(t *testing.T) {
	text, err := os.ReadFile("../../rules/testdata/rules.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	s := readSchemas(t).compile(t, eventSchema)
	d := NewDecoder(DecoderOptions{})
	taken := map[bool]int{}
	for line := range bytes.Lines(text) {
		var c struct{ Events []json.RawMessage }
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		for _, value := range c.Events {
			var ev Event
			refusal := d.Decode(value, 0, &ev)
			taken[refusal == nil]++
			if got := s.takes(t, string(value)); got != (refusal == nil) {
				t.Errorf("%s: taken by the schema: %t, decoder: %v", value, got, refusal)
			}
		}
	}
	if taken[true] < 400 || taken[false] == 0 {
		t.Errorf("taken and refused: %v; want many, and some", taken)
	}
}

// everyKind has a rule of each kind; three deposits and a withdrawal raise them all.
const everyKind = `
rules:
  - {code: 2147483647, kind: amount, types: [withdraw, bonus], at_least: "100.50"}
  - {code: 30, kind: streak, types: [deposit], count: 2}
  - {code: 300, kind: rising, types: [deposit], count: 3}
  - {code: 123, kind: window_sum, types: [deposit], window: 30s, over: "200"}
  - {code: 1, kind: window_count, types: [withdraw, deposit, bonus], window: 1h, over: 2}
`

// resultsOfEveryKind judges events and returns what the encoder writes, and the kinds of evidence that are in it.
func resultsOfEveryKind(t *testing.T, d Detail) (results []string, kinds map[rules.Kind]bool) {
	t.Helper()
	types, err := rules.NewTypes("deposit", "withdraw", "bonus")
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Parse("every_kind.yaml", []byte(everyKind), types)
	if err != nil {
		t.Fatal(err)
	}
	decoder, encoder := NewDecoder(DecoderOptions{Types: types}), NewResultEncoder(types, d)
	users, kinds := map[int64]*rules.UserState{}, map[rules.Kind]bool{}
	for i, value := range []string{
		`{"type":"deposit","amount":"000.10","user_id":1,"time":0}`,
		`{"type":"deposit","amount":"150","user_id":1,"time":10}`,
		`{"type":"deposit","amount":"200.000000000000000001","user_id":1,"time":20}`,
		`{"type":"withdraw","amount":"100.500","user_id":1,"time":99999999999}`,
		`{"type":"deposit","amount":"1","user_id":1,"time":15}`, // late
		`{"type":"deposit","amount":"999999999999999999.999999999999999999","user_id":9223372036854775807,"time":99999999999}`,
		`{"type":"deposit","amount":"999999999999999999.999999999999999999","user_id":9223372036854775807,"time":99999999999}`,
		`{"type":"withdraw","amount":"1","user_id":0,"time":5}`,
	} {
		results = append(results, judgeOne(t, set, decoder, encoder, users, value, Source{"events", int32(i), int64(i) << 40}, kinds))
	}
	amount := 1000
	for range 10 { // more amounts than evidence has
		amount++
		value := fmt.Sprintf(`{"type":"deposit","amount":"%d","user_id":2,"time":%d}`, amount, amount)
		results = append(results, judgeOne(t, set, decoder, encoder, users, value, Source{"a.b-c_D", 0, 0}, kinds))
	}
	return results, kinds
}

func judgeOne(t *testing.T, set *rules.Set, d *Decoder, e *ResultEncoder, users map[int64]*rules.UserState, value string, src Source, kinds map[rules.Kind]bool) string {
	t.Helper()
	var ev Event
	if r := d.Decode([]byte(value), 0, &ev); r != nil {
		t.Fatal(r)
	}
	if users[ev.UserID] == nil {
		users[ev.UserID] = new(rules.UserState)
	}
	var verdict rules.Verdict
	set.Judge(users[ev.UserID], &ev.Event, &verdict)
	for _, a := range verdict.Alerts {
		kinds[a.Rule.Kind] = true
	}
	return string(e.Append(nil, &ev, src, &verdict))
}

// closed returns the files with all objects closed: then only members that they describe are valid.
func (s schemas) closed() schemas {
	var walk func(any) any
	walk = func(value any) any {
		switch v := value.(type) {
		case map[string]any:
			v = maps.Clone(v)
			for name, member := range v {
				v[name] = walk(member)
			}
			if v["type"] == "object" {
				v["additionalProperties"] = false
			}
			return v
		case []any:
			v = slices.Clone(v)
			for i := range v {
				v[i] = walk(v[i])
			}
			return v
		}
		return value
	}
	closed := schemas{}
	for name, doc := range s {
		closed[name] = walk(doc)
	}
	return closed
}

// TestResultSchema: whatever the encoder writes is valid and described whole, and nothing of it can be left out or be of
// another type.
func TestResultSchema(t *testing.T) {
	files := readSchemas(t)
	s, closed := files.compile(t, resultSchema), files.closed().compile(t, resultSchema)
	for _, detail := range []Detail{DetailMinimal, DetailFull} {
		results, kinds := resultsOfEveryKind(t, detail)
		if len(kinds) != 5 {
			t.Errorf("alerts of the kinds %v only", kinds)
		}
		changed := 0
		for _, text := range results {
			value := parseJSON(t, []byte(text))
			if err := closed.validate(t, value); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			cut, err := MinimalResult([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := closed.validate(t, parseJSON(t, cut)); err != nil {
				t.Errorf("%s: %v", cut, err)
			}
			for place, other := range changes(value, "") {
				if place == " without late_by" || place == " without event" && !strings.Contains(text, `"evidence"`) && !strings.Contains(text, `"late_by"`) {
					continue // then it is a result all the same
				}
				changed++
				if s.validate(t, other) == nil {
					t.Errorf("%s, changed at %q, is valid", text, place)
				}
			}
		}
		if changed < 10*len(results) {
			t.Errorf("%d changes of %d results", changed, len(results))
		}
	}
}

// changes returns a value changed in one place, by places: a member left out; a list or a text emptied; a number made a
// fraction; true and false exchanged; anything made null.
func changes(value any, place string) map[string]any {
	all := map[string]any{place + " null": nil}
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			without := maps.Clone(v)
			delete(without, name)
			all[place+" without "+name] = without
			for at, changed := range changes(member, place+"/"+name) {
				with := maps.Clone(v)
				with[name] = changed
				all[at] = with
			}
		}
	case []any:
		if len(v) > 0 {
			all[place+" empty"] = []any{}
		}
		for i, item := range v {
			for at, changed := range changes(item, fmt.Sprintf("%s/%d", place, i)) {
				with := slices.Clone(v)
				with[i] = changed
				all[at] = with
			}
		}
	case string:
		all[place+" empty"] = ""
	case json.Number:
		all[place+" with a fraction"] = json.Number("1.5")
	case bool:
		all[place+" exchanged"] = !v
	}
	return all
}

// TestResultSchemaRefuses has what changes do not make of results.
func TestResultSchemaRefuses(t *testing.T) {
	s := readSchemas(t).compile(t, resultSchema)
	const event = `"event":{"type":"deposit","amount":"42.00","time":10,"topic":"events","partition":3,"offset":17}`
	alert := func(code, evidence string) string {
		return `{"alert":true,"alert_codes":[` + code + `],"user_id":1,` + event + `,"evidence":[` + evidence + `]}`
	}
	const good = `{"code":1,"kind":"amount","limit":"100","amount":"200.5"}`
	for _, value := range []string{`{"alert":false,"alert_codes":[],"user_id":1,"more":{}}`, alert("1", good)} {
		if !s.takes(t, value) {
			t.Errorf("%s is refused", value)
		}
	}
	for _, value := range []string{
		`[]`, `{"alert":false,"alert_codes":[1],"user_id":1}`, `{"alert":true,"alert_codes":[],"user_id":1}`,
		`{"alert":true,"alert_codes":[1,1],"user_id":1}`, `{"alert":true,"alert_codes":["1"],"user_id":1}`,
		`{"alert":false,"alert_codes":[],"user_id":-1}`, `{"alert":false,"alert_codes":[],"user_id":9223372036854775808}`,
		`{"alert":false,"alert_codes":[],"user_id":1,"late_by":5}`, `{"alert":false,"alert_codes":[],"user_id":1,` + event + `,"late_by":0}`,
		`{"alert":false,"alert_codes":[],"user_id":1,` + event + `,"evidence":[` + good + `]}`, alert("0", good), alert("2147483648", good),
		alert("1", strings.Replace(good, "amount", "total", 1)), alert("1", strings.Replace(good, `"100"`, "100", 1)),
		alert("1", strings.Replace(good, `"100"`, `"100.0"`, 1)), alert("1", strings.Replace(good, `"100"`, `"0100"`, 1)),
		alert("1", strings.Replace(good, `"100"`, `"0"`, 1)), alert("1", strings.Replace(good, `"kind":"amount"`, `"kind":"streak"`, 1)),
		alert("1", `{"code":1,"kind":"rising","run_length":9,"amounts":["1","2","3","4","5","6","7","8","9"]}`),
		alert("1", `{"code":1,"kind":"window_count","limit":"5","sum":"1","count":6,"from":1,"to":2}`),
	} {
		if s.takes(t, value) {
			t.Errorf("%s is taken", value)
		}
	}
}

// TestResultSchemaOfOtherTypes: the patch for other types is one of results, too.
func TestResultSchemaOfOtherTypes(t *testing.T) {
	files := readSchemas(t)
	const bonus = `{"alert":false,"alert_codes":[],"user_id":1,"event":{"type":"bonus","amount":"1","time":0,"topic":"events","partition":0,"offset":0}}`
	if files.compile(t, resultSchema).takes(t, bonus) {
		t.Error("a type that is not configured is taken")
	}
	files = files.patched(readPatches(t)[patchTypes])
	if !files.compile(t, resultSchema).takes(t, bonus) || !files.compile(t, eventSchema).takes(t, eventWith("type", `"bonus"`)) {
		t.Error("a configured type is refused")
	}
}

// TestCutSchema: header lapwing-cut of results is described whole.
func TestCutSchema(t *testing.T) {
	s := readSchemas(t).compile(t, resultSchema+"#/$defs/headers")
	headers := map[string]any{HeaderAlert: "1", HeaderSource: "events/3/17", HeaderRules: rules.Builtin().Hash()}
	for cut := range 8 {
		text := string(AppendResultCut(nil, cut&1 != 0, cut&2 != 0, cut&4 != 0))
		headers[HeaderCut] = text
		if valid := s.validate(t, headers) == nil; valid != (text != "") { // an empty one is not written
			t.Errorf("lapwing-cut %q is valid: %t", text, valid)
		}
	}
	for name, value := range map[string]string{HeaderAlert: "true", HeaderSource: "events/03/17", HeaderRules: "none", HeaderCut: "traceparent, detail"} {
		other := maps.Clone(headers)
		other[HeaderCut] = "detail"
		if err := s.validate(t, other); err != nil {
			t.Fatal(err)
		}
		if other[name] = value; s.validate(t, other) == nil {
			t.Errorf("%s %q is valid", name, value)
		}
		if delete(other, name); name != HeaderCut && s.validate(t, other) == nil {
			t.Errorf("headers without %s are valid", name)
		}
	}
}

// TestDeadLetterSchema: the headers of each refusal are valid, whole and cut, and changed ones are not.
func TestDeadLetterSchema(t *testing.T) {
	files := readSchemas(t)
	s := files.compile(t, deadLetterSchema)
	headersOf := func(r *Refusal, source Source, millis int64) map[string]any {
		headers := map[string]any{}
		for _, h := range AppendDeadLetterHeaders(nil, r, source, millis) {
			headers[h.Name] = string(h.Value)
		}
		return headers
	}
	for i, tt := range refusals {
		var ev Event
		r := NewDecoder(tt.options).Decode([]byte(tt.value), 1600000000000, &ev)
		headers := headersOf(r, Source{"events", int32(i), int64(i) << 40}, int64(i-1))
		if err := s.validate(t, headers); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		key := []byte("key")
		for _, room := range []int{0, 2, 10, 1 << 20} {
			cut := CutDeadLetter(key, []byte(tt.value), 7*(i%2), DeadLetterReserve+room)
			if cut.Text == "" {
				continue
			}
			for _, text := range []string{cut.Text, cut.Text + DetailDropped} {
				if headers[HeaderCut] = text; s.validate(t, headers) != nil {
					t.Errorf("lapwing-cut %q is not valid", text)
				}
			}
		}
	}
	whole := headersOf(refuse(ReasonTimeRange, "x"), Source{"events", 0, 0}, -1)
	for name := range whole {
		other := maps.Clone(whole)
		if delete(other, name); s.validate(t, other) == nil {
			t.Errorf("headers without %s are valid", name)
		}
	}
	for name, value := range map[string]string{
		HeaderReason: "bad", HeaderDetail: "", HeaderSource: "events/1", HeaderTimestamp: "soon", HeaderCut: "value 3 of 5 bytes",
	} {
		other := maps.Clone(whole)
		if other[name] = value; s.validate(t, other) == nil {
			t.Errorf("%s %q is valid", name, value)
		}
	}
	properties := files[deadLetterSchema].(map[string]any)["properties"].(map[string]any)
	var reasons []Reason
	for _, r := range properties[HeaderReason].(map[string]any)["enum"].([]any) {
		reasons = append(reasons, Reason(r.(string)))
	}
	if !slices.Equal(reasons, Reasons()) {
		t.Errorf("reasons are %q, want %q", reasons, Reasons())
	}
}
