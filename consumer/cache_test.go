package consumer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/lapwing/lapwing/rules"
)

// TestCacheModel drives the cache at random and compares it with plain maps: which users are dirty, what a snapshot
// holds, and that nothing leaves before the store has its last change.
func TestCacheModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		const limit = 8
		c := newCache(rules.Builtin(), 0)
		changed := map[int64]int64{} // user -> offset after its last change
		var offset, snapped, acked int64
		for range 500 {
			switch rng.IntN(6) {
			case 0, 1, 2, 3:
				user := rng.Int64N(30)
				e := c.get(user)
				if e == nil {
					if changed[user] > acked {
						t.Fatalf("seed %d: user %d left with a change at %d, acknowledged %d", seed, user, changed[user], acked)
					}
					e = c.insert(user)
				}
				c.touch(e, offset)
				offset++
				changed[user] = offset
				c.evict(limit)
			case 4:
				want := map[int64]int64{}
				for user, at := range changed {
					if at > snapped {
						want[user] = at
					}
				}
				if len(c.dirty) != len(want) {
					t.Fatalf("seed %d: %d dirty, want %d", seed, len(c.dirty), len(want))
				}
				got := map[int64]int64{}
				c.snapshot(offset, func(e *entry, _ *rules.UserState) { got[e.user] = e.tag })
				if !maps.Equal(got, want) {
					t.Fatalf("seed %d: snapshot %v, want %v", seed, got, want)
				}
				snapped = offset
			case 5:
				acked = snapped
				c.acknowledge(acked)
				c.evict(limit)
				clean := 0
				for _, at := range changed {
					if at > acked {
						clean++
					}
				}
				if c.len() > max(limit, clean) {
					t.Fatalf("seed %d: %d users in memory, limit %d, %d must stay", seed, c.len(), limit, clean)
				}
			}
		}
	}
}

// TestCacheLoadedOnly checks that a user who was loaded and not changed is neither dirty nor in the way.
func TestCacheLoadedOnly(t *testing.T) {
	c := newCache(rules.Builtin(), 10)
	c.fill(c.insert(1), 50, new(rules.UserState))
	c.touch(c.insert(2), 11)
	c.fill(c.insert(3), 60, new(rules.UserState))
	n := 0
	c.snapshot(12, func(e *entry, _ *rules.UserState) {
		if e.user != 2 {
			t.Errorf("user %d in the snapshot", e.user)
		}
		n++
	})
	if n != 1 {
		t.Fatalf("%d entries in the snapshot, want 1", n)
	}
	c.evict(1)
	if c.len() != 1 || c.get(2) == nil {
		t.Fatalf("the unflushed user must stay, the loaded ones leave: %d left", c.len())
	}
}

