package main

import (
	"context"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

const testPatience = 10 * time.Second

func TestFirstSignalDrainsAndTheSecondEndsAtOnce(t *testing.T) {
	signals, codes := make(chan os.Signal), make(chan int, 1)
	var printed strings.Builder
	ctx, stop := drainOn(t.Context(), signals, &printed, func(code int) { codes <- code })

	if ctx.Err() != nil {
		t.Fatal("the context ended before any signal")
	}
	signals <- syscall.SIGTERM
	select {
	case <-ctx.Done():
	case <-time.After(testPatience):
		t.Fatal("the first signal did not end the context")
	}
	select {
	case code := <-codes:
		t.Fatalf("the first signal ended the process with code %d", code)
	default:
	}
	signals <- syscall.SIGINT
	select {
	case code := <-codes:
		if code != exitInterrupted {
			t.Errorf("exit code %d, want %d", code, exitInterrupted)
		}
	case <-time.After(testPatience):
		t.Fatal("the second signal did not end the process")
	}
	stop()
	if got := strings.Count(printed.String(), "\n"); got != 2 {
		t.Errorf("printed %q, want a line for each signal", printed.String())
	}
}

func TestStopWithoutASignal(t *testing.T) {
	ctx, stop := drainOn(t.Context(), nil, io.Discard, func(code int) { t.Errorf("exit with code %d", code) })
	stop()
	if ctx.Err() == nil {
		t.Error("the context goes on after stop")
	}
}

func TestParentEndsTheDrainContext(t *testing.T) {
	parent, cancel := context.WithCancel(t.Context())
	ctx, stop := drainOn(parent, nil, io.Discard, os.Exit)
	defer stop()
	cancel()
	if ctx.Err() == nil {
		t.Error("the context goes on after its parent ended")
	}
}

func TestSignalOfTheProcess(t *testing.T) {
	ctx, stop := drainOnSignal(t.Context(), io.Discard)
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(testPatience):
		t.Fatal("SIGTERM did not end the context")
	}
}
