package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/state"
)

func TestMain(m *testing.M) {
	code := consumertest.Main{M: m}.Run()
	consumertest.RemoveBinary()
	previousMade.remove()
	code = max(code, secretsWereTried())
	os.Exit(code)
}

// system is a set of topics, a group and its engines on real services, for one test. The engines are processes of the
// built binary; package consumertest judges what they write.
type system struct {
	t                   *testing.T
	broker              string // that the test uses
	kafkaAddr           string // that the engines are told
	redisAddr           string // that the engines are told
	redisServers        string // lines of the section redis in place of the address; empty: the address
	input, output, dead string
	more                []string // further inputs
	group               string
	partitions          int32
	extra               string   // lines of the section kafka
	redisExtra          string   // lines of the section redis
	flush               string   // interval; empty: 500ms
	tail                string   // lines of no section
	http                string   // of the next engine; empty: a free port
	env                 []string // of the engines, beside the test's
	binary              string   // of the next engine; empty: what is built of this tree
}

const (
	systemTimeout = 4 * time.Minute // of a whole test: what hangs must not hold up the others for long
	readyTimeout  = 60 * time.Second
	termTimeout   = 5 * time.Second // the engine's promise for SIGTERM
)

// systemOptions are the parts of a system that a test brings itself.
type systemOptions struct {
	broker     string // empty: the broker of all tests
	redis      string // empty: the Redis of all tests
	partitions int32  // 0: 4
	// Configurations of the topics.
	inputConfigs, outputConfigs, deadConfigs map[string]string
	noTopics                                 bool // none are created
}

func newSystem(t *testing.T, o systemOptions) *system {
	t.Helper()
	if o.broker == "" {
		o.broker = consumertest.Kafka(t)
	}
	if o.redis == "" {
		o.redis = consumertest.Redis(t)
	}
	if o.partitions == 0 {
		o.partitions = 4
	}
	name := consumertest.Topic(t, "e2e")
	s := &system{
		t: t, broker: o.broker, kafkaAddr: o.broker, redisAddr: o.redis, input: name, output: name + ".alerts", dead: name + ".dead",
		group: name, partitions: o.partitions,
	}
	t.Cleanup(s.remove)
	if !o.noTopics {
		s.createTopics(o)
	}
	return s
}

func (s *system) createTopics(o systemOptions) {
	s.t.Helper()
	ctx := s.context(time.Minute)
	if err := consumertest.CreateTopics(ctx, s.brokers(), consumertest.TopicSpec{Name: s.input, Partitions: s.partitions, Configs: o.inputConfigs},
		consumertest.TopicSpec{Name: s.output, Partitions: s.partitions, Configs: o.outputConfigs},
		consumertest.TopicSpec{Name: s.dead, Partitions: max(s.partitions/2, 1), Configs: o.deadConfigs},
		consumertest.TopicSpec{Name: s.rekey(), Partitions: s.partitions}); err != nil {
		s.t.Fatal(err)
	}
}

// rekey is the topic of what the engine forwards.
func (s *system) rekey() string { return s.group + ".rekey" }

func (s *system) inputs() []string { return append([]string{s.input}, s.more...) }

func (s *system) brokers() []string { return []string{s.broker} }

func (s *system) context(timeout time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	s.t.Cleanup(cancel)
	return ctx
}

// remove deletes the topics, and the keys if the Redis is still there.
func (s *system) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := consumertest.DeleteTopics(ctx, s.brokers(), append(s.inputs(), s.output, s.dead, s.rekey())...); err != nil {
		s.t.Log(err)
	}
	client := redis.NewClient(&redis.Options{Addr: s.redisAddr, MaxRetries: -1, DialTimeout: time.Second})
	defer client.Close()
	keys := client.Scan(ctx, 0, "lapwing:"+s.group+":*", 1000).Iterator()
	for keys.Next(ctx) {
		client.Unlink(ctx, keys.Val())
	}
}

// engine makes an engine of the system, and does not start it.
func (s *system) engine(name string) *consumertest.Engine {
	s.t.Helper()
	http := cmp.Or(s.http, "127.0.0.1:"+strconv.Itoa(consumertest.FreePort(s.t)))
	return consumertest.NewEngine(s.t, consumertest.EngineOptions{Name: name, HTTP: http, Env: s.env, Binary: s.binary, Config: s.config(http)})
}

