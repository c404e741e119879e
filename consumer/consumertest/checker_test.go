package consumertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/rules/rulestest"
)

const (
	testInput, testOutput, testDead = "in", "out", "dead"
	testInputPartitions             = 4
	testOutputPartitions            = 3
	testDeadPartitions              = 2
)

// fakeKafka starts a broker in memory with the three topics.
func fakeKafka(t *testing.T) []string {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(testInputPartitions, testInput),
		kfake.SeedTopics(testOutputPartitions, testOutput), kfake.SeedTopics(testDeadPartitions, testDead),
		kfake.SeedTopics(testInputPartitions, testGroup+".rekey"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func produceInput(t *testing.T, brokers []string, o ProduceOptions, g EventOptions) {
	t.Helper()
	o.Brokers, o.Topic = brokers, testInput
	n, err := Produce(testContext(t), o, NewGenerator(g))
	if err != nil || n != o.Count {
		t.Fatalf("Produce = %d, %v", n, err)
	}
}

// readInput returns an expectation of the whole input, judged.
func readInput(t *testing.T, o CheckOptions) *Checker {
	t.Helper()
	c, err := NewChecker(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.end(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for _, l := range c.x.lanes {
		if _, err := c.judge(l); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// write is what an engine without faults would write, in order of the input.
func write(t *testing.T, brokers []string, o CheckOptions) []*kgo.Record {
	t.Helper()
	o.Brokers, o.Inputs, o.Output, o.DeadLetters = brokers, []string{testInput}, testOutput, testDead
	c := readInput(t, o)
	f, err := newFollower(brokers, testInput)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	model, byKey := rulestest.NewModel(), newKeyPartitioner()
	var out []*kgo.Record
	if _, err := f.readAll(testContext(t), func(r *kgo.Record) {
		e := c.x.lanes[r.Partition].at(r.Offset)
		source := kgo.RecordHeader{Key: headerSource, Value: fmt.Appendf(nil, "%s/%d/%d", r.Topic, r.Partition, r.Offset)}
		switch e.outcome {
		case outcomeDead:
			reason, _ := header(r, HeaderPlanted)
			out = append(out, &kgo.Record{
				Topic: testDead, Partition: r.Partition % testDeadPartitions, Key: r.Key, Value: r.Value,
				Headers: append(slices.Clone(r.Headers), kgo.RecordHeader{Key: headerReason, Value: reason}, kgo.RecordHeader{Key: headerDetail},
					source, kgo.RecordHeader{Key: headerTimestamp, Value: strconv.AppendInt(nil, r.Timestamp.UnixMilli(), 10)}),
			})
		case outcomeResult, outcomeSilent:
			var ev inputEvent
			if err := json.Unmarshal(r.Value, &ev); err != nil {
				t.Fatal(err)
			}
			verdict := model.Explain(rulestest.Event{Type: *ev.Type, Amount: *ev.Amount, UserID: *ev.UserID, Time: *ev.Time})
			if e.outcome == outcomeResult {
				out = append(out, resultRecord(r, &ev, verdict, source, o.Minimal, byKey))
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// resultRecord writes a result by the naive model with all its history.
func resultRecord(r *kgo.Record, ev *inputEvent, v rulestest.Verdict, source kgo.RecordHeader, minimal bool, byKey kgo.TopicPartitioner) *kgo.Record {
	list, evidence := []string{}, []string{}
	for _, code := range v.Codes {
		list = append(list, strconv.Itoa(code))
		evidence = append(evidence, map[int]string{
			1100: fmt.Sprintf(`{"code":1100,"kind":"amount","limit":"100","amount":%q}`, v.Amount),
			30:   fmt.Sprintf(`{"code":30,"kind":"streak","run_length":%d}`, v.Withdraws),
			300:  fmt.Sprintf(`{"code":300,"kind":"rising","run_length":%d,"amounts":["%s"]}`, v.Rising, strings.Join(v.Amounts, `","`)),
			123: fmt.Sprintf(`{"code":123,"kind":"window_sum","limit":"200","sum":%q,"count":%d,"from":%d,"to":%d}`,
				v.Sum, v.Count, *ev.Time-30, *ev.Time),
		}[code])
	}
	value := fmt.Sprintf(`{"alert":%t,"alert_codes":[%s],"user_id":%d`, len(list) > 0, strings.Join(list, ","), *ev.UserID)
	if !minimal {
		value += fmt.Sprintf(`,"event":{"type":%q,"amount":%q,"time":%d,"topic":%q,"partition":%d,"offset":%d}`,
			*ev.Type, *ev.Amount, *ev.Time, r.Topic, r.Partition, r.Offset)
		if v.LateBy > 0 {
			value += fmt.Sprintf(`,"late_by":%d`, v.LateBy)
		}
		if len(list) > 0 {
			value += `,"evidence":[` + strings.Join(evidence, ",") + `]`
		}
	}
	key := strconv.AppendInt(nil, *ev.UserID, 10)
	out := &kgo.Record{Topic: testOutput, Partition: partitionOf(byKey, key, testOutputPartitions), Key: key, Value: []byte(value + "}")}
	alert := "0"
	if len(list) > 0 {
		alert = "1"
	}
	out.Headers = []kgo.RecordHeader{{Key: headerAlert, Value: []byte(alert)}, source, {Key: headerRules, Value: []byte("0123456789ab")}}
	for _, name := range []string{headerTraceparent, headerRequestID} {
		if v, ok := header(r, name); ok {
			out.Headers = append(out.Headers, kgo.RecordHeader{Key: name, Value: v})
		}
	}
	return out
}

func publish(t *testing.T, brokers []string, records []*kgo.Record) {
	t.Helper()
	client, err := producerClient(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(testContext(t), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, brokers []string, o CheckOptions) Report {
	t.Helper()
	o.Brokers, o.Inputs, o.Output, o.DeadLetters = brokers, []string{testInput}, testOutput, testDead
	o.Settle = 500 * time.Millisecond
	report, err := Check(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

var everything = EventOptions{Seed: 7, Users: 20, Bad: 0.15, Tombstones: 0.05, Headers: 0.2}

func TestCheckPasses(t *testing.T) {
	for name, tc := range map[string]struct {
		o       CheckOptions
		produce ProduceOptions
	}{
		"full":         {produce: ProduceOptions{Count: 1200}},
		"minimal":      {produce: ProduceOptions{Count: 600}, o: CheckOptions{Minimal: true}},
		"alerts only":  {produce: ProduceOptions{Count: 600}, o: CheckOptions{AlertsOnly: true}},
		"transactions": {produce: ProduceOptions{Count: 700, Transactional: true}},
	} {
		t.Run(name, func(t *testing.T) {
			brokers := fakeKafka(t)
			produceInput(t, brokers, tc.produce, everything)
			publish(t, brokers, write(t, brokers, tc.o))
			report := check(t, brokers, tc.o)
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			if report.Records != tc.produce.Count || report.Results+report.Dead+report.Tombstones+report.Silent != report.Records {
				t.Errorf("records do not add up to %d: %s", tc.produce.Count, report)
			}
			if report.Dead == 0 || report.Tombstones == 0 || report.Alerts == 0 || (report.Silent > 0) != tc.o.AlertsOnly {
				t.Errorf("something was not tried: %s", report)
			}
		})
	}
}

// userMember is the user of a result.
var userMember = regexp.MustCompile(`"user_id":[0-9]+`)

// TestCheckFindsFaults plants one fault each in what a perfect engine writes.
func TestCheckFindsFaults(t *testing.T) {
	isResult := func(r *kgo.Record) bool { return r.Topic == testOutput }
	isDead := func(r *kgo.Record) bool { // one with headers of its own and a value that can be cut
		return r.Topic == testDead && len(r.Headers) > 4 && len(r.Value) > 2
	}
	isAlert := func(r *kgo.Record) bool {
		return isResult(r) && strings.Contains(string(r.Value), `"alert_codes":[1100`)
	}
	holds := func(text string) func(*kgo.Record) bool {
		return func(r *kgo.Record) bool { return isResult(r) && strings.Contains(string(r.Value), text) }
	}
	isLate := holds(`"late_by":`)
	isPunctual := func(r *kgo.Record) bool { return isAlert(r) && !isLate(r) }
	isAwaited := func(r *kgo.Record) bool { _, ok := header(r, headerRequestID); return ok && isResult(r) }
	replace := func(from, to string) func(*kgo.Record) {
		return func(r *kgo.Record) { r.Value = []byte(strings.Replace(string(r.Value), from, to, 1)) }
	}
	setHeader := func(name, value string) func(*kgo.Record) {
		return func(r *kgo.Record) {
			r.Headers = slices.Clone(r.Headers)
			for i := range r.Headers {
				if r.Headers[i].Key == name {
					r.Headers[i].Value = []byte(value)
				}
			}
		}
	}
	dropHeader := func(name string) func(*kgo.Record) {
		return func(r *kgo.Record) {
			r.Headers = slices.DeleteFunc(slices.Clone(r.Headers), func(h kgo.RecordHeader) bool { return h.Key == name })
		}
	}
	cutRecord := func(change func(*kgo.Record)) func(*kgo.Record) {
		return func(r *kgo.Record) {
			change(r)
			r.Headers = append(slices.Clone(r.Headers), kgo.RecordHeader{Key: headerCut, Value: []byte("value cut")})
		}
	}
	for _, tc := range []struct {
		name   string
		which  func(*kgo.Record) bool
		change func(*kgo.Record)
		says   string
	}{
		{"code added", isAlert, replace("[1100", "[1100,300"), "alert_codes is [1100,300], not [1100]"},
		{"code missing", isAlert, replace("[1100", "["), "alert_codes is [], not [1100]"},
		{"alert flag", isAlert, replace(`"alert":true`, `"alert":false`), "alert is false, not true"},
		{"other bytes", isAlert, replace(`,"user_id"`, ` ,"user_id"`), "the values are the same, the bytes are not"},
		{"no JSON", isAlert, replace(`}`, `]`), "no JSON value"},
		{"late by too much", isLate, replace(`"late_by":`, `"late_by":1`), "late_by is"},
		{"not late", isLate, replace(`"late_by":`, `"late":`), "late_by is missing"},
		{"late all the same", isPunctual, replace(`,"evidence"`, `,"late_by":1,"evidence"`), "late_by is not due: 1"},
		{"evidence of another code", isAlert, replace(`"code":1100`, `"code":30`), "evidence[0].code is 30, not 1100"},
		{"evidence kind", isAlert, replace(`"kind":"amount"`, `"kind":"streak"`), "evidence[0].kind is"},
		{"evidence limit", isAlert, replace(`"limit":"100"`, `"limit":"100.0"`), `evidence[0].limit is "100.0", not "100"`},
		{"evidence amount", isAlert, replace(`"limit":"100","amount":"1`, `"limit":"100","amount":"2`), "evidence[0].amount is"},
		{"evidence missing", isAlert, replace(`"evidence":[{"code":1100,`, `"evidence":[],"x":[{`), "evidence is []"},
		{"streak length", holds(`"kind":"streak"`), replace(`"streak","run_length":`, `"streak","run_length":1`), ".run_length is 1"},
		{"rising length", holds(`"kind":"rising"`), replace(`"rising","run_length":`, `"rising","run_length":1`), ".run_length is 1"},
		{"rising amounts", holds(`"amounts":["`), replace(`"amounts":["`, `"amounts":["0`), ".amounts[0] is \"0"},
		{"window sum", holds(`"sum":"2`), replace(`"sum":"2`, `"sum":"3`), ".sum is \"3"},
		{"window count", holds(`"count":`), replace(`"count":`, `"count":1`), ".count is 1"},
		{"window from", holds(`"from":`), replace(`"from":`, `"from":1`), ".from is 1"},
		{"window to", holds(`"to":`), replace(`"to":`, `"to":1`), ".to is 1"},
		{"window limit", holds(`"limit":"200"`), replace(`"limit":"200"`, `"limit":"201"`), ".limit is \"201\", not \"200\""},
		{"another user", isAlert, func(r *kgo.Record) {
			r.Key, r.Value = []byte("4711"), userMember.ReplaceAll(r.Value, []byte(`"user_id":4711`))
		}, "key \"4711\""},
		{"amount", isAlert, replace(`"amount":"`, `"amount":"0`), "event.amount is"},
		{"time", isAlert, replace(`"time":`, `"time":1`), "event.time is"},
		{"offset", isAlert, replace(`"offset":`, `"offset":1`), "event.offset is"},
		{"no detail", isAlert, func(r *kgo.Record) { r.Value = []byte(strings.Split(string(r.Value), `,"event"`)[0] + "}") }, "event is missing"},
		{"result key", isResult, func(r *kgo.Record) { r.Key = []byte("4711") }, "key \"4711\""},
		{"result key null", isResult, func(r *kgo.Record) { r.Key = nil }, "key \"\""},
		{"result partition", isResult, func(r *kgo.Record) { r.Partition = (r.Partition + 1) % testOutputPartitions }, "the key's is"},
		{"no alert header", isResult, dropHeader(headerAlert), "header lapwing-alert is missing"},
		{"alert header", isAlert, setHeader(headerAlert, "0"), "header lapwing-alert is \"0\""},
		{"no rules header", isResult, dropHeader(headerRules), "header lapwing-rules is missing"},
		{"rules header", isAwaited, setHeader(headerRules, "other"), "header lapwing-rules is"},
		{"no source header", isResult, dropHeader(headerSource), "header lapwing-source is missing"},
		{"source of no record", isResult, setHeader(headerSource, "in/0/999999"), "is no visible input record"},
		{"source of another topic", isResult, setHeader(headerSource, "other/0/1"), "not in/partition/offset"},
		{"no request id", isAwaited, dropHeader(headerRequestID), "header lapwing-request-id is missing"},
		{"traceparent", isAwaited, setHeader(headerTraceparent, "x"), "header traceparent is"},
		{"extra header", isResult, func(r *kgo.Record) { r.Headers = append(r.Headers, kgo.RecordHeader{Key: "x", Value: []byte("y")}) }, "header x"},
		{"dead value", isDead, func(r *kgo.Record) { r.Value = append([]byte(" "), r.Value...) }, "are not the input's"},
		{"dead reason", isDead, setHeader(headerReason, "odd"), "header lapwing-reason is \"odd\""},
		{"dead timestamp", isDead, setHeader(headerTimestamp, "1"), "header lapwing-timestamp is"},
		{"dead detail", isDead, dropHeader(headerDetail), "header lapwing-detail is missing"},
		{"dead header lost", isDead, func(r *kgo.Record) { r.Headers = r.Headers[1:] }, "do not begin with"},
		{"dead partition", isDead, func(r *kgo.Record) { r.Partition = (r.Partition + 1) % testDeadPartitions }, "partition "},
		{"dead cut at the wrong end", isDead, cutRecord(func(r *kgo.Record) { r.Value = r.Value[1:] }), "no cut"},
		{"dead cut without headers", isDead, cutRecord(func(r *kgo.Record) { r.Value, r.Headers = r.Value[:1], r.Headers[1:] }), "does not say so"},
		{"result in the dead letters", isResult, func(r *kgo.Record) { r.Topic, r.Partition = testDead, 0 }, "nothing of its kind"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			brokers := fakeKafka(t)
			produceInput(t, brokers, ProduceOptions{Count: 300}, everything)
			records := write(t, brokers, CheckOptions{})
			i := slices.IndexFunc(records, tc.which)
			if tc.name == "rules header" { // the first result's is what the others are held against
				i += 1 + slices.IndexFunc(records[i+1:], tc.which)
			}
			tc.change(records[i])
			publish(t, brokers, records)
			report := check(t, brokers, CheckOptions{})
			if report.Wrong != 1 || report.Twice+report.Disorder != 0 {
				t.Errorf("want one wrong: %s", report)
			}
			if !errors.Is(report.Err(), ErrReport) || !strings.Contains(report.Problems[0], tc.says) {
				t.Errorf("problems %q do not say %q", report.Problems, tc.says)
			}
		})
	}
}

func TestCheckAllowsCuts(t *testing.T) {
	brokers := fakeKafka(t)
	produceInput(t, brokers, ProduceOptions{Count: 300}, everything)
	records := write(t, brokers, CheckOptions{})
	cut := 0
	for _, r := range records {
		if r.Topic != testDead || len(r.Headers) == 4 || len(r.Value) < 2 {
			continue
		}
		mark := "value cut"
		r.Value = r.Value[:len(r.Value)/2]
		if cut++; cut%2 == 0 {
			r.Headers, mark = r.Headers[len(r.Headers)-4:], "value cut, headers dropped"
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headerCut, Value: []byte(mark)})
	}
	publish(t, brokers, records)
	if report := check(t, brokers, CheckOptions{}); report.Err() != nil || report.Cut != cut || cut < 2 {
		t.Errorf("%d cut: %v %v", cut, report, report.Err())
	}
}

func TestCheckFindsLossRepeatAndDisorder(t *testing.T) {
	brokers := fakeKafka(t)
	produceInput(t, brokers, ProduceOptions{Count: 400}, everything)
	records := write(t, brokers, CheckOptions{})
	lostResult := slices.IndexFunc(records, func(r *kgo.Record) bool { return r.Topic == testOutput })
	records = slices.Delete(records, lostResult, lostResult+1)
	lostDead := slices.IndexFunc(records, func(r *kgo.Record) bool { return r.Topic == testDead })
	records = slices.Delete(records, lostDead, lostDead+1)
	again := *records[10]
	records = append(records, &again)
	// Swap two neighbours of one input partition in one output partition.
	swapped := false
	for i := 20; i < len(records) && !swapped; i++ {
		for j := i + 1; j < len(records) && !swapped; j++ {
			if swapped = records[i].Topic == testOutput && sameLane(records[i], records[j]); swapped {
				records[i], records[j] = records[j], records[i]
			}
		}
	}
	publish(t, brokers, records)
	report := check(t, brokers, CheckOptions{})
	if report.Lost != 2 || report.Twice != 1 || report.Disorder != 1 || report.Wrong != 0 {
		t.Errorf("want 2 lost, 1 twice, 1 disorder: %s\n%s", report, strings.Join(report.Problems, "\n"))
	}

	t.Run("repeats allowed", func(t *testing.T) {
		report := check(t, brokers, CheckOptions{Repeats: true})
		if report.Twice != 0 || report.Repeated != 1 || report.Wrong != 0 {
			t.Errorf("want 1 repeated: %s", report)
		}
		other := *records[12]
		other.Value = append(slices.Clone(other.Value), ' ')
		publish(t, brokers, []*kgo.Record{&other})
		if report = check(t, brokers, CheckOptions{Repeats: true}); report.Wrong != 1 || report.Repeated != 1 {
			t.Errorf("want 1 repeated and 1 wrong: %s", report)
		}
	})
}

func sameLane(a, b *kgo.Record) bool {
	lane := func(r *kgo.Record) string {
		source, _ := header(r, headerSource)
		return string(source[:strings.LastIndexByte(string(source), '/')])
	}
	return a.Topic == b.Topic && a.Partition == b.Partition && lane(a) == lane(b)
}

// TestCheckKnowsThePublishedCases holds the whole chain against results worked out by hand: those that the issue gives.
func TestCheckKnowsThePublishedCases(t *testing.T) {
	brokers := fakeKafka(t)
	byKey := newKeyPartitioner()
	var input []*kgo.Record
	for _, text := range []string{
		`{"type":"withdraw","amount":"200.00","user_id":3,"time":0}`, `{"type":"withdraw","amount":"99.99","user_id":3,"time":1}`,
		`{"type":"withdraw","amount":"101","user_id":3,"time":2}`, `{"type":"withdraw","amount":"99.99","user_id":3,"time":3}`,
		`{"type":"deposit","amount":"10","user_id":4,"time":10}`, `{"type":"deposit","amount":"15","user_id":4,"time":20}`,
		`{"type":"deposit","amount":"20","user_id":4,"time":32}`,
		`{"type":"deposit","amount":"100","user_id":5,"time":40}`, `{"type":"deposit","amount":"101","user_id":5,"time":41}`,
		`{"type":"deposit","amount":"103","user_id":5,"time":42}`,
	} {
		user := text[strings.Index(text, `"user_id":`)+10:][:1]
		input = append(input, &kgo.Record{Topic: testInput, Partition: partitionOf(byKey, []byte(user), testInputPartitions), Value: []byte(text)})
	}
	publish(t, brokers, input)
	c := readInput(t, CheckOptions{Brokers: brokers, Inputs: []string{testInput}})
	got := map[int64][]string{}
	for _, l := range c.x.lanes {
		for offset := l.first; offset < l.end(); offset++ {
			e := l.at(offset)
			got[e.user] = append(got[e.user], string(appendCodes(nil, e.codes)))
		}
	}
	for user, want := range map[int64]string{3: "[1100] [] [1100,30] [30]", 4: "[] [] [300]", 5: "[] [123] [300,123]"} {
		if got := strings.Join(got[user], " "); got != want {
			t.Errorf("user %d: %s, want %s", user, got, want)
		}
	}
}
