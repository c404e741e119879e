// Command chaos breaks a real cluster around real engines and has an independent checker say what came of it. The last line
// it prints is the verdict, "chaos: seed=7 events=N dead=N lost=0 twice=0 wrong=0"; it exits 0 only if those three are 0
// and everything ended as it should.
//
//	make chaos ARGS="--seed 7 --duration 90s --rate 20000 --faults all"
//	make chaos ARGS="--faults kill,redis-empty --rate 5000"
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/consumertest/chaos"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	o := chaos.Options{Seed: rand.Uint64N(1_000_000)}
	var faults string
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "of the schedule and of the events; drawn unless given")
	flags.DurationVar(&o.Duration, "duration", 90*time.Second, "of the load")
	flags.IntVar(&o.Rate, "rate", 5000, "input records a second")
	flags.StringVar(&faults, "faults", "all", "which, separated by commas; all or none")
	flags.IntVar(&o.Brokers, "brokers", 3, "1 or 3; with 1, no broker is killed or frozen")
	flags.IntVar(&o.Members, "members", 3, "engines that run from beginning to end; one more joins and leaves")
	flags.IntVar(&o.Users, "users", 20_000, "distinct users")
	flags.IntVar(&o.Lanes, "partitions", 6, "of the input")
	flags.Float64Var(&o.Strays, "strays", 0, "share of events in another partition than their user's; without the fault delete")
	flags.DurationVar(&o.Warm, "warm", 0, "load before the first fault; 0: 2s")
	flags.DurationVar(&o.Hold, "hold", 0, "how long each fault lasts; 0: drawn by the seed")
	flags.DurationVar(&o.Gap, "gap", 0, "pause between two faults of a kind; 0: drawn by the seed")
	flags.DurationVar(&o.Drain, "drain", 3*time.Minute, "what the engines may take for what is left at the end")
	flags.StringVar(&o.Logs, "logs", "", "folder for what the engines print; empty: it is kept only of a run that fails")
	flags.StringVar(&o.Binary, "binary", "", "the engine; built unless given")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), "chaos breaks a real cluster around real engines, and checks what came of it.\n\n")
		flags.PrintDefaults()
		fmt.Fprint(flags.Output(), "\nFaults:\n", chaos.Describe())
	}
	if err := flags.Parse(args); err != nil {
		return 2
	}
	o.Faults = strings.FieldsFunc(faults, func(r rune) bool { return r == ',' || r == ' ' })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Printf("seed=%d (repeat: make chaos ARGS=\"%s\")\n", o.Seed, repeat(o, faults))
	result := chaos.Result{Options: o}
	ok := consumertest.Program("chaos", os.Stdout, func(tb testing.TB) {
		defer consumertest.RemoveBinary()
		result = chaos.Run(ctx, tb, o)
		fmt.Print(result.Table())
	})
	fmt.Println(result)
	if !ok || result.Faulty() {
		return 1
	}
	return 0
}

// repeat returns the flags that plan the same again.
func repeat(o chaos.Options, faults string) string {
	text := fmt.Sprintf("--seed %d --duration %v --rate %d --faults %s --brokers %d --members %d --users %d --partitions %d",
		o.Seed, o.Duration, o.Rate, faults, o.Brokers, o.Members, o.Users, o.Lanes)
	if o.Strays > 0 {
		text += fmt.Sprintf(" --strays %v", o.Strays)
	}
	if o.Warm > 0 {
		text += fmt.Sprintf(" --warm %v", o.Warm)
	}
	if o.Hold > 0 {
		text += fmt.Sprintf(" --hold %v", o.Hold)
	}
	if o.Gap > 0 {
		text += fmt.Sprintf(" --gap %v", o.Gap)
	}
	return text
}
