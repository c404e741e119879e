package state

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// topology is how a server is found.
type topology int

const (
	standalone  topology = iota // by its address
	sentineled                  // by sentinels
	clusterNode                 // as a node of a Redis Cluster
)

// errReplica is a server that is not a master, or not yet.
var errReplica = errors.New("the server is a replica")

// probe looks at the server at the other end of a connection.
func probe(ctx context.Context, conn *redis.Conn, name string, found topology) error {
	info, err := conn.Info(ctx).Result()
	switch {
	case err == nil && found == sentineled && isSentinel(info):
		return nil // one of those that are asked
	case err != nil && found == sentineled && isPermission(err) && roleIsSentinel(ctx, conn):
		return nil // a sentinel's user needs no permission for INFO
	case err != nil:
		return err
	}
	err = checkServer(name, info, found)
	if err != nil && found == sentineled {
		// Which of the servers it is, only the connection knows.
		if client, errClient := conn.ClientInfo(ctx).Result(); errClient == nil && client.LAddr != "" {
			err = checkServer(client.LAddr+", "+name, info, found)
		}
	}
	return err
}

// checkServer looks at the reply of INFO.
func checkServer(name, info string, found topology) error {
	if err := checkTopology(name, info, found); err != nil {
		return err
	}
	return checkInfo(name, info)
}

// isSentinel reports whether INFO is that of a sentinel.
func isSentinel(info string) bool {
	mode, _ := infoField(info, "redis_mode")
	return mode == "sentinel"
}

// roleIsSentinel reports whether ROLE says that the server is a sentinel.
func roleIsSentinel(ctx context.Context, conn *redis.Conn) bool {
	role, err := conn.Do(ctx, "role").Slice()
	return err == nil && len(role) > 0 && role[0] == "sentinel"
}

// checkTopology compares what INFO says of a server with how it was found. A server
// that says nothing of it is one for tests (miniredis).
func checkTopology(name, info string, found topology) error {
	mode, ok := infoField(info, "redis_mode")
	if !ok {
		return nil
	}
	role, _ := infoField(info, "role")
	remedy := ""
	switch {
	case mode == "sentinel":
		remedy = "it is a sentinel; name it in redis.sentinel.addrs, with redis.sentinel.master, and leave redis.addrs out"
	case mode == "cluster" && found != clusterNode:
		remedy = "it is a node of a Redis Cluster; set redis.cluster to true, with addresses of its nodes in redis.addrs"
	case mode != "cluster" && found == clusterNode:
		remedy = "it is no node of a Redis Cluster; set redis.cluster to false"
	case role == "slave" && found == standalone:
		return fmt.Errorf("redis %s: %w; name its master in redis.addrs, or let redis.sentinel find it", name, errReplica)
	case role == "slave" && found == sentineled:
		return fmt.Errorf("redis %s: %w, though the sentinels name it as the master; this passes when their failover is over", name, errReplica)
	default:
		return nil
	}
	return fmt.Errorf("redis %s: %w: %s", name, ErrTopology, remedy)
}

// redisVersionMin is the oldest version that is tested.
var redisVersionMin = [2]int{6, 2}

// checkInfo looks at the reply of INFO. A server that names no version at all is
// one for tests (miniredis), which evicts nothing.
func checkInfo(addr, info string) error {
	version, ok := infoField(info, "redis_version")
	if !ok {
		return nil
	}
	if !versionAtLeast(version, redisVersionMin) {
		return fmt.Errorf("redis %s: %w: it is %s, at least %d.%d is needed", addr, ErrVersion, version, redisVersionMin[0], redisVersionMin[1])
	}
	if policy, _ := infoField(info, "maxmemory_policy"); policy != "noeviction" {
		return fmt.Errorf("redis %s: %w: maxmemory_policy is %q, so Redis would drop states when its memory is full; run: CONFIG SET maxmemory-policy noeviction",
			addr, ErrEviction, policy)
	}
	return nil
}

// infoField returns a field of the reply of INFO, lines of name:value.
func infoField(info, name string) (string, bool) {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimRight(value, "\r\n"), true
		}
	}
	return "", false
}

// versionAtLeast compares the first two numbers of a version.
func versionAtLeast(version string, least [2]int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, errMajor := strconv.Atoi(parts[0])
	minor, errMinor := strconv.Atoi(parts[1])
	if errMajor != nil || errMinor != nil {
		return false
	}
	return major > least[0] || major == least[0] && minor >= least[1]
}
