package state

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// quiet drops what go-redis logs on its own: each of it comes back as an error
// too, and is logged where it is handled.
type quiet struct{}

// Printf implements the logger of go-redis.
func (quiet) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(quiet{}) }

// Redis is a Store in Redis, version 6.2 or newer: a single server, one that
// sentinels look after, or a Redis Cluster. Reads and writes go to masters only.
type Redis struct {
	store
	nodes nodes
}

var _ Store = (*Redis)(nil)

// NewRedis returns a store. It connects with the first call, not here.
func NewRedis(o RedisOptions) (*Redis, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("redis options: %w", err)
	}
	var n nodes
	switch {
	case o.Cluster:
		n = newClusterNodes(o)
	case o.Sentinel.enabled():
		n = newSentinelNode(o)
	default:
		n = newSingleNode(o)
	}
	return &Redis{
		store: newStore(newRedisServer(n), newKeyspace(o.Prefix, o.Group, o.Shards), o.Types, o.ChunkKeysMax, o.ChunksInFlightMax),
		nodes: n,
	}, nil
}

// Check implements Store.
func (r *Redis) Check(ctx context.Context) error { return r.nodes.check(ctx) }

// Close implements Store.
func (r *Redis) Close() error { return r.nodes.close() }
