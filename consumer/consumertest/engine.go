package consumertest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built is the binary of this test process.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

const buildTimeout = 10 * time.Minute

// Binary builds ./cmd/lapwing, once in a test process, and returns the file. The package's TestMain calls RemoveBinary at
// the end.
func Binary(tb testing.TB) string {
	tb.Helper()
	built.once.Do(func() { built.path, built.err = build() })
	if built.err != nil {
		tb.Fatal(built.err)
	}
	return built.path
}

// RemoveBinary removes what Binary has built.
func RemoveBinary() {
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}

func build() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	module, err := moduleDir(ctx)
	if err != nil {
		return "", err
	}
	if built.dir, err = os.MkdirTemp("", "lapwing-binary-"); err != nil {
		return "", fmt.Errorf("consumertest: %w", err)
	}
	path := filepath.Join(built.dir, "lapwing")
	command := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/lapwing")
	command.Dir = module
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("consumertest: build lapwing: %w\n%s", err, output)
	}
	return path, nil
}

// moduleDir returns the folder of this module.
func moduleDir(ctx context.Context) (string, error) {
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("consumertest: find the module: %w", err)
	}
	return strings.TrimSpace(string(module)), nil
}

// EngineOptions says how an engine process is started.
type EngineOptions struct {
	Command string   // of the binary; empty: run
	Name    string   // for messages and files; empty: engine
	Config  string   // the text of its configuration file
	HTTP    string   // host:port of its admin listener, as in Config; empty: no readiness
	Env     []string // beside the environment of the test
	Binary  string   // empty: that of Binary
}

// Engine is `lapwing run`, or another serving command, in a process of its own, which may be killed, frozen and started again. Its methods are used by
// one goroutine at a time. What it prints is in a file and is shown when the test fails; it ends with its test.
type Engine struct {
	tb      testing.TB
	options EngineOptions
	config  string // file
	log     *os.File
	command *exec.Cmd
	exited  chan struct{} // closed when the process has ended and waitErr stands
	waitErr error
	starts  int
}

// logTailBytes is how much of an engine's output a failing test shows.
const logTailBytes = 8 << 10

