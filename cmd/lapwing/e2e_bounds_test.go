package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// memory returns the resident memory of an engine, now and at its highest, in bytes.
func memory(t *testing.T, e *consumertest.Engine) (now, highest int64) {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", e.Pid()))
	if err != nil {
		t.Skipf("resident memory is read from /proc: %v", err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			continue
		}
		n, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			now = n << 10
		case "VmHWM:":
			highest = n << 10
		}
	}
	if now == 0 || highest == 0 {
		t.Fatalf("/proc says nothing of the memory of process %d", e.Pid())
	}
	return now, highest
}

// client returns a client that writes to the partitions that a record names.
func (s *system) client(opts ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.broker), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(2 * time.Millisecond), kgo.MaxBufferedRecords(50_000)}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// write writes events made by a function, keyed by their user.
func (s *system) write(c *kgo.Client, count int, event func(i int) (user int, value []byte)) {
	s.t.Helper()
	failed := make(chan error, 1)
	for i := range count {
		user, value := event(i)
		r := &kgo.Record{Topic: s.input, Key: strconv.AppendInt(nil, int64(user), 10), Value: value}
		c.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	err := c.Flush(s.context(time.Minute))
	select {
	case err = <-failed:
	default:
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestManyUsers gives an engine far more users than it may keep in memory: its memory does not grow with them.
func TestManyUsers(t *testing.T) {
	skipShort(t)
	const users, steps, cacheMax = 600_000, 5, 20_000
	s := newSystem(t, systemOptions{redis: consumertest.OwnRedis(t).Addr()})
	s.redisExtra = fmt.Sprintf("  cache_max: %d\n  dirty_max: %d", cacheMax, cacheMax/2)
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	c := s.client()
	var resident [steps]int64
	for step := range steps {
		s.write(c, users/steps, func(i int) (int, []byte) {
			user := step*users/steps + i
			return user, fmt.Appendf(nil, `{"type":"deposit","amount":"%d.5","user_id":%d,"time":%d}`, 1+i%99, user, 1000+i%7)
		})
		s.drain(readyTimeout)
		resident[step], _ = memory(t, e)
		t.Logf("%d users: %d MiB", (step+1)*users/steps, resident[step]>>20)
	}
	// Every entry of a cache that lets go of none takes 200 bytes and more: 70 MB for the users after the second step, when
	// the buffers have their size.
	if grown := resident[steps-1] - resident[1]; grown > 48<<20 {
		t.Errorf("after %d users the engine has %d bytes, after the first %d it had %d", users, resident[steps-1], 2*users/steps, resident[1])
	}
	term(t, e)
	s.checkStopped(true)
}

// TestHotUser has one user with all the events of a window, spread over more times than a state keeps apart and then all
// at one time: neither memory nor what Redis holds grows with them.
func TestHotUser(t *testing.T) {
	skipShort(t)
	const events = 300_000
	server := consumertest.OwnRedis(t)
	s := newSystem(t, systemOptions{redis: server.Addr()})
	rules := s.file("rules.yaml", `
lateness: 1000s
rules:
  - {code: 1, kind: window_sum, types: [deposit], window: 20000s, over: "1000000000"}
  - {code: 2, kind: streak, types: [deposit], count: 5}
  - {code: 3, kind: rising, types: [deposit], count: 3}
`)
	s.tail = "rules: " + rules
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	c := s.client()
	hot := func(spread int) int64 {
		s.write(c, events, func(i int) (int, []byte) {
			return 7, fmt.Appendf(nil, `{"type":"deposit","amount":"%d.000000000000000001","user_id":7,"time":%d}`, 1+i%999, 100_000+i%spread)
		})
		s.drain(2 * readyTimeout)
		now, _ := memory(t, e)
		return now
	}
	first := hot(10_000)
	second := hot(10_000)
	third := hot(1)
	t.Logf("resident after %d events each: %d, %d, %d MiB", events, first>>20, second>>20, third>>20)
	if grown := max(second, third) - first; grown > first/2+32<<20 {
		t.Errorf("memory grows by %d bytes with the events of one user", grown)
	}
	term(t, e) // writes what Redis did not have yet
	if n := s.storedBytes(7); n == 0 || n > 256<<10 {
		t.Errorf("the record of the user has %d bytes in Redis, at most 4096 buckets of a type are kept", n)
	}
}

// bombsPartition is the partition, of several with a bomb each, that has none.
const bombsPartition = 0

// TestBombs gives an engine record batches of some megabytes that hold a gibibyte each, in every codec that a broker
// takes. Each stops its own lane, with a message that names the place and what to do, after all before it was judged; the
// other lanes go on. What the message says mends it.
func TestBombs(t *testing.T) {
	skipShort(t)
	// Without a frame a broker reads snappy as one block, and would take the gibibyte itself.
	forms := []string{"gzip", "xerial", "lz4", "zstd"}
	s := newSystem(t, systemOptions{partitions: int32(len(forms) + 1), inputConfigs: map[string]string{"max.message.bytes": "80000000"}})
	s.extra = "  decompressed_bytes_max: 8MiB\n  on_data_loss: continue"
	c := s.client(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	events := func(seed uint64) {
		s.produce(500, consumertest.EventOptions{Seed: seed, Users: 50, UserFirst: int64(seed * 1000)})
	}
	events(1)
	at := make(map[int32]int64)
	for i, form := range forms {
		partition := int32(bombsPartition + 1 + i)
		bomb, err := consumertest.Bomb(form, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		at[partition] = s.produceBatch(c, partition, bomb)
		t.Logf("%s: %d bytes at %s/%d/%d", form, len(bomb), s.input, partition, at[partition])
	}
	events(2)
	e := s.engine("engine")
	e.Start()
	for partition, offset := range at {
		e.WaitLog(readyTimeout, fmt.Sprintf("fetch %s/%d at offset %d: record batch at offsets %d to %d: record batch is too large when decompressed: more than %d bytes; raise kafka.decompressed_bytes_max",
			s.input, partition, offset, offset, offset, 8<<20))
		s.waitCommitted(partition, offset) // all before it
	}
	s.waitCommitted(bombsPartition, s.end(bombsPartition))
	if e.Ready() {
		t.Error("the engine is ready although lanes stand still")
	}
	_, highest := memory(t, e)
	t.Logf("resident memory was at most %d MiB", highest>>20)
	if highest > 512<<20 {
		t.Errorf("resident memory was %d MiB", highest>>20)
	}
	admin := kadm.NewClient(c)
	for partition, offset := range at {
		remove := make(kadm.Offsets)
		remove.Add(kadm.Offset{Topic: s.input, Partition: partition, At: offset + 1, LeaderEpoch: -1})
		if _, err := admin.DeleteRecords(s.context(time.Minute), remove); err != nil {
			t.Fatal(err)
		}
	}
	s.drain(readyTimeout)
	e.WaitReady(readyTimeout)
	term(t, e)
	if n := s.count(s.output); n != 1000 {
		t.Errorf("%d results of 1000 events", n)
	}
}

// TestCutToFit has topics that take less than many results and dead letters have, and a limit that is lowered while the
// engine runs: everything arrives, cut and marked where it must be.
func TestCutToFit(t *testing.T) {
	for _, tt := range []struct{ name, compression string }{{"plain", "none"}, {"compressed", "gzip"}} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSystem(t, systemOptions{
				inputConfigs:  map[string]string{"max.message.bytes": "12000000"},
				outputConfigs: map[string]string{"max.message.bytes": "440"},
				deadConfigs:   map[string]string{"max.message.bytes": "900"},
			})
			s.extra = "  compression: " + tt.compression
			e := s.engine("engine")
			e.Start()
			e.WaitReady(readyTimeout)
			g := consumertest.NewGenerator(consumertest.EventOptions{Seed: 3, Users: 60, Bad: 0.2, Headers: 0.3})
			s.produceFrom(600, g)
			s.drain(readyTimeout)
			report := s.check(consumertest.CheckOptions{})
			if report.Cut < 40 {
				t.Errorf("%d results and dead letters were cut: %v", report.Cut, report)
			}
			if report.Cut >= report.Results {
				t.Errorf("results that fit were cut, too: %v", report)
			}
			term(t, e)
			s.checkStopped(true)
			if log := e.Log(); strings.Contains(log, "transaction failed") {
				t.Error("a transaction failed although the limits were known")
			}
		})
	}
}

// TestLimitIsLowered lowers what both topics take while events flow, first to what still holds every record and then
// below that: the lanes stop, say so, and go on when it is mended.
func TestLimitIsLowered(t *testing.T) {
	skipShort(t)
	s := newSystem(t, systemOptions{})
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	stop := s.load(1000, consumertest.EventOptions{Seed: 4, Users: 100, Bad: 0.1, Headers: 0.3})
	time.Sleep(time.Second) // events flow
	s.alter(s.output, "max.message.bytes", "500")
	s.alter(s.dead, "max.message.bytes", "1000")
	e.WaitLog(readyTimeout, "a batch was too large for its topic")
	time.Sleep(2 * time.Second) // events flow
	s.alter(s.output, "max.message.bytes", "200")
	e.WaitLog(readyTimeout, "topic "+s.output+" takes batches of 200 bytes (max.message.bytes)", "raise max.message.bytes of the topic")
	s.alter(s.output, "max.message.bytes", "1000000")
	n := stop()
	s.drain(readyTimeout)
	e.WaitReady(readyTimeout)
	report := s.check(consumertest.CheckOptions{})
	if report.Records != n || report.Cut == 0 {
		t.Errorf("%d records were acknowledged: %v", n, report)
	}
	term(t, e)
	s.checkStopped(true)
	if failed := strings.Count(e.Log(), "transaction failed"); failed > 50 {
		t.Errorf("%d transactions failed", failed)
	}
}

// TestLargeInput has records of ten megabytes, with values and with headers, between events; their dead letters fit only
// when cut.
func TestLargeInput(t *testing.T) {
	s := newSystem(t, systemOptions{inputConfigs: map[string]string{"max.message.bytes": "12000000"}})
	c := s.client(kgo.ProducerBatchMaxBytes(12_000_000), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	planted := kgo.RecordHeader{Key: consumertest.HeaderPlanted, Value: []byte("too_large")}
	var records []*kgo.Record
	for i := range 6 {
		r := &kgo.Record{Topic: s.input, Key: []byte("large"), Value: bytes.Repeat([]byte("x"), 10_000_000), Headers: []kgo.RecordHeader{planted}}
		if i%2 == 1 {
			r.Value = bytes.Repeat([]byte("y"), 70_000)
			for range 9 {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: "h", Value: make([]byte, 1_000_000)})
			}
		}
		records = append(records, r)
	}
	s.produce(500, consumertest.EventOptions{Seed: 5, Users: 50})
	for _, r := range records {
		if err := c.ProduceSync(s.context(time.Minute), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	s.produce(500, consumertest.EventOptions{Seed: 6, Users: 50, UserFirst: 1000})
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	report := s.check(consumertest.CheckOptions{})
	if report.Cut != len(records) || report.Records != 1000+len(records) {
		t.Errorf("of %d records that are too large for the dead-letter topic %d were cut: %v", len(records), report.Cut, report)
	}
	_, highest := memory(t, e)
	t.Logf("resident memory was at most %d MiB", highest>>20)
	if highest > 512<<20 {
		t.Errorf("resident memory was %d MiB", highest>>20)
	}
	term(t, e)
	s.checkStopped(true)
}

// file writes a file of the test and returns its path.
func (s *system) file(name, text string) string {
	s.t.Helper()
	path := s.t.TempDir() + "/" + name
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// storedBytes returns the size of a user's record in Redis.
func (s *system) storedBytes(user int) int64 {
	s.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.redisAddr})
	defer client.Close()
	ctx := s.context(time.Minute)
	keys := client.Scan(ctx, 0, fmt.Sprintf("lapwing:%s:*:u:%d", s.group, user), 1000).Iterator()
	if !keys.Next(ctx) {
		s.t.Fatalf("Redis has nothing of user %d (%v)", user, keys.Err())
	}
	size, err := client.StrLen(ctx, keys.Val()).Result()
	if err != nil {
		s.t.Fatal(err)
	}
	return size
}

// produceBatch writes a record batch as it is and returns its offset.
func (s *system) produceBatch(c *kgo.Client, partition int32, batch []byte) int64 {
	s.t.Helper()
	topics, err := kadm.NewClient(c).ListTopics(s.context(time.Minute), s.input)
	if err != nil {
		s.t.Fatal(err)
	}
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = partition, batch
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.TopicID = s.input, topics[s.input].ID // which of the two depends on the broker's version
	topic.Partitions = []kmsg.ProduceRequestTopicPartition{part}
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = -1, 60_000
	request.Topics = []kmsg.ProduceRequestTopic{topic}
	answer, err := request.RequestWith(s.context(2*time.Minute), c)
	if err != nil {
		s.t.Fatal(err)
	}
	got := answer.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		s.t.Fatalf("the broker refuses the batch: %v %v", err, got.ErrorMessage)
	}
	return got.BaseOffset
}

// alter sets a topic's configuration.
func (s *system) alter(topic, name, value string) {
	s.t.Helper()
	c := s.client()
	answers, err := kadm.NewClient(c).AlterTopicConfigs(s.context(time.Minute), []kadm.AlterConfig{{Name: name, Value: &value}}, topic)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, a := range answers {
		if a.Err != nil {
			s.t.Fatal(a.Err)
		}
	}
}

// end returns the end of a partition of the input.
func (s *system) end(partition int32) int64 {
	s.t.Helper()
	ends, err := kadm.NewClient(s.client()).ListEndOffsets(s.context(time.Minute), s.input)
	if err != nil {
		s.t.Fatal(err)
	}
	at, ok := ends.Lookup(s.input, partition)
	if !ok {
		s.t.Fatalf("%s has no partition %d", s.input, partition)
	}
	return at.Offset
}

// waitCommitted waits until the group has committed a partition up to an offset.
func (s *system) waitCommitted(partition int32, offset int64) {
	s.t.Helper()
	admin := kadm.NewClient(s.client())
	ctx := s.context(readyTimeout)
	for {
		offsets, err := admin.FetchOffsets(ctx, s.group)
		at, _ := offsets.Lookup(s.input, partition)
		if err == nil && at.At == offset {
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("%s/%d: committed is %d, want %d (%v)", s.input, partition, at.At, offset, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// count returns how many committed records a topic has.
func (s *system) count(topic string) int {
	s.t.Helper()
	c := s.client(kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	n := 0
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		fetches := c.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			return n
		}
		n += fetches.NumRecords()
	}
}
