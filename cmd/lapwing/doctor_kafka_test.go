package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/wire"
)

// patient is topics and a group of one test, and the configuration that the doctor gets.
type patient struct {
	t                                *testing.T
	kafka, redis                     string // addresses in the configuration, as lists
	broker                           string // a real one
	input, output, dead, group       string
	more                             []string // further inputs
	kafkaExtra, redisExtra, topLevel string   // further lines of YAML
}

const (
	patientPartitions = 4
	patientTimeout    = 30 * time.Second
)

// newPatient makes topics with some configurations, given by the topic's role.
func newPatient(t *testing.T, configs map[string]map[string]string) *patient {
	t.Helper()
	p := &patient{t: t, broker: consumertest.Kafka(t), redis: fmt.Sprintf("%q", consumertest.Redis(t))}
	p.kafka = fmt.Sprintf("%q", p.broker)
	p.group = consumertest.Topic(t, "doctor")
	p.input, p.output, p.dead = p.group+".in", p.group+".out", p.group+".dead"
	p.create(p.input, patientPartitions, configs["input"])
	p.create(p.output, patientPartitions, configs["output"])
	p.create(p.dead, 1, configs["dead"])
	p.create(p.rekey(), patientPartitions, configs["rekey"])
	return p
}

func (p *patient) rekey() string { return p.group + ".rekey" }

func (p *patient) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patientTimeout)
	p.t.Cleanup(cancel)
	return ctx
}

func (p *patient) create(topic string, partitions int32, configs map[string]string) {
	p.t.Helper()
	spec := consumertest.TopicSpec{Name: topic, Partitions: partitions, Configs: configs}
	if err := consumertest.CreateTopics(p.context(), []string{p.broker}, spec); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { p.drop(topic) })
}

func (p *patient) drop(topic string) {
	ctx, cancel := context.WithTimeout(context.Background(), patientTimeout)
	defer cancel()
	if err := consumertest.DeleteTopics(ctx, []string{p.broker}, topic); err != nil {
		p.t.Error(err)
	}
}

// admin returns another client of the broker.
func (p *patient) admin() *kadm.Client {
	p.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.broker))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// config writes the configuration and returns its file.
func (p *patient) config() string {
	p.t.Helper()
	return writeFile(p.t, p.t.TempDir(), "lapwing.yaml", p.text())
}

func (p *patient) text() string {
	return fmt.Sprintf(`
kafka:
  brokers: [%s]
  group: %s
  input: [%s]
  output: %s
  dead_letters: %s
%s
redis:
  addrs: [%s]
%s
%s
`, p.kafka, p.group, strings.Join(append([]string{p.input}, p.more...), ", "), p.output, p.dead, p.kafkaExtra, p.redis, p.redisExtra, p.topLevel)
}

func (p *patient) examine(args ...string) *diagnosis {
	p.t.Helper()
	return examined(p.t, append([]string{"--config", p.config()}, args...)...)
}

const patientUsers = 50

// produce writes events of patientUsers users, by one of kafka-go's balancers; change makes of a user's message another.
func (p *patient) produce(count int, balancer kafka.Balancer, change func(user int, m *kafka.Message)) {
	p.t.Helper()
	transport := &kafka.Transport{} // the shared one does not know new topics yet
	defer transport.CloseIdleConnections()
	w := &kafka.Writer{
		Addr: kafka.TCP(p.broker), Topic: p.input, Balancer: balancer, BatchTimeout: 10 * time.Millisecond, RequiredAcks: kafka.RequireAll, Transport: transport,
	}
	defer w.Close()
	now := time.Now().Unix()
	messages := make([]kafka.Message, count)
	for i := range messages {
		user := i % patientUsers
		m := &messages[i]
		m.Key = []byte(strconv.Itoa(user))
		m.Value = fmt.Appendf(nil, `{"type":"deposit","amount":"1.00","user_id":%d,"time":%d}`, user, now)
		if change != nil {
			change(user, m)
		}
	}
	if err := w.WriteMessages(p.context(), messages...); err != nil {
		p.t.Fatal(err)
	}
}

// java chooses partitions as the Java client does.
func java() kafka.Balancer { return kafka.Murmur2Balancer{} }

