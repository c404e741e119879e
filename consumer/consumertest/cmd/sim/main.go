// Command sim runs seeds of the simulation (package consumertest/sim) and reports what failed:
//
//	sim --seeds 100:50         fifty seeds, from 100 on
//	sim --seeds 123 --verbose  one seed, with its script and the engines' logs (of a failure they are printed anyway)
//
// The last line is "sim: seeds=50 events=N failed=0". The exit code is 0 only if nothing failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest/sim"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	seeds := flags.String("seeds", "0:40", "first seed, and how many")
	parallel := flags.Int("parallel", sim.DefaultParallel, "how many seeds run at a time")
	repeat := flags.Int("repeat", 1, "run each seed so many times: a failure may need its interleaving")
	verbose := flags.Bool("verbose", false, "print scripts and logs of all seeds, not only of those that fail")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	first, count, err := parseSeeds(*seeds)
	if err == nil && (flags.NArg() > 0 || *parallel < 1 || *repeat < 1) {
		err = fmt.Errorf("unexpected arguments %q, or --parallel %d or --repeat %d is below 1", flags.Args(), *parallel, *repeat)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	ran, events, failed := 0, 0, 0
	sim.RunAll(ctx, first, count, *repeat, *parallel, func(r sim.Result) {
		ran++
		events += r.Events
		if r.Err != nil || *verbose {
			_, _ = os.Stderr.Write(r.Log)
		}
		if r.Err != nil {
			failed++
			fmt.Printf("seed %d failed after %v: %v\n\trepeat: make sim ARGS=\"--seeds %d:1 --repeat 20\"\n", r.Seed, r.Took.Round(time.Millisecond), r.Err, r.Seed)
		}
	})
	if ctx.Err() != nil {
		fmt.Printf("interrupted after %d of %d runs\n", ran, count**repeat)
		failed = max(failed, 1)
	}
	fmt.Printf("%v, %d at a time\nsim: seeds=%d events=%d failed=%d\n", time.Since(began).Round(time.Millisecond), *parallel, ran, events, failed)
	if failed > 0 {
		return 1
	}
	return 0
}

// parseSeeds reads first:count, or one seed.
func parseSeeds(text string) (first uint64, count int, err error) {
	a, b, two := strings.Cut(text, ":")
	if first, err = strconv.ParseUint(a, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("--seeds %q is not first:count: %w", text, err)
	}
	if count = 1; two {
		if count, err = strconv.Atoi(b); err != nil || count < 1 {
			return 0, 0, fmt.Errorf("--seeds %q: the count is not a number above 0", text)
		}
	}
	return first, count, nil
}
