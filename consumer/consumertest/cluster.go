package consumertest

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"
)

// ClusterOptions says what cluster is started. The zero value is three brokers without links.
type ClusterOptions struct {
	// Brokers is the number of nodes, each a broker and a voter of the controllers' quorum; 0: 3. From three on, topics
	// have three replicas, of which two must be in sync; below, one.
	Brokers int
	// Links is the number of further ways into the cluster; see [Cluster.Link].
	Links int
	// Listeners are further ways into each broker, with security; see [Cluster.ListenerAddrs].
	Listeners []ClusterListener
	// JavaOptions are further options of each broker's virtual machine.
	JavaOptions []string
	// BrokerSessionTimeout is how long a broker may be silent before the controller counts it as gone; 0: 3 s.
	BrokerSessionTimeout time.Duration
	// HeapMiB is the heap of each node; 0: 512.
	HeapMiB int
	// Settings are further properties of every broker; they win over those of the harness.
	Settings map[string]string
}

// ClusterListener is a way into each broker beside the plain one. Its brokers name themselves localhost, so that a
// certificate for that name alone is right for it, and wrong for 127.0.0.1.
type ClusterListener struct {
	Name     string // in capitals
	Protocol string // SSL, SASL_PLAINTEXT or SASL_SSL
	// Settings are the properties of this listener, without its prefix.
	Settings map[string]string
}

const (
	clusterBrokersDefault = 3
	clusterSessionDefault = 3 * time.Second
	clusterHeapMiBDefault = 512
	// clusterID is fixed: a random one may begin with "-", which Kafka's format command takes for an option.
	clusterID = "MkU3OEVBNTcwNTJENDM2Qg"
	// clusterStartTimeout bounds the start of all nodes.
	clusterStartTimeout = 3 * time.Minute
)

// Cluster is a real Kafka of one test: processes on 127.0.0.1, which may be ended, killed, frozen and started again. A
// broker is named by its index, from 0; its node id is one more. The methods may be called from any goroutine; those that
// return no error fail the test. The cluster ends with its test, and with the test's process where that is killed (Linux).
type Cluster struct {
	tb    testing.TB
	nodes []*clusterNode
	links [][]*Proxy // by link, then broker
}

