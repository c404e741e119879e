package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lapwing/lapwing/consumer"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/rules"
)

const (
	contractsDir = "contracts"
	asyncAPI     = "asyncapi.yaml"
)

// contracts are the documents in the folder contracts by name, parsed to what JSON has.
type contracts map[string]any

func (c contracts) document(t *testing.T, name string) any {
	t.Helper()
	if doc, known := c[name]; known {
		return doc
	}
	text, err := os.ReadFile(filepath.Join(contractsDir, name))
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(name) == ".yaml" {
		if text, err = yaml.YAMLToJSON(text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	c[name] = doc
	return doc
}

// at returns what a reference stands for that is in the named document, or nil.
func (c contracts) at(t *testing.T, in, reference string) any {
	t.Helper()
	file, pointer, _ := strings.Cut(reference, "#")
	if file = strings.TrimPrefix(file, "./"); file == "" {
		file = in
	}
	value := c.document(t, file)
	for _, step := range strings.Split(pointer, "/")[1:] {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
	}
	return value
}

// get returns what is at a path of member names, through references of the AsyncAPI document.
func (c contracts) get(t *testing.T, value any, path ...string) any {
	t.Helper()
	for _, name := range path {
		object, _ := c.follow(t, value).(map[string]any)
		if value = object[name]; value == nil {
			t.Fatalf("%s: no %s in %s", asyncAPI, name, strings.Join(path, "/"))
		}
	}
	return c.follow(t, value)
}

func (c contracts) follow(t *testing.T, value any) any {
	t.Helper()
	for {
		object, _ := value.(map[string]any)
		reference, ok := object["$ref"].(string)
		if !ok {
			return value
		}
		if value = c.at(t, asyncAPI, reference); value == nil {
			t.Fatalf("%s: there is no %s", asyncAPI, reference)
		}
	}
}

// TestContractReferences: every $ref of every document in the folder leads to something.
func TestContractReferences(t *testing.T) {
	c, found := contracts{}, 0
	var walk func(in string, value any)
	walk = func(in string, value any) {
		switch v := value.(type) {
		case map[string]any:
			if reference, ok := v["$ref"].(string); ok {
				found++
				if c.at(t, in, reference) == nil {
					t.Errorf("%s: there is no %s", in, reference)
				}
			}
			for _, member := range v {
				walk(in, member)
			}
		case []any:
			for _, item := range v {
				walk(in, item)
			}
		}
	}
	for _, name := range []string{asyncAPI, "event.schema.json", "result.schema.json", "dead-letter.schema.json"} {
		walk(name, c.document(t, name))
	}
	if found < 40 {
		t.Errorf("%d references were looked at", found)
	}
}

// topics are the channels of the AsyncAPI document, with what the program says of them.
var topics = []struct {
	channel, topic, operation, action, message string
	headers                                    []string
}{
	{"events", consumer.DefaultOptions().Inputs[0], "receiveEvent", "receive", "event",
		[]string{contract.HeaderRequestID, contract.HeaderTraceparent}},
	{"alerts", consumer.DefaultOptions().Output, "sendResult", "send", "result", []string{
		contract.HeaderAlert, contract.HeaderSource, contract.HeaderRules,
		contract.HeaderRequestID, contract.HeaderTraceparent, contract.HeaderCut}},
	{"deadLetters", consumer.DefaultOptions().DeadLetters, "sendDeadLetter", "send", "deadLetter", []string{
		contract.HeaderReason, contract.HeaderDetail, contract.HeaderSource, contract.HeaderTimestamp, contract.HeaderCut}},
}

// TestAsyncAPI: the document has the topics, with one operation and one message each, and exactly their headers.
func TestAsyncAPI(t *testing.T) {
	c := contracts{}
	doc := c.document(t, asyncAPI)
	if version := c.get(t, doc, "asyncapi"); version != "3.0.0" {
		t.Errorf("AsyncAPI %v, want 3.0.0", version)
	}
	for _, section := range []string{"channels", "operations"} {
		if n := len(c.get(t, doc, section).(map[string]any)); n != len(topics) {
			t.Errorf("%d %s, want %d", n, section, len(topics))
		}
	}
	for _, want := range topics {
		channel := c.get(t, doc, "channels", want.channel)
		if got := c.get(t, channel, "address"); got != want.topic {
			t.Errorf("channel %s has the address %v, want %s", want.channel, got, want.topic)
		}
		if got := c.get(t, channel, "bindings", "kafka", "topic"); got != want.topic {
			t.Errorf("channel %s has the topic %v, want %s", want.channel, got, want.topic)
		}
		operation := c.get(t, doc, "operations", want.operation).(map[string]any)
		if operation["action"] != want.action {
			t.Errorf("operation %s is %v, want %s", want.operation, operation["action"], want.action)
		}
		at := "#/channels/" + want.channel
		if got := operation["channel"].(map[string]any)["$ref"]; got != at {
			t.Errorf("operation %s is of %v, want %s", want.operation, got, at)
		}
		messages := fmt.Sprint(operation["messages"])
		if messages != fmt.Sprintf("[map[$ref:%s/messages/%s]]", at, want.message) {
			t.Errorf("operation %s is of the messages %s", want.operation, messages)
		}
		headers := c.get(t, channel, "messages", want.message, "headers", "properties").(map[string]any)
		got := slices.Sorted(maps.Keys(headers))
		slices.Sort(want.headers)
		if !slices.Equal(got, want.headers) {
			t.Errorf("message %s has the headers %q, want %q", want.message, got, want.headers)
		}
	}
}

// TestContractExamples: the examples of all documents are valid.
func TestContractExamples(t *testing.T) {
	c := contracts{}
	compile := func(place string) *jsonschema.Schema {
		t.Helper()
		compiled, err := jsonschema.NewCompiler().Compile(contractsDir + "/" + place)
		if err != nil {
			t.Fatal(err)
		}
		return compiled
	}
	for _, place := range []string{
		"event.schema.json", "event.schema.json#/$defs/headers", "result.schema.json", "result.schema.json#/$defs/headers", "dead-letter.schema.json",
	} {
		examples, _ := c.at(t, "", place).(map[string]any)["examples"].([]any)
		if len(examples) == 0 {
			t.Errorf("%s has no example", place)
		}
		for _, example := range examples {
			if err := compile(place).Validate(example); err != nil {
				t.Errorf("example of %s: %v", place, err)
			}
		}
	}
	messages := c.get(t, c.document(t, asyncAPI), "components", "messages").(map[string]any)
	for name, message := range messages {
		message := message.(map[string]any)
		for _, example := range message["examples"].([]any) {
			for part, value := range example.(map[string]any) {
				reference, ok := "", false
				if schema, isSchema := message[part].(map[string]any); isSchema {
					reference, ok = schema["$ref"].(string)
				}
				if !ok {
					continue // a name, or the payload of a dead letter
				}
				if err := compile(strings.TrimPrefix(reference, "./")).Validate(value); err != nil {
					t.Errorf("example of message %s: %s: %v", name, part, err)
				}
			}
		}
	}
}

// TestContractExampleIsReal: what the example of a dead letter says is what the decoder says of it, and the example of a
// result is what the built-in rules say.
func TestContractExampleIsReal(t *testing.T) {
	c := contracts{}
	messages := c.get(t, c.document(t, asyncAPI), "components", "messages")
	example := func(message string, n int) map[string]any {
		return c.get(t, messages, message).(map[string]any)["examples"].([]any)[n].(map[string]any)
	}
	dead := example("deadLetter", 0)
	headers := dead["headers"].(map[string]any)
	var ev contract.Event
	r := contract.NewDecoder(contract.DecoderOptions{}).Decode([]byte(dead["payload"].(string)), 0, &ev)
	if r == nil || string(r.Reason) != headers[contract.HeaderReason] || r.Detail != headers[contract.HeaderDetail] {
		t.Errorf("the decoder says %v, the example %v", r, headers)
	}

	result := example("result", 1)
	event := result["payload"].(map[string]any)["event"].(map[string]any)
	value := fmt.Sprintf(`{"type":%q,"amount":%q,"user_id":%v,"time":%v}`, event["type"], event["amount"],
		result["payload"].(map[string]any)["user_id"], event["time"])
	if r := contract.NewDecoder(contract.DecoderOptions{}).Decode([]byte(value), 0, &ev); r != nil {
		t.Fatal(r)
	}
	set := rules.Builtin()
	var verdict rules.Verdict
	set.Judge(new(rules.UserState), &ev.Event, &verdict)
	want := contract.NewResultEncoder(set.Types(), contract.DetailFull).Append(nil, &ev, contract.Source{Topic: "events", Partition: 4, Offset: 17}, &verdict)
	var canonical any
	if err := json.Unmarshal(want, &canonical); err != nil {
		t.Fatal(err)
	}
	wanted, err := json.Marshal(canonical)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(result["payload"]); err != nil || !bytes.Equal(got, wanted) {
		t.Errorf("the example says %s, the engine %s (%v)", got, wanted, err)
	}
	if got := result["headers"].(map[string]any)[contract.HeaderRules]; got != set.Hash() {
		t.Errorf("the example names the rules %v, they are %s", got, set.Hash())
	}
}
