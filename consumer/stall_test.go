package consumer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/state"
)

// watchRig is a watch of 10 s and one lane of it, without anything that runs: a test moves the lane by hand and lets
// time pass.
type watchRig struct {
	t        *testing.T
	engine   *Engine
	watch    *watch
	lane     *watched
	tenure   *tenure
	endWork  context.CancelFunc
	canceled error // what the attempt was ended with
	now      time.Time
}

func newWatchRig(t *testing.T) *watchRig {
	t.Helper()
	e := idleEngine(t, 1)
	e.options.StallTimeout, e.options.RequestTimeout, e.options.DrainTimeout = 10*time.Second, 2*time.Second, time.Second
	e.watch = newWatch(e)
	ctx, cancel := context.WithCancel(t.Context())
	r := &watchRig{t: t, engine: e, watch: e.watch, endWork: cancel, now: time.Now()}
	r.lane = e.watch.add(ctx, 0)
	r.begin()
	return r
}

func (r *watchRig) begin() {
	r.canceled = nil
	r.watch.begin(r.lane, func(err error) { r.canceled = err })
}

// judges gives the lane a tenure that replays [from, c) and judges from c on.
func (r *watchRig) judges(from, c int64) {
	r.t.Helper()
	r.tenure = idleTenure(r.t, r.engine, 0)
	r.tenure.plan.judgeFrom = c
	r.tenure.progress.committed.Store(c)
	r.tenure.progress.position.Store(from)
	r.watch.running(r.lane, r.tenure)
}

// pass lets seconds pass, one look a second, and returns the stalls that were found.
func (r *watchRig) pass(seconds int) (found []stall) {
	for range seconds {
		r.now = r.now.Add(time.Second)
		found = append(found, r.watch.look(r.now)...)
	}
	return found
}

func (r *watchRig) want(what string, stalls, counted int, alive bool) {
	r.t.Helper()
	if n := int(testutil.ToFloat64(r.engine.metrics.stalls.WithLabelValues("0"))); n != counted {
		r.t.Errorf("%s: %d stalls are counted, want %d", what, n, counted)
	}
	if ended := r.canceled != nil; ended != (stalls > 0) {
		r.t.Errorf("%s: the attempt was ended: %t (%v)", what, ended, r.canceled)
	}
	if ok, problems := r.engine.Alive(); ok != alive || !alive && !strings.HasPrefix(problems, "lane 0: ") {
		r.t.Errorf("%s: alive: %t, %q", what, ok, problems)
	}
	if ok, _ := r.engine.Ready(); !alive && ok {
		r.t.Errorf("%s: ready though not alive", what)
	}
}

// TestWatchEscalates: a judging lane with lag stands still. It is started again, then the process is not alive, then it
// moves.
func TestWatchEscalates(t *testing.T) {
	r := newWatchRig(t)
	r.judges(5, 5)
	r.lane.end.Store(8)
	r.pass(10) // the first look only sees where the lane is
	r.want("before the timeout", 0, 0, true)
	found := r.pass(1)
	r.want("after it", 1, 1, true)
	if len(found) != 1 || found[0].lane != 0 || found[0].committed != 5 || found[0].lag != 3 || !strings.Contains(found[0].doing, "judge: waits for something to do") {
		t.Errorf("found %+v", found)
	}
	if !errors.Is(r.canceled, errStalled) || classify(r.canceled) != again {
		t.Errorf("ended with %v, class %v", r.canceled, classify(r.canceled))
	}
	r.watch.over(r.lane)
	r.engine.health.set(laneSubject(0), "what supervise says of it") // no progress, though it begins the time anew
	r.begin()
	r.pass(3)
	r.judges(2, 5) // replays, which takes its time but is not what the lane is for
	r.pass(9)
	r.tenure.progress.position.Store(4)
	r.pass(9)
	r.tenure.progress.position.Store(5)
	r.pass(10)
	r.want("the second time, before the timeout", 0, 1, true)
	r.pass(1)
	r.want("the second time", 1, 2, false)
	r.watch.over(r.lane)
	r.begin()
	r.judges(5, 5)
	r.pass(5)
	r.want("started again", 0, 2, false)
	r.tenure.progress.committed.Store(6)
	r.pass(1)
	r.want("moved", 0, 2, true)
	r.pass(10)
	r.want("stands still anew: the first time", 1, 3, true)
}

