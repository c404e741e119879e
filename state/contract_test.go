package state_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/lapwing/lapwing/state"
	"github.com/lapwing/lapwing/state/storetest"
)

// TestContract runs the suite over every store, with one shard and with several.
func TestContract(t *testing.T) {
	for _, shards := range []int{1, 4} {
		t.Run(fmt.Sprintf("memory/shards=%d", shards), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Backend { return memoryBackend(t, shards) })
		})
		t.Run(fmt.Sprintf("miniredis/shards=%d", shards), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Backend {
				return redisBackend(t, miniredis.RunT(t).Addr(), shards)
			})
		})
		t.Run(fmt.Sprintf("redis/shards=%d", shards), func(t *testing.T) {
			addr := sharedRedis(t)
			storetest.Run(t, func(t *testing.T) storetest.Backend { return redisBackend(t, addr, shards) })
		})
	}
}

// sharedRedis returns the address of the Redis that runs for tests. Others use it
// too: keys have a random group, and nothing is flushed.
func sharedRedis(t testing.TB) string {
	t.Helper()
	addr := os.Getenv("LAPWING_TEST_REDIS")
	if addr == "" {
		skip(t, "services", "LAPWING_TEST_REDIS names no Redis")
	}
	return addr
}

// memoryBackend is a Memory store.
func memoryBackend(_ *testing.T, shards int) storetest.Backend {
	f := &faults{left: -1}
	o := state.DefaultMemoryOptions()
	o.Shards, o.ChunkKeysMax, o.Before, o.After = shards, storetest.ChunkKeysMax, f.before, f.after
	m := state.NewMemoryWith(o)
	return storetest.Backend{
		Open:   func(*testing.T) state.Store { return m },
		Keys:   "lapwing:memory",
		Shards: shards,
		Get:    func(_ *testing.T, key string) string { return m.Image()[key] },
		Set: func(_ *testing.T, key, value string) {
			image := m.Image()
			if delete(image, key); value != "" {
				image[key] = value
			}
			m.Restore(image)
		},
		LoseReplies: f.loseReplies,
		CutWrites:   f.cutWrites,
	}
}

// redisBackend is a Redis store on a server.
func redisBackend(t *testing.T, addr string, shards int) storetest.Backend {
	o := state.DefaultRedisOptions()
	o.Addrs, o.Shards = []string{addr}, shards
	return backend(t, o, redis.NewClient(&redis.Options{Addr: addr}))
}

// backend is a store in a group of its own; the client looks at its keys from outside.
func backend(t *testing.T, o state.RedisOptions, outside redis.UniversalClient) storetest.Backend {
	f := &faults{left: -1}
	o.Group, o.Prefix, o.Dial, o.ChunkKeysMax = fmt.Sprintf("t%016x", rand.Uint64()), "lapwing-test", f.dial, storetest.ChunkKeysMax
	t.Cleanup(func() {
		deleteKeys(t, outside, o.Prefix+":"+o.Group+":*")
		_ = outside.Close()
	})
	return storetest.Backend{
		Open:   func(t *testing.T) state.Store { return openRedis(t, o) },
		Keys:   o.Prefix + ":" + o.Group,
		Shards: o.Shards,
		Get: func(t *testing.T, key string) string {
			value, err := outside.Get(context.Background(), key).Result()
			if err != nil && err != redis.Nil {
				t.Fatal(err)
			}
			return value
		},
		Set: func(t *testing.T, key, value string) {
			err := outside.Set(context.Background(), key, value, 0).Err()
			if value == "" {
				err = outside.Del(context.Background(), key).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		LoseReplies: f.loseReplies,
		CutWrites:   f.cutWrites,
	}
}

// openRedis returns a store that ends with the test.
func openRedis(t testing.TB, o state.RedisOptions) *state.Redis {
	t.Helper()
	r, err := state.NewRedis(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// deleteKeys deletes the keys of one test, in a cluster on each of its masters.
func deleteKeys(t testing.TB, c redis.UniversalClient, pattern string) {
	ctx := context.Background()
	if cluster, ok := c.(*redis.ClusterClient); ok {
		if err := cluster.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
			deleteKeys(t, master, pattern)
			return nil
		}); err != nil {
			t.Logf("unlink: %v", err)
		}
		return
	}
	for it := c.Scan(ctx, 0, pattern, 1000).Iterator(); it.Next(ctx); {
		if err := c.Unlink(ctx, it.Val()).Err(); err != nil {
			t.Logf("unlink: %v", err)
			return
		}
	}
}
