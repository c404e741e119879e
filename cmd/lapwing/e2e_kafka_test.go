package main

import (
	"net"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// TestKafkaAwayAtStart starts an engine before its broker can be reached.
func TestKafkaAwayAtStart(t *testing.T) {
	proxy := consumertest.NewProxy(t, consumertest.Kafka(t))
	proxy.Refuse()
	s := newSystem(t, systemOptions{})
	s.kafkaAddr = proxy.Addr() // only to find the cluster: the broker then names its own address
	s.produce(1000, consumertest.EventOptions{Seed: 1})
	e := s.engine("engine")
	e.Start()
	e.WaitLog(readyTimeout, "kafka", proxy.Addr())
	if e.Ready() {
		t.Error("ready without Kafka")
	}
	proxy.Pass()
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	s.check(consumertest.CheckOptions{})
	term(t, e)
	s.checkStopped(true)
}

// TestTopicsMissing starts an engine before its topics are there.
func TestTopicsMissing(t *testing.T) {
	s := newSystem(t, systemOptions{noTopics: true})
	e := s.engine("engine")
	e.Start()
	e.WaitLog(readyTimeout, s.input, s.output, s.dead, "create_topics")
	if e.Ready() {
		t.Error("ready without topics")
	}
	s.createTopics(systemOptions{})
	s.produce(1000, consumertest.EventOptions{Seed: 1})
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	s.check(consumertest.CheckOptions{})
	term(t, e)
}

// TestCreatesTopics lets the engine create its topics.
func TestCreatesTopics(t *testing.T) {
	s := newSystem(t, systemOptions{noTopics: true})
	s.extra = "  create_topics: true\n  partitions: 3"
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	s.produce(1000, consumertest.EventOptions{Seed: 1})
	s.drain(readyTimeout)
	s.check(consumertest.CheckOptions{})
	term(t, e)
}

// TestKafkaRefuses starts engines at a broker that does not let them in: each ends and says why. The broker is a fake one,
// since the others know no users.
func TestKafkaRefuses(t *testing.T) {
	users := []kfake.Opt{kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "admin"), kfake.User("PLAIN", "lapwing", "right-lapwing-test-secret")}
	for name, tc := range map[string]struct {
		password string
		says     []string
	}{
		"no permission": {password: "right-lapwing-test-secret", says: []string{"kafka", "topic events", "authorized"}},
	} {
		t.Run(name, func(t *testing.T) {
			addr := consumertest.Kfake(t, append(users, kfake.SeedTopics(2, "events", "alerts", "events.dead"))...)
			s := &system{t: t, kafkaAddr: addr, redisAddr: consumertest.Redis(t), input: "events", output: "alerts", dead: "events.dead",
				group: consumertest.Topic(t, "e2e"), extra: "  sasl: {mechanism: plain, username: lapwing}", env: []string{"LAPWING_KAFKA_SASL_PASSWORD=" + tc.password}}
			s.endsByItself(append(tc.says, addr)...)
		})
	}
}

// TestPortTaken starts an engine whose admin port is in use.
func TestPortTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := newSystem(t, systemOptions{})
	s.http = "127.0.0.1:" + strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	s.endsByItself(s.http, "in use")
}
