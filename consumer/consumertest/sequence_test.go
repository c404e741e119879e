package consumertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/rules/rulestest"
)

// TestSequence holds what is due against the model that keeps everything, and plants each fault there is.
func TestSequence(t *testing.T) {
	const count = 2000
	brokers := fakeKafka(t)
	produceInput(t, brokers, ProduceOptions{Count: count}, EventOptions{Seed: 5, Users: 60})
	s, err := ReadSequence(testContext(t), brokers, testInput)
	if err != nil || s.Records() != count {
		t.Fatalf("%v, %d records", err, s.Records())
	}
	results, copies := answersOf(t, brokers)
	swap := func(p, i, j int) func([][]*kgo.Record) {
		return func(records [][]*kgo.Record) { records[p][i], records[p][j] = records[p][j], records[p][i] }
	}
	for i, tc := range []struct {
		name    string
		answers Answers
		change  func([][]*kgo.Record)
		want    SequenceReport
		says    string
	}{
		{"results", Results, nil, SequenceReport{Records: count}, ""},
		{"copies", Copies, nil, SequenceReport{Records: count}, ""},
		{"a result twice", Results, func(r [][]*kgo.Record) { r[1] = append(r[1], r[1][len(r[1])-1]) },
			SequenceReport{Records: count + 1, Surplus: 1}, "surplus: "},
		{"the last result missing", Results, func(r [][]*kgo.Record) { r[3] = r[3][:len(r[3])-1] },
			SequenceReport{Records: count - 1, Missing: 1}, "missing: "},
		{"another value", Results, func(r [][]*kgo.Record) { r[0][7] = &kgo.Record{Key: r[0][7].Key, Value: []byte("{}")} },
			SequenceReport{Records: count, Wrong: 1}, `"{}", not that of in/0/7 of user ` + string(results[0][7].Key) + ": " + string(results[0][7].Value)},
		{"another key", Results, func(r [][]*kgo.Record) { r[0][7] = &kgo.Record{Key: []byte("x"), Value: r[0][7].Value} },
			SequenceReport{Records: count, Wrong: 1}, "wrong: "},
		{"order", Results, swap(2, 10, 11+slices.IndexFunc(results[2][11:], func(r *kgo.Record) bool {
			return string(r.Key) != string(results[2][10].Key)
		})), SequenceReport{Records: count, Wrong: 2}, "wrong: "},
		{"another copy", Copies, func(r [][]*kgo.Record) { r[0][7] = r[0][8] }, SequenceReport{Records: count, Wrong: 1}, "in/0/7"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			topic := fmt.Sprint("answers-", i)
			if err := CreateTopics(testContext(t), brokers, TopicSpec{Name: topic, Partitions: testInputPartitions}); err != nil {
				t.Fatal(err)
			}
			records := slices.Clone(results)
			if tc.answers == Copies {
				records = slices.Clone(copies)
			}
			for p := range records {
				records[p] = slices.Clone(records[p])
			}
			if tc.change != nil {
				tc.change(records)
			}
			writeAnswers(t, brokers, topic, records)
			got, err := s.Check(testContext(t), brokers, topic, tc.answers)
			if err != nil {
				t.Fatal(err)
			}
			problems := got.Problems
			got.Problems = nil
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
			got.Problems = problems
			faulty := tc.says != ""
			if err := got.Err(); (err != nil) != faulty || faulty && (!errors.Is(err, ErrReport) || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("%v, want it to say %q", err, tc.says)
			}
		})
	}
	if _, err := s.Check(testContext(t), brokers, testOutput, Results); err == nil {
		t.Error("an output of another number of partitions is compared")
	}
}

func TestSequenceIsOfEvents(t *testing.T) {
	brokers := fakeKafka(t)
	produceInput(t, brokers, ProduceOptions{Count: 100}, EventOptions{Tombstones: 0.2})
	if _, err := ReadSequence(testContext(t), brokers, testInput); err == nil {
		t.Error("an input with tombstones has a sequence")
	}
}

// answersOf judges the input by the model of package rulestest; both answers are by partition.
func answersOf(t *testing.T, brokers []string) (results, copies [][]*kgo.Record) {
	t.Helper()
	results, copies = make([][]*kgo.Record, testInputPartitions), make([][]*kgo.Record, testInputPartitions)
	f, err := newFollower(brokers, testInput)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	model := rulestest.NewModel()
	_, err = f.readAll(testContext(t), func(r *kgo.Record) {
		var ev inputEvent
		if err := json.Unmarshal(r.Value, &ev); err != nil {
			t.Error(err)
			return
		}
		codes := model.Judge(rulestest.Event{Type: *ev.Type, Amount: *ev.Amount, UserID: *ev.UserID, Time: *ev.Time})
		value, err := json.Marshal(struct {
			Alert bool  `json:"alert"`
			Codes []int `json:"alert_codes"`
			User  int64 `json:"user_id"`
		}{len(codes) > 0, codes, *ev.UserID})
		if err != nil {
			t.Error(err)
		}
		results[r.Partition] = append(results[r.Partition], &kgo.Record{Key: strconv.AppendInt(nil, *ev.UserID, 10), Value: value})
		copies[r.Partition] = append(copies[r.Partition], &kgo.Record{Key: r.Key, Value: r.Value})
	})
	if err != nil {
		t.Fatal(err)
	}
	return results, copies
}

func writeAnswers(t *testing.T, brokers []string, topic string, byPartition [][]*kgo.Record) {
	t.Helper()
	client, err := producerClient(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var all []*kgo.Record
	for p, records := range byPartition {
		for _, r := range records {
			all = append(all, &kgo.Record{Topic: topic, Partition: int32(p), Key: r.Key, Value: r.Value})
		}
	}
	if err := client.ProduceSync(testContext(t), all...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
