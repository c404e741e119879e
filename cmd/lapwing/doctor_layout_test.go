package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/lapwing/lapwing/consumer"
	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// identity is how Lapwing names a topic that is there: the first bytes of the hash of its name and id.
func (p *patient) identity(topic string) string {
	p.t.Helper()
	id := p.described(topic).ID
	hash := sha256.Sum256([]byte(topic + "\x00" + hex.EncodeToString(id[:])))
	return hex.EncodeToString(hash[:4])
}

func (p *patient) described(topic string) wire.Topic {
	p.t.Helper()
	topics, err := p.admin().ListTopics(p.context(), topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return wire.Topic{Name: topic, ID: topics[topic].ID, Partitions: int32(len(topics[topic].Partitions))}
}

// layout is that of the configuration.
func (p *patient) layout() string {
	p.t.Helper()
	config, err := LoadConfig(p.config(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	o, err := config.engineOptions()
	if err != nil {
		p.t.Fatal(err)
	}
	var inputs []wire.Topic
	for _, topic := range config.Kafka.Input {
		inputs = append(inputs, p.described(topic))
	}
	i, err := consumer.Inspect(o, inputs, "")
	if err != nil {
		p.t.Fatal(err)
	}
	return i.Next().String()
}

// mark is the metadata of an offset that Lapwing commits.
func (p *patient) mark(topic string, offset int64) string {
	return fmt.Sprintf("lapwing/1 layout=%s topic=%s offset=%d", p.layout(), p.identity(topic), offset)
}

// commit commits as Lapwing does.
func (p *patient) commit(topic string, partition int32, offset int64) {
	p.t.Helper()
	p.commitAs(topic, partition, offset, p.mark(topic, offset))
}

func (p *patient) commitAs(topic string, partition int32, offset int64, metadata string) {
	p.t.Helper()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: partition, At: offset, LeaderEpoch: -1, Metadata: metadata})
	if err := p.admin().CommitAllOffsets(p.context(), p.group, offsets); err != nil {
		p.t.Fatal(err)
	}
}

// store opens the store of the configuration; the group's keys are removed when the test ends.
func (p *patient) store() state.Store {
	p.t.Helper()
	config, err := LoadConfig(p.config(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	o, err := config.RedisOptions()
	if err != nil {
		p.t.Fatal(err)
	}
	store, err := state.NewRedis(o)
	if err != nil {
		p.t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: o.Addrs[0]})
	p.t.Cleanup(func() {
		keys := client.Scan(p.context(), 0, "lapwing:"+p.group+":*", 1000).Iterator()
		for keys.Next(p.context()) {
			client.Unlink(p.context(), keys.Val())
		}
		client.Close()
		if err := store.Close(); err != nil {
			p.t.Error(err)
		}
	})
	return store
}

// judges stores that the group is in its first era, under a layout of inputs in the order of their names, each name:id.
func (p *patient) judges(store state.Store, layout string, inputs ...string) {
	p.t.Helper()
	var sources []string
	for _, input := range inputs {
		name, id, _ := strings.Cut(input, ":")
		sources = append(sources, fmt.Sprintf(`{"topic":%q,"id":%q}`, name, id))
	}
	sources = append(sources, fmt.Sprintf(`{"topic":%q,"id":%q,"rekey":true}`, p.rekey(), p.identity(p.rekey())))
	p.swap(store, fmt.Sprintf(`{"version":1,"present":{"number":1,"layout":%q,"sources":[%s]}}`, layout, strings.Join(sources, ",")))
}

func (p *patient) swap(store state.Store, lineage string) {
	p.t.Helper()
	if done, err := store.SwapLineage(p.context(), "", lineage); err != nil || !done {
		p.t.Fatal(done, err)
	}
}

// stand stores the checkpoint of a lane.
func (p *patient) stand(store state.Store, lane int32, layout string, sources ...int64) {
	p.t.Helper()
	c := state.Checkpoint{Sources: sources, Layout: layout, Incarnation: 1}
	for _, offset := range sources {
		c.Offset += offset
	}
	l, err := store.Claim(p.context(), lane)
	if err != nil {
		p.t.Fatal(err)
	}
	s := new(state.Snapshot)
	s.Reset(lane, rules.DefaultTypes(), c)
	if err := l.Flush(p.context(), s); err != nil {
		p.t.Fatal(err)
	}
}

// fill writes 400 events to a topic, and returns its name with its identity.
func (p *patient) fill(topic string) string {
	p.t.Helper()
	q := *p
	q.input = topic
	q.produce(400, java(), nil)
	return topic + ":" + p.identity(topic)
}

// TestDoctorSources: each source of a lane has its own checkpoint and committed offset, in the order of the names.
func TestDoctorSources(t *testing.T) {
	p := newPatient(t, nil)
	early := p.group + ".early" // its name sorts before the input's, and it stands behind it in the configuration
	p.more = []string{early}
	p.create(early, patientPartitions, nil)
	store := p.store()
	p.judges(store, p.layout(), p.fill(early), p.fill(p.input))
	for lane := range int32(patientPartitions) {
		p.stand(store, lane, p.layout(), 3, 5, 0)
		p.commit(early, lane, 10)
		p.commitAs(p.input, lane, 6, p.mark(p.input, 6)+" at=5")
		p.commit(p.rekey(), lane, 0)
	}
	g := p.examine()
	g.only(levelFail)
	g.only(levelWarn)
	g.has(levelOK, checkOffsets, "topic "+early, "at most 7 records behind the committed offsets")
	g.has(levelOK, checkOffsets, "topic "+p.input, "at most 0 records behind the committed offsets")
	g.has(levelOK, checkOffsets, "topic "+p.rekey(), "at most 0 records behind the committed offsets")
	g.has(levelNote, checkOffsets, "group "+p.group, "360 records behind in "+early) // 400 less 4 times 10
	g.has(levelNote, checkOffsets, "group "+p.group, "376 records behind in "+p.input)
	g.has(levelOK, checkOffsets, "group "+p.group, "0 records behind in "+p.rekey())
	g.has(levelOK, checkLayout, "group "+p.group, fmt.Sprintf("judges 4 partitions of %s, %s by partitioner murmur2 (layout %s)", early, p.input, p.layout()))

	deleted := kadm.Offsets{}
	deleted.Add(kadm.Offset{Topic: early, Partition: 1, At: 4})
	deleted.Add(kadm.Offset{Topic: p.input, Partition: 2, At: 5}) // nothing of it is needed
	if _, err := p.admin().DeleteRecords(p.context(), deleted); err != nil {
		t.Fatal(err)
	}
	g = p.examine()
	g.only(levelFail, checkRetention)
	g.has(levelFail, checkRetention, "topic "+early, "partition 1: records between the checkpoint in Redis and the committed offset are deleted")
}

// TestDoctorInputsChange: another input goes on from a clean stop only, and what an input is left with is told.
func TestDoctorInputsChange(t *testing.T) {
	p := newPatient(t, nil)
	former := p.layout()
	store := p.store()
	p.judges(store, former, p.fill(p.input))
	for lane := range int32(patientPartitions) {
		p.stand(store, lane, former, 5, 0)
		p.commit(p.input, lane, 5)
		p.commit(p.rekey(), lane, 0)
	}
	first, early := p.input, p.group+".early"
	p.create(early, patientPartitions, nil)
	p.more = []string{early}
	g := p.examine()
	g.only(levelFail)
	g.only(levelWarn)
	g.has(levelOK, checkOffsets, "topic "+first, "at most 0 records behind the committed offsets")
	g.has(levelNote, checkOffsets, "group "+p.group, "nothing committed for "+early)
	g.has(levelNote, checkLayout, "group "+p.group, "kafka.input is "+early+","+first+", "+first+" so far", "states stay; nothing is left to replay", "stop all members")

	p.input, p.more = early, nil
	g = p.examine()
	g.only(levelFail)
	g.has(levelWarn, checkLayout, "group "+p.group, "kafka.input does not have "+first+" any more")

	p.commitAs(first, 2, 7, fmt.Sprintf("lapwing/1 layout=%s topic=%s offset=7", former, p.identity(first)))
	for _, inputs := range [][]string{{early}, {first, early}} {
		p.input, p.more = inputs[0], inputs[1:]
		g = p.examine()
		g.only(levelFail, checkLayout)
		g.has(levelFail, checkLayout, "group "+p.group, "needs a clean stop before, and lane 2 has events still to replay", "start once with the former configuration")
	}
	p.stand(store, 3, former, 4, 0)
	p.examine().has(levelFail, checkLayout, "group "+p.group, "lanes 2, 3 have events still to replay")
}

// TestDoctorSettling: a change of the layout is under way.
func TestDoctorSettling(t *testing.T) {
	p := newPatient(t, nil)
	former := p.layout()
	store := p.store()
	p.judges(store, former, p.fill(p.input))
	for lane := range int32(patientPartitions) {
		p.commit(p.input, lane, 5)
		layout := former
		if lane < 2 {
			layout = "settled.1"
		}
		p.stand(store, lane, layout, 5, 0)
	}
	group := "group " + p.group
	g := p.examine()
	g.only(levelFail)
	g.has(levelWarn, checkLayout, group, "lanes 0, 1 are settled under the former one, lanes 2, 3 are waited for", "give the change up")
	p.kafkaExtra = "  partitioner: crc32\n"
	g = p.examine()
	g.has(levelWarn, checkLayout, group, "lanes 0, 1 are settled under the former one, lanes 2, 3 are waited for", "start members with this configuration")
	g.has(levelNote, checkLayout, group, "kafka.partitioner is crc32, murmur2 so far")
	// What is claimed again may be judged again.
	if _, err := store.Claim(p.context(), 1); err != nil {
		t.Fatal(err)
	}
	p.examine().has(levelWarn, checkLayout, group, "lane 0 is settled under the former one, lanes 1, 2, 3 are waited for")
	for lane := range int32(patientPartitions) {
		p.stand(store, lane, "settled.1", 5, 0)
	}
	g = p.examine()
	g.has(levelWarn, checkLayout, group, "lanes 0, 1, 2, 3 are settled under the former one; start members")
	g.has(levelOK, checkOffsets, "topic "+p.input, "at most 0 records behind the committed offsets")
}

// TestDoctorGrown: the inputs have grown since.
func TestDoctorGrown(t *testing.T) {
	p := newPatient(t, nil)
	store := p.store()
	p.judges(store, strings.Replace(p.layout(), ".4.", ".2.", 1), p.fill(p.input))
	g := p.examine()
	g.only(levelFail)
	g.only(levelWarn)
	g.has(levelOK, checkLayout, "group "+p.group, "judges 2 partitions of "+p.input)
	g.has(levelNote, checkLayout, "group "+p.group, "the input has 4 partitions, 2 so far", "an engine that runs does so by itself")
}

// TestDoctorTopicsMadeAgain: offsets and states of topics that were deleted.
func TestDoctorTopicsMadeAgain(t *testing.T) {
	p := newPatient(t, nil)
	store := p.store()
	p.fill(p.input)
	now := p.layout()
	former := "0badcafe" + now[strings.Index(now, "."):]
	p.judges(store, former, p.input+":0badcafe")
	for lane := range int32(patientPartitions) {
		p.stand(store, lane, former, 5000, 0)
		p.commitAs(p.input, lane, 5000, fmt.Sprintf("lapwing/1 layout=%s topic=0badcafe offset=5000", former))
		p.commitAs(p.rekey(), lane, 0, fmt.Sprintf("lapwing/1 layout=%s topic=0badcafe offset=0", former))
	}
	group := "group " + p.group
	g := p.examine()
	g.only(levelFail, checkOffsets)
	g.has(levelWarn, checkLayout, group, "an input was deleted and made again", "with fresh states")
	g.has(levelWarn, checkOffsets, group, p.input+", partitions 0, 1, 2, 3: the topic was deleted and made again", "the next start ignores it")
	g.has(levelNote, checkOffsets, group, "400 records behind in "+p.input)
	g.has(levelFail, checkOffsets, group, p.rekey()+", partitions 0, 1, 2, 3: the topic was deleted and made again", "what was forwarded and not judged is lost")
	p.kafkaExtra = "  on_data_loss: continue\n"
	g = p.examine()
	g.only(levelFail)
	g.has(levelWarn, checkOffsets, group, p.rekey()+", partitions 0, 1, 2, 3: the topic was deleted and made again")
}

// TestDoctorUnknownLayout: a store that does not know the group, and one that another version has written to.
func TestDoctorUnknownLayout(t *testing.T) {
	p := newPatient(t, nil)
	group := "group " + p.group
	p.fill(p.input)
	p.commitAs(p.input, 0, 1, "") // so that the group is there
	p.examine().has(levelNote, checkLayout, group, "has no layout yet; the first start begins "+p.layout())
	for lane := range int32(patientPartitions) {
		p.commit(p.input, lane, 5)
	}
	g := p.examine()
	g.only(levelFail)
	g.has(levelWarn, checkLayout, group, "this Redis has no states of the group", "makes them anew", "redis.addrs")
	p.topLevel = "events: {bytes_max: 32KiB}"
	g = p.examine()
	g.only(levelFail, checkLayout)
	g.has(levelFail, checkLayout, group, "were committed under other settings", "use the former settings")
	p.kafkaExtra = "  on_offset_reset: rebuild\n"
	p.examine().only(levelFail)

	store := p.store()
	p.swap(store, `{"version":1,"present":{"layout":"of another version"}}`)
	g = p.examine()
	g.only(levelFail, checkLayout)
	g.has(levelFail, checkLayout, group, "cannot be understood", "of another version", "use the version of Lapwing that wrote it")
}

// TestDoctorForetells has an engine of two inputs do what was said of its next start: after a kill, a clean stop, and the
// change of its inputs.
func TestDoctorForetells(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three engines")
	}
	p := newPatient(t, nil)
	p.store() // which removes the keys
	first, second, group := p.input, p.input+"2", "group "+p.group
	p.create(second, patientPartitions, nil)
	p.kafkaExtra = "  session_timeout: 1500ms\n  drain_timeout: 1s\n"
	both := func() { p.input, p.more = first, []string{second} }
	for _, topic := range []string{first, second} {
		p.input = topic
		p.produce(300, &kafka.RoundRobin{}, func(_ int, m *kafka.Message) { m.Key = nil }) // most are forwarded
	}
	both()
	engine := func(name string) *consumertest.Engine {
		t.Helper()
		http := fmt.Sprintf("127.0.0.1:%d", consumertest.FreePort(t))
		p.topLevel = "http: " + http
		e := consumertest.NewEngine(t, consumertest.EngineOptions{Name: name, HTTP: http, Config: p.text()})
		p.topLevel = ""
		e.Start()
		e.WaitReady(readyTimeout)
		return e
	}
	// stopped waits until the group has no member, and returns what is said of a start.
	stopped := func(topLevel string) *diagnosis {
		t.Helper()
		p.topLevel = topLevel
		defer func() { p.topLevel = "" }()
		for ctx := p.context(); ; time.Sleep(50 * time.Millisecond) {
			g := p.examine()
			if strings.Contains(g.stdout, "no engine runs") {
				return g
			}
			if ctx.Err() != nil {
				t.Fatalf("the group still has members:\n%s", g.lines())
			}
		}
	}
	const otherSettings = "events: {bytes_max: 32KiB}"

	p.redisExtra = "  flush_interval: 10m\n"
	e := engine("killed")
	for ctx := p.context(); ; time.Sleep(50 * time.Millisecond) {
		if lag, err := consumertest.Lag(ctx, []string{p.broker}, p.group, first, second, p.rekey()); err == nil && lag == 0 {
			break
		} else if ctx.Err() != nil {
			t.Fatal(lag, err)
		}
	}
	g := p.examine()
	g.only(levelFail)
	g.has(levelOK, checkLayout, group, "judges 4 partitions of "+first+", "+second+" by partitioner murmur2")
	e.Kill()
	g = stopped(otherSettings)
	g.only(levelFail, checkLayout)
	g.has(levelFail, checkLayout, group, "lanes 0, 1, 2, 3 have events still to replay")

	p.redisExtra = ""
	engine("clean").Term(termTimeout)
	g = stopped(otherSettings)
	g.only(levelFail)
	g.has(levelNote, checkLayout, group, "nothing is left to replay")
	for _, topic := range []string{first, second, p.rekey()} {
		g.has(levelOK, checkOffsets, "topic "+topic, "at most 0 records behind the committed offsets")
	}
	p.more = nil
	g = stopped("")
	g.only(levelFail)
	g.has(levelWarn, checkLayout, group, "kafka.input does not have "+second)
	g.has(levelNote, checkLayout, group, "kafka.input is "+first+", "+first+","+second+" so far", "nothing is left to replay")
	e = engine("changed")
	g = p.examine()
	g.only(levelFail)
	g.has(levelOK, checkLayout, group, "judges 4 partitions of "+first+" by partitioner murmur2")
	e.Term(termTimeout)
}
