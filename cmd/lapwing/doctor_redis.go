package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lapwing/lapwing/state"
)

// What is thought of Redis.
const (
	redisRequests      = 20 // whose round trips are measured
	redisMedianMax     = 10 * time.Millisecond
	redisMemoryPercent = 85 // of maxmemory
	redisClockMax      = 2 * time.Second
)

// redis looks at every master, and reads what the lanes have stored.
func (d *doctor) redis(ctx context.Context) {
	o, err := d.config.RedisOptions()
	if err != nil {
		d.fail(checkRedis, "redis", err.Error(), "correct the section redis of the configuration")
		return
	}
	servers, err := state.InspectRedis(ctx, o, redisRequests)
	if err != nil {
		d.redisFailed(describeRedis(&d.config.Redis), err)
	}
	sound := err == nil
	for i := range servers {
		s := &servers[i]
		for _, err := range s.Refused {
			d.redisFailed(s.Name, err)
		}
		if s.Err != nil {
			d.redisFailed(s.Name, s.Err)
		}
		if s.Err != nil || len(s.Refused) > 0 {
			sound = false
			continue
		}
		d.redisServer(s)
	}
	if !sound {
		return
	}
	store, err := state.NewRedis(o)
	if err != nil {
		d.fail(checkRedis, "redis", err.Error(), "correct the section redis of the configuration")
		return
	}
	defer func() { _ = store.Close() }() // it was only read
	if err := store.Check(ctx); err != nil {
		if !errors.Is(err, state.ErrEviction) { // of which there is a finding already
			d.redisFailed(describeRedis(&d.config.Redis), err)
		}
		return
	}
	d.readLanes(ctx, store)
}

// redisFailed reports a server that cannot be used. Its error names it already.
func (d *doctor) redisFailed(name string, err error) {
	subject := "redis " + name
	d.fail(checkRedis, subject, strings.TrimPrefix(err.Error(), subject+": "), redisRemedy(err))
}

// redisRemedy is what to do where the error does not say so itself.
func redisRemedy(err error) string {
	if state.HasRemedy(err) {
		return ""
	}
	return "look at the log of Redis"
}

// redisServer looks at one master.
func (d *doctor) redisServer(s *state.ServerFacts) {
	subject := "redis " + s.Name
	kind := s.Info["redis_mode"]
	if kind == "standalone" && d.config.Redis.Sentinel.enabled() {
		kind = "behind Sentinel"
	}
	replicas := int64(infoNumber(s.Info, "connected_slaves"))
	d.ok(checkRedis, subject, fmt.Sprintf("version %s, %s, %s", s.Info["redis_version"], kind, plural(replicas, "replica")))

	if policy := s.Info["maxmemory_policy"]; policy != "noeviction" {
		d.fail(checkEviction, subject, fmt.Sprintf("maxmemory-policy is %s: Redis would drop states when its memory is full, and the engine refuses it", policy),
			"redis-cli CONFIG SET maxmemory-policy noeviction, and set it in redis.conf too")
	} else {
		d.ok(checkEviction, subject, "maxmemory-policy is noeviction")
	}
	d.redisMemory(s, subject)
	d.redisPersistence(s, subject)

	if n := len(s.RoundTrips); n > 0 {
		median, longest := s.RoundTrips[n/2], s.RoundTrips[n-1]
		text := fmt.Sprintf("round trip %s (median of %d), %s at most", round(median), n, round(longest))
		if median > redisMedianMax {
			d.warn(checkLatency, subject, text, "bring Redis near the engine; each user who is not in memory costs a round trip")
		} else {
			d.ok(checkLatency, subject, text)
		}
		if s.Ahead.Abs() > redisClockMax+s.RoundTrips[0] {
			d.warn(checkClock, subject, "its clock is "+aheadOf(s.Ahead), "keep both in time by NTP")
		}
	}
}

// aheadOf says where another clock is in relation to this machine's.
func aheadOf(ahead time.Duration) string {
	if ahead < 0 {
		return round(-ahead) + " behind this machine's"
	}
	return round(ahead) + " ahead of this machine's"
}

func (d *doctor) redisMemory(s *state.ServerFacts, subject string) {
	used, most := infoNumber(s.Info, "used_memory"), infoNumber(s.Info, "maxmemory")
	switch {
	case most == 0:
		d.ok(checkMemory, subject, fmt.Sprintf("uses %s, without a limit of its own (maxmemory 0)", megabytes(used)))
	case used*100 >= most*redisMemoryPercent:
		d.warn(checkMemory, subject, fmt.Sprintf("uses %s of maxmemory %s; when it is full, no state is written any more and lanes wait", megabytes(used), megabytes(most)),
			"raise maxmemory, or delete what is not needed")
	default:
		d.ok(checkMemory, subject, fmt.Sprintf("uses %s of maxmemory %s", megabytes(used), megabytes(most)))
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%s MiB", grouped((n+1<<20-1)>>20)) }

func (d *doctor) redisPersistence(s *state.ServerFacts, subject string) {
	const replays = "states that a restart loses are replayed from the input"
	switch {
	case s.Info["loading"] == "1":
		d.fail(checkPersistence, subject, "it loads its data and takes no commands yet", "wait")
	case s.Info["aof_enabled"] == "1" && s.Info["aof_last_write_status"] != "ok":
		d.fail(checkPersistence, subject, "the last write of its append-only file failed: it refuses writes", "look at its log and its disk")
	case s.Info["aof_enabled"] == "1":
		d.ok(checkPersistence, subject, "append-only file on, last write ok")
	case s.Info["rdb_last_bgsave_status"] != "" && s.Info["rdb_last_bgsave_status"] != "ok":
		d.fail(checkPersistence, subject, "its last snapshot failed: by default it refuses writes then", "look at its log and its disk")
	default:
		saved := "none since its start"
		if at := infoNumber(s.Info, "rdb_last_save_time"); at > 0 {
			saved = span(time.Since(time.Unix(at, 0)).Round(time.Second)) + " ago"
		}
		d.note(checkPersistence, subject, fmt.Sprintf("no append-only file, last snapshot (or start) %s: %s", saved, replays),
			"appendonly yes makes the replay short")
	}
}

func infoNumber(info map[string]string, field string) int64 {
	n, err := strconv.ParseInt(info[field], 10, 64)
	if err != nil {
		return 0 // the field is not there
	}
	return n
}
