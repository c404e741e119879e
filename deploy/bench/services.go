package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// services are the Kafka and the Redis of a run.
type services struct {
	brokers             []string
	redis               *redis.Client
	brokerPID, redisPID int // 0: not known
	kafkaVersion        string
	down                func() error
}

// rootDir is the repository's, seen from this folder.
const rootDir = "../.."

// Ports of services that we start, away from those that developers use.
const (
	kafkaPortDefault      = "8592"
	controllerPortDefault = "8593"
	redisPortDefault      = "8579"
)

// startServices starts a Kafka and a Redis with deploy/local, or takes those that the options name.
func startServices(ctx context.Context, o options, dir string) (*services, error) {
	if len(o.brokers) > 0 {
		s := &services{
			brokers: o.brokers, redis: redis.NewClient(&redis.Options{Addr: o.redis}), brokerPID: o.brokerPID, redisPID: o.redisPID,
			kafkaVersion: "as given", down: func() error { return nil },
		}
		return s, s.refuseKeys(ctx)
	}
	kafkaPort, redisPort := environment("KAFKA_PORT", kafkaPortDefault), environment("REDIS_PORT", redisPortDefault)
	data := environment("DATA_DIR", filepath.Join(dir, "services"))
	env := append(os.Environ(), "KAFKA_PORT="+kafkaPort, "CONTROLLER_PORT="+environment("CONTROLLER_PORT", controllerPortDefault),
		"REDIS_PORT="+redisPort, "DATA_DIR="+data)
	local := func(ctx context.Context, script string, args ...string) error {
		command := exec.CommandContext(ctx, filepath.Join(rootDir, "deploy", "local", script), args...)
		var out bytes.Buffer
		command.Env, command.Stderr = env, &out
		if err := command.Run(); err != nil {
			return fmt.Errorf("deploy/local/%s: %w\n%s", script, err, out.String())
		}
		return nil
	}
	down := func() error { return local(context.WithoutCancel(ctx), "down", "--purge") }
	if err := local(ctx, "up"); err != nil {
		return nil, errors.Join(err, down())
	}
	s := &services{
		brokers: []string{"127.0.0.1:" + kafkaPort}, redis: redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + redisPort}), down: down,
	}
	var err1, err2, err3 error
	s.brokerPID, err1 = readPID(filepath.Join(data, "kafka-"+kafkaPort, "pid"))
	s.redisPID, err2 = readPID(filepath.Join(data, "redis-"+redisPort, "pid"))
	s.kafkaVersion, err3 = pomVersion(filepath.Join(rootDir, "deploy", "local", "pom.xml"))
	if err := errors.Join(err1, err2, err3, s.refuseKeys(ctx)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// refuseKeys keeps us from emptying a Redis that somebody uses.
func (s *services) refuseKeys(ctx context.Context) error {
	n, err := s.redis.DBSize(ctx).Result()
	if err != nil {
		return fmt.Errorf("redis %s: %w", s.redis.Options().Addr, err)
	}
	if n > 0 {
		return fmt.Errorf("redis %s holds %d keys: it would be emptied", s.redis.Options().Addr, n)
	}
	return nil
}

func (s *services) close() error { return errors.Join(s.redis.Close(), s.down()) }

func readPID(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("pid file %s: %w", file, err)
	}
	return pid, nil
}

// pomVersion returns the property kafka.version of a Maven project.
func pomVersion(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("version: %w", err)
	}
	_, rest, ok := strings.Cut(string(text), "<kafka.version>")
	version, _, ok2 := strings.Cut(rest, "<")
	if !ok || !ok2 {
		return "", fmt.Errorf("version: %s has no kafka.version", file)
	}
	return version, nil
}

// redisInfo returns a field of INFO.
func (s *services) redisInfo(ctx context.Context, section, field string) (string, error) {
	text, err := s.redis.Info(ctx, section).Result()
	if err != nil {
		return "", fmt.Errorf("redis: %w", err)
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("redis: INFO has no %s", field)
}
