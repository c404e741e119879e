package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// userBytes is what a user costs in Redis.
type userBytes struct {
	users int64
	mean  float64 // of the memory that Redis has come to use
	usage float64 // median of MEMORY USAGE
}

// sampledKeys is how many keys MEMORY USAGE is asked of.
const sampledKeys = 500

func (l *lab) usedMemory(ctx context.Context) (int64, error) {
	text, err := l.services.redisInfo(ctx, "memory", "used_memory")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("redis: used_memory: %w", err)
	}
	return n, nil
}

// userBytes measures Lapwing's users, after it has ended. Beside them there are just its lanes' records.
func (l *lab) userBytes(ctx context.Context, before int64) (userBytes, error) {
	after, err := l.usedMemory(ctx)
	if err != nil {
		return userBytes{}, err
	}
	u := userBytes{}
	if u.users, err = l.services.redis.DBSize(ctx).Result(); err != nil {
		return u, fmt.Errorf("redis: %w", err)
	}
	others := 0
	var sizes []float64
	for range sampledKeys {
		key, err := l.services.redis.RandomKey(ctx).Result()
		if err != nil {
			return u, fmt.Errorf("redis: %w", err)
		}
		if !strings.Contains(key, ":u:") {
			others++
			continue
		}
		n, err := l.services.redis.MemoryUsage(ctx, key).Result()
		if err != nil {
			return u, fmt.Errorf("redis: memory usage of %s: %w", key, err)
		}
		sizes = append(sizes, float64(n))
	}
	if len(sizes) < others {
		return u, fmt.Errorf("redis: %d of %d keys are no user's", others, sampledKeys)
	}
	slices.Sort(sizes)
	u.usage = median(sizes)
	u.mean = float64(after-before) / float64(u.users)
	return u, nil
}
