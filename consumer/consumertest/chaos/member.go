package chaos

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// member is an engine process that reaches Kafka and Redis through proxies of its own. The process is the business of the
// process track, and of the data track while all others pause; the proxies are that of the network track.
type member struct {
	tb     testing.TB
	name   string
	http   string
	kafka  []*consumertest.Proxy // one for each broker
	redis  *consumertest.Proxy
	engine *consumertest.Engine
}

// termTimeout is how long an engine may take to end after SIGTERM, with everything around it broken.
const termTimeout = 20 * time.Second

func newMember(r *rig, i int, name string) *member {
	m := &member{tb: r.tb, name: name, http: "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(r.tb)),
		kafka: r.cluster.Link(i), redis: consumertest.NewProxy(r.tb, r.redis.Addr())}
	quoted := make([]string, 0, len(m.kafka))
	for _, addr := range r.cluster.LinkAddrs(i) {
		quoted = append(quoted, strconv.Quote(addr))
	}
	m.engine = consumertest.NewEngine(r.tb, consumertest.EngineOptions{Name: name, HTTP: m.http, Binary: r.o.Binary, Config: fmt.Sprintf(`
kafka:
  brokers: [%s]
  group: %s
  input: [%s]
  output: %s
  dead_letters: %s
  session_timeout: %s
  rebalance_timeout: 10s
  transaction_timeout: %s
  request_timeout: 3s
  dial_timeout: 2s
  drain_timeout: 2s
  on_data_loss: continue
redis:
  addrs: [%q]
  read_timeout: 1s
  write_timeout: 1s
  dial_timeout: 1s
http: %s
log:
  format: json
  repeat_interval: 0s # all lines are evidence
`, strings.Join(quoted, ", "), r.group, r.input, r.output, r.dead, sessionTimeout, transactionTimeout, m.redis.Addr(), m.http)})
	return m
}

// start starts the process unless it runs.
func (m *member) start() {
	if !m.engine.Running() {
		m.engine.Start()
	}
}

// present reports an engine that has ended by itself, and starts it again.
func (m *member) present() {
	if !m.engine.Running() {
		code, _ := m.engine.Wait(0)
		m.tb.Errorf("chaos: %s has ended by itself with exit code %d:\n%s", m.name, code, m.tail())
		m.engine.Start()
	}
}

func (m *member) kill() {
	m.present()
	m.engine.Kill()
}

// term ends the process as an operator does. Whatever is broken around it, it has to end; nothing is asked of its exit
// code here, since a drain that cannot be finished says so by it.
func (m *member) term() {
	m.present()
	m.engine.Term(termTimeout)
}

// tail returns the last lines of what the engine has printed.
func (m *member) tail() string {
	const lines = 12
	all := strings.Split(strings.TrimSpace(m.engine.Log()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// metric returns the sum of a metric over its labels, 0 where it cannot be read.
func (m *member) metric(name string) float64 {
	client := http.Client{Timeout: time.Second}
	response, err := client.Get("http://" + m.http + "/metrics")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(key, "{"); !ok || base != name {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			sum += v
		}
	}
	return sum
}
