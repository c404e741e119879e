package main

import (
	"fmt"
	"strings"
	"time"
)

// RedisConfig is the section redis: the server, and how states are kept and written there.
type RedisConfig struct {
	// Addrs is a list, for Redis Cluster; one is supported yet.
	Addrs        []string `yaml:"addrs"`
	Username     string   `yaml:"username"`
	Password     Secret   `yaml:"password"`
	PasswordFile File     `yaml:"password_file"`
	DB           int      `yaml:"db" min:"0" max:"65535"`
	// Prefix begins all keys, before the group.
	Prefix string    `yaml:"prefix"`
	TLS    TLSConfig `yaml:"tls"`

	FlushInterval time.Duration `yaml:"flush_interval" min:"1ms" max:"10m"`
	// DirtyMax is how many users, per process, may wait for a flush.
	DirtyMax int `yaml:"dirty_max" min:"1" max:"1000000000"`
	// CacheMax is how many users, per process, are kept in memory.
	CacheMax int `yaml:"cache_max" min:"1000" max:"1000000000"`

	DialTimeout  time.Duration `yaml:"dial_timeout" min:"10ms" max:"5m"`
	ReadTimeout  time.Duration `yaml:"read_timeout" min:"10ms" max:"5m"`
	WriteTimeout time.Duration `yaml:"write_timeout" min:"10ms" max:"5m"`
	PoolSize     int           `yaml:"pool_size" min:"1" max:"10000"`
}

func newRedisConfig() RedisConfig {
	return RedisConfig{
		Addrs:         []string{"127.0.0.1:6379"},
		Prefix:        "lapwing",
		FlushInterval: time.Second,
		DirtyMax:      200_000,
		CacheMax:      1_000_000,
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
	l.checkAddresses("redis.addrs", r.Addrs, 1)
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
