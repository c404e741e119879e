package state

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// ServerFacts is what one master says of itself, whether or not a store would take
// it.
type ServerFacts struct {
	// Name is its address, or how it was found.
	Name string
	// Info is the reply of INFO by field.
	Info map[string]string
	// RoundTrips are the durations of some requests that did nothing, the shortest
	// first.
	RoundTrips []time.Duration
	// Ahead is how far the server's clock is ahead of this machine's, within half of
	// the shortest round trip.
	Ahead time.Duration
	// Refused is an AccessError for each command, and for the keys, that the store needs and its user may not use.
	Refused []error
	// Err is what else went wrong, the rest being filled in as far as it went.
	Err error
}

// InspectRedis asks every master for its facts, with a number of requests that do
// nothing (TIME), and tries what its user may do. It writes nothing, and unlike
// the store it takes a server of any version and eviction policy. Sentinels come
// first, with what their user may not do. The error is of finding the masters;
// what is wrong with one of them is in its Err.
func InspectRedis(ctx context.Context, o RedisOptions, requests int) ([]ServerFacts, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("redis options: %w", err)
	}
	if o.Cluster {
		return inspectCluster(ctx, o, requests)
	}
	n := newSingleNodeOf(o)
	defer func() { _ = n.close() }()
	return append(inspectSentinels(ctx, o), inspectServer(ctx, n.account, n.client, n.name, requests)), nil
}

// newSingleNodeOf returns the node of options without a cluster.
func newSingleNodeOf(o RedisOptions) *singleNode {
	if o.Sentinel.enabled() {
		return newSentinelNode(o)
	}
	return newSingleNode(o)
}

func inspectCluster(ctx context.Context, o RedisOptions, requests int) ([]ServerFacts, error) {
	n := newClusterNodes(o)
	defer func() { _ = n.close() }()
	var mu sync.Mutex
	var facts []ServerFacts
	err := n.client.ForEachMaster(ctx, func(ctx context.Context, client *redis.Client) error {
		f := inspectServer(ctx, n.account, client, client.Options().Addr, requests)
		mu.Lock()
		defer mu.Unlock()
		facts = append(facts, f)
		return nil
	})
	slices.SortFunc(facts, func(a, b ServerFacts) int { return cmp.Compare(a.Name, b.Name) })
	return facts, n.nodeError(n.name, err)
}

// inspectServer looks at the server that a store's client connects to, by a
// connection that was not looked at by the store's check.
func inspectServer(ctx context.Context, who account, of *redis.Client, name string, requests int) ServerFacts {
	options := *of.Options()
	options.OnConnect = nil
	client := redis.NewClient(&options)
	defer func() { _ = client.Close() }() // what it read is here
	conn := client.Conn()
	defer func() { _ = conn.Close() }()
	f := ServerFacts{Name: name}
	info, err := conn.Info(ctx).Result()
	if err != nil && !isPermission(err) {
		f.Err = who.error(name, err)
		return f
	}
	if f.Refused = who.refusals(ctx, conn, name, masterCommands(who.keys)); len(f.Refused) > 0 {
		return f
	}
	f.Info = map[string]string{}
	for line := range strings.Lines(info) {
		if field, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			f.Info[field] = value
		}
	}
	for range requests {
		sent := time.Now()
		clock, err := conn.Time(ctx).Result()
		took := time.Since(sent)
		if err != nil {
			f.Err = who.error(name, err)
			break
		}
		if len(f.RoundTrips) == 0 || took < slices.Min(f.RoundTrips) {
			f.Ahead = clock.Sub(sent.Add(took / 2))
		}
		f.RoundTrips = append(f.RoundTrips, took)
	}
	slices.Sort(f.RoundTrips)
	return f
}
