package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

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

// StageError says at which stage a broker could not be used. It unwraps to the
// cause. Nothing of a request was sent.
type StageError struct {
	Broker string // host:port, as it was dialed.
	Stage  Stage
	Err    error
}

func (e *StageError) Error() string {
	return fmt.Sprintf("kafka broker %s: %s: %v (%s)", e.Broker, e.Stage, e.Err, e.Hint())
}

func (e *StageError) Unwrap() error { return e.Err }

// Hint is what to do, or to look at.
func (e *StageError) Hint() string {
	var own interface{ Hint() string }
	if errors.As(e.Err, &own) {
		return own.Hint()
	}
	switch e.Stage {
	case StageDNS:
		return "the name does not resolve: check the address and the resolver"
	case StageTCP:
		return "nothing accepts connections there: check the port, that the broker runs, and firewalls"
	case StageTLS:
		return hintTLS(e.Err)
	case StageSASL:
		switch {
		case errors.Is(e.Err, errLoginWanted):
			return "set kafka.sasl, or use a port without SASL"
		case errors.Is(e.Err, kafka.UnsupportedSASLMechanism):
			return "set kafka.sasl.mechanism to one that the broker has, or use another port"
		case errors.Is(e.Err, kafka.IllegalSASLState):
			return "this port has no SASL: use the broker's SASL port, or leave kafka.sasl out"
		case isHangUp(e.Err) && !errors.Is(e.Err, errLoginDropped):
			return "the broker hangs up: check that this is its SASL port, and kafka.tls.enabled: true if that is one with TLS"
		}
		return "check mechanism, user and password, and that this is the broker's SASL port"
	}
	return "connected, but the broker does not answer as Kafka 3.1 or later: check that this is not its TLS or SASL port, and its version"
}

func hintTLS(err error) string {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.Is(err, errTLSPort):
		return "set kafka.tls.enabled: true, or use a port without TLS"
	case refusedCertificate(err):
		return "the broker refuses our certificate: check that kafka.tls.cert_file and key_file are set, not expired, and signed by an authority that the broker trusts"
	case errors.As(err, &authority):
		return "set kafka.tls.ca_file to the authority that signed the broker's certificate"
	case errors.As(err, &hostname):
		return "dial the broker by a name that its certificate has, or set kafka.tls.server_name to one"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the broker's certificate is expired or not valid yet: renew it, and check this machine's clock"
	}
	return "check that this is the broker's TLS port, its certificate's names, and the CA file"
}

// Causes of a StageError that nothing else has a name for.
var (
	errTLSPort     = errors.New("the answer is a TLS alert: the port is one with TLS, and TLS is off")
	errLoginWanted = errors.New("the broker answers, but hangs up at the first request: it wants a login")
	// errLoginDropped is no refusal for good: a broker that is stopped hangs up, too.
	errLoginDropped = errors.New("the broker hung up during the login, which may be its refusal")
)

// isHangUp reports whether the other side ended the connection.
func isHangUp(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// dial connects to a broker, host:port, encrypts and logs in as the options say;
// what it returns is ready for requests. An error is a *StageError.
//
// kafka-go's Transport and Dialer can do the same. They do not say which of the
// steps failed, drop what the broker said about a login, and let the session of
// a login end, with which the broker ends the connection (see session).
func (c *Client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.DialTimeout)
	defer cancel()
	at := func(stage Stage, err error) error { return &StageError{Broker: addr, Stage: stage, Err: err} }
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, at(StageDNS, err)
	}
	conn, err := c.options.Dial(ctx, network, addr)
	if err != nil {
		if errors.As(err, new(*net.DNSError)) {
			return nil, at(StageDNS, err)
		}
		return nil, at(StageTCP, err)
	}
	if c.options.TLS != nil {
		if conn, err = handshake(ctx, conn, c.options.TLS, host); err != nil {
			return nil, at(StageTLS, err)
		}
	}
	var lasts time.Duration
	err = bounded(ctx, conn, func() (err error) {
		switch {
		case c.options.SASL != nil:
			l := login{client: c, host: host}
			if l.port, err = strconv.Atoi(port); err == nil {
				lasts, err = l.over(ctx, conn)
			}
		case c.options.TLS != nil:
			// In TLS 1.3 the server's word on our certificate comes after the handshake: it is read with the first answer.
			err = c.greet(conn)
		}
		return err
	})
	if err != nil {
		conn.Close()
		switch {
		case errors.As(err, new(*credentialsError)):
			return nil, at(StageSASL, err)
		case isCertificate(err), errors.Is(err, errTLSPort):
			return nil, at(StageTLS, err)
		case c.options.SASL != nil:
			return nil, at(StageSASL, err)
		}
		return nil, at(StageProtocol, err)
	}
	if lasts > 0 {
		return newSession(c, conn, addr, lasts), nil
	}
	return conn, nil
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

// bounded lets do use a connection until ctx ends.
func bounded(ctx context.Context, conn net.Conn, do func() error) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := do()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// greet asks for the broker's versions, which it tells everybody, and does not look at them.
func (c *Client) greet(conn net.Conn) error {
	_, err := c.converse(conn, protocol.ApiVersions, 0, nil)
	return err
}

const (
	// converseBytesMax bounds an answer before the login is done.
	converseBytesMax = 1 << 20
	// tlsAlert begins the record by which a server refuses what is no TLS.
	tlsAlert = 0x15
)

// converse sends one request of a version without flexible fields on a
// connection that nobody else uses, and returns the answer's body.
func (c *Client) converse(conn net.Conn, key protocol.ApiKey, version int16, body []byte) (*decoder, error) {
	x := c.request(nil, key, version, false)
	x.frame = append(x.frame, body...)
	x.finish()
	if err := x.write(conn); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		if head[0] == tlsAlert && head[1] == 3 {
			return nil, errTLSPort // An alert has seven bytes.
		}
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:]))) - 4
	switch {
	case head[0] == tlsAlert && head[1] == 3:
		return nil, errTLSPort
	case size < 0 || size > converseBytesMax:
		return nil, fmt.Errorf("%w: %v answer of %d bytes (at most %d are taken)", ErrMalformed, key, size, converseBytesMax)
	case int32(binary.BigEndian.Uint32(head[4:])) != x.correlation:
		return nil, fmt.Errorf("%w: %v answer to another request", ErrMalformed, key)
	}
	answer, err := readBody(conn, nil, size)
	if err != nil {
		return nil, err
	}
	return &decoder{rest: answer}, nil
}