// TestWatchStart: a lane that starts has something to do, lag or not; each step is progress.
func TestWatchStart(t *testing.T) {
	r := newWatchRig(t)
	for range 4 {
		r.lane.start.at(stagePlan)
		r.pass(9)
	}
	r.want("steps", 0, 0, true)
	found := r.pass(2)
	r.want("no step", 1, 1, true)
	if len(found) != 1 || !strings.Contains(found[0].doing, "start: finds out what to replay") || found[0].lag != -1 {
		t.Errorf("found %+v", found)
	}
}

// TestWatchIsPatient: what is no stall.
func TestWatchIsPatient(t *testing.T) {
	const long = 100
	for name, do := range map[string]func(r *watchRig){
		"idle":          func(r *watchRig) { r.judges(5, 5); r.lane.end.Store(5); r.pass(long) },
		"end not known": func(r *watchRig) { r.judges(5, 5); r.pass(long) },
		"replay that moves": func(r *watchRig) {
			r.judges(0, 1000)
			for i := range long / 5 {
				r.tenure.progress.position.Store(int64(i))
				r.pass(5)
			}
		},
		"backlog that moves": func(r *watchRig) {
			r.judges(5, 5)
			for i := range long / 5 {
				r.lane.end.Store(1000 + 2*int64(i))
				r.tenure.progress.committed.Store(5 + int64(i))
				r.pass(5)
			}
		},
		"redis refuses":                func(r *watchRig) { r.failing("redis") },
		"kafka refuses":                func(r *watchRig) { r.failing(partitionSubject(0)) },
		"no producer id":               func(r *watchRig) { r.failing("transactions") },
		"stopped, for somebody to act": func(r *watchRig) { r.failing(laneSubject(0)) },
		"hanging transaction, not yet called so": func(r *watchRig) {
			for range long {
				r.engine.health.note(laneSubject(0))
				r.pass(1)
			}
		},
		// The watch's time is what it has seen pass.
		"frozen and thawed": func(r *watchRig) {
			r.judges(5, 5)
			r.lane.end.Store(8)
			r.pass(2)
			r.now = r.now.Add(time.Hour)
			r.pass(7) // the first counts for two; with the one before it is nine
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newWatchRig(t)
			do(r)
			r.want(name, 0, 0, true)
			r.endWork()
			r.pass(10)
			r.want(name+", handed over", 0, 0, true)
		})
	}
	t.Run("another lane refused", func(t *testing.T) { // is no excuse
		r := newWatchRig(t)
		r.judges(5, 5)
		r.lane.end.Store(8)
		for range 11 {
			r.engine.health.set(partitionSubject(1), "refused")
			r.pass(1)
		}
		r.want("another lane", 1, 1, true)
	})
}

// failing lets a lane with lag stand still while something is refused every 9 s.
func (r *watchRig) failing(subject string) {
	r.judges(5, 5)
	r.lane.end.Store(8)
	for range 12 {
		r.engine.health.set(subject, "the same each time")
		r.pass(9)
	}
}

// TestWatchLingering: an attempt that was ended and does not end makes the process not alive without a second chance; so
// does a generation that is not handed over.
func TestWatchLingering(t *testing.T) {
	r := newWatchRig(t)
	r.judges(5, 5)
	r.lane.end.Store(8)
	r.pass(11)
	r.want("stalled", 1, 1, true)
	r.pass(3) // twice the request timeout, less one
	r.want("may still end", 1, 1, true)
	found := r.pass(20)
	r.want("does not end", 1, 1, false)
	if len(found) != 1 || !strings.Contains(found[0].what, "does not") {
		t.Errorf("found %v", found)
	}
	r.watch.over(r.lane)
	r.begin()
	r.judges(5, 8)
	r.pass(1)
	r.want("ended, and moved", 0, 1, true)

	r = newWatchRig(t)
	r.judges(5, 5)
	r.pass(1)
	r.endWork()
	r.pass(10) // stall timeout and drain timeout, less one
	r.want("is handed over", 0, 0, true)
	r.pass(1)
	if ok, problems := r.engine.Alive(); ok || !strings.Contains(problems, "lane 0: was told to end") {
		t.Errorf("%t %q", ok, problems)
	}
	r.watch.remove(0)
	if ok, problems := r.engine.Alive(); !ok {
		t.Errorf("handed over: %q", problems)
	}
}

