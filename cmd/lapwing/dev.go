package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/lapwing/lapwing/consumer"
)

type devCmd struct {
	Kafka string   `default:"127.0.0.1:9092" placeholder:"HOST:PORT" help:"Where the in-memory Kafka listens (${default})."`
	Redis string   `default:"127.0.0.1:6379" placeholder:"HOST:PORT" help:"Where the in-memory Redis listens (${default})."`
	HTTP  string   `name:"http" default:"127.0.0.1:5001" placeholder:"HOST:PORT" help:"Where the gateway listens (${default})."`
	Admin string   `default:"127.0.0.1:9644" placeholder:"HOST:PORT" help:"Where /metrics and /readyz are (${default})."`
	Rules string   `placeholder:"FILE" help:"The rules, instead of the built-in ones."`
	Input []string `default:"events" placeholder:"TOPIC" help:"The topics of events (${default}); the gateway writes to the first."`
}

// Help is what --help prints beside the flags.
func (c *devCmd) Help() string {
	return `Everything in one process, in memory and on loopback: Kafka with one partition a topic, Redis, the engine and the gateway.
Real clients connect to it. Everything is gone when it ends. Of the environment it takes LAPWING_GATEWAY_... and LAPWING_ADMIN_...`
}

// Run starts the services, the engine and the gateway, says where they are, and works until a signal.
func (c *devCmd) Run(ctx context.Context, con *console) error {
	config, err := c.config(con.environ)
	if err != nil {
		return err
	}
	config.HTTP, config.Rules = c.Admin, File(c.Rules)
	config.Log.Level = "warn"

	gatewayListener, err := listenFor("gateway", "--http", c.HTTP)
	if err != nil {
		return err
	}
	defer gatewayListener.Close()
	kafkaListener, err := listenFor("Kafka", "--kafka", c.Kafka)
	if err != nil {
		return err
	}
	config.Kafka.Brokers = []string{kafkaListener.Addr().String()}
	topics := append(slices.Clone(config.Kafka.Input), config.Kafka.Output, config.Kafka.DeadLetters)
	if consumer.NeedsRekey(devPartitions, len(config.Kafka.Input)) {
		topics = append(topics, consumer.RekeyTopic(config.Kafka.Group))
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(string, string) (net.Listener, error) { return kafkaListener, nil }),
		kfake.SeedTopics(devPartitions, topics...))
	if err != nil {
		return fmt.Errorf("in-memory Kafka: %w", err)
	}
	defer cluster.Close()
	redis := miniredis.NewMiniRedis()
	if err := redis.StartAddr(c.Redis); err != nil {
		return listenError("Redis", "--redis", c.Redis, err)
	}
	defer redis.Close()
	config.Redis.Addrs = []string{redis.Addr()}

	ctx, stop := drainOnSignal(ctx, con.stderr)
	defer stop()
	o, closeObserver, err := config.observer(con.stderr)
	if err != nil {
		return err
	}
	defer closeObserver()
	engine, closeEngine, err := config.engine(o.log, o.registry, o.tracer)
	if err != nil {
		return err
	}
	defer closeEngine()
	g, closeGateway, err := config.gateway(o.log, o.registry, o.servers, o.tracer, gatewayListener)
	if err != nil {
		return err
	}
	defer closeGateway()
	admin, err := config.admin(o.log, o.registry, o.servers, engine.Alive, engine.Ready)
	if err != nil {
		return err
	}
	c.introduce(con, config, gatewayListener.Addr().String())
	return serve(ctx, config.Kafka.DrainTimeout+stopGrace, engine.Run, g.Run, admin)
}

// devPartitions is the partition count of each topic of lapwing dev.
const devPartitions = 1

// config returns the defaults with the input topics of the command line, and with what the environment says of the two HTTP
// servers but where the gateway listens; all is checked as that of a file is.
func (c *devCmd) config(environ []string) (*Config, error) {
	l := newLoader("")
	l.readEnviron(slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		ours := strings.HasPrefix(entry, variablePrefix+"GATEWAY_") || strings.HasPrefix(entry, variablePrefix+"ADMIN_")
		return !ours || strings.HasPrefix(entry, variablePrefix+"GATEWAY_LISTEN=")
	}))
	l.setFromVariable(l.field("kafka.input"), strings.Join(c.Input, ","))
	for path, g := range l.given {
		if strings.HasPrefix(path, "kafka.input") {
			g.origin.variable = "--input"
			l.given[path] = g
		}
	}
	l.check()
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return l.config, nil
}

// introduce says where everything is, and what to try.
func (c *devCmd) introduce(con *console, config *Config, gateway string) {
	kafka, k := config.Kafka.Brokers[0], &config.Kafka
	gateway, admin := config.Gateway.TLS.url(gateway), config.Admin.TLS.url(config.HTTP)
	fmt.Fprintf(con.stdout, `Lapwing runs, all in memory:
  Kafka    %s   topics %s -> %s, %s
  Redis    %s
  gateway  %s/event
  admin    %s/metrics, /readyz
Try:
  curl -XPOST %s/event -H 'Content-Type: application/json' -d '{"type":"deposit","amount":"42.00","user_id":1,"time":10}'
  kcat -b %s -C -t %s -o beginning
  echo '{"type":"withdraw","amount":"150.00","user_id":7,"time":20}' | kcat -b %s -P -t %s -k 7
Stop with Ctrl-C.
`, kafka, strings.Join(k.Input, ","), k.Output, k.DeadLetters, config.Redis.Addrs[0], gateway, admin, gateway, kafka, k.Output, kafka, k.Input[0])
}

func listenFor(what, flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, listenError(what, flag, addr, err)
	}
	return l, nil
}

// listenError says what to do about a port that cannot be had.
func listenError(what, flag, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: the port of %s is taken: stop what listens there, or choose another with %s HOST:PORT: %w", what, addr, flag, err)
	}
	return fmt.Errorf("%s: %s cannot be listened on; choose another with %s HOST:PORT: %w", what, addr, flag, err)
}
