package consumer

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// contractSchema compiles a schema of deploy/contracts.
func contractSchema(t *testing.T, place string) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../deploy/contracts/" + place)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// headersOf returns a record's headers as the schemas see them: texts by name, of which the last is meant.
func headersOf(r *kgo.Record) map[string]any {
	headers := map[string]any{}
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	return headers
}

// checkResult validates a result that was read from the output, and returns it.
func checkResult(t *testing.T, value, headers *jsonschema.Schema, r *kgo.Record) map[string]any {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Value))
	if err != nil {
		t.Fatalf("%s: %v", r.Value, err)
	}
	if err := value.Validate(doc); err != nil {
		t.Errorf("%s: %v", r.Value, err)
	}
	if err := headers.Validate(headersOf(r)); err != nil {
		t.Errorf("%s: %v", r.Value, err)
	}
	for _, h := range r.Headers {
		if _, described := headers.Properties[h.Key]; !described {
			t.Errorf("header %s is not described", h.Key)
		}
	}
	result := doc.(map[string]any)
	if alert := map[any]string{true: "1", false: "0"}[result["alert"]]; header(r, contract.HeaderAlert) != alert {
		t.Errorf("%s has the header %s %s", r.Value, contract.HeaderAlert, header(r, contract.HeaderAlert))
	}
	if key := fmt.Sprint(result["user_id"]); string(r.Key) != key {
		t.Errorf("%s has the key %s", r.Value, r.Key)
	}
	return result
}

// raisesAll are events that raise a rule of each kind, one of them late; events of user 2 have headers that travel.
var raisesAll = []string{
	event("deposit", "100", 1, 100), event("deposit", "101", 1, 101), event("deposit", "0.5", 1, 90),
	event("withdraw", "150", 1, 102), event("withdraw", "7", 1, 103), event("deposit", "1", 2, 1), event("withdraw", "200", 2, 2),
}

const ruleOfEachKind = `
rules:
  - {code: 1100, kind: amount, types: [withdraw], over: "100"}
  - {code: 30, kind: streak, types: [withdraw], count: 2}
  - {code: 300, kind: rising, types: [deposit], count: 2}
  - {code: 123, kind: window_sum, types: [deposit], window: 30s, over: "200"}
  - {code: 510, kind: window_count, types: [withdraw, deposit], window: 10m, at_least: 4}
`

// TestEngineKeepsTheContracts validates what an engine has written by the schemas in deploy/contracts: results of every kind
// of evidence, dead letters of every reason that a value has; then those that topics of small limits have made it cut.
func TestEngineKeepsTheContracts(t *testing.T) {
	onEachKafka(t, 1, func(t *testing.T, b *bench) {
		t.Run("whole", func(t *testing.T) { testContracts(t, b) })
		t.Run("cut", func(t *testing.T) {
			b.output, b.dead = consumertest.Topic(t, "small-out"), consumertest.Topic(t, "small-dead")
			small := map[string]string{"max.message.bytes": "700"}
			if err := consumertest.CreateTopics(t.Context(), []string{b.broker}, consumertest.TopicSpec{Name: b.output, Partitions: 1, Configs: small},
				consumertest.TopicSpec{Name: b.dead, Partitions: 1, Configs: small}); err != nil {
				t.Fatal(err)
			}
			b.group = consumertest.Topic(t, "group") // judges the same input once more
			if err := consumertest.CreateTopics(t.Context(), []string{b.broker}, consumertest.TopicSpec{Name: b.group + ".rekey", Partitions: 1}); err != nil {
				t.Fatal(err)
			}
			testCutContracts(t, b)
		})
	})
}

func everyKindOf(t *testing.T) func(*Options) {
	set, err := rules.Parse("each_kind.yaml", []byte(ruleOfEachKind), rules.DefaultTypes())
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Rules = set }
}

// badRecords returns a record of each variant of each reason that a value can have.
func badRecords() (records []*kgo.Record, reasons []string) {
	g := consumertest.NewGenerator(consumertest.EventOptions{Seed: 1})
	for _, reason := range consumertest.BadReasons() {
		for variant := range consumertest.BadVariants(reason) {
			in := g.Bad(reason, variant, int64(variant))
			records = append(records, &kgo.Record{Key: in.Key, Value: in.Value, Headers: in.Headers})
			reasons = append(reasons, reason)
		}
	}
	return records, reasons
}

