package consumertest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const (
	// redisTimeout bounds each step of a RedisServer: start, end, copy.
	redisTimeout = 15 * time.Second
	// redisPortTries is how many ports are tried: one that was free may be taken a moment later.
	redisPortTries = 3
)

// RedisServer is a redis-server process of one test, which may end it, kill it, start it again and
// swap its data. What it acknowledged survives even a kill, as it is in its append-only file by then.
// Its methods fail the test on an error; they are for one goroutine at a time.
type RedisServer struct {
	tb   testing.TB
	dir  string // holds the data, and nothing else
	log  string
	port int
	args []string
	conf string        // of a sentinel, which keeps what it learns there; "": no sentinel
	cmd  *exec.Cmd     // nil: not running
	done chan struct{} // closed when the process has ended
}

// OwnRedis starts a redis-server on a free port of 127.0.0.1, with its data in a temporary folder.
// Further arguments are options of redis-server ("--requirepass", "secret") and win over the
// defaults. The server ends with the test, which is skipped where there is no redis-server.
func OwnRedis(tb testing.TB, args ...string) *RedisServer {
	tb.Helper()
	s := newRedisServer(tb)
	s.args = args
	s.startOnFreePort(func() error { return nil })
	return s
}

// newRedisServer makes the folders of a server, which ends with the test.
func newRedisServer(tb testing.TB) *RedisServer {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		lack(tb, RequireServices, "no redis-server to start: %v", err)
	}
	folder := tb.TempDir()
	s := &RedisServer{tb: tb, dir: filepath.Join(folder, "data"), log: filepath.Join(folder, "log")}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		tb.Fatalf("make the folder of Redis: %v", err)
	}
	tb.Cleanup(s.Kill)
	return s
}

// startOnFreePort starts the server; prepare is called before each try, when its port stands.
func (s *RedisServer) startOnFreePort(prepare func() error) {
	s.tb.Helper()
	var err error
	for range redisPortTries {
		s.port = FreePort(s.tb)
		if err = prepare(); err != nil {
			break
		}
		if err = s.start(); err == nil {
			return
		}
	}
	s.tb.Fatal(err)
}

// Addr returns the address, host:port; it stays the same through a new start.
func (s *RedisServer) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Start starts the server again, on the same port with the data that it left. It answers when Start
// returns.
func (s *RedisServer) Start() {
	s.tb.Helper()
	if s.cmd != nil {
		s.tb.Fatal("Start: the Redis runs already")
	}
	if err := s.start(); err != nil {
		s.tb.Fatal(err)
	}
}

// Stop ends the server as an operator would (SIGTERM). Ending one that does not run does nothing.
func (s *RedisServer) Stop() { s.tb.Helper(); s.end(syscall.SIGTERM) }

// Kill ends the server as a crash would (SIGKILL). Killing one that does not run does nothing.
func (s *RedisServer) Kill() { s.tb.Helper(); s.end(syscall.SIGKILL) }

// Freeze stops the process where it stands (SIGSTOP); Thaw lets it go on.
func (s *RedisServer) Freeze() { s.tb.Helper(); s.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on (SIGCONT).
func (s *RedisServer) Thaw() { s.tb.Helper(); s.signal(syscall.SIGCONT) }

func (s *RedisServer) signal(signal syscall.Signal) {
	s.tb.Helper()
	if s.cmd == nil {
		s.tb.Fatalf("%v: the Redis does not run", signal)
	}
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.tb.Fatalf("%v: %v", signal, err)
	}
}

// CopyData copies the data to a new folder and returns it, for RestoreData. The server may run: the
// copy then holds at least everything that was acknowledged before the call.
func (s *RedisServer) CopyData() string {
	s.tb.Helper()
	copied := filepath.Join(s.tb.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(s.dir)); err != nil {
		s.tb.Fatalf("copy the data of Redis: %v", err)
	}
	return copied
}

// RestoreData puts a copy of CopyData in place of the data, or nothing for an empty name: a Redis
// that was wiped. The server must not run.
func (s *RedisServer) RestoreData(copied string) {
	s.tb.Helper()
	if s.cmd != nil {
		s.tb.Fatal("RestoreData: stop or kill the Redis first")
	}
	err := os.RemoveAll(s.dir)
	if err == nil && copied == "" {
		err = os.Mkdir(s.dir, 0o755)
	} else if err == nil {
		err = os.CopyFS(s.dir, os.DirFS(copied))
	}
	if err != nil {
		s.tb.Fatalf("restore the data of Redis: %v", err)
	}
}

func (s *RedisServer) start() error {
	log, err := os.Create(s.log)
	if err != nil {
		return fmt.Errorf("make the log of Redis: %w", err)
	}
	defer log.Close()
	cmd := exec.Command("redis-server", s.arguments()...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func() { // ends with the process, which end waits for
		defer close(s.done)
		cmd.Wait()
	}()
	if err := s.await(); err != nil {
		s.end(syscall.SIGKILL)
		text, _ := os.ReadFile(s.log)
		return fmt.Errorf("start redis-server on port %d: %w\n%s", s.port, err, text)
	}
	return nil
}

func (s *RedisServer) arguments() []string {
	if s.conf != "" {
		return []string{s.conf, "--sentinel"}
	}
	// The file is only ever appended to, never rewritten nor held up by a slow disk: so a copy of it
	// is what Redis was at some moment.
	return append([]string{
		"--port", "0", redisPortOption(s.args), strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0",
		"--maxmemory-policy", "noeviction",
	}, s.args...)
}

// await polls the log for the word that the data is loaded and commands are taken. Asking the port
// instead could be answered by another's Redis.
func (s *RedisServer) await() error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.NewTimer(redisTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-s.done:
			return fmt.Errorf("it ended: %v", s.cmd.ProcessState)
		case <-timeout.C:
			return fmt.Errorf("not ready in %v", redisTimeout)
		case <-ticker.C:
			ready := []byte("Ready to accept connections")
			if s.conf != "" {
				ready = []byte("+monitor master")
			}
			if text, _ := os.ReadFile(s.log); bytes.Contains(text, ready) {
				return nil
			}
		}
	}
}

func (s *RedisServer) end(signal syscall.Signal) {
	s.tb.Helper()
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(signal) // an error means that it has ended already
	timeout := time.NewTimer(redisTimeout)
	defer timeout.Stop()
	select {
	case <-s.done:
	case <-timeout.C:
		s.cmd.Process.Kill()
		<-s.done
		s.tb.Errorf("redis-server did not end in %v after %v", redisTimeout, signal)
	}
	s.cmd = nil
}
