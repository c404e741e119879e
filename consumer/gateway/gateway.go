package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lapwing/lapwing/consumer/httpd"
)

// Gateway serves POST /event. Make one with New and Run it once.
type Gateway struct {
	options Options
	log     *slog.Logger
	server  *httpd.Server
	metrics *metrics
	status  *status
	waiters *waiters

	ran  atomic.Bool
	addr atomic.Pointer[net.Addr]
}

// ErrRan is returned by a second Run.
var ErrRan = errors.New("gateway: Run was called before")

// New checks the options, reads the files of Options.HTTP and registers the metrics. It connects to nothing and listens on
// nothing.
func New(o Options) (*Gateway, error) {
	g := &Gateway{options: o, log: o.Logger, status: newStatus(), waiters: newWaiters()}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.log = g.log.With("component", "gateway")
	server := o.HTTP
	server.Name, server.Logger = "gateway", g.log
	// From the end of the header on: everything that handling takes, and a slow client.
	server.WriteTimeout = o.HTTP.ReadTimeout + 2*o.WriteTimeout + o.ResultTimeout + o.HTTP.ReadTimeout
	var err error
	g.server, err = httpd.New(server)
	if err := errors.Join(o.validate(), err); err != nil {
		return nil, err
	}
	if g.metrics, err = newMetrics(o.Registerer, g.Ready); err != nil {
		return nil, err
	}
	if o.HTTP.Listener != nil {
		g.setAddr(o.HTTP.Listener.Addr())
	}
	return g, nil
}

func (g *Gateway) setAddr(a net.Addr) { g.addr.Store(&a) }

// Addr returns the address that is listened on; nil before Run listens, unless Options.Listener is given.
func (g *Gateway) Addr() net.Addr {
	if a := g.addr.Load(); a != nil {
		return *a
	}
	return nil
}

// Ready returns nil while requests are taken and nothing fails, else what is the matter. It is what
// GET /readyz answers.
func (g *Gateway) Ready() error { return g.status.err() }

// Run listens and serves until ctx ends, then lets the requests in flight go on for DrainTimeout, and
// returns nil: it takes DrainTimeout and a second at most. An error is one of listening or serving.
// Kafka need not be there: requests are answered 503 until it is.
func (g *Gateway) Run(ctx context.Context) error {
	if !g.ran.CompareAndSwap(false, true) {
		return ErrRan
	}
	addr, err := g.server.Listen(ctx)
	if err != nil {
		return err
	}
	g.setAddr(addr)
	// Requests in flight need writers and readers while they drain, when ctx has ended.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()

	writer := newWriter(work, &group, &g.options, g.metrics, producer(g.options.Client, g.options.Input))
	results := &results{
		options: &g.options, log: g.log, metrics: g.metrics, status: g.status, waiters: g.waiters, group: &group,
	}
	group.Go(func() { results.watchTopics(work) })
	hurry := make(chan struct{})
	handler := newHandler(&g.options, g.metrics, g.status, g.waiters, writer.submit, hurry)
	return g.serve(ctx, handler, hurry)
}

// grace is how long the answers that hurry brings may take to reach their clients.
const grace = time.Second

// serve runs the HTTP server until ctx ends or it fails.
func (g *Gateway) serve(ctx context.Context, h http.Handler, hurry chan<- struct{}) error {
	served := make(chan error, 1)
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { served <- g.server.Serve(h) })
	g.log.Info("gateway is listening", "address", g.Addr().String())

	select {
	case err := <-served:
		close(hurry)
		return errors.Join(err, g.server.Stop(grace))
	case <-ctx.Done():
	}
	g.log.Info("gateway is stopping")
	hurried := time.AfterFunc(g.options.DrainTimeout, func() { close(hurry) })
	defer hurried.Stop()
	if err := g.server.Stop(g.options.DrainTimeout + grace); err != nil {
		g.log.Warn("clients did not take their answers in time", "err", err)
	}
	return nil
}
