package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// drainOnSignal is for the commands that serve. The first SIGINT or SIGTERM cancels the returned context, so that the
// command finishes what it has begun; a second one ends the process at once with exit code 130. The caller calls stop
// when it has finished: it gives the signals back and waits for the goroutine that listened.
func drainOnSignal(parent context.Context, stderr io.Writer) (ctx context.Context, stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	ctx, stopDrain := drainOn(parent, signals, stderr, os.Exit)
	return ctx, func() {
		signal.Stop(signals)
		stopDrain()
	}
}

// drainOn is drainOnSignal without the process. exit may return, as it does in tests.
func drainOn(parent context.Context, signals <-chan os.Signal, stderr io.Writer, exit func(code int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	stopped, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for drains := true; ; drains = false {
			select {
			case s := <-signals:
				if !drains {
					fmt.Fprintf(stderr, "%v again: ending at once\n", s)
					exit(exitInterrupted)
					return
				}
				fmt.Fprintf(stderr, "%v: finishing what was begun; once more ends at once\n", s)
				cancel()
			case <-stopped:
				return
			}
		}
	}()
	return ctx, func() {
		close(stopped)
		<-done
		cancel()
	}
}
