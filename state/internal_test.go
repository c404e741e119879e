package state

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestCheckInfo(t *testing.T) {
	for _, test := range []struct {
		info string
		want error
		text string
	}{
		{"# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n", nil, ""},
		{"redis_version:6.2.0\r\nmaxmemory_policy:noeviction\r\n", nil, ""},
		{"redis_version:10.0.1\r\nmaxmemory_policy:noeviction\r\n", nil, ""},
		{"# Clients\r\nconnected_clients:1\r\n", nil, ""}, // miniredis
		{"redis_version:6.0.20\r\nmaxmemory_policy:noeviction\r\n", ErrVersion, "6.0.20"},
		{"redis_version:5.9.9\r\nmaxmemory_policy:noeviction\r\n", ErrVersion, "at least 6.2"},
		{"redis_version:unstable\r\nmaxmemory_policy:noeviction\r\n", ErrVersion, "unstable"},
		{"redis_version:7.0.15\r\nmaxmemory_policy:allkeys-lfu\r\n", ErrEviction, "allkeys-lfu"},
		{"redis_version:7.0.15\r\nmaxmemory:0\r\nmaxmemory_policy:volatile-lru\r\n", ErrEviction, "volatile-lru"},
		{"redis_version:7.0.15\r\n", ErrEviction, `""`},
	} {
		err := checkInfo("host:6379", test.info)
		if !errors.Is(err, test.want) || err != nil && (!strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), "host:6379")) {
			t.Errorf("%q: %v, want %v with %q", test.info, err, test.want, test.text)
		}
	}
}

func TestParseCheckpoint(t *testing.T) {
	const good = "v1 offset=120 layout=5f3a21 incarnation=2 owner=lapwing-0 horizon=60"
	want := Checkpoint{Offset: 120, Layout: "5f3a21", Incarnation: 2, Owner: "lapwing-0", Horizon: 60}
	if got, err := parseCheckpoint(good); err != nil || !reflect.DeepEqual(got, want) || got.String() != good {
		t.Fatalf("%+v, %v", got, err)
	}
	for old, replacements := range map[string][]string{
		"v1":              {"v2", "", "V1", "v3"},
		"offset=120":      {"offset=-2", "offset=0120", "offset=+1", "offset=", "offset=x", "m=120", "offset=9223372036854775808"},
		"layout=5f3a21":   {"layout=a b", "layout=%zz", "layout=a%2fb", "layout=" + strings.Repeat("x", 513)},
		"incarnation=2":   {"incarnation=4294967296", "incarnation=-1"},
		"owner=lapwing-0": {"owner=" + strings.Repeat("x", 513), "", "owner=a owner=b"},
		"horizon=60":      {"horizon=-1", "horizon=60 ", "horizon=60 more=1", "horizon=60\n"},
	} {
		for _, replacement := range replacements {
			text := strings.Replace(good, old, replacement, 1)
			if got, err := parseCheckpoint(text); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%q: %+v, %v; want ErrCorrupt", text, got, err)
			}
		}
	}
}

