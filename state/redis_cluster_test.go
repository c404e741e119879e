package state

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// serverReply is an error reply of a server.
type serverReply string

func (r serverReply) Error() string { return string(r) }
func (r serverReply) RedisError()   {}

// What follows a moved write in its shard is sent again with it: the answer that it got may be that of a gap.
func TestAfterMoved(t *testing.T) {
	moved := account{}.error("a:1", serverReply("MOVED 7 b:2"))
	commands := []command{
		{key: "x", err: nil}, {key: "x", err: moved}, {key: "y", err: nil}, {key: "x", err: nil},
		{key: "y", err: moved}, {key: "z", err: io.EOF}, {key: "x", err: io.EOF}, {key: "z", err: nil},
	}
	for _, test := range []struct{ among, want []int }{
		{[]int{0, 1, 2, 3, 4, 5, 6, 7}, []int{1, 3, 4, 6}},
		{[]int{4, 6}, []int{4}},
		{[]int{0, 2, 5, 7}, nil},
	} {
		if got := afterMoved(commands, test.among); !reflect.DeepEqual(got, test.want) {
			t.Errorf("of %v: %v, want %v", test.among, got, test.want)
		}
	}
}

func TestNodeErrors(t *testing.T) {
	n := &clusterNodes{}
	// The client of a node that left is looked for anew; that of a closed store is not.
	if err := n.nodeError("a:1", account{}.error("a:1", redis.ErrClosed)); !Retriable(err) || !strings.Contains(err.Error(), "a:1") {
		t.Errorf("a node that left: %v", err)
	}
	n.closed.Store(true)
	if err := n.nodeError("a:1", redis.ErrClosed); !errors.Is(err, redis.ErrClosed) || Retriable(err) {
		t.Errorf("a closed store: %v", err)
	}
	if err := (account{}).error("a:1", fmt.Errorf("%w", errReplica)); !Retriable(err) {
		t.Errorf("a replica: %v", err)
	}
	// A remedy where one is known, the server's name everywhere and only once.
	for text, remedy := range map[string]string{
		"TRYAGAIN Multiple keys request during rehashing of slot": "--cluster fix",
		"ASK 7 b:2":                     "--cluster fix",
		"CLUSTERDOWN The cluster is":    "--cluster check",
		"READONLY You can't write":      "redis.sentinel",
		"NOREPLICAS Not enough":         "min-replicas-to-write",
		"OOM command not allowed":       "maxmemory",
		"MISCONF Redis is configured":   "disk",
		"LOADING Redis is loading":      "",
		"ERR unknown command 'EVALSHA'": "",
	} {
		err := account{}.error("other", account{}.error("a:1", serverReply(text)))
		want := "redis a:1: " + text
		if got := err.Error(); !strings.HasPrefix(got, want) || !strings.Contains(got, remedy) || remedy == "" && got != want {
			t.Errorf("%q, want %q with %q", got, want, remedy)
		}
	}
}
