package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

// Defaults of Options.
const (
	DefaultClientID         = "lapwing"
	DefaultDialTimeout      = 5 * time.Second
	DefaultRequestTimeout   = 10 * time.Second
	DefaultMetadataTTL      = time.Second
	DefaultResponseBytesMax = 128 << 20
)

// Options configures a Client. Only Brokers is required.
type Options struct {
	// Brokers are the bootstrap addresses, host:port.
	Brokers []string
	// ClientID names this client in the broker's logs and quotas.
	ClientID string
	// TLS, if not nil, encrypts every connection.
	TLS *tls.Config
	// SASL, if not nil, authenticates every connection, and again before a login
	// ends.
	SASL sasl.Mechanism
	// DialTimeout bounds connecting, TLS and SASL together.
	DialTimeout time.Duration
	// RequestTimeout bounds one request and its answer, and a whole call whose
	// context has no deadline. A long poll gets its waiting time on top.
	RequestTimeout time.Duration
	// MetadataTTL is the longest time that kafka-go goes by an old list of
	// brokers. It is also the deadline of its own metadata requests.
	MetadataTTL time.Duration
	// ResponseBytesMax bounds one answer of a broker. It must be larger than
	// FetchOptions.BytesMax and than the largest record batch of any topic.
	ResponseBytesMax int
	// Dial opens connections (a proxy, a test's faults); nil is net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Topics are those whose leaders kafka-go's Transport is to know, for users
	// of Transport. Client finds leaders by itself and needs none.
	Topics []string
}

func (o Options) withDefaults() Options {
	if o.ClientID == "" {
		o.ClientID = DefaultClientID
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = DefaultDialTimeout
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = DefaultRequestTimeout
	}
	if o.MetadataTTL == 0 {
		o.MetadataTTL = DefaultMetadataTTL
	}
	if o.ResponseBytesMax == 0 {
		o.ResponseBytesMax = DefaultResponseBytesMax
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	if len(o.Brokers) == 0 {
		errs = append(errs, errors.New("no brokers"))
	}
	for _, b := range o.Brokers {
		_, port, err := net.SplitHostPort(b)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("broker %q is not host:port: %w", b, err))
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"DialTimeout", o.DialTimeout}, {"RequestTimeout", o.RequestTimeout}, {"MetadataTTL", o.MetadataTTL}} {
		if d.value < time.Millisecond {
			errs = append(errs, fmt.Errorf("%s is %v, must be at least 1ms", d.name, d.value))
		}
	}
	if o.ResponseBytesMax < 1<<10 {
		errs = append(errs, fmt.Errorf("ResponseBytesMax is %d, must be at least 1024", o.ResponseBytesMax))
	}
	return errors.Join(errs...)
}

// Client is a connection to one Kafka cluster. It is safe for concurrent use.
type Client struct {
	options   Options
	addr      net.Addr
	transport *kafka.Transport

	correlation  atomic.Int32
	buffers      sync.Pool // *[]byte for large requests.
	leaders      leaderCache
	coordinators coordinatorCache
}

// New checks the options and returns a Client. It connects to nothing.
func New(o Options) (*Client, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("wire options: %w", err)
	}
	o.Brokers = slices.Clone(o.Brokers)
	// Not nil: that would be all topics of the cluster, once a MetadataTTL.
	o.Topics = append([]string{}, o.Topics...)
	c := &Client{
		options: o,
		leaders: leaderCache{refresh: make(chan struct{}, 1), topics: make(map[string][]int32)},
		addr:    kafka.TCP(o.Brokers...),
	}
	c.transport = &kafka.Transport{
		Dial:           c.dial,
		DialTimeout:    o.DialTimeout,
		MetadataTTL:    o.MetadataTTL,
		MetadataTopics: o.Topics,
		ClientID:       o.ClientID,
	}
	return c, nil
}

// Close ends the connections: the idle ones at once, those in use when their
// request is answered or its deadline has passed. The Client must not be used
// any more.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Transport is the kafka-go transport that all requests travel through. Its TLS
// and SASL are not set: its Dial returns connections that have both.
func (c *Client) Transport() *kafka.Transport { return c.transport }

// Addr is the address of the cluster as kafka-go's requests take it.
func (c *Client) Addr() net.Addr { return c.addr }

// Dialer returns a new kafka-go dialer for kafka.ConsumerGroup. It connects as
// Transport does, with the TLS and the login of Options.
func (c *Client) Dialer() *kafka.Dialer {
	return &kafka.Dialer{
		ClientID: c.options.ClientID,
		DialFunc: c.dial,
		Timeout:  c.options.DialTimeout,
	}
}

// bound gives ctx the deadline that every call has.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.options.RequestTimeout)
}

// leaderCache remembers the leaders of topics, -1 where there is none.
type leaderCache struct {
	refresh chan struct{} // Holds one while asking, so that many lanes ask once.
	mu      sync.Mutex
	topics  map[string][]int32
}

func (l *leaderCache) get(topic string, partition int32) (broker int32, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	brokers := l.topics[topic]
	if partition < 0 || int(partition) >= len(brokers) || brokers[partition] < 0 {
		return -1, false
	}
	return brokers[partition], true
}

func (l *leaderCache) set(topic string, brokers []int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[topic] = brokers
}

// forget drops what is known of a topic, so that the next use asks again.
func (l *leaderCache) forget(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.topics, topic)
}

// leader returns the id of the broker that leads the partition, asking the
// cluster when it is not known.
func (c *Client) leader(ctx context.Context, topic string, partition int32) (int32, error) {
	if id, ok := c.leaders.get(topic, partition); ok {
		return id, nil
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	select {
	case c.leaders.refresh <- struct{}{}:
		defer func() { <-c.leaders.refresh }()
	case <-ctx.Done():
		return -1, partitionError("find leader", topic, partition, -1, ctx.Err())
	}
	if id, ok := c.leaders.get(topic, partition); ok {
		return id, nil
	}
	topics, err := c.Topics(ctx, topic)
	if err != nil {
		return -1, err
	}
	if topics[0].Err != nil {
		return -1, topics[0].Err
	}
	if partition < 0 || partition >= topics[0].Partitions {
		return -1, partitionError("find leader", topic, partition, -1, kafka.UnknownTopicOrPartition)
	}
	if id, ok := c.leaders.get(topic, partition); ok {
		return id, nil
	}
	return -1, partitionError("find leader", topic, partition, -1, kafka.LeaderNotAvailable)
}

// askLeader sends one request to the partition's leader, and forgets the
// leader when the network or the answer says that it is another one.
func (c *Client) askLeader(ctx context.Context, topic string, partition int32, do func(ctx context.Context, broker int32) error) error {
	broker, err := c.leader(ctx, topic, partition)
	if err != nil {
		return err
	}
	if err = do(ctx, broker); movedLeader(err) {
		c.leaders.forget(topic)
	}
	return err
}
