package consumertest

import (
	"fmt"
	"testing"
	"time"
)

// TestOwnRedisSentinels kills a master whose replica has not all that was written.
func TestOwnRedisSentinels(t *testing.T) {
	s := OwnRedisSentinels(t, 1, 1)
	master := s.Current()
	set(t, master, "key", "old")
	s.AwaitReplicas()
	master.CutReplicas()
	set(t, master, "key", "new")
	master.Kill()
	next := s.AwaitFailover(master)
	if got := get(t, next, "key"); got != "old" {
		t.Fatalf("the new master has %q, want the value from before the cut", got)
	}
	set(t, next, "key", "newer")
	s.StartReplica(master)
	if got := get(t, master, "key"); got != "newer" {
		t.Fatalf("the former master has %q, want what its successor has", got)
	}
}

// TestOwnRedisCluster kills a master of a cluster, and gives a fourth one its share of the slots.
func TestOwnRedisCluster(t *testing.T) {
	c := OwnRedisCluster(t, 3, 1)
	client := c.Client()
	const keys = 300
	for i := range keys {
		if err := client.Set(t.Context(), fmt.Sprint(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	owner := c.Owner("7")
	next := c.Nodes()[(3+indexOf(c.Nodes(), owner))%6]
	awaitReplicated(owner, next)
	owner.CutReplicas()
	if err := client.Set(t.Context(), "7", "lost", 0).Err(); err != nil {
		t.Fatal(err)
	}
	owner.Kill()
	c.AwaitPromotion(next, 3)
	owner.Start()
	fourth := c.AddMaster()
	start := time.Now()
	c.Reshard(fourth, clusterSlots/4)
	t.Logf("moving a quarter of the slots took %v", time.Since(start).Round(time.Millisecond))
	c.AwaitServing(4)
	client = c.Client()
	for i := range keys {
		if got := client.Get(t.Context(), fmt.Sprint(i)).Val(); got != fmt.Sprint(i) {
			t.Fatalf("key %d has %q", i, got)
		}
	}
	if n := fourth.Client().DBSize(t.Context()).Val(); n == 0 {
		t.Fatal("the fourth master has no key")
	}
}

func indexOf(nodes []*RedisServer, node *RedisServer) int {
	for i := range nodes {
		if nodes[i] == node {
			return i
		}
	}
	return -1
}
