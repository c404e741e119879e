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
	o, closeObserver, err := config.observer(con.stderr)
	if err != nil {
		return err
	}
	defer closeObserver()
	engine, closeAll, err := config.engine(o.log, o.registry, o.tracer)
	if err != nil {
		return err
	}
	defer closeAll()
	admin, err := config.admin(o.log, o.registry, o.servers, engine.Alive, engine.Ready)
	if err != nil {
		return err
	}
	return serve(ctx, config.Kafka.DrainTimeout+stopGrace, engine.Run, admin)
}
