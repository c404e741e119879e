package main

import "context"

type runCmd struct {
	Config string `placeholder:"FILE" help:"The configuration; left out: the defaults and the environment."`
}

// Help is what --help prints beside the flags.
func (c *runCmd) Help() string {
	return `Joins the consumer group and judges events until SIGTERM or SIGINT: then it finishes the transaction, writes the states
to Redis and leaves the group. What time can mend is waited for, and /readyz says what; the exit code is 1 for the rest.`
}

// Run is the engine.
func (c *runCmd) Run(ctx context.Context, con *console) error {
	config, err := LoadConfig(c.Config, con.environ)
	if err != nil {
		return err
	}
	limitGarbage()
	ctx, stop := drainOnSignal(ctx, con.stderr)
	defer stop()
	log, closeLog := newLogger(con.stderr, config.Log)
	defer closeLog()
	registry, servers := newRegistry()
	tracer, closeTracer, err := config.tracer(log, registry)
	if err != nil {
		return err
	}
	defer closeTracer()
	engine, closeAll, err := config.engine(log, registry, tracer)
	if err != nil {
		return err
	}
	defer closeAll()
	admin, err := config.admin(log, registry, servers, engine.Alive, engine.Ready)
	if err != nil {
		return err
	}
	return serve(ctx, config.Kafka.DrainTimeout+stopGrace, engine.Run, admin)
}