func TestDoctorHealthy(t *testing.T) {
	p := newPatient(t, nil)
	p.produce(400, java(), nil)
	// On a new broker nobody has committed anything, which is another finding.
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: p.input, Partition: 0, At: 1, LeaderEpoch: -1})
	if err := p.admin().CommitAllOffsets(p.context(), p.group+".other", offsets); err != nil {
		t.Fatal(err)
	}
	g := p.examine()
	g.only(levelFail)
	g.only(levelWarn)
	g.has(levelOK, checkBroker, "broker "+p.broker, "DNS, TCP, protocol in ")
	g.has(levelOK, checkTopic, "topic "+p.input, "4 partitions, 1 replica, min.insync.replicas 1, kept for 7 days")
	g.has(levelNote, checkReplication, "kafka", "one broker")
	g.has(levelOK, checkPermission, "permissions")
	g.has(levelOK, checkEviction, "redis "+strings.Trim(p.redis, `"`), "noeviction")
	g.has(levelOK, checkLatency, "redis "+strings.Trim(p.redis, `"`), "median of 20")
	g.has(levelNote, checkGroup, "group "+p.group, "no engine runs")
	g.has(levelNote, checkOffsets, "group "+p.group, "kafka.start, earliest")
	g.has(levelOK, checkClock, "kafka clock")
	g.has(levelOK, checkRecords, "topic "+p.input, "newest 400 records")
	g.has(levelOK, checkEvents, "topic "+p.input, "all are events")
	g.has(levelOK, checkTime, "topic "+p.input, "time is in seconds")
	g.has(levelOK, checkKeys, "topic "+p.input, "the key of every event is its user_id")
	g.has(levelOK, checkPartitioner, "topic "+p.input, "murmur2 100 %", "kafka.partitioner is murmur2")
	// The lines say the same.
	code, stdout, stderr := lapwing(t, "", "doctor", "--config", p.config(), "--records", "40")
	lines := splitLines(stdout)
	if code != exitOK || stderr != "" || len(lines) != len(g.Findings)+1 || !strings.HasSuffix(lines[len(lines)-1], "0 warn, 0 fail") {
		t.Errorf("exit code %d, stderr %q, printed\n%s", code, stderr, stdout)
	}
	if !strings.Contains(stdout, "looked at the newest 40 records") {
		t.Errorf("--records 40 did not bound them:\n%s", stdout)
	}
	// Nothing was written: no group, no records.
	groups, err := p.admin().ListGroups(p.context())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := groups[p.group]; ok {
		t.Error("the group exists now")
	}
	ends, err := p.admin().ListEndOffsets(p.context(), p.output, p.dead, p.rekey())
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset != 0 {
			t.Errorf("%s/%d has %d records", o.Topic, o.Partition, o.Offset)
		}
	})
}

func TestDoctorBrokers(t *testing.T) {
	dead := "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
	p := newPatient(t, nil)
	p.kafka = fmt.Sprintf("%q, %q", dead, "nowhere.invalid:9092")
	g := p.examine()
	g.only(levelFail, checkBroker, checkBroker)
	g.has(levelFail, checkBroker, "broker "+dead, "TCP: ", "refused", "check the port")
	g.has(levelFail, checkBroker, "broker nowhere.invalid:9092", "DNS: ", "does not resolve")
	g.has(levelNote, checkTopic, "kafka", "not looked at")
	g.has(levelOK, checkEviction, "redis "+strings.Trim(p.redis, `"`)) // Redis is looked at all the same

	p.kafka = fmt.Sprintf("%q, %q", dead, p.broker)
	g = p.examine()
	g.only(levelFail)
	g.has(levelWarn, checkBroker, "broker "+dead, "TCP: ")
	g.has(levelOK, checkTopic, "topic "+p.input)
}

// silent accepts connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String() // the system accepts, nobody reads
}

// TestDoctorDeadlines: services that hang hold up neither the end nor each other.
func TestDoctorDeadlines(t *testing.T) {
	kafkaAddr, redisAddr := silent(t), silent(t)
	file := writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf("kafka: {brokers: [%q]}\nredis: {addrs: [%q]}\n", kafkaAddr, redisAddr))
	start := time.Now()
	g := examined(t, "--config", file, "--timeout", "300ms")
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v with steps of 300 ms", took)
	}
	g.only(levelFail, checkBroker, checkRedis)
	g.has(levelFail, checkBroker, "broker "+kafkaAddr, "protocol: ")
	g.has(levelFail, checkRedis, "redis "+redisAddr, "check the address, that Redis runs")
}

// advertisesOther is a listener that names another address than its own.
type advertisesOther struct {
	net.Listener
	other net.Addr
}

func (l advertisesOther) Addr() net.Addr { return l.other }

func TestDoctorAdvertisedBroker(t *testing.T) {
	port := consumertest.FreePort(t)
	var listening string
	consumertest.Kfake(t, kfake.ListenFn(func(string, string) (net.Listener, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			listening = l.Addr().String()
		}
		return advertisesOther{l, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}}, err
	}))
	file := writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf("kafka: {brokers: [%q]}\nredis: {addrs: [%q]}\n", listening, consumertest.OwnRedis(t).Addr()))
	g := examined(t, "--config", file, "--timeout", "2s")
	g.has(levelOK, checkBroker, "broker "+listening)
	g.has(levelFail, checkBroker, fmt.Sprintf("broker 0 127.0.0.1:%d", port), "TCP: ", "advertised.listeners")
}

