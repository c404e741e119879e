package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// program is a process that was started. Its output is in a file.
type program struct {
	command *exec.Cmd
	log     string
	done    chan struct{} // closed when it has ended and err stands
	err     error
}

const (
	stopTimeout  = 30 * time.Second // between SIGTERM and SIGKILL
	logTailBytes = 2000
)

// start starts a program in a folder that its output goes to.
func start(argv []string, dir string) (*program, error) {
	p := &program{command: exec.Command(argv[0], argv[1:]...), log: filepath.Join(dir, "log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	p.command.Stdout, p.command.Stderr = out, out
	// An interrupt at the terminal is ours; we end what we have started.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = p.command.Start()
	closeErr := out.Close()
	if err := errors.Join(err, closeErr); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() { // ends with the process; stop waits for it
		defer close(p.done)
		p.err = p.command.Wait()
	}()
	return p, nil
}

func (p *program) pid() int { return p.command.Process.Pid }

// stop ends the program and waits. An error says that it did not end by itself within stopTimeout, or in failure.
func (p *program) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		_ = p.command.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within %v of SIGTERM: killed", p.command.Path, stopTimeout)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		status, _ := exit.Sys().(syscall.WaitStatus)
		const javaAfterSIGTERM = 128 + int(syscall.SIGTERM)
		if exit.ExitCode() == javaAfterSIGTERM || status.Signaled() && status.Signal() == syscall.SIGTERM {
			return nil
		}
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p.command.Path, p.err, p.tail())
	}
	return nil
}

// tail returns the last output.
func (p *program) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-logTailBytes):]))
}
