// Package oauth logs in to Kafka with tokens: the mechanism OAUTHBEARER (RFC 7628, KIP-255), and tokens of an OpenID
// Connect server by client credentials (KIP-768).
package oauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go/sasl"
)

// Token is what a login shows to a broker.
type Token struct {
	Value string
	// Expires is when the broker stops taking it. The zero time: not known, and the token is for one login only.
	Expires time.Time
}

// Source fetches a new token. It is called for one login at a time, and its error must not show a secret.
type Source func(ctx context.Context) (Token, error)

// Mechanism is OAUTHBEARER as kafka-go wants it. A token serves all logins until keptPercent of its life is over, so that
// each session lasts for a while, and is fetched by the login that needs it; logins that need it at the same time wait for that
// one. Safe for concurrent use.
type Mechanism struct {
	fetch      Source
	extensions string        // as they stand in the first message
	turn       chan struct{} // holds one while a token is looked at or fetched
	token      Token         // guarded by turn
	freshUntil time.Time     // guarded by turn
}

// keptPercent is the part of a token's life in which it serves new logins.
const keptPercent = 60

// New returns a mechanism with tokens of a source. Extensions are further keys and values for the broker; keys are letters,
// values printable ASCII.
func New(fetch Source, extensions map[string]string) (*Mechanism, error) {
	m := &Mechanism{fetch: fetch, turn: make(chan struct{}, 1)}
	for _, key := range slices.Sorted(maps.Keys(extensions)) {
		if err := CheckExtension(key, extensions[key]); err != nil {
			return nil, err
		}
		m.extensions += key + "=" + extensions[key] + "\x01"
	}
	return m, nil
}

var (
	extensionKey   = regexp.MustCompile(`^[A-Za-z]+$`)
	extensionValue = regexp.MustCompile(`^[\x20-\x7E\t\r\n]*$`)
)

// CheckExtension says what is wrong with an extension.
func CheckExtension(key, value string) error {
	switch {
	case key == "auth":
		return errors.New("the extension auth is the token's own")
	case !extensionKey.MatchString(key):
		return fmt.Errorf("the extension %q must be named by letters a-z and A-Z only", key)
	case !extensionValue.MatchString(value):
		return fmt.Errorf("the value of the extension %s must be printable ASCII", key)
	}
	return nil
}

// Name is the name that brokers know.
func (*Mechanism) Name() string { return "OAUTHBEARER" }

// Start begins a login.
func (m *Mechanism) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	token, err := m.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &exchange{mechanism: m, token: token}, []byte("n,,\x01auth=Bearer " + token + "\x01" + m.extensions + "\x01"), nil
}

// current returns the token that serves logins now.
func (m *Mechanism) current(ctx context.Context) (string, error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return "", fmt.Errorf("wait for a token that another login fetches: %w", ctx.Err())
	}
	if time.Now().Before(m.freshUntil) {
		return m.token.Value, nil
	}
	began := time.Now()
	token, err := m.fetch(ctx)
	if err != nil {
		return "", err
	}
	m.token, m.freshUntil = token, time.Time{}
	if life := token.Expires.Sub(began); !token.Expires.IsZero() && life > 0 {
		m.freshUntil = began.Add(life * keptPercent / 100)
	}
	return token.Value, nil
}

// refused drops a token that a broker did not take, so that the next login fetches another one.
func (m *Mechanism) refused(token string) {
	m.turn <- struct{}{} // held for as long as a fetch takes, which has a timeout
	defer func() { <-m.turn }()
	if m.token.Value == token {
		m.freshUntil = time.Time{}
	}
}

// exchange is one login.
type exchange struct {
	mechanism *Mechanism
	token     string
	said      string // the broker's refusal
}

// Next is called with the broker's answer: nothing when it has taken the token, else a JSON document that says why not,
// which is answered by one byte, and that by the broker's error.
func (x *exchange) Next(_ context.Context, challenge []byte) (done bool, response []byte, err error) {
	if len(challenge) == 0 && x.said == "" {
		return true, nil, nil
	}
	x.mechanism.refused(x.token)
	if x.said != "" {
		return false, nil, fmt.Errorf("the broker refused the token: %s", x.said)
	}
	x.said = strings.ToValidUTF8(string(challenge), "?")
	return false, []byte{1}, nil
}