func TestDoctorMissingTopics(t *testing.T) {
	p := newPatient(t, nil)
	p.output, p.dead = p.group+".nowhere", p.group+".gone"
	g := p.examine()
	g.only(levelFail, checkTopic, checkTopic)
	for _, topic := range []string{p.output, p.dead} {
		g.has(levelFail, checkTopic, "topic "+topic, "does not exist",
			fmt.Sprintf("kafka-topics --bootstrap-server %s --create --topic %s --partitions 6 --replication-factor 1", p.broker, topic))
	}
	p.kafkaExtra = "  create_topics: true\n"
	g = p.examine()
	g.only(levelFail)
	g.has(levelNote, checkTopic, "topic "+p.output, "lapwing run makes it with 6 partitions")
	p.kafkaExtra += "  replication: 3\n"
	p.examine().has(levelFail, checkTopic, "topic "+p.output, "cannot be made with 3 replicas on 1 broker")
}

func TestDoctorPartitionCounts(t *testing.T) {
	p := newPatient(t, nil)
	p.grow(p.input, 6)
	g := p.examine()
	g.only(levelFail, checkPartitions)
	g.has(levelFail, checkPartitions, "topic "+p.rekey(), "has 4 partitions, but "+p.input+" has 6", "--alter --topic "+p.rekey()+" --partitions 6", "kafka.create_topics: true")
	p.kafkaExtra = "  create_topics: true\n"
	g = p.examine()
	g.only(levelFail)
	g.has(levelNote, checkPartitions, "topic "+p.rekey(), "has 4 partitions, but "+p.input+" has 6", "lapwing run adds them")
	p.kafkaExtra = ""
	p.grow(p.rekey(), 8) // ready for more
	p.examine().only(levelFail)
}

// grow gives a topic more partitions, and waits for their leaders.
func (p *patient) grow(topic string, partitions int32) {
	p.t.Helper()
	client, err := wire.New(wire.Options{Brokers: []string{p.broker}})
	if err != nil {
		p.t.Fatal(err)
	}
	defer client.Close()
	if err := client.CreatePartitions(p.context(), topic, partitions); err != nil {
		p.t.Fatal(err)
	}
}

// TestDoctorSeveralInputs: every input is looked at, and all must have one partition count.
func TestDoctorSeveralInputs(t *testing.T) {
	p := newPatient(t, nil)
	second, third := p.input+"2", p.input+"3"
	p.more = []string{second, third}
	p.create(second, 6, nil)
	p.create(third, 2, map[string]string{"cleanup.policy": "compact"})
	first := p.input
	p.input = second
	p.produce(100, java(), func(_ int, m *kafka.Message) { m.Key = nil })
	p.input = first
	g := p.examine()
	g.only(levelFail, checkPartitions, checkPartitions, checkPartitions)
	alter := "kafka-topics --bootstrap-server " + p.broker + " --alter --topic %s --partitions 6"
	g.has(levelFail, checkPartitions, "topic "+first, "has 4 partitions, but "+second+" has 6", fmt.Sprintf(alter, first))
	g.has(levelFail, checkPartitions, "topic "+third, "has 2 partitions, but "+second+" has 6", fmt.Sprintf(alter, third))
	g.has(levelFail, checkPartitions, "topic "+p.rekey(), "has 4 partitions, but "+second+" has 6", fmt.Sprintf(alter, p.rekey()))
	g.has(levelWarn, checkCleanup, "topic "+third, "is compact")
	g.has(levelNote, checkRecords, "topic "+first, "no records")
	g.has(levelWarn, checkKeys, "topic "+second, "100 % of the events have no key")
	for _, topic := range []string{first, second, third} {
		g.has(levelOK, checkTopic, "topic "+topic, "replica")
		g.has(levelNote, checkOffsets, "group "+p.group, "nothing committed for "+topic)
	}
	p.grow(first, 6)
	p.grow(third, 6)
	p.grow(p.rekey(), 6)
	p.examine().only(levelFail)
}

// TestDoctorMissingInput: a further input that does not exist yet.
func TestDoctorMissingInput(t *testing.T) {
	p := newPatient(t, nil)
	second := p.input + "2"
	p.more = []string{second}
	create := "kafka-topics --bootstrap-server " + p.broker + " --create --topic " + second + " --partitions 4 --replication-factor 1"
	g := p.examine()
	g.only(levelFail, checkTopic)
	g.has(levelFail, checkTopic, "topic "+second, "does not exist", create)
	p.kafkaExtra = "  create_topics: true\n" // with 6 partitions
	g = p.examine()
	g.only(levelFail, checkTopic)
	g.has(levelFail, checkTopic, "topic "+second, "lapwing run would make it with 6 partitions, but another input has 4", create, "set kafka.partitions: 4")
	p.kafkaExtra += "  partitions: 4\n"
	g = p.examine()
	g.only(levelFail)
	g.has(levelNote, checkTopic, "topic "+second, "lapwing run makes it with 4 partitions")
}

