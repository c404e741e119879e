package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/rules/rulestest"
)

// goneRig is a system with its operator.
type goneRig struct {
	*system
	admin  *kadm.Client
	ledger ledger
	events *consumertest.Generator
	now    *engineView // the engine that was started last
}

// engineView is an engine and its admin endpoints.
type engineView struct {
	*consumertest.Engine
	t    *testing.T
	http string
}

func newGoneRig(t *testing.T, o systemOptions) *goneRig {
	t.Helper()
	skipShort(t)
	t.Parallel()
	r := &goneRig{system: newSystem(t, o), ledger: ledger{}}
	r.connect()
	r.events = consumertest.NewGenerator(consumertest.EventOptions{Seed: 6, Users: 40})
	return r
}

// connect gives the operator access to Kafka.
func (r *goneRig) connect() {
	r.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.broker))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(client.Close)
	r.admin = kadm.NewClient(client)
}

// start starts a new engine with these lines in the section kafka.
func (r *goneRig) start(extra string) *engineView {
	r.t.Helper()
	r.extra = extra
	r.http = "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(r.t))
	r.now = &engineView{Engine: r.engine("engine"), t: r.t, http: r.http}
	r.now.Start()
	return r.now
}

// run starts an engine that becomes ready, and waits until it has judged all input.
func (r *goneRig) run(extra string) *engineView {
	r.t.Helper()
	e := r.start(extra)
	e.WaitReady(readyTimeout)
	r.drain(readyTimeout)
	return e
}

// add produces events, in small batches, and notes them.
func (r *goneRig) add(count int) {
	r.t.Helper()
	for left := count; left > 0; left -= 100 { // each is written before the next: a fetch gets a batch whole
		r.produceFrom(min(left, 100), r.events)
	}
	r.ledger.read(r)
}

// kill ends the engine as a crash does, and waits until the group knows.
func (r *goneRig) kill() {
	r.t.Helper()
	r.now.Kill()
	r.await("the group is empty", func() bool {
		groups, err := r.admin.DescribeGroups(r.context(time.Minute), r.group)
		return err == nil && groups[r.group].State == "Empty"
	})
}

func (r *goneRig) term() { r.t.Helper(); term(r.t, r.now.Engine) }

func (r *goneRig) await(what string, done func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(readyTimeout); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("after %v not: %s", readyTimeout, what)
		}
	}
}

// offsets returns the group's committed offsets by partition.
func (r *goneRig) offsets() map[int32]kadm.Offset {
	r.t.Helper()
	responses, err := r.admin.FetchOffsets(r.context(time.Minute), r.group)
	if err != nil {
		r.t.Fatal(err)
	}
	offsets := map[int32]kadm.Offset{}
	responses.Each(func(o kadm.OffsetResponse) {
		if o.Topic == r.input {
			offsets[o.Partition] = o.Offset
		}
	})
	return offsets
}

// setOffset does what an operator's tool does; kafka-consumer-groups writes no metadata.
func (r *goneRig) setOffset(partition int32, at int64, metadata string) {
	r.t.Helper()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: r.input, Partition: partition, At: at, LeaderEpoch: -1, Metadata: metadata})
	if err := r.admin.CommitAllOffsets(r.context(time.Minute), r.group, offsets); err != nil {
		r.t.Fatal(err)
	}
}

func (r *goneRig) deleteGroup() {
	r.t.Helper()
	if _, err := r.admin.DeleteGroup(r.context(time.Minute), r.group); err != nil {
		r.t.Fatal(err)
	}
}