func testContracts(t *testing.T, b *bench) {
	e, stop := b.engine(state.NewMemory(), everyKindOf(t))
	waitReady(t, e)
	events := contractSchema(t, "event.schema.json")
	var records []*kgo.Record
	for _, value := range raisesAll {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(value))
		if err == nil {
			err = events.Validate(doc)
		}
		if err != nil {
			t.Errorf("%s: %v", value, err)
		}
		r := &kgo.Record{Value: []byte(value)}
		if strings.Contains(value, `"user_id":2`) {
			r.Headers = []kgo.RecordHeader{
				{Key: contract.HeaderTraceparent, Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")},
				{Key: contract.HeaderRequestID, Value: bytes.Repeat([]byte("r"), 256)}, {Key: "other", Value: nil},
			}
		}
		records = append(records, r)
	}
	bad, reasons := badRecords()
	if err := b.client.ProduceSync(t.Context(), append(records, bad...)...).FirstErr(); err != nil {
		t.Fatal(err)
	}

	value, headers := contractSchema(t, "result.schema.json"), contractSchema(t, "result.schema.json#/$defs/headers")
	kinds, late, travelled := map[string]bool{}, 0, 0
	for _, r := range b.read(b.output, len(raisesAll)) {
		result := checkResult(t, value, headers, r)
		if result["late_by"] != nil {
			late++
		}
		if header(r, contract.HeaderTraceparent) != "" && header(r, contract.HeaderRequestID) != "" {
			travelled++
		}
		evidence, _ := result["evidence"].([]any)
		for _, entry := range evidence {
			kinds[entry.(map[string]any)["kind"].(string)] = true
		}
	}
	if len(kinds) != 5 || late != 1 || travelled != 2 {
		t.Errorf("evidence of %v, %d late, %d with headers that travel; want all five kinds, 1 and 2", kinds, late, travelled)
	}

	dead := contractSchema(t, "dead-letter.schema.json")
	for i, r := range b.read(b.dead, len(bad)) {
		if err := dead.Validate(headersOf(r)); err != nil {
			t.Errorf("dead letter %d: %v", i, err)
		}
		own := r.Headers[len(bad[i].Headers):]
		if len(own) != len(dead.Required) || header(r, contract.HeaderReason) != reasons[i] {
			t.Errorf("dead letter %d of a record for %s has the headers %v", i, reasons[i], own)
		}
		for _, h := range own {
			if _, described := dead.Properties[h.Key]; !described {
				t.Errorf("header %s is not described", h.Key)
			}
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func testCutContracts(t *testing.T, b *bench) {
	e, stop := b.engine(state.NewMemory(), everyKindOf(t))
	waitReady(t, e)
	bad, _ := badRecords()
	value, headers := contractSchema(t, "result.schema.json"), contractSchema(t, "result.schema.json#/$defs/headers")
	cut := map[string]int{}
	for _, r := range b.read(b.output, len(raisesAll)) {
		result := checkResult(t, value, headers, r)
		text := header(r, contract.HeaderCut)
		if cut[text]++; strings.HasPrefix(text, "detail") != (result["event"] == nil) {
			t.Errorf("%s is cut of %q", r.Value, text)
		}
	}
	if cut[""] == 0 || cut[""] == len(raisesAll) {
		t.Errorf("cut of results: %v; want some, and some whole", cut)
	}
	dead, cuts := contractSchema(t, "dead-letter.schema.json"), 0
	for i, r := range b.read(b.dead, len(bad)) {
		if err := dead.Validate(headersOf(r)); err != nil {
			t.Errorf("dead letter %d: %v", i, err)
		}
		if header(r, contract.HeaderCut) != "" {
			cuts++
		}
	}
	if cuts == 0 {
		t.Error("no dead letter is cut")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestEngineStripsFrames sends events and others in a schema registry's frame: the events are judged, whatever the schema's
// id, and what is none is buried with its frame. A second engine without the option buries them all.
func TestEngineStripsFrames(t *testing.T) { onEachKafka(t, 1, testStripsFrames) }

func testStripsFrames(t *testing.T, b *bench) {
	const frame = "\x00\x00\x00\x01\x02"
	values := []string{
		frame + event("withdraw", "1", 1, 1), event("withdraw", "1", 1, 2), "\x00\xff\xff\xff\xff" + event("withdraw", "1", 1, 3),
		frame + "no JSON", frame + frame + event("withdraw", "1", 1, 4),
	}
	store := state.NewMemory()
	strips := func(o *Options) { o.Detail, o.Decoder.StripFrame = contract.DetailMinimal, true }
	e, stop := b.engine(store, strips)
	waitReady(t, e)
	b.send(values...)
	if got := string(b.read(b.output, 3)[2].Value); got != streak {
		t.Errorf("got %s, want %s", got, streak)
	}
	for i, r := range b.read(b.dead, 2) {
		if string(r.Value) != values[3+i] || header(r, contract.HeaderReason) != "not_json" || !strings.HasSuffix(header(r, contract.HeaderDetail), "after the frame of schema id 258)") {
			t.Errorf("dead letter %q: %v", r.Value, r.Headers)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	store = state.NewMemory() // Redis was wiped: what has been judged is replayed, and the same states come of it
	e, stop = b.engine(store, strips)
	waitReady(t, e)
	b.send(frame + event("withdraw", "1", 1, 5))
	if got := string(b.read(b.output, 4)[3].Value); got != streak {
		t.Errorf("after a replay: got %s, want %s", got, streak)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	e, stop = b.engine(store, func(o *Options) { o.Detail = contract.DetailMinimal })
	waitReady(t, e)
	b.send(frame+event("withdraw", "1", 1, 6), event("deposit", "1", 1, 7), event("withdraw", "1", 1, 8))
	if got := string(b.read(b.output, 6)[5].Value); got == streak {
		t.Errorf("got %s: a framed event was judged", got)
	}
	if r := b.read(b.dead, 3)[2]; header(r, contract.HeaderReason) != "confluent_framed" || !strings.Contains(header(r, contract.HeaderDetail), "events.strip_frame: true") {
		t.Errorf("dead letter %q: %v", r.Value, r.Headers)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
