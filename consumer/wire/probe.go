package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Stage is a step of reaching a broker.
type Stage string

// The stages in their order.
const (
	StageDNS      Stage = "DNS"
	StageTCP      Stage = "TCP"
	StageTLS      Stage = "TLS"
	StageSASL     Stage = "SASL"
	StageProtocol Stage = "protocol"
)

// ProbeError says at which stage a broker could not be used.
type ProbeError struct {
	Broker string // As in Options.Brokers.
	Stage  Stage
	Err    error
}

func (e *ProbeError) Error() string {
	return fmt.Sprintf("kafka broker %s: %s: %v (%s)", e.Broker, e.Stage, e.Err, e.Hint())
}

func (e *ProbeError) Unwrap() error { return e.Err }

// Hint is what to look at.
func (e *ProbeError) Hint() string {
	switch e.Stage {
	case StageDNS:
		return "the name does not resolve: check the address and the resolver"
	case StageTCP:
		return "nothing accepts connections there: check the port, that the broker runs, and firewalls"
	case StageTLS:
		return "check that this is the broker's TLS port, its certificate's names, and the CA file"
	case StageSASL:
		return "check mechanism, user and password, and that this is the broker's SASL port"
	}
	return "connected, but the broker does not answer as Kafka 3.1 or later: check that this is not its TLS or SASL port, and its version"
}

// Probe tries every bootstrap broker on connections of its own and returns nil
// if one of them can be used. Otherwise the error joins a *ProbeError for each.
func (c *Client) Probe(ctx context.Context) error {
	failed := c.ProbeBrokers(ctx)
	if len(failed) < len(c.options.Brokers) {
		return nil
	}
	errs := make([]error, len(failed))
	for i, e := range failed {
		errs[i] = e
	}
	return errors.Join(errs...)
}

// ProbeBrokers tries every bootstrap broker, one after the other, and returns
// what is wrong with those that cannot be used.
func (c *Client) ProbeBrokers(ctx context.Context) []*ProbeError {
	var failed []*ProbeError
	for _, b := range c.options.Brokers {
		if stage, err := c.probe(ctx, b); err != nil {
			failed = append(failed, &ProbeError{Broker: b, Stage: stage, Err: err})
		}
	}
	return failed
}

func (c *Client) probe(ctx context.Context, broker string) (Stage, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.DialTimeout)
	defer cancel()
	host, _, err := net.SplitHostPort(broker)
	if err != nil {
		return StageDNS, err
	}
	if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
		return StageDNS, err
	}
	conn, err := c.options.Dial(ctx, "tcp", broker)
	if err != nil {
		return StageTCP, err
	}
	if c.options.TLS != nil {
		if conn, err = handshake(ctx, conn, c.options.TLS, host); err != nil {
			return StageTLS, err
		}
	}
	// The rest speaks over the connection that stands.
	d := c.Dialer()
	d.TLS = nil
	d.DialFunc = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	k, err := d.DialContext(ctx, "tcp", broker)
	if err != nil {
		conn.Close()
		return StageSASL, err
	}
	defer k.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := k.SetDeadline(deadline); err != nil {
			return StageProtocol, err
		}
	}
	return StageProtocol, probeProtocol(k)
}

// handshake closes conn if it fails.
func handshake(ctx context.Context, conn net.Conn, config *tls.Config, host string) (net.Conn, error) {
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = host
	}
	t := tls.Client(conn, config)
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}

// probeProtocol checks the versions that this package cannot do without.
func probeProtocol(k *kafka.Conn) error {
	versions, err := k.ApiVersions()
	if err != nil {
		return fmt.Errorf("ask for API versions: %w", err)
	}
	needed := map[protocol.ApiKey]int16{
		protocol.Produce:     produceVersion,
		protocol.Fetch:       fetchVersion,
		protocol.Metadata:    metadataVersion,
		protocol.OffsetFetch: offsetFetchVersion,
	}
	for _, v := range versions {
		key := protocol.ApiKey(v.ApiKey)
		need, ok := needed[key]
		if !ok {
			continue
		}
		if need < v.MinVersion || need > v.MaxVersion {
			return fmt.Errorf("%w: %v %d is needed, the broker has %d to %d",
				kafka.UnsupportedVersion, key, need, v.MinVersion, v.MaxVersion)
		}
		delete(needed, key)
	}
	for key := range needed {
		return fmt.Errorf("%w: the broker lacks %v", kafka.UnsupportedVersion, key)
	}
	// ApiVersions is answered before authentication, Brokers is not.
	if _, err := k.Brokers(); err != nil {
		return fmt.Errorf("ask for metadata: %w", err)
	}
	return nil
}
