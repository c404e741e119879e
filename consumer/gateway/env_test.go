package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(consumertest.Main{M: m}) }

// patience bounds what a test waits for; nothing that works comes near it.
const patience = 20 * time.Second

// cluster is Kafka with two topics of a test's own.
type cluster struct {
	brokers       []string
	input, output string
	fake          *kfake.Cluster // nil: the real one
	admin         *kadm.Client
}

// onEachKafka runs a test on kfake and on a real broker, where there is one.
func onEachKafka(t *testing.T, test func(t *testing.T, c *cluster)) {
	t.Run("kfake", func(t *testing.T) { test(t, newFake(t, 3, 2)) })
	t.Run("kafka", func(t *testing.T) { test(t, newCluster(t, []string{consumertest.Kafka(t)}, nil, 3, 2)) })
}

// newFake starts kfake with topics of so many partitions.
func newFake(t testing.TB, inputPartitions, outputPartitions int32) *cluster {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	return newCluster(t, fake.ListenAddrs(), fake, inputPartitions, outputPartitions)
}

func newCluster(t testing.TB, brokers []string, fake *kfake.Cluster, inputPartitions, outputPartitions int32) *cluster {
	t.Helper()
	c := &cluster{
		brokers: brokers, fake: fake,
		input: consumertest.Topic(t, "gateway-events"), output: consumertest.Topic(t, "gateway-alerts"),
	}
	c.admin = kadm.NewClient(c.client(t))
	wired := c.wire(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// Not by kadm: the wire client waits until the leaders of a real broker answer.
	err := wired.CreateTopics(ctx,
		wire.TopicSpec{Name: c.input, Partitions: inputPartitions, Replication: 1},
		wire.TopicSpec{Name: c.output, Partitions: outputPartitions, Replication: 1})
	if err != nil {
		t.Fatal(err)
	}
	if fake == nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if _, err := c.admin.DeleteTopics(ctx, c.input, c.output); err != nil {
				t.Logf("topics are left behind: %v", err)
			}
		})
	}
	return c
}

// client returns a franz-go client that ends with the test.
func (c *cluster) client(t testing.TB, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.brokers...)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// wire returns a client of the kind that a gateway takes.
func (c *cluster) wire(t testing.TB, network *network) *wire.Client {
	t.Helper()
	o := wire.Options{Brokers: c.brokers, ClientID: "gateway-test", MetadataTTL: 200 * time.Millisecond, Topics: []string{c.input, c.output}}
	if network != nil {
		o.Dial = network.dial
	}
	client, err := wire.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// records returns how many records a topic has, by kadm.
func (c *cluster) records(t *testing.T, topic string) int64 {
	t.Helper()
	ends, err := c.admin.ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}

// network is a way to the brokers that a test can cut.
type network struct {
	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}
}

func newNetwork() *network { return &network{conns: make(map[net.Conn]struct{})} }

var errNetworkDown = errors.New("the test has cut the network")

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	n.mu.Lock()
	down := n.down
	n.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: kind, Err: errNetworkDown}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[conn] = struct{}{}
	return conn, nil
}

// cut ends all connections and refuses new ones until mend.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = true
	for conn := range n.conns {
		conn.Close()
	}
	clear(n.conns)
}

func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = false
}

// running is a gateway that serves, on a port of its own.
type running struct {
	*Gateway
	url    string
	client *http.Client
	// stop ends it, waits, and returns Run's error; the test's end stops it too.
	stop func() error
	end  context.CancelFunc
}

// serve starts a gateway; adjust, if not nil, changes its options.
func (c *cluster) serve(t testing.TB, adjust func(*Options)) *running {
	t.Helper()
	o := DefaultOptions()
	o.Client, o.Input, o.Output = c.wire(t, nil), c.input, c.output
	o.Registerer = prometheus.NewRegistry()
	o.FetchWaitMax = 200 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.HTTP.Listener = listener
	log := new(consumertest.LogBuffer)
	o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if adjust != nil {
		adjust(&o)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	r := &running{Gateway: g, url: "http://" + g.Addr().String(), client: &http.Client{Transport: transport, Timeout: patience}, end: cancel}
	r.stop = sync.OnceValue(func() error {
		cancel()
		transport.CloseIdleConnections()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("Run does not return")
		}
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		// Neither bodies nor headers nor ids are logged, whatever a test did.
		for _, secret := range []string{"amount", "deposit", "traceparent", "lapwing-test-secret", string(g.waiters.prefix)} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("%q is in the log: %s", secret, log)
			}
		}
	})
	return r
}

// ready waits until the gateway takes requests.
func (r *running) ready(t testing.TB) *running {
	t.Helper()
	eventually(t, "the gateway is ready", func() error { return r.Ready() })
	return r
}

// reply is an HTTP response, read.
type reply struct {
	status int
	body   string
	header http.Header
}

// post sends an event; pairs of header names and values may follow.
func (r *running) post(t testing.TB, body string, header ...string) reply {
	t.Helper()
	got, err := r.tryPost(t.Context(), body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (r *running) tryPost(ctx context.Context, body string, header ...string) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/event", strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := r.client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{status: response.StatusCode, body: string(text), header: response.Header}, err
}

func (r *running) get(t *testing.T, method, path string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := r.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{status: response.StatusCode, body: string(text), header: response.Header}
}

// eventually polls until check is content.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(5 * time.Millisecond) // between two looks at a condition
	}
}

func deposit(user int64, amount string, at int64) string {
	return event("deposit", user, amount, at)
}

func event(kind string, user int64, amount string, at int64) string {
	return fmt.Sprintf(`{"type":%q,"amount":%q,"user_id":%d,"time":%d}`, kind, amount, user, at)
}
