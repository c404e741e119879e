package state

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/lapwing/lapwing/rules"
)

// RedisOptions configures a Redis store. DefaultRedisOptions gives what is usual;
// only Addrs and Group have no default.
type RedisOptions struct {
	// Addrs are the addresses of the server, host:port. One for now: Redis Cluster
	// needs more, and is not supported yet.
	Addrs []string

	// Username and Password log in; both empty: no login. A password alone is that
	// of the user "default".
	Username string
	Password string

	// DB is the number of the database, 0 or more.
	DB int

	// TLS encrypts the connections; nil: plain TCP. An empty ServerName is filled
	// in from the address.
	TLS *tls.Config

	// Prefix and Group name the keys, <prefix>:<group>:{<shard>}:...
	Prefix string
	Group  string

	// Shards is the number of parts that the users of a lane are spread over: 1 on
	// a single Redis. It is a part of the layout: with another number no stored
	// record is found again.
	Shards int

	// Types are the configured event types.
	Types *rules.Types

	// ChunkKeysMax is the number of users in one read or one write, 1 to 2000. Redis
	// serves nobody else meanwhile (1000 take about 3 ms), and Lua passes no more
	// than about 8000 arguments to one command.
	ChunkKeysMax int

	// ChunksInFlightMax is the number of chunks that are sent before the first
	// answer is awaited. More hide the network's delay, and are sent again after an
	// error.
	ChunksInFlightMax int

	// DialTimeout bounds connecting, with the TLS handshake; ReadTimeout and
	// WriteTimeout bound the waiting for one answer or for one request to be sent.
	// A context that ends earlier goes first.
	DialTimeout  time.Duration
	ReadTimeout  time.Duration
	WriteTimeout time.Duration

	// PoolSize is the number of connections. A lane uses up to two at a time; one
	// that finds none free waits.
	PoolSize int

	// Dial replaces the connecting by TCP; nil: net.Dialer. TLS is put on top of it.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// chunkKeysLimit keeps a chunk below what Lua's unpack can pass to MSET.
const chunkKeysLimit = 2000

// DefaultRedisOptions returns the defaults, to which Addrs and Group are added.
func DefaultRedisOptions() RedisOptions {
	return RedisOptions{
		Prefix:            "lapwing",
		Shards:            1,
		Types:             rules.DefaultTypes(),
		ChunkKeysMax:      1000,
		ChunksInFlightMax: 4,
		DialTimeout:       3 * time.Second,
		ReadTimeout:       3 * time.Second,
		WriteTimeout:      3 * time.Second,
		PoolSize:          16,
	}
}

// validate returns all that is wrong, each with the name of its field.
func (o *RedisOptions) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(o.Addrs) != 1 {
		wrong("Addrs: has %d addresses, exactly 1 is supported", len(o.Addrs))
	}
	for _, addr := range o.Addrs {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			wrong("Addrs: %q is not host:port: %w", addr, err)
		}
	}
	if o.Username != "" && o.Password == "" {
		wrong("Password: must be set, since Username is %q", o.Username)
	}
	if o.DB < 0 {
		wrong("DB: %d is negative", o.DB)
	}
	errs = append(errs, checkKeyPart("Prefix", o.Prefix), checkKeyPart("Group", o.Group))
	if o.Types == nil {
		wrong("Types: must be set")
	}
	inRange := func(field string, value, low, high int) {
		if value < low || value > high {
			wrong("%s: %d is not from %d to %d", field, value, low, high)
		}
	}
	inRange("Shards", o.Shards, 1, shardsMax)
	inRange("ChunkKeysMax", o.ChunkKeysMax, 1, chunkKeysLimit)
	inRange("ChunksInFlightMax", o.ChunksInFlightMax, 1, 1000)
	inRange("PoolSize", o.PoolSize, 1, 10000)
	positive := func(field string, value time.Duration) {
		if value <= 0 {
			wrong("%s: %v is not positive", field, value)
		}
	}
	positive("DialTimeout", o.DialTimeout)
	positive("ReadTimeout", o.ReadTimeout)
	positive("WriteTimeout", o.WriteTimeout)
	return errors.Join(errs...)
}
