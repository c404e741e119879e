package consumer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/state"
)

// TestEngineFaultPerRequest loses or refuses single requests of a batch's life, one API key after the other, while
// events flow: each event gets exactly one right result all the same.
func TestEngineFaultPerRequest(t *testing.T) {
	if testing.Short() {
		t.Skip("a kfake cluster for each request; left out by -short")
	}
	errLost := errors.New("the connection is cut")
	refused := func(code *kerr.Error) int16 { return code.Code }
	type fault struct {
		name string
		key  kmsg.Key
		code int16 // 0: the connection is cut instead of an answer
	}
	cases := []fault{
		{"init producer id cut", kmsg.InitProducerID, 0},
		{"add partitions cut", kmsg.AddPartitionsToTxn, 0},
		{"produce cut", kmsg.Produce, 0},
		{"add offsets cut", kmsg.AddOffsetsToTxn, 0},
		{"txn offset commit cut", kmsg.TxnOffsetCommit, 0},
		{"end txn cut", kmsg.EndTxn, 0},
		{"offset fetch cut", kmsg.OffsetFetch, 0},
		{"fetch cut", kmsg.Fetch, 0},
		{"heartbeat cut", kmsg.Heartbeat, 0},
		{"txn offset commit: illegal generation", kmsg.TxnOffsetCommit, refused(kerr.IllegalGeneration)},
		{"txn offset commit: unknown member", kmsg.TxnOffsetCommit, refused(kerr.UnknownMemberID)},
		{"end txn: fenced", kmsg.EndTxn, refused(kerr.ProducerFenced)},
		{"end txn: concurrent transactions", kmsg.EndTxn, refused(kerr.ConcurrentTransactions)},
		{"add offsets: not coordinator", kmsg.AddOffsetsToTxn, refused(kerr.NotCoordinator)},
		{"init producer id: coordinator loading", kmsg.InitProducerID, refused(kerr.CoordinatorLoadInProgress)},
	}
	run := func(name string, c fault, options ...kfake.Opt) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, err := kfake.NewCluster(append(options, kfake.NumBrokers(1))...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cluster.Close)
			b := newBench(t, cluster.ListenAddrs()[0], 2)
			hits := 0
			rng := rand.New(rand.NewPCG(7, uint64(c.key)))
			cluster.ControlKey(int16(c.key), func(req kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				if p, ok := req.(*kmsg.ProduceRequest); ok && p.TransactionID == nil {
					return nil, nil, false // the test's own events
				}
				if p, ok := req.(*kmsg.InitProducerIDRequest); ok && p.TransactionalID == nil {
					return nil, nil, false
				}
				if hits >= 6 || hits > 0 && rng.IntN(3) > 0 {
					return nil, nil, false
				}
				hits++
				if c.code == 0 {
					return nil, errLost, true
				}
				return refusal(req, c.code), nil, true
			})
			e, stop := b.engine(state.NewMemory(), nil)
			g := consumertest.NewGenerator(consumertest.EventOptions{Seed: 3, Users: 40, Bad: 0.05, Tombstones: 0.02})
			for range 12 {
				var inputs []consumertest.Input
				for range 50 {
					inputs = append(inputs, g.Next())
				}
				if err := consumertest.ProduceInputs(t.Context(), []string{b.broker}, b.input, inputs...); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond) // several transactions instead of one
			}
			waitReady(t, e)
			report, err := consumertest.Check(t.Context(), consumertest.CheckOptions{
				Brokers: []string{b.broker}, Inputs: []string{b.input}, Output: b.output, DeadLetters: b.dead, Settle: 10 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := report.Err(); err != nil || report.Records != 600 {
				t.Fatalf("%v\n%v", report, err)
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if hits == 0 {
				t.Fatal("no request met the fault")
			}
		})
	}
	for _, c := range cases {
		run("first protocol/"+c.name, c, kfake.MaxVersions(kversion.V3_9_0()))
		if c.key != kmsg.AddPartitionsToTxn && c.key != kmsg.AddOffsetsToTxn { // one leader: the second needs neither
			run("second protocol/"+c.name, c)
		}
	}
}

// refusal is the answer to a request with the code in every place that has one.
func refusal(req kmsg.Request, code int16) kmsg.Response {
	switch r := req.(type) {
	case *kmsg.TxnOffsetCommitRequest:
		resp := r.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, t := range r.Topics {
			out := kmsg.NewTxnOffsetCommitResponseTopic()
			out.Topic = t.Topic
			for _, p := range t.Partitions {
				part := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				part.Partition, part.ErrorCode = p.Partition, code
				out.Partitions = append(out.Partitions, part)
			}
			resp.Topics = append(resp.Topics, out)
		}
		return resp
	case *kmsg.EndTxnRequest:
		resp := r.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = code
		return resp
	case *kmsg.AddOffsetsToTxnRequest:
		resp := r.ResponseKind().(*kmsg.AddOffsetsToTxnResponse)
		resp.ErrorCode = code
		return resp
	case *kmsg.InitProducerIDRequest:
		resp := r.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = code
		return resp
	}
	panic(fmt.Sprintf("no refusal for %T", req))
}

// network is a way to the broker that can be cut.
type network struct {
	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func (n *network) dial(ctx context.Context, protocol, addr string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return nil, &net.OpError{Op: "dial", Net: protocol, Err: errors.New("the network is cut")}
	}
	conn, err := new(net.Dialer).DialContext(ctx, protocol, addr)
	if err == nil {
		n.conns = append(n.conns, conn)
	}
	return conn, err
}

func (n *network) cut(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.conns = nil
}

// TestEngineKafkaAway cuts the engine off from Kafka while events flow, for longer than its session lasts: it is not
// ready and says so, and goes on when the network is back.
func TestEngineKafkaAway(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a session to end; left out by -short")
	}
	onEachKafka(t, 3, testKafkaAway)
}

func testKafkaAway(t *testing.T, b *bench) {
	way := new(network)
	client, err := wire.New(wire.Options{Brokers: []string{b.broker}, ClientID: "test", Dial: way.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	e, stop := b.engine(state.NewMemory(), func(o *Options) {
		o.Client, o.RequestTimeout = client, 2*time.Second
		o.SessionTimeout, o.DrainTimeout = 6*time.Second, 2*time.Second
	})
	waitReady(t, e)
	g := consumertest.NewGenerator(consumertest.EventOptions{Seed: 5, Users: 60})
	send := func(n int) {
		t.Helper()
		var inputs []consumertest.Input
		for range n {
			inputs = append(inputs, g.Next())
		}
		if err := consumertest.ProduceInputs(t.Context(), []string{b.broker}, b.input, inputs...); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		send(200)
		way.cut(true)
		send(200)
		waitProblem(t, e, "network is cut")
		time.Sleep(2 * time.Second)
		way.cut(false)
		waitReady(t, e)
	}
	way.cut(true)
	time.Sleep(7 * time.Second) // the session ends
	send(100)
	way.cut(false)
	report, err := consumertest.Check(t.Context(), consumertest.CheckOptions{
		Brokers: []string{b.broker}, Inputs: []string{b.input}, Output: b.output, DeadLetters: b.dead, Settle: 25 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil || report.Records != 1300 {
		t.Fatalf("%v\n%v", report, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
