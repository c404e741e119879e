package main

import "context"

type gatewayCmd struct {
	Config string `placeholder:"FILE" help:"The configuration; left out: the defaults and the environment."`
}

// Help is what --help prints beside the flags.
func (c *gatewayCmd) Help() string {
	return `Serves POST /event: writes the event to the first topic of kafka.input and answers with its result, which some engine of the group
publishes. Any number of gateways may run beside any number of engines.`
}

// Run is the gateway.
func (c *gatewayCmd) Run(ctx context.Context, con *console) error {
	config, err := LoadConfig(c.Config, con.environ)
	if err != nil {
		return err
	}
	ctx, stop := drainOnSignal(ctx, con.stderr)
	defer stop()
	o, closeObserver, err := config.observer(con.stderr)
	if err != nil {
		return err
	}
	defer closeObserver()
	g, closeAll, err := config.gateway(o.log, o.registry, o.servers, o.tracer, nil)
	if err != nil {
		return err
	}
	defer closeAll()
	alive := func() (bool, string) { return true, "" } // it answers
	admin, err := config.admin(o.log, o.registry, o.servers, alive, func() (bool, string) {
		if err := g.Ready(); err != nil {
			return false, err.Error() + "\n"
		}
		return true, ""
	})
	if err != nil {
		return err
	}
	return serve(ctx, config.Gateway.DrainTimeout+stopGrace, g.Run, admin)
}
