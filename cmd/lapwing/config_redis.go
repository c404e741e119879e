package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/lapwing/lapwing/state"
)

// RedisConfig is the section redis: the server, and how states are kept and written there.
type RedisConfig struct {
	// Addrs is the server; with Cluster some of its nodes; with Sentinel it is not used.
	Addrs []string `yaml:"addrs"`
	// Sentinel finds the server.
	Sentinel SentinelConfig `yaml:"sentinel"`
	// Cluster says that Addrs are nodes of a Redis Cluster.
	Cluster      bool   `yaml:"cluster"`
	Username     string `yaml:"username"`
	Password     Secret `yaml:"password"`
	PasswordFile File   `yaml:"password_file"`
	DB           int    `yaml:"db" min:"0" max:"65535"`
	// Prefix begins all keys, before the group.
	Prefix string    `yaml:"prefix"`
	TLS    TLSConfig `yaml:"tls"`

	FlushInterval time.Duration `yaml:"flush_interval" min:"1ms" max:"10m"`
	// DirtyMax is how many users, per process, may wait for a flush.
	DirtyMax int `yaml:"dirty_max" min:"1" max:"1000000000"`
	// CacheMax is how many users, per process, are kept in memory.
	CacheMax int `yaml:"cache_max" min:"1000" max:"1000000000"`

	// RecordVersion is that of the users' records that are written; all up to the newest are read.
	RecordVersion int `yaml:"record_version" min:"2" max:"3"`

	DialTimeout  time.Duration `yaml:"dial_timeout" min:"10ms" max:"5m"`
	ReadTimeout  time.Duration `yaml:"read_timeout" min:"10ms" max:"5m"`
	WriteTimeout time.Duration `yaml:"write_timeout" min:"10ms" max:"5m"`
	PoolSize     int           `yaml:"pool_size" min:"1" max:"10000"`
}

// SentinelConfig is the section redis.sentinel: who knows where the master is. It is used if a key of it is set.
type SentinelConfig struct {
	// Master is the name under which the sentinels look after it.
	Master string `yaml:"master"`
	// Addrs are some of the sentinels; they tell of the others.
	Addrs        []string `yaml:"addrs"`
	Username     string   `yaml:"username"`
	Password     Secret   `yaml:"password"`
	PasswordFile File     `yaml:"password_file"`
}

// enabled reports whether sentinels are asked.
func (s *SentinelConfig) enabled() bool { return s.Master != "" || len(s.Addrs) > 0 }

// shards is the number of parts that the users are spread over. It is a part of the layout.
func (r *RedisConfig) shards() int {
	if r.Cluster {
		return state.ClusterShards
	}
	return 1
}

func newRedisConfig() RedisConfig {
	return RedisConfig{
		Addrs:         []string{"127.0.0.1:6379"},
		Prefix:        "lapwing",
		FlushInterval: time.Second,
		DirtyMax:      200_000,
		CacheMax:      1_000_000,
		RecordVersion: state.RecordVersion,
		DialTimeout:   3 * time.Second,
		ReadTimeout:   3 * time.Second,
		WriteTimeout:  3 * time.Second,
		PoolSize:      16, // A lane uses up to two connections.
	}
}

// prefixBytesMax bounds the prefix, which is in every key.
const prefixBytesMax = 200

func (l *loader) checkRedis() {
	r := &l.config.Redis
	l.checkRedisServers()
	l.checkPassword("redis", r.Password, r.PasswordFile)
	if r.Username != "" && r.Password == "" && r.PasswordFile == "" {
		l.relation("needs redis.password or redis.password_file", "redis.username", "redis.password", "redis.password_file")
	}
	unusable := func(c rune) bool { return c <= ' ' || c == 0x7f || c == '{' || c == '}' }
	switch {
	case r.Prefix == "":
		l.wrong("redis.prefix", "must not be empty")
	case len(r.Prefix) > prefixBytesMax:
		l.wrong("redis.prefix", fmt.Sprintf("has %d bytes, at most %d are allowed", len(r.Prefix), prefixBytesMax))
	case strings.ContainsFunc(r.Prefix, unusable):
		l.wrong("redis.prefix", "must not contain white space, control characters or braces")
	}
	if r.DirtyMax > r.CacheMax {
		l.relation(fmt.Sprintf("%d must be at most redis.cache_max, %d: a user stays in memory until a flush has written it", r.DirtyMax, r.CacheMax),
			"redis.dirty_max", "redis.cache_max")
	}
	l.checkTLS("redis.tls", &r.TLS)
}

// checkRedisServers checks that there is one way to the servers: an address, sentinels, or nodes of a cluster.
func (l *loader) checkRedisServers() {
	r := &l.config.Redis
	s := &r.Sentinel
	if r.Cluster && r.DB != 0 {
		l.relation(fmt.Sprintf("%d is not there with redis.cluster, which has 0 only; leave it out", r.DB), "redis.db", "redis.cluster")
	}
	if !s.enabled() {
		l.checkAddresses("redis.addrs", r.Addrs)
		if len(r.Addrs) > 1 && !r.Cluster {
			l.wrong("redis.addrs", fmt.Sprintf("has %d addresses, but a single server has one; set redis.cluster to true if they are nodes of a Redis Cluster, "+
				"or name them in redis.sentinel.addrs if they are sentinels", len(r.Addrs)))
		}
		for _, path := range []string{"redis.sentinel.username", "redis.sentinel.password", "redis.sentinel.password_file"} {
			if l.isSet(path) {
				l.relation("is not used, since no sentinels are named; set redis.sentinel.master and redis.sentinel.addrs, or leave it out", path, "redis.sentinel.addrs")
			}
		}
		return
	}
	if r.Cluster {
		l.relation("does not go with redis.sentinel: a cluster looks after its masters itself; leave one of them out", "redis.cluster", "redis.sentinel.master", "redis.sentinel.addrs")
	}
	if l.isSet("redis.addrs") {
		l.relation("is not used, since the sentinels of redis.sentinel.addrs tell the address; leave one of them out", "redis.addrs", "redis.sentinel.addrs")
	}
	if s.Master == "" {
		l.relation("must be set, since redis.sentinel.addrs is: the name that SENTINEL MASTERS lists", "redis.sentinel.master", "redis.sentinel.addrs")
	}
	if len(s.Addrs) == 0 {
		l.relation("must be set, since redis.sentinel.master is: addresses of sentinels, host:port", "redis.sentinel.addrs", "redis.sentinel.master")
	} else {
		l.checkAddresses("redis.sentinel.addrs", s.Addrs)
	}
	l.checkPassword("redis.sentinel", s.Password, s.PasswordFile)
	if s.Username != "" && s.Password == "" && s.PasswordFile == "" {
		l.relation("needs redis.sentinel.password or redis.sentinel.password_file", "redis.sentinel.username", "redis.sentinel.password", "redis.sentinel.password_file")
	}
}