// NewEngine writes the configuration of an engine and starts nothing yet.
func NewEngine(tb testing.TB, o EngineOptions) *Engine {
	tb.Helper()
	if o.Name == "" {
		o.Name = "engine"
	}
	dir := tb.TempDir()
	e := &Engine{tb: tb, options: o, config: filepath.Join(dir, "lapwing.yaml")}
	if err := os.WriteFile(e.config, []byte(o.Config), 0o600); err != nil {
		tb.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(dir, o.Name+".log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	e.log = log
	tb.Cleanup(func() {
		if e.Running() {
			e.inspectAnswers()
			e.Kill()
		}
		text := e.Log()
		if e.starts > 0 {
			Inspect(OutputProcess, o.Name+" of "+tb.Name(), text)
		}
		if tb.Failed() {
			tail := text
			tail = tail[max(0, len(tail)-logTailBytes):]
			tb.Logf("the last output of %s, %d starts:\n%s", o.Name, e.starts, tail)
		}
		_ = log.Close()
	})
	return e
}

// ConfigFile returns the file of its configuration, which may be changed before the next start.
func (e *Engine) ConfigFile() string { return e.config }

// SetEnv replaces what the next start has beside the environment of the test, as name=value.
func (e *Engine) SetEnv(env ...string) { e.options.Env = env }

// Start starts the process, which must not run.
func (e *Engine) Start() {
	e.tb.Helper()
	if e.Running() {
		e.tb.Fatalf("%s runs already", e.options.Name)
	}
	binary := e.options.Binary
	if binary == "" {
		binary = Binary(e.tb)
	}
	e.command = exec.Command(binary, cmp.Or(e.options.Command, "run"), "--config", e.config)
	e.command.Env = append(os.Environ(), e.options.Env...)
	e.command.Stdout, e.command.Stderr = e.log, e.log
	if err := e.command.Start(); err != nil {
		e.tb.Fatalf("start %s: %v", e.options.Name, err)
	}
	e.starts++
	NoteSecrets(e.config, e.command.Env)
	e.exited = make(chan struct{})
	go func(command *exec.Cmd, exited chan struct{}) { // ends with the process, which Kill and the test's end wait for
		e.waitErr = command.Wait()
		close(exited)
	}(e.command, e.exited)
}

// Running says whether the process was started and has not ended.
func (e *Engine) Running() bool {
	if e.exited == nil {
		return false
	}
	select {
	case <-e.exited:
		return false
	default:
		return true
	}
}

// Pid returns the id of the process, which must have been started.
func (e *Engine) Pid() int { return e.command.Process.Pid }

// Kill ends the process at once (SIGKILL) and waits for it.
func (e *Engine) Kill() {
	e.signal(syscall.SIGKILL)
	<-e.exited
}

// Freeze stops the process where it stands (SIGSTOP); Thaw lets it go on.
func (e *Engine) Freeze() { e.signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on (SIGCONT).
func (e *Engine) Thaw() { e.signal(syscall.SIGCONT) }

func (e *Engine) signal(s syscall.Signal) {
	if err := e.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		e.tb.Errorf("send %v to %s: %v", s, e.options.Name, err)
	}
}

// Term asks the process to end (SIGTERM) and returns how long it took and its exit code. One that has not ended in time
// fails the test and is killed.
func (e *Engine) Term(timeout time.Duration) (took time.Duration, code int) {
	e.tb.Helper()
	e.inspectAnswers()
	start := time.Now()
	e.signal(syscall.SIGTERM)
	code, ended := e.Wait(timeout)
	took = time.Since(start)
	if !ended {
		e.tb.Errorf("%s has not ended %v after SIGTERM", e.options.Name, timeout)
		e.Kill()
		code = e.command.ProcessState.ExitCode()
	}
	return took, code
}

// Wait waits for the process to end by itself and returns its exit code (-1: by a signal); false: it has not.
func (e *Engine) Wait(timeout time.Duration) (code int, ended bool) {
	select {
	case <-e.exited:
	case <-time.After(timeout):
	}
	if e.Running() {
		return 0, false
	}
	return e.command.ProcessState.ExitCode(), true
}

// Log returns all that the process has printed, over all its starts.
func (e *Engine) Log() string {
	text, err := os.ReadFile(e.log.Name())
	if err != nil {
		e.tb.Errorf("read the output of %s: %v", e.options.Name, err)
	}
	return string(bytes.ToValidUTF8(text, []byte("?")))
}

// Ready asks /readyz and says whether the answer was 200.
func (e *Engine) Ready() bool {
	status, _, err := e.Get("/readyz")
	return err == nil && status == http.StatusOK
}

// Get returns the answer of an admin endpoint, like /metrics.
func (e *Engine) Get(path string) (status int, body string, err error) {
	client := http.Client{Timeout: time.Second}
	response, err := client.Get("http://" + e.options.HTTP + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	Inspect(Output(path), e.options.Name+" of "+e.tb.Name(), string(text))
	return response.StatusCode, string(text), err
}

// inspectAnswers asks the admin endpoints for what they would tell anybody, so that it is searched for secrets.
func (e *Engine) inspectAnswers() {
	if e.options.HTTP == "" {
		return
	}
	for _, path := range []string{"/readyz", "/healthz", "/metrics"} {
		if _, _, err := e.Get(path); err != nil {
			return // it does not answer, or has ended
		}
	}
}

// WaitReady waits until the engine is ready, and fails the test if it is not in time or ends.
func (e *Engine) WaitReady(timeout time.Duration) {
	e.tb.Helper()
	e.eventually(timeout, "ready", e.Ready)
}

// WaitLog waits until the engine has printed each of the texts, in any order.
func (e *Engine) WaitLog(timeout time.Duration, texts ...string) {
	e.tb.Helper()
	for _, text := range texts {
		e.eventually(timeout, fmt.Sprintf("printing %q", text), func() bool { return strings.Contains(e.Log(), text) })
	}
}

func (e *Engine) eventually(timeout time.Duration, what string, done func() bool) {
	e.tb.Helper()
	for deadline := time.Now().Add(timeout); !done(); time.Sleep(20 * time.Millisecond) {
		if !e.Running() && !done() {
			e.tb.Fatalf("%s ended before it was %s: %v", e.options.Name, what, e.waitErr)
		}
		if time.Now().After(deadline) {
			e.tb.Fatalf("%s is not %s after %v", e.options.Name, what, timeout)
		}
	}
}