// TestDoctorRekeyIsNeeded: of several partitions or several inputs.
func TestDoctorRekeyIsNeeded(t *testing.T) {
	addr, redis := consumertest.Kfake(t, kfake.SeedTopics(1, "events", "more", "alerts", "events.dead")), consumertest.OwnRedis(t).Addr()
	examine := func(kafka string) *diagnosis {
		t.Helper()
		return examined(t, "--config", writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf("kafka: {brokers: [%q], %s}\nredis: {addrs: [%q]}\n", addr, kafka, redis)))
	}
	g := examine("input: [events]")
	g.only(levelFail)
	if strings.Contains(g.stdout, "lapwing.rekey") {
		t.Errorf("one input of one partition needs a topic that is not there:\n%s", g.lines())
	}
	g = examine("input: [events, more]")
	g.only(levelFail, checkTopic)
	g.has(levelFail, checkTopic, "topic lapwing.rekey", "does not exist", "it notes the order of judging", "--create --topic lapwing.rekey --partitions 1")
	g = examine("input: [events, more], create_topics: true")
	g.only(levelFail)
	g.has(levelNote, checkTopic, "topic lapwing.rekey", "lapwing run makes it")
}

// TestDoctorRekeyRetention: what was forwarded has to be kept as long as the input that is kept longest.
func TestDoctorRekeyRetention(t *testing.T) {
	p := newPatient(t, map[string]map[string]string{"input": {"retention.ms": "86400000"}, "rekey": {"retention.ms": "86400000"}})
	p.more = []string{p.input + "2"}
	p.create(p.more[0], patientPartitions, map[string]string{"retention.ms": "172800000"})
	g := p.examine()
	g.only(levelFail)
	g.has(levelWarn, checkRetention, "topic "+p.rekey(), "is kept for 24h, shorter than the input", "--add-config retention.ms=172800000")
	p = newPatient(t, map[string]map[string]string{"rekey": {"retention.ms": "3600000"}})
	p.redisExtra = "  flush_interval: 10m\n"
	g = p.examine()
	g.only(levelFail, checkRetention)
	g.has(levelFail, checkRetention, "topic "+p.rekey(), "is kept for 1h only, and Redis may be 10m behind", "--add-config retention.ms=604800000")
}

func TestDoctorTopicSettings(t *testing.T) {
	p := newPatient(t, map[string]map[string]string{
		"input":  {"cleanup.policy": "compact,delete", "retention.ms": "5000", "max.message.bytes": "2000000"},
		"output": {"min.insync.replicas": "2", "max.message.bytes": "500000"},
		"dead":   {"cleanup.policy": "compact", "max.message.bytes": "1000000"},
		"rekey":  {"cleanup.policy": "compact,delete", "max.message.bytes": "1000"},
	})
	g := p.examine()
	g.has(levelWarn, checkCleanup, "topic "+p.input, "cleanup.policy is compact", "kafka-configs --bootstrap-server "+p.broker+" --alter --topic "+p.input)
	g.has(levelFail, checkRetention, "topic "+p.input, "kept for 5s only, and Redis may be 1s behind")
	g.has(levelFail, checkReplication, "topic "+p.output, "takes no writes")
	g.has(levelNote, checkMessageBytes, "topic "+p.output, "500000")
	g.has(levelFail, checkCleanup, "topic "+p.dead, "a dead letter without key is refused")
	g.has(levelNote, checkMessageBytes, "topic "+p.dead, "a larger dead letter is cut to fit")
	g.has(levelFail, checkCleanup, "topic "+p.rekey(), "forwarded records without key are refused")
	g.has(levelWarn, checkMessageBytes, "topic "+p.rekey(), "could not be forwarded")
	g.only(levelFail, checkReplication, checkRetention, checkCleanup, checkCleanup)

	// The rules look back two days, the topic one.
	p = newPatient(t, map[string]map[string]string{"input": {"retention.ms": "86400000"}})
	rules := writeFile(t, t.TempDir(), "rules.yaml", "lateness: 24h\nrules:\n  - {code: 1, kind: window_count, types: [deposit], window: 24h, resolution: 60s, at_least: 6}\n")
	p.topLevel = fmt.Sprintf("rules: %q", rules)
	g = p.examine()
	g.only(levelFail)
	g.has(levelWarn, checkRetention, "topic "+p.input, "kept for 24h, but the rules look back 2 days", "retention.ms=345600000")
}

// TestDoctorPartitioner: records of a producer that chooses partitions as librdkafka does.
func TestDoctorPartitioner(t *testing.T) {
	p := newPatient(t, nil)
	p.produce(1000, kafka.CRC32Balancer{}, nil)
	g := p.examine()
	g.only(levelFail, checkPartitioner)
	g.has(levelFail, checkPartitioner, "topic "+p.input, "crc32 100 %", "kafka.partitioner is murmur2", "set kafka.partitioner: crc32")
	g.has(levelWarn, checkPartitioner, "topic "+p.input, "of the events are in another partition", p.rekey())
	g.has(levelOK, checkKeys, "topic "+p.input)

	p.kafkaExtra = "  partitioner: crc32\n"
	g = p.examine()
	g.only(levelFail)
	g.only(levelWarn)

	// One partitioner is configured for all inputs, so the producers of the other one have to be changed.
	second := p.input + "2"
	p.create(second, patientPartitions, nil)
	first := p.input
	p.input = second
	p.produce(1000, java(), nil)
	p.input, p.more = first, []string{second}
	g = p.examine()
	g.only(levelFail)
	g.has(levelOK, checkPartitioner, "topic "+first, "crc32 100 %")
	g.has(levelWarn, checkPartitioner, "topic "+second, "murmur2 100 %", "kafka.partitioner is crc32, as topic "+first+" needs it", "give its producers the partitioner crc32")
	p.more = nil

	// Half of them by another producer, which cannot be right for both.
	p.produce(1000, java(), nil)
	g = p.examine()
	g.only(levelFail)
	g.has(levelWarn, checkPartitioner, "topic "+p.input, "in several ways", "give all producers the partitioner crc32")
}