// config is the text of a configuration.
func (s *system) config(http string) string {
	return fmt.Sprintf(`
kafka:
  brokers: [%q]
  group: %s
  input: [%s]
  output: %s
  dead_letters: %s
  session_timeout: 1500ms # the least that the test's broker allows is 1 s
  heartbeat_interval: 300ms
  rebalance_timeout: 10s
  transaction_timeout: 5s
  drain_timeout: 1s
%s
redis:
%s
  flush_interval: %s
%s
http: %s
%s
`, s.kafkaAddr, s.group, strings.Join(s.inputs(), ", "), s.output, s.dead, s.extra, cmp.Or(s.redisServers, fmt.Sprintf("  addrs: [%q]", s.redisAddr)), cmp.Or(s.flush, "500ms"), s.redisExtra, http, s.tail)
}

// load produces events until stop is called, which returns how many there were.
func (s *system) load(perSecond int, o consumertest.EventOptions) (stop func() int) {
	s.t.Helper()
	return s.loadFrom(perSecond, consumertest.NewGenerator(o))
}

// loadFrom is load with a generator's next events; nobody else uses it until stop is called.
func (s *system) loadFrom(perSecond int, g *consumertest.Generator) (stop func() int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), systemTimeout)
	type outcome struct {
		n   int
		err error
	}
	done := make(chan outcome, 1)
	go func() { // ends when stop is called, or with its time
		n, err := consumertest.Produce(ctx, consumertest.ProduceOptions{Brokers: s.brokers(), Topic: s.input, PerSecond: perSecond}, g)
		done <- outcome{n, err}
	}()
	var result *outcome
	stop = func() int {
		cancel()
		if result == nil {
			got := <-done
			result = &got
		}
		if result.err != nil {
			s.t.Fatal(result.err)
		}
		return result.n
	}
	s.t.Cleanup(func() { cancel(); _ = stop() })
	return stop
}

// produce writes a number of events at once.
func (s *system) produce(count int, o consumertest.EventOptions) {
	s.t.Helper()
	s.produceFrom(count, consumertest.NewGenerator(o))
}

// produceFrom writes a number of a generator's next events at once.
func (s *system) produceFrom(count int, g *consumertest.Generator) {
	s.t.Helper()
	o := consumertest.ProduceOptions{Brokers: s.brokers(), Topic: s.input, Count: count}
	if _, err := consumertest.Produce(s.context(time.Minute), o, g); err != nil {
		s.t.Fatal(err)
	}
}

// drain waits until the group has committed all of the input.
func (s *system) drain(timeout time.Duration) { s.t.Helper(); s.drainBelow(0, timeout) }

