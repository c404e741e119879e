package consumertest

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// scanCount is how many keys Redis looks at for one answer.
const scanCount = 10_000

// RedisUsers lists the users who have a record of this group in a single Redis, whatever its incarnation, some perhaps
// twice. Their keys are <prefix>:<group>:{<shard>}:u:<user>.
func RedisUsers(ctx context.Context, addr, prefix, group string) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		client := redis.NewClient(&redis.Options{Addr: addr})
		defer client.Close()
		pattern := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(prefix+":"+group) + ":{*}:u:*"
		keys := client.Scan(ctx, 0, pattern, scanCount).Iterator()
		for keys.Next(ctx) {
			key := keys.Val()
			user, err := strconv.ParseInt(key[strings.LastIndexByte(key, ':')+1:], 10, 64)
			if err != nil {
				err = fmt.Errorf("consumertest: key %q of Redis %s: %w", key, addr, err)
			}
			if !yield(user, err) || err != nil {
				return
			}
		}
		if err := keys.Err(); err != nil {
			yield(0, fmt.Errorf("consumertest: list the users in Redis %s: %w", addr, err))
		}
	}
}
