package consumertest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// replicationUser is the user that replicas log in as, on servers that are started with replicaArgs.
// So their links can be cut without touching those of anybody else.
const replicationUser = "replica"

// replicaArgs are the options of a server that has replicas, or is one, or will be.
func replicaArgs(more ...string) []string {
	return append([]string{
		"--user", replicationUser, "on", ">replica", "+psync", "+replconf", "+ping",
		"--masteruser", replicationUser, "--masterauth", "replica", "--repl-diskless-sync-delay", "0",
	}, more...)
}

// Client returns a client of this server alone, past every sentinel and cluster. It is closed with
// the test.
func (s *RedisServer) Client() *redis.Client {
	s.tb.Helper()
	client := redis.NewClient(s.clientOptions())
	s.tb.Cleanup(func() { _ = client.Close() })
	return client
}

func (s *RedisServer) clientOptions() *redis.Options {
	return &redis.Options{Addr: s.Addr(), MaxRetries: -1, Protocol: 2, DisableIdentity: true, TLSConfig: s.clientTLS()}
}

// CutReplicas closes the links to replicas and lets none be made: what is written from now on is on
// this server only. Other connections are not touched.
func (s *RedisServer) CutReplicas() {
	s.tb.Helper()
	s.do("acl", "setuser", replicationUser, "off")
	s.do("client", "kill", "type", "replica")
	s.poll("without replicas", func() error {
		if n, err := s.role("master"); err != nil || n > 0 {
			return fmt.Errorf("it has %d replicas: %w", n, err)
		}
		return nil
	})
}

// ask runs something with a connection of its own and a deadline.
func (s *RedisServer) ask(run func(ctx context.Context, client *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	client := redis.NewClient(s.clientOptions())
	defer client.Close()
	return run(ctx, client)
}

// do runs a command that must succeed.
func (s *RedisServer) do(args ...any) (value any) {
	s.tb.Helper()
	if err := s.ask(func(ctx context.Context, client *redis.Client) (err error) {
		value, err = client.Do(ctx, args...).Result()
		return err
	}); err != nil {
		text, _ := os.ReadFile(s.log)
		s.tb.Fatalf("%v at the Redis %s: %v\n%s", args, s.Addr(), err, text[max(0, len(text)-logTailBytes):])
	}
	return value
}

// role asks for the role, which must be as given, and for the number of replicas of a master.
func (s *RedisServer) role(want string) (replicas int, err error) {
	var role []any
	if err := s.ask(func(ctx context.Context, client *redis.Client) (err error) {
		role, err = client.Do(ctx, "role").Slice()
		return err
	}); err != nil {
		return 0, err
	}
	if role[0] != want {
		return 0, fmt.Errorf("its role is %v, want %s", role[0], want)
	}
	if list, ok := role[2].([]any); ok {
		return len(list), nil
	}
	return 0, nil
}

// poll repeats a question until it is answered without an error.
func (s *RedisServer) poll(what string, ask func() error) {
	s.tb.Helper()
	pollUntil(s.tb, fmt.Sprintf("the Redis %s is %s", s.Addr(), what), ask)
}

// redisSettleTimeout bounds the waiting for replicas, sentinels and clusters.
const redisSettleTimeout = 30 * time.Second

// pollUntil repeats a question until it is answered without an error, and fails the test if that takes too long.
func pollUntil(tb testing.TB, what string, ask func() error) {
	tb.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(redisSettleTimeout); ; <-ticker.C {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("waited %v until %s: %v", redisSettleTimeout, what, err)
		}
	}
}

// awaitReplicated waits until a replica has all that its master has acknowledged so far.
func awaitReplicated(master, replica *RedisServer) {
	master.tb.Helper()
	offset := replicationOffset(master)
	replica.poll(fmt.Sprintf("as far as %s", master.Addr()), func() error {
		info, err := replica.info("replication")
		if err != nil {
			return err
		}
		if info["master_link_status"] != "up" || number(info["slave_repl_offset"]) < offset {
			return fmt.Errorf("link %s, offset %s of %d", info["master_link_status"], info["slave_repl_offset"], offset)
		}
		return nil
	})
}

// replicationOffset returns how far a master's stream of writes has come.
func replicationOffset(master *RedisServer) int64 {
	master.tb.Helper()
	info, err := master.info("replication")
	if err != nil {
		master.tb.Fatalf("replication of the Redis %s: %v", master.Addr(), err)
	}
	return number(info["master_repl_offset"])
}

// info returns the fields of a section of INFO.
func (s *RedisServer) info(section string) (map[string]string, error) {
	var text string
	if err := s.ask(func(ctx context.Context, client *redis.Client) (err error) {
		text, err = client.Info(ctx, section).Result()
		return err
	}); err != nil {
		return nil, err
	}
	return fields(text), nil
}

// fields reads lines of name:value.
func fields(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			values[name] = value
		}
	}
	return values
}

// number reads a number of INFO; what is none is -1.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}