func TestDoctorKeys(t *testing.T) {
	p := newPatient(t, nil)
	p.produce(150, java(), nil)
	p.produce(50, &kafka.RoundRobin{}, func(_ int, m *kafka.Message) { m.Key = nil })
	p.produce(200, java(), func(user int, m *kafka.Message) { m.Key = fmt.Appendf(nil, "user-%d", user) })
	g := p.examine()
	g.only(levelFail)
	g.has(levelWarn, checkKeys, "topic "+p.input, "12.5 % of the events have no key", "key records by user_id")
	g.has(levelWarn, checkKeys, "topic "+p.input, "50 % of the events have a key that is not the user_id")
	g.has(levelOK, checkPartitioner, "topic "+p.input, "murmur2 100 %") // whatever the keys are, they are placed by it
	g.has(levelWarn, checkPartitioner, "topic "+p.input, "of the events are in another partition", p.rekey())

	// What is forwarded needs its topic.
	p.drop(p.rekey())
	p.awaitGone(p.rekey())
	g = p.examine()
	g.only(levelFail, checkTopic, checkPartitioner)
	g.has(levelFail, checkTopic, "topic "+p.rekey(), "does not exist", "--create --topic "+p.rekey()+" --partitions 4")
	g.has(levelFail, checkPartitioner, "topic "+p.input, "--create --topic "+p.rekey()+" --partitions 4")
	p.kafkaExtra = "  create_topics: true\n"
	p.examine().only(levelFail)
}

// awaitGone waits until the metadata does not have a topic any more.
func (p *patient) awaitGone(topic string) {
	p.t.Helper()
	admin := p.admin()
	for ctx := p.context(); ; {
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			p.t.Fatal(err)
		}
		if topics[topic].Err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestDoctorEvents(t *testing.T) {
	p := newPatient(t, nil)
	p.produce(300, java(), nil)
	p.produce(100, java(), func(user int, m *kafka.Message) {
		if user%2 == 0 {
			m.Value = []byte("no event")
		} else {
			m.Value = []byte(`{"type":"payin","amount":"1","user_id":1,"time":1}`)
		}
	})
	p.produce(10, java(), func(_ int, m *kafka.Message) { m.Value = nil })
	g := p.examine()
	g.only(levelFail)
	g.has(levelOK, checkRecords, "topic "+p.input, "newest 410 records, 10 of them without a value")
	g.has(levelWarn, checkEvents, "topic "+p.input, "25 % are no events", "not_json 50, unknown_type 50")
}

func TestDoctorTimeUnits(t *testing.T) {
	p := newPatient(t, nil)
	inMillis := func(user int, m *kafka.Message) {
		m.Value = fmt.Appendf(nil, `{"type":"deposit","amount":"1.00","user_id":%d,"time":%d}`, user, time.Now().UnixMilli())
	}
	p.produce(100, java(), inMillis)
	g := p.examine()
	g.only(levelFail, checkEvents, checkTime)
	g.has(levelFail, checkTime, "topic "+p.input, "time looks like milliseconds in 100 %, and seconds are configured", "set events.time_unit: ms")
	p.topLevel = "events: {time_unit: ms}"
	p.examine().only(levelFail)

	p = newPatient(t, nil)
	p.produce(100, java(), nil)
	p.topLevel = "events: {time_unit: ms}"
	g = p.examine()
	g.only(levelFail, checkTime)
	g.has(levelFail, checkTime, "topic "+p.input, "time looks like seconds in 100 %, and milliseconds are configured", "set events.time_unit: s")
}

func TestDoctorFuture(t *testing.T) {
	p := newPatient(t, nil)
	p.produce(90, java(), nil)
	p.produce(10, java(), func(_ int, m *kafka.Message) { m.Time = time.Now().Add(30 * time.Minute) })
	g := p.examine()
	g.only(levelFail)
	g.only(levelWarn, checkClock)
	g.has(levelWarn, checkClock, "topic "+p.input, "10 % have a timestamp in the future, by up to ")
}

func TestDoctorRedis(t *testing.T) {
	p := newPatient(t, nil)
	// Its memory is full, too.
	server := consumertest.OwnRedis(t, "--maxmemory-policy", "allkeys-lru", "--maxmemory", "1mb", "--appendonly", "no")
	p.redis = fmt.Sprintf("%q", server.Addr())
	g := p.examine()
	g.only(levelFail, checkEviction)
	subject := "redis " + server.Addr()
	g.has(levelFail, checkEviction, subject, "maxmemory-policy is allkeys-lru", "CONFIG SET maxmemory-policy noeviction")
	g.has(levelWarn, checkMemory, subject, "of maxmemory 1 MiB")
	g.has(levelNote, checkPersistence, subject, "no append-only file")
	g.has(levelOK, checkLatency, subject)
	g.has(levelOK, checkTopic, "topic "+p.input)

	server.Kill()
	g = p.examine()
	g.only(levelFail, checkRedis)
	g.has(levelFail, checkRedis, subject, "refused", "that Redis runs")
	g.has(levelOK, checkTopic, "topic "+p.input)
}

// TestDoctorTellsNoSecret: refused logins are told without the passwords.
func TestDoctorTellsNoSecret(t *testing.T) {
	const kafkaPassword, redisPassword = "kafka-lapwing-test-secret", "redis-lapwing-test-secret"
	kafkaAddr := consumertest.Kfake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "lapwing", "other"))
	server := consumertest.OwnRedis(t, "--requirepass", "other")
	dir := t.TempDir()
	file := writeFile(t, dir, "lapwing.yaml", fmt.Sprintf(`
kafka: {brokers: [%q], sasl: {mechanism: plain, username: lapwing, password_file: %s}}
redis: {addrs: [%q], password_file: %s}
`, kafkaAddr, writeFile(t, dir, "kafka-password", kafkaPassword), server.Addr(), writeFile(t, dir, "password", redisPassword)))
	g := examined(t, "--config", file)
	g.only(levelFail, checkBroker, checkRedis)
	g.has(levelFail, checkBroker, "broker "+kafkaAddr, "SASL: ", "check mechanism, user and password")
	g.has(levelFail, checkRedis, "redis "+server.Addr(), "access refused", "set redis.username, and redis.password_file")
	_, stdout, stderr := lapwing(t, "", "doctor", "--config", file)
	for _, text := range []string{g.stdout, stdout, stderr} {
		if strings.Contains(text, consumertest.SecretMarker) {
			t.Errorf("a password is shown:\n%s", text)
		}
	}
}

