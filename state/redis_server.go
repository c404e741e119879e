package state

import (
	"context"
	_ "embed" // for the scripts
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed claim.lua
var claimSource string

//go:embed swap.lua
var swapSource string

//go:embed flush.lua
var flushSource string

// redisServer is a server over the Redis protocol, on any topology.
type redisServer struct {
	nodes       nodes
	flushScript *redis.Script
}

var _ server = (*redisServer)(nil)

// newRedisServer returns the server on these nodes.
func newRedisServer(n nodes) *redisServer {
	return &redisServer{nodes: n, flushScript: redis.NewScript(flushSource)}
}

// once is a command that go-redis does not send again by itself.
type once struct{ *redis.StringSliceCmd }

// NoRetry implements redis.Cmder.
func (once) NoRetry() bool { return true }

// onceInt is once of a command with another reply.
type onceInt struct{ *redis.IntCmd }

// NoRetry implements redis.Cmder.
func (onceInt) NoRetry() bool { return true }

// claim implements server. The script goes along, so that one request is enough.
func (s *redisServer) claim(ctx context.Context, fenceKey, token string) (now, before string, err error) {
	cmd := once{redis.NewStringSliceCmd(ctx, "eval", claimSource, 1, fenceKey, token)}
	commands := []command{{key: fenceKey, cmd: cmd}}
	s.nodes.send(ctx, commands)
	if err := commands[0].err; err != nil {
		return "", "", err
	}
	reply := cmd.Val()
	if len(reply) != 2 {
		return "", "", fmt.Errorf("redis: %w: the claim of %s returned %d values", ErrCorrupt, fenceKey, len(reply))
	}
	return reply[0], reply[1], nil
}

// swap implements server.
func (s *redisServer) swap(ctx context.Context, key, before, after string) (bool, error) {
	cmd := onceInt{redis.NewIntCmd(ctx, "eval", swapSource, 1, key, before, after)}
	commands := []command{{key: key, cmd: cmd}}
	s.nodes.send(ctx, commands)
	return cmd.Val() == 1, commands[0].err
}

// read implements server: one MGET for each read.
func (s *redisServer) read(ctx context.Context, reads []read) error {
	commands := make([]command, len(reads))
	for i := range reads {
		args := make([]any, 0, 1+len(reads[i].keys))
		args = append(args, "mget")
		args = appendPointers(args, reads[i].keys)
		commands[i] = command{key: reads[i].keys[0], cmd: redis.NewStringSliceCmd(ctx, args...)}
	}
	s.nodes.send(ctx, commands)
	for i := range commands {
		if err := commands[i].err; err != nil {
			return err
		}
		values := commands[i].cmd.(*redis.StringSliceCmd).Val()
		if len(values) != len(reads[i].keys) {
			return fmt.Errorf("redis: %w: %d values for %d keys from %s on", ErrCorrupt, len(values), len(reads[i].keys), reads[i].keys[0])
		}
		copy(reads[i].values, values)
	}
	return nil
}

// noScriptTriesMax bounds the loading of the script within one write. A server
// forgets it only when it is restarted or told to.
const noScriptTriesMax = 3

// write implements server: one script call for each write. A server that was
// restarted, or became a master, does not know the script: nothing was written by
// the calls it refused, and those it applied before are answered as done.
func (s *redisServer) write(ctx context.Context, writes []write) {
	commands := make([]command, len(writes))
	for i := range writes {
		w := &writes[i]
		args := make([]any, 0, 6+len(w.keys)+len(w.values))
		args = append(args, "evalsha", s.flushScript.Hash(), len(w.keys))
		args = appendPointers(args, w.keys)
		args = append(args, w.owner, w.n, w.payload)
		args = appendPointers(args, w.values)
		commands[i] = command{key: w.keys[0], cmd: redis.NewIntCmd(ctx, args...)}
	}
	for try := 1; ; try++ {
		s.nodes.send(ctx, commands)
		at := noScript(commands)
		if at < 0 || try == noScriptTriesMax {
			break
		}
		if err := s.nodes.load(ctx, commands, s.flushScript); err != nil {
			commands[at].err = err
			break
		}
	}
	for i := range commands {
		writes[i].outcome, writes[i].err = outcome(commands[i].cmd.(*redis.IntCmd).Val()), commands[i].err
	}
}

// noScript returns the first command that was refused for want of the script, or
// -1.
func noScript(commands []command) int {
	for i := range commands {
		if isNoScript(commands[i].err) {
			return i
		}
	}
	return -1
}

// isNoScript reports whether a server does not know the script of a command.
func isNoScript(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT") }

// appendPointers appends pointers to the texts: unlike a string, a pointer is put
// into an interface without an allocation.
func appendPointers(args []any, texts []string) []any {
	for i := range texts {
		args = append(args, &texts[i])
	}
	return args
}
