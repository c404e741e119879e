package state_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/lapwing/lapwing/state"
	"github.com/lapwing/lapwing/state/storetest"
)

// redisOptions are those of a store on a server.
func redisOptions(addr string) state.RedisOptions {
	o := state.DefaultRedisOptions()
	o.Addrs, o.Group = []string{addr}, "g"
	return o
}

// sentinels puts sentinels in place of the address.
func sentinels(master string, addrs ...string) func(o *state.RedisOptions) {
	return func(o *state.RedisOptions) {
		o.Addrs, o.Sentinel.Master, o.Sentinel.Addrs = nil, master, addrs
	}
}

func TestRedisOptions(t *testing.T) {
	for _, test := range []struct {
		spoil func(o *state.RedisOptions)
		want  string // "": valid
	}{
		{func(*state.RedisOptions) {}, ""},
		{func(o *state.RedisOptions) { o.ChunkKeysMax, o.Shards, o.PoolSize = 2000, 1024, 1 }, ""},
		{func(o *state.RedisOptions) { o.Addrs = nil }, "Addrs: has 0"},
		{func(o *state.RedisOptions) { o.Addrs = []string{"a:1", "b:2"} }, "Addrs: has 2"},
		{func(o *state.RedisOptions) { o.Addrs = []string{"redis"} }, `Addrs: "redis"`},
		{func(o *state.RedisOptions) { o.Addrs, o.Cluster, o.Shards = []string{"a:1", "b:2"}, true, 64 }, ""},
		{func(o *state.RedisOptions) { o.Addrs, o.Cluster = nil, true }, "Addrs: has 0"},
		{func(o *state.RedisOptions) { o.Cluster, o.DB = true, 1 }, "DB: 1"},
		{sentinels("m", "a:1", "b:2"), ""},
		{sentinels("", "a:1"), "Sentinel.Master:"},
		{sentinels("m"), "Sentinel.Addrs:"},
		{sentinels("m", "a"), `Sentinel.Addrs: "a"`},
		{func(o *state.RedisOptions) { o.Sentinel.Master, o.Sentinel.Addrs = "m", []string{"a:1"} }, "Addrs: has 1"},
		{func(o *state.RedisOptions) { sentinels("m", "a:1")(o); o.Cluster = true }, "Cluster:"},
		{func(o *state.RedisOptions) { sentinels("m", "a:1")(o); o.Sentinel.Username = "u" }, "Sentinel.Password:"},
		{func(o *state.RedisOptions) { o.Username = "lapwing" }, "Password:"},
		{func(o *state.RedisOptions) { o.DB = -1 }, "DB: -1"},
		{func(o *state.RedisOptions) { o.Prefix = "" }, "Prefix:"},
		{func(o *state.RedisOptions) { o.Group = "" }, "Group:"},
		{func(o *state.RedisOptions) { o.Group = "a{b" }, "Group:"},
		{func(o *state.RedisOptions) { o.Group = "a b" }, "Group:"},
		{func(o *state.RedisOptions) { o.Group = strings.Repeat("g", 256) }, "Group:"},
		{func(o *state.RedisOptions) { o.Types = nil }, "Types:"},
		{func(o *state.RedisOptions) { o.Shards = 0 }, "Shards: 0"},
		{func(o *state.RedisOptions) { o.Shards = 1025 }, "Shards: 1025"},
		{func(o *state.RedisOptions) { o.ChunkKeysMax = 0 }, "ChunkKeysMax: 0"},
		{func(o *state.RedisOptions) { o.ChunkKeysMax = 2001 }, "ChunkKeysMax: 2001"},
		{func(o *state.RedisOptions) { o.ChunksInFlightMax = 0 }, "ChunksInFlightMax: 0"},
		{func(o *state.RedisOptions) { o.PoolSize = 0 }, "PoolSize: 0"},
		{func(o *state.RedisOptions) { o.DialTimeout = 0 }, "DialTimeout: 0s"},
		{func(o *state.RedisOptions) { o.ReadTimeout = -time.Second }, "ReadTimeout: -1s"},
		{func(o *state.RedisOptions) { o.WriteTimeout = 0 }, "WriteTimeout: 0s"},
	} {
		o := redisOptions("127.0.0.1:6379")
		test.spoil(&o)
		r, err := state.NewRedis(o)
		if err == nil {
			_ = r.Close()
		}
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
	// All that is wrong comes at once.
	_, err := state.NewRedis(state.RedisOptions{})
	for _, field := range []string{"Addrs", "Prefix", "Group", "Types", "Shards", "ChunkKeysMax", "PoolSize", "DialTimeout"} {
		if err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}

// TestLargestChunk writes and reads as many users in one chunk as can be set.
func TestLargestChunk(t *testing.T) {
	for name, addr := range map[string]func() string{
		"redis":     func() string { return startRedis(t).addr() },
		"miniredis": func() string { return miniredis.RunT(t).Addr() },
	} {
		t.Run(name, func(t *testing.T) {
			o := redisOptions(addr())
			o.ChunkKeysMax = 2000
			l, err := openRedis(t, o).Claim(t.Context(), 3)
			if err != nil {
				t.Fatal(err)
			}
			users := storetest.Users(0, 4001)
			var s state.Snapshot
			storetest.Fill(t, &s, 3, state.Checkpoint{Offset: 5}, users, func(u int64) int64 { return u })
			if err := l.Flush(t.Context(), &s); err != nil {
				t.Fatal(err)
			}
			out := make([]state.Stored, len(users))
			if err := l.Load(t.Context(), state.Takes{}, users, out); err != nil {
				t.Fatal(err)
			}
			for i, got := range out {
				if want := storetest.State(t, users[i]); !got.Found || !got.State.Equal(&want) {
					t.Fatalf("user %d: %+v", users[i], got)
				}
			}
		})
	}
}

// wantAll expects an error of every operation of a store.
func wantAll(t *testing.T, r *state.Redis, check func(err error) string) {
	t.Helper()
	_, claimErr := r.Claim(t.Context(), 3)
	_, _, peekErr := r.Peek(t.Context(), 3)
	_, _, recordErr := r.Record(t.Context(), 3)
	for name, err := range map[string]error{"check": r.Check(t.Context()), "claim": claimErr, "peek": peekErr, "record": recordErr} {
		if detail := check(err); detail != "" {
			t.Errorf("%s: got %v, want %s", name, err, detail)
		}
	}
}

func TestEvictionPolicyIsRefused(t *testing.T) {
	server := startRedis(t, "--maxmemory-policy", "allkeys-lru")
	r := openRedis(t, redisOptions(server.addr()))
	wantAll(t, r, func(err error) string {
		if !errors.Is(err, state.ErrEviction) || state.Retriable(err) {
			return "ErrEviction"
		}
		for _, text := range []string{server.addr(), `"allkeys-lru"`, "CONFIG SET maxmemory-policy noeviction"} {
			if !strings.Contains(err.Error(), text) {
				return text
			}
		}
		return ""
	})
	// The remedy works without a restart of either side.
	if err := server.client.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err(); err != nil {
		t.Fatal(err)
	}
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := r.Claim(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	// A server that comes back with another policy is found at the reconnect.
	server.args = []string{"--maxmemory-policy", "volatile-ttl"}
	server.swap(server.dump())
	var s state.Snapshot
	storetest.Fill(t, &s, 3, state.Checkpoint{Offset: 5}, storetest.Users(0, 3), func(u int64) int64 { return u })
	for err = l.Flush(t.Context(), &s); state.Retriable(err); err = l.Flush(t.Context(), &s) {
		time.Sleep(5 * time.Millisecond)
	}
	if !errors.Is(err, state.ErrEviction) {
		t.Fatalf("flush: %v, want ErrEviction", err)
	}
	if n := server.client.Exists(t.Context(), "lapwing:g:{0}:u:0").Val(); n != 0 {
		t.Fatal("a state was written to a server that evicts")
	}
}

func TestAccessIsRefused(t *testing.T) {
	server := startRedis(t, "--requirepass", "secret", "--user", "reader", "on", ">pw", "~*", "-@all", "+hello", "+info", "+mget",
		"--user", "caller", "on", ">pw", "~*", "-@all", "+hello", "+info", "+mget", "+evalsha", "+eval", "+script", "+time")
	refused := func(remedy string) func(err error) string {
		return func(err error) string {
			var access *state.AccessError
			if !errors.As(err, &access) || access.Addr != server.addr() || state.Retriable(err) {
				return "AccessError"
			}
			if !strings.Contains(err.Error(), server.addr()) || !strings.Contains(err.Error(), remedy) {
				return remedy
			}
			return ""
		}
	}
	o := redisOptions(server.addr())
	wantAll(t, openRedis(t, o), refused("redis.password"))
	o.Password = "wrong"
	wantAll(t, openRedis(t, o), refused("redis.password"))
	o.Username, o.Password = "nobody", "secret"
	wantAll(t, openRedis(t, o), refused("redis.password"))

	o.Username, o.Password = "reader", "pw"
	r := openRedis(t, o)
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := r.Claim(t.Context(), 3)
	if detail := refused("ACL SETUSER")(err); detail != "" {
		t.Errorf("claim without permission: got %v, want %s", err, detail)
	}
	o.Username = "caller" // may run scripts, and not what they run
	_, err = openRedis(t, o).Claim(t.Context(), 3)
	if detail := refused("ACL SETUSER")(err); detail != "" {
		t.Errorf("claim without permission for what the script runs: got %v, want %s", err, detail)
	}
	o.Username, o.Password, o.DB = "", "secret", 3
	r = openRedis(t, o)
	if _, err := r.Claim(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if _, found, err := r.Peek(t.Context(), 3); found || err != nil {
		t.Fatal(found, err)
	}
}

func TestRedisIsAway(t *testing.T) {
	server := startRedis(t)
	o := redisOptions(server.addr())
	o.DialTimeout, o.ReadTimeout = time.Second, time.Second
	r := openRedis(t, o)
	l, err := r.Claim(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	dump := server.dump()
	server.kill()
	retriable := func(err error) string {
		if !state.Retriable(err) || !strings.Contains(err.Error(), server.addr()) {
			return "an error that is retriable and names " + server.addr()
		}
		return ""
	}
	wantAll(t, r, retriable)
	var s state.Snapshot
	storetest.Fill(t, &s, 3, state.Checkpoint{Offset: 5}, storetest.Users(0, 3), func(u int64) int64 { return u })
	for range 3 {
		if detail := retriable(l.Flush(t.Context(), &s)); detail != "" {
			t.Fatal(detail)
		}
		if detail := retriable(l.Load(t.Context(), state.Takes{}, storetest.Users(0, 3), make([]state.Stored, 3))); detail != "" {
			t.Fatal(detail)
		}
	}
	server.swap(dump)
	// After many failures the client looks for the server only once a second.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for err = l.Flush(ctx, &s); state.Retriable(err) && ctx.Err() == nil; err = l.Flush(ctx, &s) {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	if record, found, err := r.Record(t.Context(), 2); err != nil || !found || record.Tag != 5 {
		t.Fatalf("%+v, %v, %v", record, found, err)
	}
}

// TestEveryCallEnds runs against a server that takes connections and says nothing.
func TestEveryCallEnds(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	o := redisOptions(listener.Addr().String())
	o.ReadTimeout = 100 * time.Millisecond
	start := time.Now()
	if err := openRedis(t, o).Check(t.Context()); !state.Retriable(err) {
		t.Errorf("by the read timeout: %v", err)
	}
	o.ReadTimeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := openRedis(t, o).Check(ctx); !state.Retriable(err) {
		t.Errorf("by the context's deadline: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if err := openRedis(t, o).Check(ctx); err == nil || state.Retriable(err) {
		t.Errorf("canceled: %v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestRedisByTLS(t *testing.T) {
	https := httptest.NewTLSServer(nil) // for its certificate
	defer https.Close()
	server := miniredis.NewMiniRedis()
	if err := server.StartTLS(&tls.Config{Certificates: https.TLS.Certificates}); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	o := redisOptions(server.Addr())
	o.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	o.TLS.RootCAs.AddCert(https.Certificate())
	if _, err := openRedis(t, o).Claim(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	o.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	if _, err := openRedis(t, o).Claim(t.Context(), 3); err == nil || state.Retriable(err) || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("untrusted certificate: %v", err)
	}
}

// reply is an error reply of a server.
type reply string

func (r reply) Error() string { return string(r) }
func (r reply) RedisError()   {}

func TestRetriable(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{state.ErrFenced, false},
		{state.ErrCorrupt, false},
		{state.ErrEviction, false},
		{state.ErrVersion, false},
		{state.ErrTopology, false},
		{state.ErrPending, false},
		{&state.AccessError{Err: io.EOF}, false},
		{context.Canceled, false},
		{redis.ErrClosed, false},
		{&tls.CertificateVerificationError{Err: io.EOF}, false},
		{reply("WRONGTYPE Operation against a key holding the wrong kind of value"), false},
		{reply("ERR unknown command 'EVALSHA'"), false},
		{reply("ERR DB index is out of range"), false},
		{reply("NOPERM no permission"), false},
		{errors.New("something else"), false},

		{io.EOF, true},
		{io.ErrUnexpectedEOF, true},
		{net.ErrClosed, true},
		{context.DeadlineExceeded, true},
		{redis.ErrPoolTimeout, true},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, true},
		{reply("MOVED 3999 127.0.0.1:6381"), true},
		{reply("ASK 3999 127.0.0.1:6381"), true},
		{reply("TRYAGAIN Multiple keys request during rehashing of slot"), true},
		{reply("CLUSTERDOWN The cluster is down"), true},
		{reply("MASTERDOWN Link with MASTER is down"), true},
		{reply("LOADING Redis is loading the dataset in memory"), true},
		{reply("READONLY You can't write against a read only replica."), true},
		{reply("OOM command not allowed when used memory > 'maxmemory'."), true},
		{reply("MISCONF Redis is configured to save RDB snapshots"), true},
		{reply("BUSY Redis is busy running a script."), true},
		{reply("ERR max number of clients reached"), true},
		{reply("NOSCRIPT No matching script."), true},
	} {
		if got := state.Retriable(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
		if test.err != nil && state.Retriable(fmt.Errorf("lane 3: %w", test.err)) != test.want {
			t.Errorf("%v, wrapped: want %v", test.err, test.want)
		}
	}
}

// TestLoginIsRevoked asks for a password that the store does not have, and closes its connections: the server refuses each
// new one before a write is sent. The write must not be taken for done.
func TestLoginIsRevoked(t *testing.T) {
	server := startRedis(t)
	l, err := openRedis(t, redisOptions(server.addr())).Claim(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	outside := server.client.Conn()
	defer outside.Close()
	if err := outside.ConfigSet(t.Context(), "requirepass", "secret").Err(); err != nil {
		t.Fatal(err)
	}
	if err := outside.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	var s state.Snapshot
	storetest.Fill(t, &s, 3, state.Checkpoint{Offset: 5}, storetest.Users(0, 3), func(u int64) int64 { return u })
	for range 2 {
		var access *state.AccessError
		if err := l.Flush(t.Context(), &s); !errors.As(err, &access) {
			t.Fatalf("flush: %v, want an AccessError", err)
		}
	}
	if err := outside.ConfigSet(t.Context(), "requirepass", "").Err(); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	if fence := outside.Get(t.Context(), "lapwing:g:{0}:lane:3").Val(); !strings.Contains(fence, ":1:v1 offset=5 ") {
		t.Fatalf("fence record %q, want write 1 with the checkpoint", fence)
	}
}
