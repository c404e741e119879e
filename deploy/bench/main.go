// Command bench measures Lapwing and its peers side by side, on real services and the same input, and judges what each
// of them wrote by an independent model. README.md says what is measured; "go run . -h" lists the flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // a run failed, or a peer's output is not what the model says
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitUsage
	}
	if o.list {
		for _, e := range append(engines(), ownEngines()...) {
			fmt.Fprintf(stdout, "%-30s %s\n", e.name, e.about)
		}
		return exitOK
	}
	good, err := bench(ctx, o, args, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitFailed
	}
	if !good {
		return exitFailed
	}
	return exitOK
}

// bench measures what the options select and writes the report. It returns false if a run failed.
func bench(ctx context.Context, o options, args []string, stdout, stderr io.Writer) (good bool, err error) {
	subjects, err := selectSubjects(o)
	if err != nil {
		return false, err
	}
	l, err := newLab(ctx, o, subjects, stderr)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	r := report{about: l.about(ctx, args), rates: o.rates, repeat: o.repeat}
	if o.skipLatency {
		r.rates = nil
	}
	if err := l.warmUp(ctx); err != nil {
		return false, fmt.Errorf("warm up: %w", err)
	}
	l.measure(ctx, subjects, &r)
	if ctx.Err() != nil && len(r.rows) == 0 {
		return false, ctx.Err()
	}
	text := r.markdown()
	fmt.Fprint(stdout, text)
	if o.out != "" {
		if err := os.WriteFile(o.out, []byte(text), 0o644); err != nil {
			return false, fmt.Errorf("write the report: %w", err)
		}
	}
	return r.good(), ctx.Err()
}