// TestOpsHandlerProbes asks what an orchestrator asks.
func TestOpsHandlerProbes(t *testing.T) {
	h := newHealth()
	ops := OpsHandler(h.alive, h.ready, prometheus.NewRegistry(), false)
	ask := func(path, body string, code int) {
		t.Helper()
		w := httptest.NewRecorder()
		ops.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != code || w.Body.String() != body {
			t.Errorf("%s: %d %q, want %d %q", path, w.Code, w.Body, code, body)
		}
	}
	ask("/healthz", "ok\n", 200)
	ask("/readyz", "ready\n", 200)
	h.set("redis", "away")
	ask("/healthz", "ok\n", 200)
	ask("/readyz", "redis: away\n", 503)
	h.condemn("lane 1", "hangs")
	ask("/healthz", "lane 1: hangs\n", 503)
	ask("/readyz", "lane 1: hangs\nredis: away\n", 503)
	h.absolve("lane 1")
	h.clear("redis")
	ask("/healthz", "ok\n", 200)
	ask("/readyz", "ready\n", 200)
}

// quick are the least timeouts, for engines whose stalls a test waits for.
func quick(o *Options) {
	o.TransactionTimeout, o.RequestTimeout, o.FetchWaitMax = time.Second, 400*time.Millisecond, 100*time.Millisecond
	o.StallTimeout = 2 * time.Second
}

// stalls returns how often a lane of the engine has stalled.
func stalls(e *Engine, lane string) int {
	return int(testutil.ToFloat64(e.metrics.stalls.WithLabelValues(lane)))
}

// waitAlive waits until the process is alive, or is not and says why.
func waitAlive(t *testing.T, e *Engine, want bool, words ...string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		ok, problems := e.Alive()
		missing := ok != want
		for _, w := range words {
			missing = missing || !strings.Contains(problems, w)
		}
		if !missing {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 30s alive: %t, %q; want %t, %q", ok, problems, want, words)
		}
	}
}

// waitStalls waits until the lane has stalled so often; the process is alive until then.
func waitStalls(t *testing.T, e *Engine, lane string, n int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); stalls(e, lane) < n; time.Sleep(10 * time.Millisecond) {
		if ok, problems := e.Alive(); !ok {
			t.Fatalf("not alive after %d stalls: %s", stalls(e, lane), problems)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d stalls after 30s, want %d", stalls(e, lane), n)
		}
	}
}

// userIn returns a user of the lane, withdrawIn an event of it.
func userIn(lane, lanes int32) int {
	for user := 0; ; user++ {
		if contract.Murmur2.Partition(contract.AppendUserKey(nil, int64(user)), lanes) == lane {
			return user
		}
	}
}

func withdrawIn(lane, lanes int32) string { return event("withdraw", "1", userIn(lane, lanes), 1) }

// logbook keeps what was logged, and holds up who logs a certain message, or anything after it, until gate is closed.
type logbook struct {
	slog.Handler
	hold string // the message; empty: none
	all  bool   // what comes after it too
	once sync.Once
	held chan struct{} // closed at the message
	gate chan struct{}

	mu    sync.Mutex
	lines strings.Builder
}

func newLogbook(hold string, all bool) *logbook {
	l := &logbook{hold: hold, all: all, gate: make(chan struct{}), held: make(chan struct{})}
	l.Handler = slog.NewTextHandler(l, nil)
	return l
}

func (l *logbook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(line)
}

func (l *logbook) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == l.hold {
		l.once.Do(func() { close(l.held) })
		<-l.gate
	}
	select {
	case <-l.held:
		if l.all {
			<-l.gate
		}
	default:
	}
	return l.Handler.Handle(ctx, r)
}

func (l *logbook) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

var _ io.Writer = (*logbook)(nil)

