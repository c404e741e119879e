package state

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// newSentinelNode returns the node that is the master at each time. Each new
// connection asks a sentinel where it is, and all others are closed when one tells
// of another master. A master that was demoted is not written any further: the
// sentinel that demotes it closes its connections, new ones are refused as long as
// it says that it is a replica (probe), and it answers READONLY. What it took after
// its replica was promoted is lost, which the fence shows.
func newSentinelNode(o RedisOptions) *singleNode {
	n := &singleNode{account: newAccount(o), name: fmt.Sprintf("master %s of the sentinels %s", o.Sentinel.Master, strings.Join(o.Sentinel.Addrs, ","))}
	n.inspect = func(ctx context.Context, conn *redis.Conn) error { return probe(ctx, conn, n.name, sentineled) }
	c := nodeOptions(o)
	n.client = redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:       o.Sentinel.Master,
		SentinelAddrs:    o.Sentinel.Addrs,
		SentinelUsername: o.Sentinel.Username,
		SentinelPassword: o.Sentinel.Password,

		Username:              c.Username,
		Password:              c.Password,
		DB:                    c.DB,
		Dialer:                c.Dialer,             // of connections to sentinels too
		OnConnect:             onConnect(n.inspect), // of them too
		DialTimeout:           c.DialTimeout,
		ReadTimeout:           c.ReadTimeout,
		WriteTimeout:          c.WriteTimeout,
		PoolSize:              c.PoolSize,
		ContextTimeoutEnabled: c.ContextTimeoutEnabled,
		MaxRetries:            c.MaxRetries,
		DialerRetries:         c.DialerRetries,
		PipelinePoolSize:      c.PipelinePoolSize,
		ReadBufferSize:        c.ReadBufferSize,
		WriteBufferSize:       c.WriteBufferSize,
		Protocol:              c.Protocol,
		DisableIdentity:       c.DisableIdentity,
	})
	return n
}