// TestDoctorPermissions: a user who may see everything and use little of it.
func TestDoctorPermissions(t *testing.T) {
	allow := func(resource kmsg.ACLResourceType, name string, op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
	}
	topic, group := kmsg.ACLResourceTypeTopic, kmsg.ACLResourceTypeGroup
	addr := consumertest.Kfake(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.SeedTopics(2, "events", "alerts", "events.dead", "lapwing.rekey"),
		kfake.Superuser("PLAIN", "admin", "admin"),
		kfake.User("PLAIN", "lapwing", "permissions-lapwing-test-secret",
			allow(topic, "events", kmsg.ACLOperationDescribe), allow(topic, "alerts", kmsg.ACLOperationWrite),
			allow(topic, "lapwing.rekey", kmsg.ACLOperationRead), allow(topic, "lapwing.rekey", kmsg.ACLOperationWrite), allow(group, "lapwing", kmsg.ACLOperationDescribe)))
	t.Setenv("LAPWING_KAFKA_SASL_PASSWORD", "permissions-lapwing-test-secret")
	file := writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf(`
kafka: {brokers: [%q], sasl: {mechanism: plain, username: lapwing}}
redis: {addrs: [%q]}
`, addr, consumertest.OwnRedis(t).Addr()))
	g := examined(t, "--config", file)
	g.has(levelOK, checkBroker, "broker "+addr, "SASL plain")
	g.has(levelFail, checkPermission, "topic events", "Read is not allowed", "kafka-acls --bootstrap-server "+addr+" --add --allow-principal User:lapwing --operation Read --topic events")
	g.has(levelFail, checkTopic, "topic events.dead", "[29]", "--operation Write --topic events.dead")
	g.has(levelFail, checkPermission, "transactions", "--operation Write --transactional-id lapwing- --resource-pattern-type prefixed")
	g.has(levelFail, checkPermission, "group lapwing", "--operation Read --group lapwing")
	g.has(levelOK, checkTopic, "topic alerts")
	g.only(levelFail, checkTopic, checkPermission, checkPermission, checkPermission)
}

