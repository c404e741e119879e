package consumertest

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
)

// Program runs fn with the parts of this package that belong to a test (engines, proxies, services), outside of go test,
// and reports whether nothing failed. What they log, and failures, go to out, a line each; a skip is a failure, since
// whoever starts a program wants it to run. When fn has returned, or failed, all that was started for it ends in reverse
// order. Temporary files are under one folder, which is removed unless something failed.
func Program(name string, out io.Writer, fn func(tb testing.TB)) (ok bool) {
	p := &program{name: name, out: out}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // FailNow ends the goroutine it is called on; Program waits for it
		defer close(done)
		defer p.cleanup()
		defer p.recovered()
		fn(p)
	}()
	<-done
	return !p.Failed()
}

// program implements what of testing.TB this package uses. The embedded interface is nil: anything else would panic.
type program struct {
	testing.TB
	name   string
	ctx    context.Context
	cancel context.CancelFunc

	failed atomic.Bool

	mu       sync.Mutex
	out      io.Writer
	dir      string
	dirs     int
	cleanups []func()
}

func (p *program) recovered() {
	if r := recover(); r != nil {
		p.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}

// cleanup runs what Cleanup was given, last first, also what a cleanup adds.
func (p *program) cleanup() {
	p.cancel()
	for {
		p.mu.Lock()
		var last func()
		if n := len(p.cleanups); n > 0 {
			last, p.cleanups = p.cleanups[n-1], p.cleanups[:n-1]
		}
		p.mu.Unlock()
		if last == nil {
			break
		}
		ended := make(chan struct{})
		go func() { // a cleanup may call FailNow, and the next ones run all the same
			defer close(ended)
			defer p.recovered()
			last()
		}()
		<-ended
	}
	if p.dir == "" {
		return
	}
	if p.Failed() {
		p.Logf("files are kept in %s", p.dir)
	} else if err := os.RemoveAll(p.dir); err != nil {
		p.Errorf("remove the files: %v", err)
	}
}

func (p *program) Name() string              { return p.name }
func (p *program) Helper()                   {}
func (p *program) Context() context.Context  { return p.ctx }
func (p *program) Failed() bool              { return p.failed.Load() }
func (p *program) Fail()                     { p.failed.Store(true) }
func (p *program) FailNow()                  { p.Fail(); runtime.Goexit() }
func (p *program) Log(args ...any)           { p.print(fmt.Sprintln(args...)) }
func (p *program) Logf(f string, a ...any)   { p.print(fmt.Sprintf(f, a...) + "\n") }
func (p *program) Error(args ...any)         { p.Log(args...); p.Fail() }
func (p *program) Errorf(f string, a ...any) { p.Logf(f, a...); p.Fail() }
func (p *program) Fatal(args ...any)         { p.Log(args...); p.FailNow() }
func (p *program) Fatalf(f string, a ...any) { p.Logf(f, a...); p.FailNow() }
func (p *program) Skip(args ...any)          { p.Fatal(args...) }
func (p *program) Skipf(f string, a ...any)  { p.Fatalf(f, a...) }

func (p *program) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.out, text)
}

// Cleanup has fn called when the program has ended.
func (p *program) Cleanup(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, fn)
}

// TempDir makes a folder that the end removes.
func (p *program) TempDir() string {
	p.mu.Lock()
	dir, err := p.makeDir()
	p.mu.Unlock()
	if err != nil {
		p.Fatal(err)
	}
	return dir
}

func (p *program) makeDir() (string, error) {
	if p.dir == "" {
		dir, err := os.MkdirTemp("", p.name+"-")
		if err != nil {
			return "", fmt.Errorf("consumertest: %w", err)
		}
		p.dir = dir
	}
	p.dirs++
	dir := filepath.Join(p.dir, fmt.Sprintf("%03d", p.dirs))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("consumertest: %w", err)
	}
	return dir, nil
}