// TestStallInFetch: the broker answers each fetch of one lane with nothing, though its own end says that there is
// something. The lane is started again, then the process is not alive, and alive again when the broker is.
func TestStallInFetch(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for stalls; left out by -short")
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := newBench(t, cluster.ListenAddrs()[0], 2)
	log := newLogbook("", false)
	e, stop := b.engine(state.NewMemory(), func(o *Options) {
		quick(o)
		o.Logger = slog.New(log)
		o.FetchPause = 0 // each lane fetches alone: the broker below can tell them apart
	})
	waitReady(t, e)
	input := e.sources[0].id
	var mu sync.Mutex
	empty := true
	cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		mu.Lock()
		serve := !empty
		mu.Unlock()
		f := req.(*kmsg.FetchRequest)
		if serve || len(f.Topics) != 1 || f.Topics[0].TopicID != input || f.Topics[0].Partitions[0].Partition != 1 {
			return nil, nil, false
		}
		cluster.SleepControl(func() { time.Sleep(50 * time.Millisecond) })
		resp := f.ResponseKind().(*kmsg.FetchResponse)
		topic, partition := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
		topic.TopicID, partition.Partition, partition.LogStartOffset = input, 1, 0
		topic.Partitions = append(topic.Partitions, partition)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	b.send(withdrawIn(0, 2), withdrawIn(1, 2))
	b.read(b.output, 1)
	waitStalls(t, e, "1", 1)
	waitAlive(t, e, false, "lane 1: has something to do and makes no progress for 2s (committed 0, lag 1, position 0; reader of "+b.input+": fetches; reader of ")
	if n := stalls(e, "1"); n != 2 {
		t.Errorf("%d stalls, want 2", n)
	}
	if n := stalls(e, "0"); n != 0 {
		t.Errorf("the lane without lag stalled %d times", n)
	}
	mu.Lock()
	empty = false
	mu.Unlock()
	b.read(b.output, 2)
	waitAlive(t, e, true)
	waitReady(t, e)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	text := log.text()
	for _, want := range []string{`msg="lane stalled" problem="has something to do`, "partition=1 lag_records=1 committed=0 position=0", "process_alive=true", "process_alive=false", "no progress for 2s"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
}

// stuckStore is a store whose Load hangs, whatever its context says, while it is shut.
type stuckStore struct {
	state.Store
	gate chan struct{}
}

func (s *stuckStore) Claim(ctx context.Context, lane int32) (state.Lane, error) {
	l, err := s.Store.Claim(ctx, lane)
	return &stuckLane{l, s.gate}, err
}

type stuckLane struct {
	state.Lane
	gate chan struct{}
}

func (l *stuckLane) Load(ctx context.Context, takes state.Takes, users []int64, out []state.Stored) error {
	<-l.gate
	return l.Lane.Load(ctx, takes, users, out)
}

// TestStallThatDoesNotEnd: a load of states hangs and does not heed its deadline, nor that the lane is to end. Nothing can
// be started again: the process is not alive, until the load returns.
func TestStallThatDoesNotEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for stalls; left out by -short")
	}
	b := newBench(t, consumertest.Kfake(t), 1)
	store := &stuckStore{state.NewMemory(), make(chan struct{})}
	e, stop := b.engine(store, quick)
	waitReady(t, e)
	b.send(withdraw(1), withdraw(2), withdraw(3))
	waitStalls(t, e, "0", 1)
	waitAlive(t, e, false, "lane 0: was told to end and does not", "judge: loads states")
	if n := stalls(e, "0"); n != 1 {
		t.Errorf("%d stalls, want 1", n)
	}
	close(store.gate)
	if got := string(b.read(b.output, 3)[2].Value); !strings.Contains(got, "[30]") {
		t.Errorf("got %s", got)
	}
	waitAlive(t, e, true)
	waitReady(t, e)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestStallInCommit: the committer hangs with a transaction in its hands. Its lane starts again and waits for it, then the
// process is not alive.
func TestStallInCommit(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for stalls; left out by -short")
	}
	testStallInCommit(t, false, "start: waits for the transaction under way to be decided; committer: commits a transaction")
}

// TestStallInTheLog is the same with a log that takes no more lines at all: what the lane and the watch have to say holds
// up the lane, and not the watch.
func TestStallInTheLog(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for stalls; left out by -short")
	}
	testStallInCommit(t, true, "start: waits to try again; committer: commits a transaction")
}

func testStallInCommit(t *testing.T, wholeLog bool, doing string) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := newBench(t, cluster.ListenAddrs()[0], 1)
	log := newLogbook("transaction failed", wholeLog)
	e, stop := b.engine(state.NewMemory(), func(o *Options) { quick(o); o.Logger = slog.New(log) })
	waitReady(t, e)
	cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		select {
		case <-log.held:
			return nil, nil, false
		default:
			return nil, errors.New("the connection is cut"), true
		}
	})
	b.send(withdraw(1), withdraw(2), withdraw(3))
	<-log.held
	waitStalls(t, e, "0", 1)
	waitAlive(t, e, false, "lane 0: has something to do and makes no progress", doing)
	close(log.gate)
	if got := string(b.read(b.output, 3)[2].Value); !strings.Contains(got, "[30]") {
		t.Errorf("got %s", got)
	}
	waitAlive(t, e, true)
	waitReady(t, e)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// awayStore is a store that refuses to load states while it is told to.
type awayStore struct {
	state.Store
	err atomic.Pointer[error]
}

func (s *awayStore) away(err error) { s.err.Store(&err) }