// TestNewerCheckpoint tells a form to come from one that is none.
func TestNewerCheckpoint(t *testing.T) {
	for text, newer := range map[string]bool{
		"v3 offset=1 mode=x": true, "v12": true, "v1": false, "v0 offset=1": false, "V3 offset=1": false, "": false, "v": false, "v-3": false,
	} {
		_, err := parseCheckpoint(text)
		if !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer) != newer {
			t.Errorf("%q: %v, newer should be %t", text, err, newer)
		}
		if newer && (!strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "v1 and v2; "+RemedyNewer)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseFence(f *testing.F) {
	f.Add("1700000000000000-0123456789abcdef:7:v1 offset=120 layout=5f3a21 incarnation=2 owner=lapwing-0 horizon=60")
	f.Add("1-0000000000000000:0:")
	f.Fuzz(func(t *testing.T, text string) {
		fence, err := parseFence(text)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if fence.String() != text || fence.epoch < 1 || fence.n < 0 {
			t.Fatalf("%q became %q", text, fence)
		}
		switch c, err := fence.checkpoint(); {
		case err != nil && !errors.Is(err, ErrCorrupt):
			t.Fatalf("%q: %v", text, err)
		case err == nil && c != nil && c.String() != fence.payload:
			t.Fatalf("%q became %q", fence.payload, c)
		}
	})
}

// TestParseSources reads checkpoints of several sources, and refuses what String does not write.
func TestParseSources(t *testing.T) {
	const good = "v2 offset=100+0+20 layout=5f3a21 incarnation=2 owner= horizon=60"
	want := Checkpoint{Offset: 120, Sources: []int64{100, 0, 20}, Layout: "5f3a21", Incarnation: 2, Horizon: 60}
	if got, err := parseCheckpoint(good); err != nil || !reflect.DeepEqual(got, want) || got.String() != good {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, offset := range []string{"100", "", "+1", "1+", "1+-1", "1+01", "1+x", "9223372036854775807+1", "0" + strings.Repeat("+0", sourcesMax)} {
		text := strings.Replace(good, "100+0+20", offset, 1)
		if got, err := parseCheckpoint(text); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %+v, %v; want ErrCorrupt", text, got, err)
		}
	}
	bad := Checkpoint{Offset: 5, Sources: []int64{1, 3}}
	if err := bad.check(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("offset 5 of 1 and 3: %v", err)
	}
}

func TestMergeCheckpoints(t *testing.T) {
	at := func(offset int64, incarnation uint32, owner string) *Checkpoint {
		layout := "l" + string('0'+rune(offset%10))
		return &Checkpoint{Offset: offset, Layout: layout, Incarnation: incarnation, Owner: owner, Horizon: offset}
	}
	for name, test := range map[string]struct {
		shards []*Checkpoint
		want   Checkpoint
		found  bool
	}{
		"none":                   {[]*Checkpoint{nil, nil}, Checkpoint{Offset: -1}, false},
		"one shard":              {[]*Checkpoint{at(5, 1, "a")}, Checkpoint{5, nil, "l5", 1, "a", 5}, true},
		"the smallest":           {[]*Checkpoint{at(7, 1, "a"), at(5, 1, "a"), at(9, 1, "a")}, Checkpoint{5, nil, "l5", 1, "a", 5}, true},
		"a shard is lost":        {[]*Checkpoint{at(7, 1, "a"), nil, at(5, 1, "a")}, Checkpoint{-1, nil, "l5", 1, "a", 5}, true},
		"an older incarnation":   {[]*Checkpoint{at(3, 0, "a"), at(5, 1, "a")}, Checkpoint{-1, nil, "l5", 1, "a", 5}, true},
		"the first is cut short": {[]*Checkpoint{at(0, 1, ""), nil}, Checkpoint{0, nil, "l0", 1, "", 0}, true},
		"begun, and one is lost": {[]*Checkpoint{at(0, 1, "a"), nil}, Checkpoint{-1, nil, "l0", 1, "a", 0}, true},
		"left, and one is lost":  {[]*Checkpoint{at(5, 1, ""), nil}, Checkpoint{-1, nil, "l5", 1, "", 5}, true},
		"an owner half cleared":  {[]*Checkpoint{at(5, 1, ""), at(5, 1, "a")}, Checkpoint{5, nil, "l5", 1, "a", 5}, true},
		"an owner half set":      {[]*Checkpoint{at(5, 1, "b"), at(5, 1, "a")}, Checkpoint{5, nil, "l5", 1, "b", 5}, true},
	} {
		if got, found := mergeCheckpoints(test.shards); !reflect.DeepEqual(got, test.want) || found != test.found {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, found, test.want, test.found)
		}
	}
}

// TestShardsAreFixed guards stored data: a user is never looked for elsewhere.
func TestShardsAreFixed(t *testing.T) {
	// From an independent computation of splitmix64's finalizer modulo 4.
	k := newKeyspace("lapwing", "g", 4)
	for user, want := range map[int64]int{0: 0, 1: 1, 2: 2, 3: 0, 4: 0, 7: 0, 1000000: 2, 9223372036854775807: 1} {
		if got := k.shard(user); got != want {
			t.Errorf("user %d is in shard %d, want %d", user, got, want)
		}
	}
	counts := make([]int, 4)
	for user := range int64(10000) {
		counts[k.shard(user)]++
	}
	for shard, n := range counts {
		if n < 2300 || n > 2700 {
			t.Errorf("shard %d has %d of 10000 users", shard, n)
		}
	}
	if got := k.user(7); got != "lapwing:g:{0}:u:7" {
		t.Errorf("key %q", got)
	}
}

func TestOperationsHaveNames(t *testing.T) {
	for kind, want := range map[OpKind]string{OpClaim: "claim", OpRead: "read", OpWrite: "write", 9: "operation 9"} {
		if kind.String() != want {
			t.Errorf("%d: %q, want %q", int(kind), kind, want)
		}
	}
}

// TestOutcomesHaveNames also keeps the numbers, which the scripts return.
func TestOutcomesHaveNames(t *testing.T) {
	for o, want := range map[outcome]string{1: "applied", 0: "done", -1: "missing", -2: "other epoch", -3: "gap", 7: "outcome 7"} {
		if o.String() != want {
			t.Errorf("%d: %q, want %q", int64(o), o, want)
		}
	}
}
