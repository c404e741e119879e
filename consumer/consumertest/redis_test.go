package consumertest

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// get asks on a new connection, since one ends with its server.
func get(t *testing.T, s *RedisServer, key string) string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer client.Close()
	value, err := client.Get(t.Context(), key).Result()
	if err != nil && err != redis.Nil {
		t.Fatal(err)
	}
	return value
}

func set(t *testing.T, s *RedisServer, key, value string) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer client.Close()
	if err := client.Set(t.Context(), key, value, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestOwnRedisKeepsData(t *testing.T) {
	s := OwnRedis(t)
	addr := s.Addr()
	set(t, s, "key", "first")
	s.Stop()
	s.Stop() // does nothing
	s.Start()
	if got := get(t, s, "key"); got != "first" {
		t.Fatalf("after a stop the key is %q", got)
	}
	set(t, s, "key", "second")
	s.Kill()
	s.Start()
	if got := get(t, s, "key"); got != "second" {
		t.Fatalf("after a kill the key is %q, want what was acknowledged", got)
	}
	if s.Addr() != addr {
		t.Fatalf("the address moved from %s to %s", addr, s.Addr())
	}
}

func TestOwnRedisGoesBackInTime(t *testing.T) {
	s := OwnRedis(t)
	set(t, s, "key", "old")
	old := s.CopyData()
	set(t, s, "key", "new")
	for _, swap := range []struct{ copied, want string }{{old, "old"}, {old, "old"}, {"", ""}} {
		s.Kill()
		s.RestoreData(swap.copied)
		s.Start()
		if got := get(t, s, "key"); got != swap.want {
			t.Fatalf("the key is %q on a copy that had %q", got, swap.want)
		}
		set(t, s, "key", "newer") // must not reach the copy
	}
}

func TestOwnRedisArguments(t *testing.T) {
	s := OwnRedis(t, "--maxmemory-policy", "allkeys-lru")
	client := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer client.Close()
	policy, err := client.ConfigGet(t.Context(), "maxmemory-policy").Result()
	if err != nil || policy["maxmemory-policy"] != "allkeys-lru" {
		t.Fatalf("the policy is %v, %v", policy, err)
	}
}

func TestOwnRedisWrongArguments(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("no redis-server to start")
	}
	got := ending(t, func(tb testing.TB) { OwnRedis(tb, "--no-such-option", "yes") })
	if !strings.Contains(got.failed, "no-such-option") {
		t.Fatalf("the test ended as %+v, want the server's own words", got)
	}
}

func TestOwnRedisMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(EnvRequire, "")
	if got := ending(t, func(tb testing.TB) { OwnRedis(tb) }); !strings.Contains(got.skipped, "redis-server") {
		t.Fatalf("the test ended as %+v, want it skipped for redis-server", got)
	}
}