// drainBelow waits until the group lags at most so many records behind.
func (s *system) drainBelow(lagMax int64, timeout time.Duration) {
	s.t.Helper()
	ctx := s.context(timeout)
	for {
		lag, err := s.lag(ctx)
		if err == nil && lag <= lagMax {
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("after %v the group still lags %d behind, at most %d is wanted (%v)", timeout, lag, lagMax, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// lag returns how many records the group has not committed, of the inputs first: what is forwarded comes of them.
func (s *system) lag(ctx context.Context) (sum int64, err error) {
	for _, input := range s.more {
		lag, err := consumertest.Lag(ctx, s.brokers(), s.group, input)
		if err != nil {
			return 0, err
		}
		sum += lag
	}
	lag, err := consumertest.Lag(ctx, s.brokers(), s.group, s.input, s.rekey())
	return sum + lag, err
}

// check fails the test unless everything is as the model says.
func (s *system) check(o consumertest.CheckOptions) consumertest.Report {
	s.t.Helper()
	report := s.compare(o)
	if err := report.Err(); err != nil {
		s.t.Fatal(err)
	}
	if report.Records == 0 || report.Alerts == 0 {
		s.t.Fatalf("nothing was tried: %v", report)
	}
	return report
}

// compare compares everything with the model.
func (s *system) compare(o consumertest.CheckOptions) consumertest.Report {
	s.t.Helper()
	o.Brokers, o.Inputs, o.Output, o.DeadLetters = s.brokers(), s.inputs(), s.output, s.dead
	report, err := consumertest.Check(s.context(systemTimeout), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Log(report)
	return report
}

// checkStopped checks what a clean stop left: M = C for each lane, and all judged if the input was read to its end.
func (s *system) checkStopped(toEnd bool) {
	s.t.Helper()
	o := state.DefaultRedisOptions()
	o.Addrs = []string{s.redisAddr}
	s.checkStoppedAt(o, toEnd)
}

// checkStoppedAt is checkStopped for a store with these options.
func (s *system) checkStoppedAt(o state.RedisOptions, toEnd bool) {
	s.t.Helper()
	o.Group = s.group
	store, err := state.NewRedis(o)
	if err != nil {
		s.t.Fatal(err)
	}
	defer store.Close()
	if err := consumertest.CheckCheckpoints(s.context(time.Minute), s.brokers(), s.group, s.input, store, toEnd); err != nil {
		s.t.Error(err)
	}
}

// term ends an engine and holds it to its promise.
func term(t *testing.T, e *consumertest.Engine) {
	t.Helper()
	took, code := e.Term(termTimeout)
	if code != 0 {
		t.Errorf("after SIGTERM the exit code is %d", code)
	}
	t.Logf("SIGTERM took %v", took.Round(time.Millisecond))
}

// seeded returns the generator of a test's random choices and its seed, which a failure shows: LAPWING_TEST_SEED repeats it.
func seeded(t *testing.T) (*rand.Rand, uint64) {
	t.Helper()
	seed := rand.Uint64() >> 1
	if text := os.Getenv("LAPWING_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("LAPWING_TEST_SEED: %v", err)
		}
	}
	t.Logf("LAPWING_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1)), seed
}

func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes more than a minute; run without -short")
	}
}

// pause lets the load run for a random time.
func pause(rng *rand.Rand, low, high time.Duration) {
	time.Sleep(low + time.Duration(rng.Int64N(int64(high-low))))
}

// mixed is a load with everything in it. The users are so many that a stale state is not soon overwritten by a right one.
func mixed(seed uint64) consumertest.EventOptions {
	return consumertest.EventOptions{Seed: seed, Users: 5000, Bad: 0.02, Tombstones: 0.01, Headers: 0.05}
}

// TestKillNine kills an engine at random moments while events flow, and compares all that a read_committed consumer sees
// with the model.
func TestKillNine(t *testing.T) {
	skipShort(t)
	rng, seed := seeded(t)
	s := newSystem(t, systemOptions{})
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	stop := s.load(3000, mixed(seed))
	const kills = 22
	for kill := range kills {
		// Most kills hit an engine at work, some one that is still starting.
		if kill%4 != 3 {
			e.WaitReady(readyTimeout)
		}
		pause(rng, 50*time.Millisecond, 1500*time.Millisecond)
		e.Kill()
		e.Start()
	}
	n := stop()
	s.drain(time.Minute)
	report := s.check(consumertest.CheckOptions{})
	if report.Records != n {
		t.Errorf("%d records were acknowledged, the input has %d", n, report.Records)
	}
	term(t, e)
	s.checkStopped(true)
	t.Logf("%d kills, %d records", kills, n)
}

// TestTwoMembersRebalance lets two engines share the lanes, and kills, freezes beyond the session, ends and restarts them.
func TestTwoMembersRebalance(t *testing.T) {
	skipShort(t)
	rng, seed := seeded(t)
	s := newSystem(t, systemOptions{})
	engines := []*consumertest.Engine{s.engine("first"), s.engine("second")}
	for _, e := range engines {
		e.Start()
	}
	for _, e := range engines {
		e.WaitReady(readyTimeout)
	}
	stop := s.load(2000, mixed(seed))
	var did []string
	for i := range 16 {
		e := engines[rng.IntN(len(engines))]
		switch fault := []string{"kill", "freeze", "term"}[i%3]; fault {
		case "kill":
			e.Kill()
			pause(rng, 0, 2*time.Second)
			e.Start()
			did = append(did, fault)
		case "freeze":
			e.Freeze()
			pause(rng, 2*time.Second, 4*time.Second) // longer than the session: the lanes move on meanwhile
			e.Thaw()
			did = append(did, fault)
		case "term":
			term(t, e)
			pause(rng, 0, time.Second)
			e.Start()
			did = append(did, fault)
		}
		pause(rng, 200*time.Millisecond, 2*time.Second)
	}
	for _, e := range engines {
		if !e.Running() {
			t.Fatal("an engine has ended by itself")
		}
	}
	n := stop()
	s.drain(time.Minute)
	s.check(consumertest.CheckOptions{})
	for _, e := range engines {
		term(t, e)
	}
	s.checkStopped(true)
	t.Logf("%d records, faults: %s", n, strings.Join(did, " "))
}

// TestAtLeastOnce kills an engine that works without transactions: results may repeat, with the same bytes, and no state
// counts an event twice.
func TestAtLeastOnce(t *testing.T) {
	skipShort(t)
	rng, seed := seeded(t)
	s := newSystem(t, systemOptions{})
	s.extra = "  guarantee: at_least_once"
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	stop := s.load(3000, mixed(seed))
	for range 8 {
		e.WaitReady(readyTimeout)
		pause(rng, 50*time.Millisecond, 1500*time.Millisecond)
		e.Kill()
		e.Start()
	}
	stop()
	s.drain(time.Minute)
	s.check(consumertest.CheckOptions{Repeats: true})
	term(t, e)
	s.checkStopped(true)
}
