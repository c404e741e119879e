package state_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a Redis of one test's own, which it may stop, empty and swap.
type redisServer struct {
	t       testing.TB
	binary  string
	dir     string
	port    string
	args    []string
	process *exec.Cmd
	client  *redis.Client // from outside, past every proxy
}

// startRedis starts a Redis that ends with the test. It keeps its data in a dump
// that is only written when the test says so.
func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		skip(t, "services", "redis-server is not installed")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	s := &redisServer{t: t, binary: binary, dir: t.TempDir(), port: port, args: args}
	s.client = redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1})
	t.Cleanup(func() {
		s.kill()
		_ = s.client.Close()
	})
	s.start()
	return s
}

// addr is the server's address.
func (s *redisServer) addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// start starts the server with the dump that is in its directory, if any.
func (s *redisServer) start() {
	s.t.Helper()
	args := append([]string{
		"--port", s.port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
	}, s.args...)
	s.process = exec.Command(s.binary, args...)
	s.process.Stdout, s.process.Stderr = io.Discard, io.Discard
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := s.client.Do(context.Background(), "ROLE").Err()
		if err == nil || redis.IsAuthError(err) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("redis-server on port %s does not answer: %v", s.port, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// kill ends the server without saving anything.
func (s *redisServer) kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	s.process = nil
}

// save writes the dump.
func (s *redisServer) save() {
	s.t.Helper()
	if err := s.client.Save(context.Background()).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// dump returns the bytes of the dump.
func (s *redisServer) dump() []byte {
	s.t.Helper()
	s.save()
	b, err := os.ReadFile(filepath.Join(s.dir, "dump.rdb"))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// swap ends the server and starts it with another dump; nil: empty.
func (s *redisServer) swap(dump []byte) {
	s.t.Helper()
	s.kill()
	file := filepath.Join(s.dir, "dump.rdb")
	err := os.WriteFile(file, dump, 0o600)
	if dump == nil {
		err = os.Remove(file)
	}
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	s.start()
}