// OwnCluster starts a cluster with its data in a temporary folder and returns when all brokers are registered and a
// controller leads. The test is skipped where Kafka's jars or Java are not there (deploy/local/jars fetches them), or fails
// under EnvRequire, which has them installed first.
func OwnCluster(tb testing.TB, o ClusterOptions) *Cluster {
	tb.Helper()
	o.Brokers = cmp.Or(o.Brokers, clusterBrokersDefault)
	o.BrokerSessionTimeout = cmp.Or(o.BrokerSessionTimeout, clusterSessionDefault)
	o.HeapMiB = cmp.Or(o.HeapMiB, clusterHeapMiBDefault)
	java, err := kafkaJava(tb)
	if err != nil {
		lack(tb, RequireServices, "no Kafka to start: %v", err)
	}
	c := &Cluster{tb: tb, links: make([][]*Proxy, o.Links)}
	dir := tb.TempDir() // removed after the end of the cluster, since cleanups run last in, first out
	tb.Cleanup(c.end)
	c.layOut(o, java, dir)
	ctx, cancel := context.WithTimeout(context.Background(), clusterStartTimeout)
	defer cancel()
	errs := make([]error, len(c.nodes))
	var all sync.WaitGroup
	for i, n := range c.nodes {
		all.Go(func() {
			if errs[i] = n.format(ctx); errs[i] == nil {
				errs[i] = n.start()
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := c.waitStarted(ctx); err != nil {
		tb.Fatal(err)
	}
	return c
}

// waitStarted waits until all brokers are up, or one has ended: it would not come by itself.
func (c *Cluster) waitStarted(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer cancel(nil)
	for i, n := range c.nodes {
		watchers.Go(func() {
			select {
			case <-n.done:
				cancel(fmt.Errorf("broker %d ended at its start:\n%s", i, n.logTail()))
			case <-ctx.Done():
			}
		})
	}
	return c.WaitUp(ctx, len(c.nodes))
}

// layOut gives each node its ports and its configuration, and starts the links' proxies: a broker tells its clients the
// address of a proxy, so that must be known first.
func (c *Cluster) layOut(o ClusterOptions, java []string, dir string) {
	c.tb.Helper()
	var voters []string
	for i := range o.Brokers {
		n, err := newClusterNode(i, java, o.HeapMiB, dir)
		if err != nil {
			c.tb.Fatal(err)
		}
		n.javaOptions = o.JavaOptions
		n.addr = c.freeAddr()
		n.controller = c.freeAddr()
		voters = append(voters, strconv.Itoa(n.id())+"@"+n.controller)
		for l := range c.links {
			listener := c.freeAddr()
			proxy := NewProxy(c.tb, listener)
			n.listeners = append(n.listeners, nodeListener{name: fmt.Sprintf("LINK%d", l), protocol: "PLAINTEXT", addr: listener, advertised: proxy.Addr()})
			c.links[l] = append(c.links[l], proxy)
		}
		for _, l := range o.Listeners {
			port := strconv.Itoa(FreePort(c.tb))
			n.listeners = append(n.listeners, nodeListener{name: l.Name, protocol: l.Protocol, addr: "127.0.0.1:" + port, advertised: "localhost:" + port})
		}
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		if err := n.configure(nodeProperties(n, o, voters)); err != nil {
			c.tb.Fatal(err)
		}
	}
}

func (c *Cluster) freeAddr() string {
	c.tb.Helper()
	return "127.0.0.1:" + strconv.Itoa(FreePort(c.tb))
}

// Addrs returns the brokers' own addresses, by broker: the way past all links.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.addr)
	}
	return addrs
}

// Link returns the proxies of a link, one for each broker, by broker. A client that starts with [Cluster.LinkAddrs] stays
// on them, since the brokers name these proxies to it as their addresses.
func (c *Cluster) Link(link int) []*Proxy { return c.links[link] }

// LinkAddrs returns the addresses of a link's proxies, by broker.
func (c *Cluster) LinkAddrs(link int) []string {
	var addrs []string
	for _, p := range c.links[link] {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}

// ListenerAddrs returns the addresses that the brokers have on one of ClusterOptions.Listeners, by broker.
func (c *Cluster) ListenerAddrs(name string) []string {
	var addrs []string
	for _, n := range c.nodes {
		for _, l := range n.listeners {
			if l.name == name {
				addrs = append(addrs, l.advertised)
			}
		}
	}
	return addrs
}

// Running says whether a broker's process was started and has not ended; a frozen one runs.
func (c *Cluster) Running(broker int) bool { return c.nodes[broker].running() }

// Kill ends a broker as a crash would (SIGKILL). Killing one that does not run does nothing. The rest of the cluster
// notices when its session is over; see [Cluster.WaitUp].
func (c *Cluster) Kill(broker int) { c.nodes[broker].kill() }

// Stop ends a broker as an operator would (SIGTERM): it hands its partitions over first, for which a controller must lead
// without it. Stopping one that does not run does nothing.
func (c *Cluster) Stop(broker int) {
	c.tb.Helper()
	if err := c.nodes[broker].stop(); err != nil {
		c.tb.Error(err)
	}
}

// Start starts a broker again, on its addresses and with the data that it left. It returns before the broker serves: one
// that was killed is let in only when its old session is over. See [Cluster.WaitUp] and [Cluster.WaitInSync].
func (c *Cluster) Start(broker int) {
	c.tb.Helper()
	if err := c.nodes[broker].start(); err != nil {
		c.tb.Error(err)
	}
}

// Freeze stops a broker where it stands (SIGSTOP), with all its connections; Thaw lets it go on.
func (c *Cluster) Freeze(broker int) {
	c.tb.Helper()
	if err := c.nodes[broker].freeze(true); err != nil {
		c.tb.Error(err)
	}
}

// Thaw lets a frozen broker go on (SIGCONT).
func (c *Cluster) Thaw(broker int) {
	c.tb.Helper()
	if err := c.nodes[broker].freeze(false); err != nil {
		c.tb.Error(err)
	}
}

// end kills all nodes, and shows what they printed if the test has failed.
func (c *Cluster) end() {
	var all sync.WaitGroup
	for _, n := range c.nodes {
		all.Go(n.close)
	}
	all.Wait()
	if !c.tb.Failed() {
		return
	}
	for i, n := range c.nodes {
		c.tb.Logf("the last output of broker %d, %d starts:\n%s", i, n.starts, n.logTail())
	}
}