func (s *awayStore) Claim(ctx context.Context, lane int32) (state.Lane, error) {
	l, err := s.Store.Claim(ctx, lane)
	return &awayLane{l, s}, err
}

type awayLane struct {
	state.Lane
	store *awayStore
}

func (l *awayLane) Load(ctx context.Context, takes state.Takes, users []int64, out []state.Stored) error {
	if err := l.store.err.Load(); err != nil && *err != nil {
		return *err
	}
	return l.Lane.Load(ctx, takes, users, out)
}

// TestNoStall: an engine that has nothing it could do, or waits for others, is alive for several timeouts.
func TestNoStall(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for several stall timeouts; left out by -short")
	}
	onEachKafka(t, 2, testNoStall)
}

func testNoStall(t *testing.T, b *bench) {
	store := &awayStore{Store: state.NewMemory()}
	var engines []*Engine
	var stops []func() error
	for range 3 { // one stands by
		e, stop := b.engine(store, quick)
		engines, stops = append(engines, e), append(stops, stop)
	}
	for _, e := range engines {
		waitReady(t, e)
	}
	stays := func(what string) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			for _, e := range engines {
				if ok, problems := e.Alive(); !ok || stalls(e, "0")+stalls(e, "1") != 0 {
					t.Fatalf("%s: alive: %t, %d stalls\n%s", what, ok, stalls(e, "0")+stalls(e, "1"), problems)
				}
			}
		}
	}
	stays("idle")
	// An open transaction of a producer: nobody may read what is behind its first record.
	upstream, err := kgo.NewClient(kgo.SeedBrokers(b.broker), kgo.TransactionalID(b.input+".upstream"), kgo.TransactionTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	if err := upstream.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for lane := range int32(2) {
		r := &kgo.Record{Topic: b.input, Key: contract.AppendUserKey(nil, int64(userIn(lane, 2))), Value: []byte(withdrawIn(lane, 2))}
		if err := upstream.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	b.send(withdrawIn(0, 2), withdrawIn(1, 2))
	stays("open transaction")
	store.away(&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED})
	if err := upstream.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for refused := false; !refused; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no lane loads states")
		}
		for _, e := range engines {
			_, problems := e.Ready()
			refused = refused || strings.Contains(problems, "redis: ")
		}
	}
	stays("no Redis for users that are not in memory")
	store.away(nil)
	b.read(b.output, 4)
	for _, stop := range stops {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	e, stop := b.engine(state.NewMemory(), quick) // which has nothing: the lanes replay, and are idle then
	engines = []*Engine{e}
	waitReady(t, e)
	stays("replayed")
	if n := testutil.ToFloat64(e.metrics.replayed); n != 4 {
		t.Errorf("%v events are replayed, want 4", n)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestUnstableOffsetIsNoStall: a transaction that never ends keeps the committed offset unstable. The lane waits, and says
// what for, and the process is alive: only somebody at the broker can end it.
func TestUnstableOffsetIsNoStall(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for several stall timeouts; left out by -short")
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := newBench(t, cluster.ListenAddrs()[0], 1)
	pending := make(chan struct{}) // closed when it is over
	asked := make(chan struct{}, 1)
	cluster.ControlKey(int16(kmsg.OffsetFetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		f := req.(*kmsg.OffsetFetchRequest)
		if f.Version != 7 {
			return nil, nil, false // kafka-go's own
		}
		select {
		case <-pending:
			return nil, nil, false
		case asked <- struct{}{}:
		default:
		}
		resp := f.ResponseKind().(*kmsg.OffsetFetchResponse)
		topic, partition := kmsg.NewOffsetFetchResponseTopic(), kmsg.NewOffsetFetchResponseTopicPartition()
		topic.Topic, partition.Offset, partition.ErrorCode = b.input, -1, kerr.UnstableOffsetCommit.Code
		topic.Partitions = append(topic.Partitions, partition)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	e, stop := b.engine(state.NewMemory(), func(o *Options) { quick(o); o.TransactionTimeout, o.StallTimeout = 2*time.Second, 3*time.Second })
	<-asked
	for deadline := time.Now().Add(8 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok, problems := e.Alive(); !ok || stalls(e, "0") != 0 {
			t.Fatalf("alive: %t, %d stalls\n%s", ok, stalls(e, "0"), problems)
		}
	}
	waitProblem(t, e, "hanging transaction") // six seconds after the start began, twice the stall timeout
	close(pending)
	waitReady(t, e)
	b.send(withdraw(1))
	b.read(b.output, 1)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