// deleteBelow deletes the partition's input below an offset, as retention does.
func (r *goneRig) deleteBelow(partition int32, offset int64) {
	r.t.Helper()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: r.input, Partition: partition, At: offset})
	responses, err := r.admin.DeleteRecords(r.context(time.Minute), offsets)
	if err == nil {
		err = responses.Error()
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// recreate deletes the input topic and makes it again.
func (r *goneRig) recreate(partitions int32) {
	r.t.Helper()
	ctx := r.context(time.Minute)
	if err := consumertest.DeleteTopics(ctx, r.brokers(), r.input); err != nil {
		r.t.Fatal(err)
	}
	r.await("the topic is made again", func() bool { // until then the broker says that it exists
		created, err := r.admin.CreateTopic(ctx, partitions, -1, nil, r.input)
		return err == nil && created.Err == nil
	})
	if updated, err := r.admin.UpdatePartitions(ctx, int(partitions), r.group+".rekey"); err != nil || updated.Error() != nil && !errors.Is(updated.Error(), kerr.InvalidPartitions) {
		r.t.Fatal(updated, err) // InvalidPartitions: it has them
	}
	r.await("the new topic takes records", func() bool { // a tombstone, which is no event
		client, err := kgo.NewClient(kgo.SeedBrokers(r.broker), kgo.RecordRetries(0))
		if err != nil {
			r.t.Fatal(err)
		}
		defer client.Close()
		return client.ProduceSync(ctx, &kgo.Record{Topic: r.input, Key: []byte("nobody")}).FirstErr() == nil
	})
}

// deleteKeys deletes keys of the group in Redis.
func (r *goneRig) deleteKeys(pattern string) {
	r.t.Helper()
	ctx := r.context(time.Minute)
	client := redis.NewClient(&redis.Options{Addr: r.redisAddr})
	defer client.Close()
	keys, deleted := client.Scan(ctx, 0, "lapwing:"+r.group+":"+pattern, 1000).Iterator(), 0
	for keys.Next(ctx) {
		if err := client.Del(ctx, keys.Val()).Err(); err != nil {
			r.t.Fatal(err)
		}
		deleted++
	}
	if keys.Err() != nil || deleted == 0 {
		r.t.Fatalf("%d keys %s deleted: %v", deleted, pattern, keys.Err())
	}
}

// waitProblem waits until the engine is not ready and says all this in one line of a lane.
func (e *engineView) waitProblem(lane int32, parts ...string) {
	e.t.Helper()
	var line string
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if !e.Running() {
			e.t.Fatalf("the engine has ended; it should say %q", parts)
		}
		line = e.problem(lane)
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			e.WaitLog(readyTimeout, strings.ReplaceAll(parts[0], `"`, `\"`)) // quoted in the log
			return
		}
	}
	e.t.Fatalf("lane %d should say %q, says %q", lane, parts, line)
}

// problem returns what the engine says of the lane where it is not ready.
func (e *engineView) problem(lane int32) string {
	status, body := get(e.t, "http://"+e.http+"/readyz")
	if status != 503 {
		return ""
	}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, fmt.Sprintf("lane %d: ", lane)) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// problems returns all that the engine waits for.
func (e *engineView) problems() string {
	_, body := get(e.t, "http://"+e.http+"/readyz")
	return body
}

// metrics fails the test unless each sample, name with labels, has its value now.
func (e *engineView) metrics(want map[string]int64) {
	e.t.Helper()
	_, body := get(e.t, "http://"+e.http+"/metrics")
	for sample, value := range want {
		found := ""
		for line := range strings.Lines(body) {
			if rest, ok := strings.CutPrefix(line, "lapwing_"+sample+" "); ok {
				found = strings.TrimSpace(rest)
			}
		}
		if found != strconv.FormatInt(value, 10) {
			e.t.Errorf("%s is %q, want %d", sample, found, value)
		}
	}
}

// get returns what an engine answers; nothing while it does not listen.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Logf("%s: %v", url, err)
	}
	return response.StatusCode, string(text)
}

// ledger is the input as it was written, by partition; the index is the offset, since the producer is not transactional.
type ledger map[int32][]ledgerEvent

type ledgerEvent struct {
	Type   string `json:"type"`
	Amount string `json:"amount"`
	UserID int64  `json:"user_id"`
	Time   int64  `json:"time"`
}