// TestDoctorOffsets: offsets that somebody else has set, and records that were deleted before they were judged.
func TestDoctorOffsets(t *testing.T) {
	p := newPatient(t, nil)
	p.produce(400, java(), nil)
	admin := p.admin()
	ends, err := admin.ListEndOffsets(p.context(), p.input)
	if err != nil {
		t.Fatal(err)
	}
	for partition := range int32(patientPartitions) {
		p.commit(p.input, partition, 0)
	}
	g := p.examine()
	g.only(levelFail)
	g.has(levelNote, checkOffsets, "group "+p.group, "400 records behind in "+p.input+", and no engine runs")

	p.commitAs(p.input, 0, 1, p.mark(p.input, 0)) // with the metadata of another offset
	p.commitAs(p.input, 1, 0, "")
	deleted := kadm.Offsets{}
	deleted.Add(kadm.Offset{Topic: p.input, Partition: 2, At: 7})
	if _, err := admin.DeleteRecords(p.context(), deleted); err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(p.input, 3)
	p.commit(p.input, 3, end.Offset+1)
	g = p.examine()
	g.only(levelFail, checkOffsets, checkOffsets, checkRetention)
	g.has(levelFail, checkOffsets, "group "+p.group, p.input+", partitions 0, 1: the committed offset was not set by Lapwing")
	g.has(levelFail, checkOffsets, "group "+p.group, p.input+", partition 3: the committed offset is beyond the end")
	g.has(levelFail, checkRetention, "group "+p.group, p.input+", partition 2: 7 records deleted before they were judged")
}

// TestDoctorAge: records that are needed still, and are as old as what is kept.
func TestDoctorAge(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		want level
		says string
	}{
		{5 * time.Hour, levelWarn, "and 8h are kept"},
		{9 * time.Hour, levelFail, "it can be deleted at any moment"},
	} {
		p := newPatient(t, map[string]map[string]string{"input": {"retention.ms": strconv.FormatInt((8 * time.Hour).Milliseconds(), 10)}})
		p.produce(100, java(), func(_ int, m *kafka.Message) { m.Time = time.Now().Add(-c.age) })
		for partition := range int32(patientPartitions) {
			p.commit(p.input, partition, 1)
		}
		p.examine().has(c.want, checkRetention, "topic "+p.input, "still needs a record that is "+span(c.age)+" old", c.says)
	}
}

// TestDoctorSize: more is needed still than half of what is kept.
func TestDoctorSize(t *testing.T) {
	p := newPatient(t, map[string]map[string]string{"input": {"retention.bytes": "2000000"}})
	pad := strings.Repeat("x", 10_000)
	p.produce(500, java(), func(user int, m *kafka.Message) { // all in one partition, 5 MB in all
		m.Key = []byte("7")
		m.Value = fmt.Appendf(nil, `{"type":"deposit","amount":"1.00","user_id":7,"time":10,"pad":%q}`, pad)
	})
	for partition := range int32(patientPartitions) {
		p.commit(p.input, partition, 0)
	}
	g := p.examine()
	g.only(levelWarn, checkRetention, checkLayout)
	g.has(levelWarn, checkRetention, "topic "+p.input, "still needs 500 records, uncompressed about 5 MiB, and 2 MiB of retention.bytes are kept")
	g.has(levelNote, checkPartitioner, "topic "+p.input, "with 1 different key that cannot be told")
}

// TestDoctorBesideAnEngine: a group that works, and one whose engine has ended.
func TestDoctorBesideAnEngine(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an engine")
	}
	s := newSystem(t, systemOptions{})
	s.produce(500, consumertest.EventOptions{Seed: 1, Users: 50})
	e := s.engine("e")
	e.Start()
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	file := writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf("kafka: {brokers: [%q], group: %s, input: [%s], output: %s, dead_letters: %s}\nredis: {addrs: [%q]}\n",
		s.broker, s.group, s.input, s.output, s.dead, s.redisAddr))
	g := examined(t, "--config", file)
	g.only(levelFail)
	g.has(levelOK, checkGroup, "group "+s.group, "1 member, stable, protocol lapwing-")
	g.has(levelOK, checkOffsets, "group "+s.group, "0 records behind in "+s.input)
	g.has(levelOK, checkOffsets, "topic "+s.input, "records behind the committed offsets")
	g.has(levelOK, checkLayout, "group "+s.group, "judges 4 partitions of "+s.input+" by partitioner murmur2")
	// Other configurations, beside its members and when they are gone.
	base := fmt.Sprintf("kafka: {brokers: [%q], group: %s, input: [%s], output: %s, dead_letters: %s%%s}\nredis: {addrs: [%q]}\n", s.broker, s.group, s.input, s.output, s.dead, s.redisAddr)
	otherPartitioner := writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf(base, ", partitioner: crc32"))
	otherSettings := writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf(base, "")+"events: {types: [deposit, withdraw, bonus]}\n")
	g = examined(t, "--config", otherPartitioner)
	g.only(levelFail, checkPartitioner) // that of the producers is murmur2
	g.has(levelWarn, checkLayout, "group "+s.group, "its members run under layout ", "waits until they are stopped")
	g.has(levelNote, checkLayout, "group "+s.group, "kafka.partitioner is crc32, murmur2 so far", "what is there is judged under the former one first, and states stay", "stop all members")
	g = examined(t, "--config", otherSettings)
	g.only(levelFail)
	g.has(levelWarn, checkLayout, "group "+s.group, "its members run under layout ")
	g.has(levelNote, checkLayout, "group "+s.group, "settings that the states depend on", "if all members are stopped cleanly before")
	e.Term(termTimeout)
	g = examined(t, "--config", otherPartitioner)
	g.only(levelFail, checkPartitioner) // that of the producers is murmur2
	g.has(levelNote, checkLayout, "group "+s.group, "kafka.partitioner is crc32, murmur2 so far")
	g = examined(t, "--config", otherSettings)
	g.only(levelFail)
	g.has(levelNote, checkLayout, "group "+s.group, "settings that the states depend on", "nothing is left to replay")
	g = examined(t, "--config", file)
	g.only(levelFail)
	g.has(levelNote, checkGroup, "group "+s.group, "no engine runs")
	g.has(levelOK, checkOffsets, "topic "+s.input, "at most 0 records behind")
}

