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

// SentinelOptions says how sentinels are asked for the master. The zero value: they
// are not.
type SentinelOptions struct {
	// Master is the name under which the sentinels look after it.
	Master string

	// Addrs are addresses of sentinels, host:port; they tell of the others.
	Addrs []string

	// Username and Password log in to the sentinels; both empty: no login.
	Username string
	Password string
}

// enabled reports whether sentinels are to be asked.
func (o *SentinelOptions) enabled() bool { return o.Master != "" || len(o.Addrs) > 0 }

// ClusterShards is the usual number of shards on a Redis Cluster: enough that each
// of some ten masters has its share, and few enough that the fence records, of which
// each lane writes one a shard with each flush, cost little.
const ClusterShards = 64

// RedisOptions configures a Redis store. DefaultRedisOptions gives what is usual;
// only Group, and how the server is found, have no default.
type RedisOptions struct {
	// Addrs is the address of the server, host:port, exactly one; or some of the
	// nodes of a cluster, which tell of the others; or none, if there are sentinels.
	Addrs []string

	// Sentinel finds the server by its sentinels.
	Sentinel SentinelOptions

	// Cluster says that Addrs are nodes of a Redis Cluster.
	Cluster bool

	// Username and Password log in; both empty: no login. A password alone is that
	// of the user "default".
	Username string
	Password string

	// DB is the number of the database, 0 or more; a cluster has 0 only.
	DB int

	// TLS encrypts the connections, to sentinels too; nil: plain TCP. An empty
	// ServerName is filled in from the address.
	TLS *tls.Config

	// Prefix and Group name the keys, <prefix>:<group>:{<shard>}:...
	Prefix string
	Group  string

	// Shards is the number of parts that the users of a lane are spread over: 1 on
	// a single Redis, ClusterShards on a cluster. It is a part of the layout: with another number no stored
	// record is found again.
	Shards int

	// Types are the configured event types.
	Types *rules.Types

	// ChunkKeysMax is the number of users in one read or one write, 1 to 2000. Redis
	// serves nobody else meanwhile (1000 take about 3 ms), and Lua passes no more
	// than about 8000 arguments to one command.
	ChunkKeysMax int

	// ChunksInFlightMax is the number of full chunks that are sent before the first
	// answer is awaited, or as many users in more and smaller ones. More hide the network's delay, and are sent again after an
	// error.
	ChunksInFlightMax int

	// DialTimeout bounds connecting, with the TLS handshake; ReadTimeout and
	// WriteTimeout bound the waiting for one answer or for one request to be sent.
	// A context that ends earlier goes first.
	DialTimeout  time.Duration
	ReadTimeout  time.Duration
	WriteTimeout time.Duration

	// PoolSize is the number of connections, in a cluster to each node. A lane uses up to two at a time; one
	// that finds none free waits.
	PoolSize int

	// Dial replaces the connecting by TCP; nil: net.Dialer. TLS is put on top of it.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// chunkKeysLimit keeps a chunk below what Lua's unpack can pass to MSET.
const chunkKeysLimit = 2000

// DefaultRedisOptions returns the defaults, to which Group and Addrs, or Sentinel, are
// added.
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
	switch n := len(o.Addrs); {
	case o.Sentinel.enabled() && o.Cluster:
		wrong("Cluster: must be false, since Sentinel is set")
	case o.Sentinel.enabled() && n > 0:
		wrong("Addrs: has %d addresses, but the sentinels give the address", n)
	case o.Cluster && n == 0:
		wrong("Addrs: has 0 addresses, at least 1 node of the cluster is needed")
	case !o.Cluster && !o.Sentinel.enabled() && n != 1:
		wrong("Addrs: has %d addresses, a single server has exactly 1", n)
	}
	addresses := func(field string, addrs []string) {
		for _, addr := range addrs {
			if _, _, err := net.SplitHostPort(addr); err != nil {
				wrong("%s: %q is not host:port: %w", field, addr, err)
			}
		}
	}
	addresses("Addrs", o.Addrs)
	if o.Username != "" && o.Password == "" {
		wrong("Password: must be set, since Username is %q", o.Username)
	}
	if s := &o.Sentinel; s.enabled() {
		if s.Master == "" {
			wrong("Sentinel.Master: must be set, since Sentinel.Addrs is")
		}
		if len(s.Addrs) == 0 {
			wrong("Sentinel.Addrs: must be set, since Sentinel.Master is")
		}
		addresses("Sentinel.Addrs", s.Addrs)
		if s.Username != "" && s.Password == "" {
			wrong("Sentinel.Password: must be set, since Sentinel.Username is %q", s.Username)
		}
	}
	if o.Cluster && o.DB != 0 {
		wrong("DB: %d, a cluster has 0 only", o.DB)
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
