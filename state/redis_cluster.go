package state

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// clusterNodes are the nodes of a Redis Cluster.
//
// go-redis finds the master of a key, and nothing more: its own pipelines over a
// cluster redirect commands one by one, so that a write could be carried out after
// the one that follows it and was answered as a gap. Here each master gets its
// commands in one pipeline and in their order, and what is to be sent again is sent
// again with all that follows it in its shard.
//
// While a slot is moved, its keys are on two nodes. A command with several of them
// is refused with TRYAGAIN or ASK until all are on one, so a fence record is never
// compared on one node and states written on the other: the lane waits for the end
// of the move, and sends the same again.
type clusterNodes struct {
	account
	client *redis.ClusterClient
	name   string // for errors without a node
	closed atomic.Bool
}

// errNodeGone is the client of a node that left the cluster.
var errNodeGone = errors.New("the node has left the cluster")

// newClusterNodes returns the nodes that those at the addresses know of.
func newClusterNodes(o RedisOptions) *clusterNodes {
	c := nodeOptions(o)
	n := &clusterNodes{account: newAccount(o), name: "cluster of " + strings.Join(o.Addrs, ",")}
	n.client = redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:                 o.Addrs,
		Username:              c.Username,
		Password:              c.Password,
		Dialer:                c.Dialer,
		DialTimeout:           c.DialTimeout,
		ReadTimeout:           c.ReadTimeout,
		WriteTimeout:          c.WriteTimeout,
		PoolSize:              c.PoolSize,
		ContextTimeoutEnabled: c.ContextTimeoutEnabled,
		MaxRetries:            c.MaxRetries,
		DialerRetries:         c.DialerRetries,
		PipelinePoolSize:      c.PipelinePoolSize,
		ReadBufferSize:        c.ReadBufferSize,
		WriteBufferSize:       c.WriteBufferSize,
		Protocol:              c.Protocol,
		DisableIdentity:       c.DisableIdentity,

		MaintNotificationsConfig: c.MaintNotificationsConfig,
		NewClient: func(o *redis.Options) *redis.Client {
			o.OnConnect = onConnect(func(ctx context.Context, conn *redis.Conn) error {
				return probe(ctx, conn, o.Addr, clusterNode)
			})
			return redis.NewClient(o)
		},
	})
	return n
}

// movedTriesMax bounds the sending of commands whose slots have moved.
const movedTriesMax = 3

// send implements nodes.
func (n *clusterNodes) send(ctx context.Context, commands []command) {
	pending := make([]int, len(commands))
	for i := range pending {
		pending[i] = i
	}
	for try := 1; ; try++ {
		n.sendOnce(ctx, commands, pending)
		if pending = afterMoved(commands, pending); len(pending) == 0 || try == movedTriesMax || n.reload(ctx) != nil {
			break
		}
	}
	if slices.ContainsFunc(commands, func(c command) bool { return c.err != nil }) {
		n.client.ReloadState(ctx) // in the background: a replica may have been promoted
	}
}

// afterMoved returns those of the commands at the positions whose slot has moved,
// and those that follow one of them in its shard, whatever was answered to them.
func afterMoved(commands []command, positions []int) []int {
	var again []int
	var moved []string // keys
	for _, i := range positions {
		c := &commands[i]
		switch {
		case slices.Contains(moved, c.key):
		case redis.HasErrorPrefix(c.err, "MOVED"):
			moved = append(moved, c.key)
		default:
			continue
		}
		again = append(again, i)
	}
	return again
}

// reload learns the cluster's slots anew and returns when they are known.
func (n *clusterNodes) reload(ctx context.Context) error {
	return n.client.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil })
}

// sendOnce sends the commands at the positions to their masters, to all of them at
// the same time.
func (n *clusterNodes) sendOnce(ctx context.Context, commands []command, positions []int) {
	var groups []nodeGroup
	for _, i := range positions {
		client, err := n.client.MasterForKey(ctx, commands[i].key)
		if err != nil {
			commands[i].err = n.nodeError(n.name, err)
			continue
		}
		at := slices.IndexFunc(groups, func(g nodeGroup) bool { return g.client == client })
		if at < 0 {
			at = len(groups)
			groups = append(groups, nodeGroup{client: client})
		}
		groups[at].commands = append(groups[at].commands, commands[i])
		groups[at].positions = append(groups[at].positions, i)
	}
	var wg sync.WaitGroup
	for i := range groups {
		g := &groups[i]
		wg.Go(func() {
			name := g.client.Options().Addr
			n.sendTo(ctx, g.client, name, g.commands)
			for j, at := range g.positions {
				commands[at].err = n.nodeError(name, g.commands[j].err)
			}
		})
	}
	wg.Wait()
}

// nodeGroup is what one node is sent.
type nodeGroup struct {
	client    *redis.Client
	commands  []command
	positions []int // of the commands in the whole
}

// nodeError names the node, and tells the closed client of a node that left the
// cluster, which is looked for anew, from a closed store.
func (n *clusterNodes) nodeError(name string, err error) error {
	if errors.Is(err, redis.ErrClosed) && !n.closed.Load() {
		return n.error(name, errNodeGone)
	}
	return n.error(name, err)
}

// load implements nodes.
func (n *clusterNodes) load(ctx context.Context, commands []command, script *redis.Script) error {
	var loaded []*redis.Client
	for i := range commands {
		if !isNoScript(commands[i].err) {
			continue
		}
		client, err := n.client.MasterForKey(ctx, commands[i].key)
		if err == nil && !slices.Contains(loaded, client) {
			loaded = append(loaded, client)
			err = script.Load(ctx, client).Err()
		}
		if err != nil {
			return n.nodeError(n.name, err)
		}
	}
	return nil
}

// check implements nodes.
func (n *clusterNodes) check(ctx context.Context) error {
	err := n.client.ForEachMaster(ctx, func(ctx context.Context, client *redis.Client) error {
		conn := client.Conn()
		defer conn.Close() // gives it back to the pool
		name := client.Options().Addr
		return n.error(name, probe(ctx, conn, name, clusterNode))
	})
	return n.nodeError(n.name, err)
}

// close implements nodes.
func (n *clusterNodes) close() error {
	n.closed.Store(true)
	return n.client.Close()
}
