package wire

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl"
)

// Versions of Kafka 2.2; later ones differ in their form only.
const (
	saslHandshakeVersion    = 1
	saslAuthenticateVersion = 1 // The first that says how long the session lasts (KIP-368).
)

// login is a SASL login at one broker.
type login struct {
	client *Client
	host   string
	port   int
}

// over logs in over a connection that is up, for the first time or again, and
// returns how long the broker lets it last; 0: for ever. What the broker says of
// a refusal is in the error.
func (l *login) over(ctx context.Context, conn net.Conn) (lasts time.Duration, err error) {
	mechanism := l.client.options.SASL
	ctx = sasl.WithMetadata(ctx, &sasl.Metadata{Host: l.host, Port: l.port})
	if err := l.choose(conn, mechanism.Name()); err != nil {
		return 0, err
	}
	exchange, message, err := mechanism.Start(ctx)
	if err != nil {
		return 0, &credentialsError{fmt.Errorf("%s: %w", mechanism.Name(), err)}
	}
	for done := false; !done; {
		var challenge []byte
		if challenge, lasts, err = l.authenticate(conn, message); isHangUp(err) {
			err = fmt.Errorf("%w: %w", errLoginDropped, err)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", mechanism.Name(), err)
		}
		if done, message, err = exchange.Next(ctx, challenge); err != nil {
			// Such as SCRAM's server that does not know the password.
			return 0, fmt.Errorf("%w: %s: %w", kafka.SASLAuthenticationFailed, mechanism.Name(), err)
		}
	}
	return lasts, nil
}

// credentialsError is of a mechanism that has nothing to log in with. It is none
// of the connection, whatever its cause looks like.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// choose tells the broker the mechanism.
func (l *login) choose(conn net.Conn, name string) error {
	d, err := l.client.converse(conn, protocol.SaslHandshake, saslHandshakeVersion, appendString(nil, name))
	if err != nil {
		return err
	}
	code := d.int16()
	var has []string
	for n := d.count(2); n > 0; n-- {
		has = append(has, string(d.string()))
	}
	if err := d.err("SaslHandshake"); err != nil {
		return err
	}
	switch kafka.Error(code) {
	case 0:
		return nil
	case kafka.UnsupportedSASLMechanism:
		return fmt.Errorf("%w: the broker has %s, not %s", kafka.Error(code), strings.Join(has, ", "), name)
	}
	return kafka.Error(code)
}

// authenticate sends one message of the exchange.
func (l *login) authenticate(conn net.Conn, message []byte) (challenge []byte, lasts time.Duration, err error) {
	body := append(appendInt32(nil, int32(len(message))), message...)
	d, err := l.client.converse(conn, protocol.SaslAuthenticate, saslAuthenticateVersion, body)
	if err != nil {
		return nil, 0, err
	}
	code := d.int16()
	said := strings.TrimSpace(string(d.string()))
	if n := d.int32(); n >= 0 {
		challenge = d.take(int(n))
	}
	lasts = time.Duration(d.int64()) * time.Millisecond
	if err := d.err("SaslAuthenticate"); err != nil {
		return nil, 0, err
	}
	if code != 0 {
		return nil, 0, fmt.Errorf("%w: the broker says: %s", kafka.Error(code), said)
	}
	return challenge, lasts, nil
}
