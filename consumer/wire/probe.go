package wire

import (
	"context"
	"errors"
	"fmt"
	"net"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Probe tries every bootstrap broker on connections of its own and returns nil
// if one of them can be used. Otherwise the error joins a *StageError for each.
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
func (c *Client) ProbeBrokers(ctx context.Context) []*StageError {
	var failed []*StageError
	for _, b := range c.options.Brokers {
		if err := c.probe(ctx, b); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

func (c *Client) probe(ctx context.Context, broker string) *StageError {
	ctx, cancel := context.WithTimeout(ctx, c.options.DialTimeout)
	defer cancel()
	conn, err := c.dial(ctx, "tcp", broker)
	if stage := (*StageError)(nil); errors.As(err, &stage) {
		return stage
	}
	defer conn.Close()
	err = bounded(ctx, conn, func() error { return c.probeProtocol(conn) })
	stage := StageProtocol
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTLSPort):
		stage = StageTLS
	case errors.Is(err, errLoginWanted):
		stage = StageSASL
	}
	return &StageError{Broker: broker, Stage: stage, Err: err}
}

// probeProtocol checks the versions that this package cannot do without.
func (c *Client) probeProtocol(conn net.Conn) error {
	d, err := c.converse(conn, protocol.ApiVersions, 0, nil)
	if c.options.TLS != nil && c.options.SASL == nil && isHangUp(err) {
		err = fmt.Errorf("%w: %w", errLoginWanted, err) // dial has asked already, and nobody may ask twice before a login
	}
	if err != nil {
		return fmt.Errorf("ask for API versions: %w", err)
	}
	if code := d.int16(); code != 0 {
		return fmt.Errorf("ask for API versions: %w", kafka.Error(code))
	}
	needed := map[protocol.ApiKey]int16{
		protocol.Produce:     produceVersion,
		protocol.Fetch:       fetchVersion,
		protocol.Metadata:    metadataVersion,
		protocol.OffsetFetch: offsetFetchVersion,
	}
	for n := d.count(6); n > 0; n-- {
		key, least, most := protocol.ApiKey(d.int16()), d.int16(), d.int16()
		need, ok := needed[key]
		if !ok {
			continue
		}
		if need < least || need > most {
			return fmt.Errorf("%w: %v %d is needed, the broker has %d to %d", kafka.UnsupportedVersion, key, need, least, most)
		}
		delete(needed, key)
	}
	if err := d.err("ApiVersions"); err != nil {
		return err
	}
	for key := range needed {
		return fmt.Errorf("%w: the broker lacks %v", kafka.UnsupportedVersion, key)
	}
	// ApiVersions is answered before a login, Metadata is not. No topics: of the brokers alone.
	const version = 1
	if _, err := c.converse(conn, protocol.Metadata, version, appendInt32(nil, 0)); err != nil {
		if isHangUp(err) && c.options.SASL == nil {
			err = fmt.Errorf("%w: %w", errLoginWanted, err)
		}
		return fmt.Errorf("ask for metadata: %w", err)
	}
	return nil
}