// TestDoctorCheckpoints: what was killed is behind in Redis, and Kafka has lost what it would need.
func TestDoctorCheckpoints(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two engines")
	}
	s := newSystem(t, systemOptions{})
	g := consumertest.NewGenerator(consumertest.EventOptions{Seed: 1, Users: 50})
	s.produceFrom(400, g)
	e := s.engine("clean")
	e.Start()
	s.drain(readyTimeout)
	e.Term(termTimeout) // so that there is a checkpoint
	s.flush = "10m"
	s.produceFrom(400, g)
	e = s.engine("killed")
	e.Start()
	s.drain(readyTimeout)
	e.Kill()

	file := writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf("kafka: {brokers: [%q], group: %s, input: [%s], output: %s, dead_letters: %s}\nredis: {addrs: [%q]}\n",
		s.broker, s.group, s.input, s.output, s.dead, s.redisAddr))
	p := &patient{t: t, broker: s.broker}
	admin := p.admin()
	examined(t, "--config", file).only(levelFail)
	ends, err := admin.ListEndOffsets(p.context(), s.input)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.DeleteRecords(p.context(), ends.Offsets()); err != nil {
		t.Fatal(err)
	}
	d := examined(t, "--config", file)
	d.only(levelFail, checkRetention)
	d.has(levelFail, checkRetention, "topic "+s.input, "partitions 0, 1, 2, 3: records between the checkpoint in Redis and the committed offset are deleted")

	for ctx := p.context(); ; { // the broker takes the killed member for alive for a session
		_, err := admin.DeleteGroup(ctx, s.group)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	d = examined(t, "--config", file)
	d.only(levelFail, checkOffsets)
	d.has(levelFail, checkOffsets, "group "+s.group, s.input+", partitions 0, 1, 2, 3: no committed offset although there is a checkpoint in Redis")
}

// TestDoctorRedisTopologies: every master of a cluster, and the one that sentinels name.
func TestDoctorRedisTopologies(t *testing.T) {
	if testing.Short() {
		t.Skip("starts six servers")
	}
	cluster, sentinels := consumertest.OwnRedisCluster(t, 3, 0), consumertest.OwnRedisSentinels(t, 1, 1)
	kafkaAddr := consumertest.Kfake(t, kfake.SeedTopics(2, "events", "alerts", "events.dead", "lapwing.rekey"))
	examine := func(redis string) *diagnosis {
		t.Helper()
		return examined(t, "--config", writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf("kafka: {brokers: [%q]}\nredis: %s\n", kafkaAddr, redis)))
	}
	g := examine(fmt.Sprintf("{cluster: true, addrs: [%q]}", cluster.Addrs()[0]))
	g.only(levelFail)
	for _, addr := range cluster.Addrs() {
		g.has(levelOK, checkRedis, "redis "+addr, ", cluster, 0 replicas")
		g.has(levelOK, checkLatency, "redis "+addr)
	}
	name := fmt.Sprintf("redis master %s of the sentinels %s", sentinels.Master(), strings.Join(sentinels.Addrs(), ","))
	g = examine(fmt.Sprintf("{sentinel: {master: %s, addrs: [%q]}}", sentinels.Master(), sentinels.Addrs()[0]))
	g.only(levelFail)
	g.has(levelOK, checkRedis, name, ", behind Sentinel, 1 replica")
	g = examine(fmt.Sprintf("{sentinel: {master: nobody, addrs: [%q]}}", sentinels.Addrs()[0]))
	g.only(levelFail, checkRedis)
	g.has(levelFail, checkRedis, strings.Replace(name, sentinels.Master(), "nobody", 1), "no sentinel knows a master of that name")
	// What it is and what is configured differ.
	examine(fmt.Sprintf("{addrs: [%q]}", cluster.Addrs()[0])).has(levelFail, checkRedis, "redis "+cluster.Addrs()[0], "set redis.cluster to true")
}

// TestDoctorNamesTheFile: the configuration that was looked at.
func TestDoctorNamesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lapwing.yaml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf("kafka: {brokers: [\"127.0.0.1:%d\"]}\nredis: {addrs: [\"127.0.0.1:%d\"]}\nrules: missing.yaml\n",
		consumertest.FreePort(t), consumertest.FreePort(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	g := examined(t, "--config", file)
	g.has(levelFail, checkConfiguration, "configuration", "read the rules", "missing.yaml")
	g.only(levelFail, checkConfiguration, checkBroker, checkRedis)
}
