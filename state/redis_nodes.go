package state

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// nodes are the servers behind a store. Its methods are safe for concurrent use.
type nodes interface {
	// send sends each command to the master of its key and fills in err of each.
	// Commands with one key reach their master in their order, none before an
	// earlier one was answered or sent along.
	send(ctx context.Context, commands []command)

	// load makes a script known to the masters that refused a command for want of it.
	load(ctx context.Context, commands []command, script *redis.Script) error

	// check looks at every master.
	check(ctx context.Context) error

	close() error
}

// command is one command for the master of a key, which is the key of a lane's
// fence record: it stands for the shard.
type command struct {
	key string
	cmd redis.Cmder
	err error // names the node
}

// nodeOptions are those of the client of one server.
func nodeOptions(o RedisOptions) *redis.Options {
	return &redis.Options{
		Username:     o.Username,
		Password:     o.Password,
		DB:           o.DB,
		Dialer:       dialer(o),
		DialTimeout:  o.DialTimeout,
		ReadTimeout:  o.ReadTimeout,
		WriteTimeout: o.WriteTimeout,
		PoolSize:     o.PoolSize,

		ContextTimeoutEnabled: true,
		// A second try mends a connection that went stale in the pool. More waiting
		// is the caller's, who knows what else there is to do.
		MaxRetries:    1,
		DialerRetries: 1,
		// All data goes through pipelines: one pool with large buffers is enough.
		PipelinePoolSize: -1,
		ReadBufferSize:   128 << 10,
		WriteBufferSize:  128 << 10,
		// Nothing that a server of 6.2 does not know, or that needs permissions.
		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// singleNode is one server that is the master of all keys.
type singleNode struct {
	account
	client  *redis.Client
	name    string // for errors
	inspect func(ctx context.Context, conn *redis.Conn) error
}

// newSingleNode returns the node at the only address of the options.
func newSingleNode(o RedisOptions) *singleNode {
	n := &singleNode{account: newAccount(o), name: o.Addrs[0]}
	n.inspect = func(ctx context.Context, conn *redis.Conn) error { return probe(ctx, conn, n.name, standalone) }
	options := nodeOptions(o)
	options.Addr, options.OnConnect = n.name, onConnect(n.inspect)
	n.client = redis.NewClient(options)
	return n
}

// onConnect makes a check the last step of connecting: a server that took the
// place of another one is looked at before it gets a state.
func onConnect(check func(ctx context.Context, conn *redis.Conn) error) func(ctx context.Context, conn *redis.Conn) error {
	return func(ctx context.Context, conn *redis.Conn) error {
		if err := check(ctx, conn); err != nil {
			// go-redis takes off one layer of what a connection's set-up returns.
			return fmt.Errorf("connect: %w", err)
		}
		return nil
	}
}

// send implements nodes.
func (n *singleNode) send(ctx context.Context, commands []command) {
	n.sendTo(ctx, n.client, n.name, commands)
}

// sendTo sends commands to one server in one pipeline.
func (a account) sendTo(ctx context.Context, client *redis.Client, name string, commands []command) {
	pipe := client.Pipeline()
	for i := range commands {
		_ = pipe.Process(ctx, commands[i].cmd) // only queues it
	}
	_, err := pipe.Exec(ctx)
	failed := false
	for i := range commands {
		commands[i].err = a.error(name, commands[i].cmd.Err())
		failed = failed || commands[i].err != nil
	}
	if err == nil || failed {
		return
	}
	// No connection could be made, and nothing was sent: go-redis leaves the commands
	// without an error if it was the server who said why, as for the login. Their
	// values must not be taken for answers.
	for i := range commands {
		commands[i].err = a.error(name, err)
	}
}

// load implements nodes.
func (n *singleNode) load(ctx context.Context, _ []command, script *redis.Script) error {
	return n.error(n.name, script.Load(ctx, n.client).Err())
}

// check implements nodes.
func (n *singleNode) check(ctx context.Context) error {
	conn := n.client.Conn()
	err := n.inspect(ctx, conn)
	_ = conn.Close() // gives it back to the pool
	return n.error(n.name, err)
}

// close implements nodes.
func (n *singleNode) close() error { return n.client.Close() }
