package state

import (
	"fmt"
	"strconv"
	"strings"
)

// keyspace names the keys of one group:
//
//	<prefix>:<group>:{<shard>}:u:<user_id>   the record of a user
//	<prefix>:<group>:{<shard>}:lane:<n>      the fence record of a lane
//	<prefix>:<group>:{0}:lineage             the layouts that the group has judged under
//
// The braces make Redis Cluster hash the shard alone, so a lane's fence record
// is in the slot of the users it guards. It is immutable.
type keyspace struct {
	users []string // by shard: the key of a user without the id
	lanes []string // by shard: the key of a fence record without the number

	lineage string
}

// shardsMax bounds the number of shards; a lane has a fence record in each.
const shardsMax = 1024

// newKeyspace returns the keys of a group; prefix, group and shards are valid.
func newKeyspace(prefix, group string, shards int) keyspace {
	k := keyspace{users: make([]string, shards), lanes: make([]string, shards), lineage: prefix + ":" + group + ":{0}:lineage"}
	for shard := range shards {
		head := prefix + ":" + group + ":{" + strconv.Itoa(shard) + "}:"
		k.users[shard] = head + "u:"
		k.lanes[shard] = head + "lane:"
	}
	return k
}

// checkKeyPart validates a prefix or a group. A brace would change what Redis
// Cluster hashes; white space and control characters make keys unreadable.
func checkKeyPart(field, text string) error {
	if text == "" {
		return fmt.Errorf("%s: must not be empty", field)
	}
	if len(text) > 255 {
		return fmt.Errorf("%s: has %d bytes, at most 255 are allowed", field, len(text))
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '{' || r == '}' }); i >= 0 {
		return fmt.Errorf("%s: %q has %q, which a key must not contain", field, text, text[i])
	}
	return nil
}

// shards returns the number of shards.
func (k *keyspace) shards() int { return len(k.users) }

// shard returns the shard of a user. It is stored data: another function would
// not find the records again. The mixing is the finalizer of splitmix64.
func (k *keyspace) shard(user int64) int {
	if len(k.users) == 1 {
		return 0
	}
	x := uint64(user)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return int(x % uint64(len(k.users)))
}

// fence returns the key of a lane's fence record.
func (k *keyspace) fence(shard int, lane int32) string {
	return k.lanes[shard] + strconv.FormatInt(int64(lane), 10)
}

// appendUser appends the key of a user, who is in the given shard.
func (k *keyspace) appendUser(dst []byte, shard int, user int64) []byte {
	dst = append(dst, k.users[shard]...)
	return strconv.AppendInt(dst, user, 10)
}

// user returns the key of a user.
func (k *keyspace) user(user int64) string {
	return string(k.appendUser(nil, k.shard(user), user))
}

// grouping orders the positions of a list of users by shard. It is reused.
type grouping struct {
	order  []int32 // positions, those of one shard together and in their order
	bounds []int32 // of shard s: order[bounds[s]:bounds[s+1]]
	counts []int32
}

// group orders the positions of users by shard.
func (g *grouping) group(k *keyspace, users []int64) {
	shards := k.shards()
	g.bounds = append(g.bounds[:0], make([]int32, shards+1)...)
	for _, user := range users {
		g.bounds[k.shard(user)+1]++
	}
	for shard := range shards {
		g.bounds[shard+1] += g.bounds[shard]
	}
	g.counts = append(g.counts[:0], g.bounds[:shards]...)
	g.order = append(g.order[:0], make([]int32, len(users))...)
	for i, user := range users {
		shard := k.shard(user)
		g.order[g.counts[shard]] = int32(i)
		g.counts[shard]++
	}
}

// of returns the positions of one shard.
func (g *grouping) of(shard int) []int32 { return g.order[g.bounds[shard]:g.bounds[shard+1]] }