// TestCacheStates judges random events of users who come, leave and come back, and compares each state with one that was
// never encoded; what a snapshot is given is the same. Amounts of cents leave most states compact, others make them packed,
// and hot users get states far larger than an entry. Types are judged alone, or not.
func TestCacheStates(t *testing.T) {
	types, err := rules.NewTypes("withdraw", "deposit", "refund")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(40) {
		summed := "[deposit]"
		if seed%2 == 1 {
			summed = "[deposit, withdraw, refund]"
		}
		set, err := rules.Parse("rules.yaml", []byte(`rules: [{code: 1, kind: window_sum, types: `+summed+`, window: 40s, over: "1000"}]`), types)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		c := newCache(set, 0)
		plain := map[int64]*rules.UserState{}
		var verdict, want rules.Verdict
		forms, before := map[string]int{}, map[int64]string{}
		for offset := range int64(4000) {
			user := rng.Int64N(12)
			if user > 3 { // the others are hot
				user = rng.Int64N(200)
			}
			e := c.get(user)
			if e == nil {
				e = c.insert(user)
				if st := plain[user]; st != nil {
					c.fill(e, 0, st)
				}
			}
			if plain[user] == nil {
				plain[user] = new(rules.UserState)
			}
			fraction := 2
			if rng.IntN(60) == 0 || seed%4 > 1 && user%2 == 0 {
				fraction = 1 + rng.IntN(18)
			}
			whole := rng.IntN(200)
			if rng.IntN(100) == 0 {
				whole = 43e6 // more hundredths than 32 bits
			}
			amount, err := rules.ParseAmount(fmt.Appendf(nil, "%d.%0*d", whole, fraction, 1+rng.IntN(9)))
			if err != nil {
				t.Fatal(err)
			}
			ev := rules.Event{Type: rules.Type(rng.IntN(types.Len()*10-1) / 10), UserID: user, Time: rules.Time(offset / 40 * (1 + offset/2000*50)), Amount: amount}
			if ev.Type == 2 && user%3 > 0 {
				ev.Type = 1 // nearly all users have two types only
			}
			if rng.IntN(20) == 0 {
				ev.Time = max(ev.Time-rules.Time(rng.IntN(70)), 0)
			}
			st := c.open(e, ev.Type)
			set.Judge(st, &ev, &verdict)
			c.close(e, st)
			c.touch(e, offset)
			set.Judge(plain[user], &ev, &want)
			if len(verdict.Alerts) != len(want.Alerts) || verdict.LateBy != want.LateBy || verdict.Beyond != want.Beyond {
				t.Fatalf("seed %d, offset %d, user %d: %+v, want %+v", seed, offset, user, verdict, want)
			}
			if !c.whole(e).Equal(plain[user]) {
				t.Fatalf("seed %d, offset %d, user %d: %+v, want %+v", seed, offset, user, c.whole(e), plain[user])
			}
			form := formName(e)
			forms[form]++
			forms[before[user]+" to "+form]++
			before[user] = form
			if offset%100 == 99 {
				c.snapshot(offset+1, func(e *entry, st *rules.UserState) {
					if !st.Equal(plain[e.user]) {
						t.Fatalf("seed %d: snapshot of user %d: %+v, want %+v", seed, e.user, st, plain[e.user])
					}
				})
				c.acknowledge(offset + 1)
				c.evict(20)
				for user := range before {
					if e := c.get(user); e != nil && !c.whole(e).Equal(plain[user]) {
						t.Fatalf("seed %d, offset %d, user %d after a snapshot: %+v, want %+v", seed, offset, user, c.whole(e), plain[user])
					}
				}
			}
		}
		for _, form := range []string{"compact", "packed", "large", "compact to packed", "packed to compact", "packed to large"} {
			if forms[form] == 0 {
				t.Errorf("seed %d: no state was %s: %v", seed, form, forms)
			}
		}
		if forms["large to packed"]+forms["large to compact"] == 0 {
			t.Errorf("seed %d: no state was large and became small: %v", seed, forms)
		}
	}
}

func formName(e *entry) string {
	switch e.form {
	case formNew:
		return "new"
	case formCompact:
		return "compact"
	case formLarge:
		return "large"
	}
	return "packed"
}

// TestCacheKeepsUsed: of more users than there is room for, one that is used again and again stays.
func TestCacheKeepsUsed(t *testing.T) {
	c := newCache(rules.Builtin(), 0)
	const kept = 10
	for user := range int64(1000) {
		c.touch(c.insert(user), 2*user)
		c.touch(c.get(0), 2*user+1)
		c.acknowledge(2*user + 2)
		c.evict(kept)
		if want := int(min(user+1, kept)); c.len() != want || c.get(0) == nil || c.get(user) == nil {
			t.Fatalf("after user %d: %d in memory, want %d, among them users 0 and %d", user, c.len(), want, user)
		}
	}
	if len(c.pages) != 1 {
		t.Errorf("%d pages for %d entries", len(c.pages), kept)
	}
}

// TestUserIndex compares with a map while users come and leave, until the table has grown several times.
func TestUserIndex(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	c := newCache(rules.Builtin(), 0)
	want := map[int64]bool{}
	for step := range 60_000 {
		user := rng.Int64N(int64(20+step/4)) * (1 << (step % 3 * 20))
		if e := c.get(user); (e != nil) != want[user] {
			t.Fatalf("step %d: user %d is there: %t, want %t", step, user, e != nil, want[user])
		} else if e == nil {
			c.insert(user)
			want[user] = true
		} else if rng.IntN(3) > 0 {
			c.remove(e)
			delete(want, user)
		}
		if c.len() != len(want) {
			t.Fatalf("step %d: %d users, want %d", step, c.len(), len(want))
		}
	}
	for user := range want {
		if e := c.get(user); e == nil || e.user != user || !e.live {
			t.Fatalf("user %d is not there: %+v", user, e)
		}
	}
	if len(want) < 1000 {
		t.Fatalf("only %d users", len(want))
	}
}
