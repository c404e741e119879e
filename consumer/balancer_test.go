package consumer

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"

	"github.com/lapwing/lapwing/consumer/contract"
)

func member(id string, generation int32, lanes ...int32) kafka.GroupMember {
	data := binary.BigEndian.AppendUint32(nil, uint32(generation))
	for _, l := range lanes {
		data = binary.BigEndian.AppendUint32(data, uint32(l))
	}
	return kafka.GroupMember{ID: id, Topics: []string{"events"}, UserData: data}
}

func partitions(n int) (out []kafka.Partition) {
	for i := range n {
		out = append(out, kafka.Partition{Topic: "events", ID: i})
	}
	return out
}

func TestBalancerIsSticky(t *testing.T) {
	b := newBalancer(layout{"a", 6, contract.CRC32, "b"})
	cases := []struct {
		name    string
		members []kafka.GroupMember
		want    map[string][]int
	}{
		{"one takes all", []kafka.GroupMember{member("a", -1)}, map[string][]int{"a": {0, 1, 2, 3, 4, 5}}},
		{"a second takes half, the first keeps the rest", []kafka.GroupMember{member("a", 1, 0, 1, 2, 3, 4, 5), member("b", -1)},
			map[string][]int{"a": {0, 1, 2}, "b": {3, 4, 5}}},
		{"one leaves, the others keep theirs", []kafka.GroupMember{member("a", 4, 0, 3), member("c", 4, 2, 5)},
			map[string][]int{"a": {0, 1, 3}, "c": {2, 4, 5}}},
		{"a stale claim loses to a newer one", []kafka.GroupMember{member("a", 2, 0, 1, 2), member("b", 7, 0, 1, 2)},
			map[string][]int{"a": {3, 4, 5}, "b": {0, 1, 2}}},
		{"a lane that is gone is ignored", []kafka.GroupMember{member("a", 2, 9, 1), member("b", 2, 0)},
			map[string][]int{"a": {1, 2, 4}, "b": {0, 3, 5}}},
		{"garbage from a member owns nothing", []kafka.GroupMember{{ID: "a", UserData: []byte("abc")}, member("b", 2, 5)},
			map[string][]int{"a": {0, 1, 3}, "b": {2, 4, 5}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := b.AssignGroups(c.members, partitions(6))
			for id, want := range c.want {
				if !slices.Equal(got[id]["events"], want) {
					t.Errorf("%s has %v, want %v", id, got[id]["events"], want)
				}
			}
		})
	}
}

// TestBalancerProperties checks that each lane has exactly one owner, shares differ by one at most, and the order of
// members makes no difference.
func TestBalancerProperties(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		lanes := make([]int32, rng.IntN(20))
		for i := range lanes {
			lanes[i] = int32(i)
		}
		var members []kafka.GroupMember
		for i := range 1 + rng.IntN(6) {
			var owned []int32
			for range rng.IntN(8) {
				owned = append(owned, rng.Int32N(22))
			}
			slices.Sort(owned)
			members = append(members, member(fmt.Sprint("m", i), rng.Int32N(4), slices.Compact(owned)...))
		}
		got := assignLanes(members, lanes)
		owners := map[int32]int{}
		least, most := len(lanes), 0
		for _, owned := range got {
			least, most = min(least, len(owned)), max(most, len(owned))
			for _, l := range owned {
				owners[l]++
			}
		}
		if most-least > 1 {
			t.Fatalf("seed %d: shares from %d to %d", seed, least, most)
		}
		for _, l := range lanes {
			if owners[l] != 1 {
				t.Fatalf("seed %d: lane %d has %d owners", seed, l, owners[l])
			}
		}
		rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		again := assignLanes(members, lanes)
		for id := range got {
			if !slices.Equal(got[id], again[id]) {
				t.Fatalf("seed %d: the order of members matters", seed)
			}
		}
	}
}

func TestBalancerRemembers(t *testing.T) {
	b := newBalancer(layout{"a", 6, contract.CRC32, "b"})
	b.remember(7, []int32{4, 2})
	data, err := b.UserData()
	if err != nil {
		t.Fatal(err)
	}
	if generation, lanes := parseUserData(data); generation != 7 || !slices.Equal(lanes, []int32{4, 2}) {
		t.Fatalf("%d %v", generation, lanes)
	}
	if b.ProtocolName() != "lapwing-a.6.crc32.b" {
		t.Fatal(b.ProtocolName())
	}
}