// read adds what has been written since the last call.
func (l ledger) read(r *goneRig) {
	r.t.Helper()
	ctx := r.context(time.Minute)
	ends, err := r.admin.ListEndOffsets(ctx, r.input)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	from := map[int32]kgo.Offset{}
	missing := 0
	ends.Each(func(o kadm.ListedOffset) {
		if have := len(l[o.Partition]); int64(have) < o.Offset {
			from[o.Partition] = kgo.NewOffset().At(int64(have))
			missing += int(o.Offset) - have
		}
	})
	if missing == 0 {
		return
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(r.broker), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.input: from}))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	for missing > 0 && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
			var e ledgerEvent
			if err := json.Unmarshal(record.Value, &e); err != nil || int64(len(l[record.Partition])) != record.Offset {
				r.t.Errorf("%s/%d/%d: %d records before it, %v", r.input, record.Partition, record.Offset, len(l[record.Partition]), err)
			}
			l[record.Partition] = append(l[record.Partition], e)
			missing--
		})
	}
	if missing != 0 {
		r.t.Fatalf("%d records of the input were not read", missing)
	}
}

// codes judges a partition by the model, as an engine does whose users start fresh at each of the offsets, and returns the
// codes of each event as JSON.
func (l ledger) codes(partition int32, fresh ...int64) []string {
	model := rulestest.NewModel()
	var all []string
	for offset, e := range l[partition] {
		if slices.Contains(fresh, int64(offset)) {
			model = rulestest.NewModel()
		}
		codes := model.Judge(rulestest.Event{Type: e.Type, Amount: e.Amount, UserID: e.UserID, Time: e.Time})
		all = append(all, strings.ReplaceAll(fmt.Sprint(codes), " ", ","))
	}
	return all
}

// results reads the output to its end and returns the codes of the results of each input record, by partition and offset.
func (r *goneRig) results() map[int32]map[int64][]string {
	r.t.Helper()
	ctx := r.context(time.Minute)
	client, err := kgo.NewClient(kgo.SeedBrokers(r.broker), kgo.ConsumeTopics(r.output), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	ends, err := r.admin.ListCommittedOffsets(ctx, r.output)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	found := map[int32]map[int64][]string{}
	for len(left) > 0 && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
			if record.Offset+1 >= left[record.Partition] {
				delete(left, record.Partition)
			}
			if !record.Attrs.IsControl() {
				r.result(found, record)
			}
		})
	}
	if len(left) > 0 {
		r.t.Fatalf("the output was not read to its end: %v", left)
	}
	return found
}

// result adds one result to what was found.
func (r *goneRig) result(found map[int32]map[int64][]string, record *kgo.Record) {
	r.t.Helper()
	var value struct {
		Codes json.RawMessage `json:"alert_codes"`
	}
	var partition int32
	var offset int64
	for _, h := range record.Headers {
		if h.Key == "lapwing-source" {
			if _, err := fmt.Sscanf(string(h.Value), r.input+"/%d/%d", &partition, &offset); err != nil {
				r.t.Fatalf("lapwing-source %q: %v", h.Value, err)
			}
		}
	}
	if err := json.Unmarshal(record.Value, &value); err != nil {
		r.t.Fatalf("%s: %v", record.Value, err)
	}
	if found[partition] == nil {
		found[partition] = map[int64][]string{}
	}
	found[partition][offset] = append(found[partition][offset], string(value.Codes))
}

// hole is input of a lane that was deleted before it was judged.
type hole struct {
	from, to int64 // of the offsets that have no result; equal where all were judged
	fresh    int64 // where users start anew
}

// verify checks that each event has exactly one result, the model's, but for the holes.
func (r *goneRig) verify(holes map[int32]hole) {
	r.t.Helper()
	r.ledger.read(r)
	found := r.results()
	for partition := range r.ledger {
		var fresh []int64
		h, holed := holes[partition]
		if holed {
			fresh = append(fresh, h.fresh)
		}
		before, after := r.ledger.codes(partition), r.ledger.codes(partition, fresh...)
		for offset := range int64(len(after)) {
			want := []string{after[offset]}
			if offset < h.to {
				want = []string{before[offset]} // judged before the users started anew
			}
			if offset >= h.from && offset < h.to {
				want = nil
			}
			if got := found[partition][offset]; !slices.Equal(got, want) {
				r.t.Fatalf("partition %d, offset %d of %d: results %v, want %v (hole %+v)", partition, offset, len(after), got, want, h)
			}
		}
	}
}
