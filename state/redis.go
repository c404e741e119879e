package state

import (
	"context"
	"crypto/tls"
	_ "embed" // for the scripts
	"errors"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

//go:embed claim.lua
var claimSource string

//go:embed flush.lua
var flushSource string

// quiet drops what go-redis logs on its own: each of it comes back as an error
// too, and is logged where it is handled.
type quiet struct{}

// Printf implements the logger of go-redis.
func (quiet) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(quiet{}) }

// Redis is a Store in a Redis server, version 6.2 or newer.
type Redis struct {
	store
	client *redis.Client
	addr   string
}

var _ Store = (*Redis)(nil)

// NewRedis returns a store. It connects with the first call, not here.
func NewRedis(o RedisOptions) (*Redis, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("redis options: %w", err)
	}
	r := &Redis{addr: o.Addrs[0]}
	s := &redisServer{addr: r.addr, claimScript: redis.NewScript(claimSource), flushScript: redis.NewScript(flushSource)}
	s.client = redis.NewClient(&redis.Options{
		Addr:         r.addr,
		Username:     o.Username,
		Password:     o.Password,
		DB:           o.DB,
		Dialer:       dialer(o),
		DialTimeout:  o.DialTimeout,
		ReadTimeout:  o.ReadTimeout,
		WriteTimeout: o.WriteTimeout,
		PoolSize:     o.PoolSize,
		// Each new connection is checked, so a server that took the place of another
		// one is looked at before it gets a state.
		OnConnect:             s.onConnect,
		ContextTimeoutEnabled: true,
		// A second try mends a connection that went stale in the pool. More waiting
		// is the caller's, who knows what else there is to do.
		MaxRetries:    1,
		DialerRetries: 1,
		// All data goes through pipelines: one pool with large buffers is enough.
		PipelinePoolSize: -1,
		ReadBufferSize:   128 << 10,
		WriteBufferSize:  128 << 10,
		// Nothing that a server of 6.2 does not know, or that needs permissions.
		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	r.client = s.client
	r.store = newStore(s, newKeyspace(o.Prefix, o.Group, o.Shards), o.Types, o.ChunkKeysMax, o.ChunksInFlightMax)
	return r, nil
}

// dialer returns the function that connects.
func dialer(o RedisOptions) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
		defer cancel()
		conn, err := dial(ctx, network, addr)
		if err != nil || o.TLS == nil {
			return conn, err
		}
		config := o.TLS.Clone()
		if config.ServerName == "" {
			if config.ServerName, _, err = net.SplitHostPort(addr); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("tls: %w", err), conn.Close())
		}
		return secure, nil
	}
}

// Check implements Store.
func (r *Redis) Check(ctx context.Context) error {
	info, err := r.client.Info(ctx).Result()
	if err == nil {
		err = checkInfo(r.addr, info)
	}
	return redisError(r.addr, err)
}

// Close implements Store.
func (r *Redis) Close() error { return r.client.Close() }

// redisServer is a server over the Redis protocol.
type redisServer struct {
	client      *redis.Client
	addr        string
	claimScript *redis.Script
	flushScript *redis.Script
}

var _ server = (*redisServer)(nil)

// onConnect checks the server at the other end of a new connection.
func (s *redisServer) onConnect(ctx context.Context, conn *redis.Conn) error {
	info, err := conn.Info(ctx).Result()
	if err == nil {
		err = checkInfo(s.addr, info)
	}
	if err != nil {
		// go-redis takes off one layer of what a connection's set-up returns.
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// claim implements server.
func (s *redisServer) claim(ctx context.Context, fenceKey string) (now, before string, err error) {
	reply, err := s.claimScript.Run(ctx, s.client, []string{fenceKey}).StringSlice()
	if err != nil {
		return "", "", redisError(s.addr, err)
	}
	if len(reply) != 2 {
		return "", "", fmt.Errorf("redis %s: %w: the claim returned %d values", s.addr, ErrCorrupt, len(reply))
	}
	return reply[0], reply[1], nil
}

// read implements server: one MGET for each read, in one pipeline.
func (s *redisServer) read(ctx context.Context, reads []read) error {
	pipe := s.client.Pipeline()
	cmds := make([]*redis.StringSliceCmd, len(reads))
	for i := range reads {
		args := make([]any, 0, 1+len(reads[i].keys))
		args = append(args, "mget")
		args = appendPointers(args, reads[i].keys)
		cmds[i] = redis.NewStringSliceCmd(ctx, args...)
		_ = pipe.Process(ctx, cmds[i]) // only queues it
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return redisError(s.addr, err)
	}
	for i, cmd := range cmds {
		values := cmd.Val()
		if len(values) != len(reads[i].keys) {
			return fmt.Errorf("redis %s: %w: %d values for %d keys", s.addr, ErrCorrupt, len(values), len(reads[i].keys))
		}
		copy(reads[i].values, values)
	}
	return nil
}

// noScriptTriesMax bounds the loading of the script within one write. A server
// forgets it only when it is restarted or told to.
const noScriptTriesMax = 3

// write implements server: one script call for each write, in one pipeline. A
// server that was restarted does not know the script: nothing was written by the
// calls it refused, and those it applied before are answered as done.
func (s *redisServer) write(ctx context.Context, writes []write) {
	for try := 1; ; try++ {
		s.tryWrite(ctx, writes)
		if try == noScriptTriesMax || !anyNoScript(writes) {
			break
		}
		if err := s.flushScript.Load(ctx, s.client).Err(); err != nil {
			for i := range writes {
				writes[i].err = err
			}
			break
		}
	}
	for i := range writes {
		writes[i].err = redisError(s.addr, writes[i].err)
	}
}

// tryWrite sends the writes once.
func (s *redisServer) tryWrite(ctx context.Context, writes []write) {
	pipe := s.client.Pipeline()
	cmds := make([]*redis.IntCmd, len(writes))
	for i := range writes {
		w := &writes[i]
		args := make([]any, 0, 6+len(w.keys)+len(w.values))
		args = append(args, "evalsha", s.flushScript.Hash(), len(w.keys))
		args = appendPointers(args, w.keys)
		args = append(args, w.epoch, w.n, w.payload)
		args = appendPointers(args, w.values)
		cmds[i] = redis.NewIntCmd(ctx, args...)
		_ = pipe.Process(ctx, cmds[i]) // only queues it
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, cmd := range cmds {
		n, err := cmd.Result()
		writes[i].outcome, writes[i].err = outcome(n), err
	}
}

// appendPointers appends pointers to the texts: unlike a string, a pointer is put
// into an interface without an allocation.
func appendPointers(args []any, texts []string) []any {
	for i := range texts {
		args = append(args, &texts[i])
	}
	return args
}

// anyNoScript reports whether a write was refused for want of the script.
func anyNoScript(writes []write) bool {
	for i := range writes {
		if redis.HasErrorPrefix(writes[i].err, "NOSCRIPT") {
			return true
		}
	}
	return false
}
