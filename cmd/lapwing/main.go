// Command lapwing is a streaming alert engine; see the documents of the repository.
//
// main only translates: arguments to a command, signals to a context, and an error to an exit code. Each subcommand has a
// file of its own with its flags. The exit code is 0 when all went well, 1 for problems and failures, 2 for a mistake on
// the command line, and 130 when a second signal cut a shutdown short.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells report it.
)

// cli is the table of subcommands.
type cli struct {
	Run     runCmd     `cmd:"" help:"Run the engine."`
	Dev     devCmd     `cmd:"" help:"Run everything in one process, in memory."`
	Gateway gatewayCmd `cmd:"" help:"Serve POST /event in front of the engines."`
	Check   checkCmd   `cmd:"" help:"List all problems of a configuration and its rules."`
	Doctor  doctorCmd  `cmd:"" help:"Connect, and say what is right and what is wrong."`
	Bench   benchCmd   `cmd:"" help:"Put a load on a cluster, and measure what comes of it."`
	Eval    evalCmd    `cmd:"" help:"Judge events from a file or standard input, without any service."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// console is what a command may use of the process.
type console struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string // "NAME=value", as os.Environ returns it.
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program, apart from the process: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	con := &console{stdin: stdin, stdout: stdout, stderr: stderr, environ: os.Environ()}
	exited := false // by --help, which kong answers by itself
	parser, err := kong.New(&cli{},
		kong.Name("lapwing"),
		kong.Description("A streaming alert engine: events in from Kafka, one result per event out, each judged exactly once."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { exited = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(con),
	)
	if err != nil {
		return fail(stderr, fmt.Errorf("command table: %w", err))
	}
	command, err := parser.Parse(args)
	if exited {
		return exitOK
	}
	if err != nil {
		return failUsage(stderr, err)
	}
	if err := command.Run(); err != nil {
		return fail(stderr, err)
	}
	return exitOK
}

// fail reports an error of a command; a list of problems is one line each.
func fail(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "Error: %v\n", err)
	return exitFailure
}

// failUsage reports a mistake on the command line and which help to read.
func failUsage(stderr io.Writer, err error) int {
	try := "lapwing"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if selected := parse.Context.Selected(); selected != nil {
			try = selected.FullPath()
		}
	}
	fmt.Fprintf(stderr, "Error: %v\nTry: %s --help\n", err, try)
	return exitUsage
}
