package state

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// masterCommands are requests that do nothing, one for each command that the store needs of a master, with a key of the
// pattern. Those that could change something are refused for their arguments, which Redis looks at after the
// permissions.
func masterCommands(keys string) [][]any {
	key := strings.TrimSuffix(keys, "*") + "{0}:lane:0"
	const noScript = "0000000000000000000000000000000000000000" // the SHA-1 of nothing
	return [][]any{
		{"info", "server"},
		{"time"},
		{"get", key},
		{"mget", key},
		{"set", key, "", "nx", "xx"},   // one excludes the other
		{"mset", key, "", key},         // a value is missing
		{"eval", "return (", 1, key},   // no Lua
		{"evalsha", noScript, 1, key},  // no such script
		{"script", "load", "return ("}, // no Lua
	}
}

// refusals runs the commands and returns an error for each that the user may not run, and one if the keys are refused.
func (a account) refusals(ctx context.Context, conn *redis.Conn, name string, commands [][]any) []error {
	var errs []error
	seen := map[string]bool{}
	for _, args := range commands {
		err := conn.Do(ctx, args...).Err()
		if err == nil || !isPermission(err) {
			continue
		}
		if refused := a.refused(name, err); !seen[refused.remedy] {
			seen[refused.remedy] = true
			errs = append(errs, refused)
		}
	}
	return errs
}

// sentinelChannels are what go-redis listens to, so that it learns of a new master at once.
var sentinelChannels = []string{"+switch-master", "+replica-reconf-done"}

// inspectSentinels tries what the user of the sentinels may do, and returns those that refuse something. A sentinel that
// cannot be reached is no finding here: one is enough, and if there is none, the master is not found.
func inspectSentinels(ctx context.Context, o RedisOptions) []ServerFacts {
	var facts []ServerFacts
	for _, addr := range o.Sentinel.Addrs {
		options := nodeOptions(o)
		options.Addr, options.DB, options.Username, options.Password = addr, 0, o.Sentinel.Username, o.Sentinel.Password
		f := ServerFacts{Name: "sentinel " + addr, Refused: inspectSentinel(ctx, newAccount(o).ofSentinel(), options, o.Sentinel.Master)}
		if len(f.Refused) > 0 {
			facts = append(facts, f)
		}
	}
	return facts
}

func inspectSentinel(ctx context.Context, who account, options *redis.Options, master string) []error {
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }() // nothing was written
	conn := client.Conn()
	defer func() { _ = conn.Close() }()
	name := "sentinel " + options.Addr
	refused := who.refusals(ctx, conn, name, [][]any{
		{"info", "server"}, {"ping"}, {"sentinel", "get-master-addr-by-name", master}, {"sentinel", "sentinels", master},
	})
	channels := client.Subscribe(ctx, sentinelChannels...)
	defer func() { _ = channels.Close() }()
	if _, err := channels.Receive(ctx); err != nil && isPermission(err) {
		refused = append(refused, who.refused(name, err))
	}
	return refused
}
