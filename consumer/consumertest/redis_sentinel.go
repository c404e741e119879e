package consumertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// RedisSentinels is a master with replicas and the sentinels that look after them, each a process of
// one test.
type RedisSentinels struct {
	tb        testing.TB
	servers   []*RedisServer
	sentinels []*RedisServer
}

// sentinelMaster is the name under which the sentinels know the master.
const sentinelMaster = "lapwing-test"

// OwnRedisSentinels starts a master, replicas and sentinels, and waits until all know each other.
// Arguments are options of the servers, as of OwnRedis; of the sentinels too if they concern TLS.
func OwnRedisSentinels(tb testing.TB, replicas, sentinels int, args ...string) *RedisSentinels {
	tb.Helper()
	s := &RedisSentinels{tb: tb}
	master := OwnRedis(tb, replicaArgs(args...)...)
	s.servers = append(s.servers, master)
	for range replicas {
		replica := OwnRedis(tb, replicaArgs(append([]string{"--replicaof", "127.0.0.1 " + strconv.Itoa(master.port)}, args...)...)...)
		s.servers = append(s.servers, replica)
	}
	s.AwaitReplicas()
	for range sentinels {
		s.sentinels = append(s.sentinels, s.startSentinel(master, sentinels/2+1, args))
	}
	pollUntil(tb, "all sentinels know each other and the replicas", func() error { return s.complete(replicas, sentinels) })
	return s
}

// startSentinel starts a sentinel of the master, with TLS if the arguments of the servers say so. It calls a server down
// after a second.
func (s *RedisSentinels) startSentinel(master *RedisServer, quorum int, args []string) *RedisServer {
	s.tb.Helper()
	sentinel := newRedisServer(s.tb)
	sentinel.args = args
	sentinel.conf = filepath.Join(sentinel.dir, "sentinel.conf")
	sentinel.startOnFreePort(func() error {
		return os.WriteFile(sentinel.conf, fmt.Appendf(nil, `port 0
%[6]s %[1]d
bind 127.0.0.1
dir %[2]s
sentinel monitor %[3]s 127.0.0.1 %[4]d %[5]d
sentinel down-after-milliseconds %[3]s 1000
sentinel failover-timeout %[3]s 4000
%[7]s`, sentinel.port, sentinel.dir, sentinelMaster, master.port, quorum, strings.TrimPrefix(redisPortOption(args), "--"), tlsLines(args)), 0o600)
	})
	return sentinel
}

// complete says what a sentinel does not know yet.
func (s *RedisSentinels) complete(replicas, sentinels int) error {
	for _, sentinel := range s.sentinels {
		ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
		known, err := s.master(ctx, sentinel)
		cancel()
		if err != nil {
			return err
		}
		if number(known["num-slaves"]) != int64(replicas) || number(known["num-other-sentinels"]) != int64(sentinels-1) {
			return fmt.Errorf("%s knows %s replicas and %s other sentinels", sentinel.Addr(), known["num-slaves"], known["num-other-sentinels"])
		}
	}
	return nil
}

// master returns what a sentinel knows of the master.
func (s *RedisSentinels) master(ctx context.Context, sentinel *RedisServer) (map[string]string, error) {
	client := redis.NewSentinelClient(sentinel.clientOptions())
	defer client.Close()
	return client.Master(ctx, sentinelMaster).Result()
}

// Master returns the name under which the sentinels know the master.
func (s *RedisSentinels) Master() string { return sentinelMaster }

// Sentinels returns the sentinels.
func (s *RedisSentinels) Sentinels() []*RedisServer { return s.sentinels }

// Addrs returns the addresses of the sentinels.
func (s *RedisSentinels) Addrs() []string {
	var addrs []string
	for _, sentinel := range s.sentinels {
		addrs = append(addrs, sentinel.Addr())
	}
	return addrs
}

// Current returns the server that the first sentinel names as the master.
func (s *RedisSentinels) Current() *RedisServer {
	s.tb.Helper()
	server, err := s.named(s.sentinels[0])
	if err != nil {
		s.tb.Fatal(err)
	}
	return server
}

// named returns the server that a sentinel names as the master.
func (s *RedisSentinels) named(sentinel *RedisServer) (*RedisServer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	client := redis.NewSentinelClient(sentinel.clientOptions())
	defer client.Close()
	addr, err := client.GetMasterAddrByName(ctx, sentinelMaster).Result()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(s.servers, func(r *RedisServer) bool { return strconv.Itoa(r.port) == addr[1] })
	if i < 0 {
		return nil, fmt.Errorf("the sentinel %s names %v, which is none of the servers", sentinel.Addr(), addr)
	}
	return s.servers[i], nil
}

// AwaitReplicas waits until every replica that runs has all that the master has acknowledged.
func (s *RedisSentinels) AwaitReplicas() {
	s.tb.Helper()
	master := s.servers[0]
	if len(s.sentinels) > 0 {
		master = s.Current()
	}
	for _, replica := range s.servers {
		if replica != master && replica.cmd != nil {
			awaitReplicated(master, replica)
		}
	}
}

// StartReplica starts a former master again, as a replica of the present one, and waits until it has its data. (The
// sentinels would make it one as well, some time later.)
func (s *RedisSentinels) StartReplica(former *RedisServer) {
	s.tb.Helper()
	master := s.Current()
	former.Start()
	former.do("replicaof", "127.0.0.1", strconv.Itoa(master.port))
	awaitReplicated(master, former)
}

// AwaitFailover waits until all sentinels name another master than the former, and it is one.
func (s *RedisSentinels) AwaitFailover(former *RedisServer) *RedisServer {
	s.tb.Helper()
	var next *RedisServer
	pollUntil(s.tb, "another master is named", func() (err error) {
		for _, sentinel := range s.sentinels {
			if next, err = s.named(sentinel); err != nil {
				return err
			}
			if next == former {
				return errors.New("it is still the former")
			}
		}
		_, err = next.role("master")
		return err
	})
	return next
}

// Replicas returns the servers that are not the master.
func (s *RedisSentinels) Replicas() []*RedisServer {
	s.tb.Helper()
	master := s.Current()
	return slices.DeleteFunc(slices.Clone(s.servers), func(r *RedisServer) bool { return r == master })
}

// Failover makes the sentinels put a replica in the place of the master, which lives on. A sentinel that has just done so
// refuses for a while.
func (s *RedisSentinels) Failover() {
	s.tb.Helper()
	pollUntil(s.tb, "a sentinel takes the order to fail over", func() error {
		return s.sentinels[0].ask(func(ctx context.Context, client *redis.Client) error {
			return client.Do(ctx, "sentinel", "failover", sentinelMaster).Err()
		})
	})
}
