package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/rules"
)

func TestBenchFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--rate=-1":              "--rate is -1, must be 0 or more",
		"--rate 10000001":        "--rate is 10000001, must be 10000000 or less",
		"--events 0":             "--events is 0, must be 1 or more",
		"--users 0":              "--users is 0, must be 1 or more",
		"--user-first=-1":        "--user-first is -1, must be 0 or more",
		"--for 0s":               "--for is 0s, must be above 0",
		"--warm=-1s":             "--warm is -1s, must be 0 or more",
		"--drain 0s":             "--drain is 0s, must be above 0",
		"--timeout 0s":           "--timeout is 0s, must be above 0",
		"--zipf 1":               "--zipf is 1, must be 0 (no Zipf distribution) or above 1",
		"--zipf NaN":             "--zipf is NaN",
		"--into-used-topic":      "--into-used-topic needs --user-first",
		"--rate 1 --for 10ms":    "makes no event in --for 10ms",
		"--rate 50000":           "--rate 50000 for 33s (--warm and --for) is 1650000 events, and --events is 1000000",
		"--seed=-1":              "--seed",
		"--user-first=1 --users": "--users",
		"--user-first 9223372036854775807 --users 2": "go beyond the largest user_id",
	} {
		code, stdout, stderr := lapwing(t, "", append([]string{"bench"}, strings.Fields(args)...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) || !strings.Contains(stderr, "Try: lapwing bench --help") {
			t.Errorf("%s: exit code %d, %s; want %d and %q", args, code, stderr, exitUsage, want)
		}
	}
}

// benchSample makes events 1 ms apart.
func benchSample(u benchUsers, millis bool, n int) (values []string, users []int64) {
	e := newBenchEvents(u, []string{"deposit", `with"draw`}, millis)
	start := time.Unix(1_800_000_000, 0)
	for i := range n {
		users = append(users, e.next(start.Add(time.Duration(i)*time.Millisecond)))
		values = append(values, string(e.value))
		if string(e.key) != fmt.Sprint(users[i]) {
			panic("the key is not the user")
		}
	}
	return values, users
}

// TestBenchEvents: a seed makes the same events again, another one others; every event is one to the decoder, with what
// was asked for; users, types and amounts come as often as they should.
func TestBenchEvents(t *testing.T) {
	const n, users = 40_000, 20
	u := benchUsers{count: users, first: 1000, seed: 7}
	values, of := benchSample(u, false, n)
	again, _ := benchSample(u, false, n)
	if !slices.Equal(values, again) {
		t.Error("the same seed makes other events")
	}
	u.seed = 8
	if others, _ := benchSample(u, false, n); slices.Equal(values, others) {
		t.Error("another seed makes the same events")
	}
	types, err := rules.NewTypes("deposit", `with"draw`)
	if err != nil {
		t.Fatal(err)
	}
	decoder := contract.NewDecoder(contract.DecoderOptions{Types: types, BytesMax: 1 << 10})
	byUser, byType, sum := map[int64]int{}, map[rules.Type]int{}, 0.0
	var event contract.Event
	for i, value := range values {
		if refusal := decoder.Decode([]byte(value), 0, &event); refusal != nil {
			t.Fatalf("%s: %v", value, refusal)
		}
		if event.UserID != of[i] || int64(event.Time) != 1_800_000_000+int64(i)/1000 {
			t.Fatalf("%s: user %d and time %d, want user %d", value, event.UserID, event.Time, of[i])
		}
		byUser[event.UserID]++
		byType[event.Type]++
		var whole, cents int
		_, amount, _ := strings.Cut(value, `"amount":"`)
		if _, err := fmt.Sscanf(amount, "%d.%02d", &whole, &cents); err != nil {
			t.Fatal(err)
		}
		if whole*100+cents < 1 || whole*100+cents > benchAmountMax {
			t.Fatalf("amount out of range: %s", value)
		}
		sum += float64(whole) + float64(cents)/100
	}
	// Five standard deviations of a binomial distribution on each side.
	near := func(what string, got, mean, deviation float64) {
		t.Helper()
		if math.Abs(got-mean) > 5*deviation {
			t.Errorf("%s: %v, want about %v", what, got, mean)
		}
	}
	for user := int64(1000); user < 1000+users; user++ {
		near(fmt.Sprintf("events of user %d", user), float64(byUser[user]), n/users, math.Sqrt(n/users))
	}
	if len(byUser) != users {
		t.Errorf("%d users, want %d", len(byUser), users)
	}
	near("deposits", float64(byType[0]), n/2, math.Sqrt(n)/2)
	near("mean amount", sum/n, 60.005, 120/math.Sqrt(12*n))

	u.zipf = 2 // the user of rank k comes in proportion to 1/(1+k)²
	_, of = benchSample(u, true, n)
	clear(byUser)
	for _, user := range of {
		byUser[user-1000]++
	}
	total := 0.0
	for k := range users {
		total += 1 / math.Pow(float64(1+k), 2)
	}
	for k := range int64(5) {
		p := 1 / math.Pow(float64(1+k), 2) / total
		near(fmt.Sprintf("zipf: events of rank %d", k), float64(byUser[k]), n*p, math.Sqrt(n*p*(1-p)))
	}
	if values, _ = benchSample(u, true, 2); !strings.HasSuffix(values[1], `"time":1800000000001}`) {
		t.Errorf("not in milliseconds: %s", values[1])
	}
}

// TestLatencies compares with what is counted one by one.
func TestLatencies(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 10, 999, 1000, 1001} {
		var of []time.Duration
		for range n {
			of = append(of, time.Duration(rng.ExpFloat64()*float64(20*time.Millisecond)))
		}
		l := newLatencies(slices.Clone(of))
		for _, q := range []float64{0.001, .5, .9, .99, .999, 1} {
			got, below := l.quantile(q), 0
			atMost := 0
			for _, d := range of {
				if d < got {
					below++
				}
				if d <= got {
					atMost++
				}
			}
			// The least that so many do not exceed: those up to it are enough, those below it are not.
			if !slices.Contains(of, got) || float64(atMost) < q*float64(n) || float64(below) >= q*float64(n) {
				t.Errorf("quantile %v of %d is %v: %d below, %d at most", q, n, got, below, atMost)
			}
		}
		if l.max() != slices.Max(of) {
			t.Errorf("max of %d is %v, want %v", n, l.max(), slices.Max(of))
		}
		for _, bar := range l.histogram() {
			want := int64(0)
			for _, d := range of {
				if d <= bar.bound {
					want++
				}
			}
			if bar.within != want {
				t.Errorf("within %v of %d: %d, want %d", bar.bound, n, bar.within, want)
			}
		}
		if bars := l.histogram(); bars[len(bars)-1].within != int64(n) {
			t.Errorf("the last bar of %d has %d", n, bars[len(bars)-1].within)
		}
	}
	l := newLatencies([]time.Duration{9 * time.Millisecond, time.Millisecond, 3 * time.Millisecond, 3 * time.Millisecond})
	if got, want := l.String(), "p50 3ms, p90 9ms, p99 9ms, p99.9 9ms, max 9ms, of 4 events; within 1ms 25 %, 2ms 25 %, 5ms 75 %, 10ms 100 %"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := newLatencies(nil); got.String() != "no event was counted" || got.max() != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// TestBenchLedger goes through what can come of an event, with others that write in between and results that are seen
// before the acknowledgement.
func TestBenchLedger(t *testing.T) {
	const ms = time.Millisecond
	l := newBenchLedger(2)
	own := func(user int64, created time.Duration) benchOwn {
		return benchOwn{user: user, created: created, counted: created >= 10*ms}
	}
	see := func(s sighting) { l.see([]sighting{s}) }
	// Partition 0 has own events at 5, 6, 7, 10 and 11, somebody else's at 8 and 9; partition 1 has one at 100.
	see(sighting{partition: 0, offset: 6, seen: 30 * ms, at: 1}) // early
	see(sighting{partition: 0, offset: 9, seen: 31 * ms, at: 2}) // early, and somebody else's in the end
	if l.outstanding() != 0 || l.foreign != 0 {
		t.Fatalf("%d outstanding, %d foreign before anything is written", l.outstanding(), l.foreign)
	}
	l.wrote(0, 5, []benchOwn{own(1, 0), own(2, 10*ms)}, 40*ms)
	l.wrote(0, 7, []benchOwn{own(1, 11*ms)}, 41*ms)
	if n := l.outstanding(); n != 2 {
		t.Fatalf("%d outstanding, want 2: one was seen early", n)
	}
	l.wrote(0, 10, []benchOwn{own(1, 12*ms), own(3, 13*ms)}, 42*ms)
	l.wrote(1, 100, []benchOwn{own(4, 14*ms)}, 43*ms)
	see(sighting{partition: 0, offset: 5, seen: 35 * ms, at: 8}) // its user's next is at 7
	see(sighting{partition: 0, offset: 7, seen: 36 * ms, at: 7})
	see(sighting{partition: 0, offset: 7, seen: 50 * ms, at: 9})                                  // again
	see(sighting{partition: 0, offset: 11, seen: 37 * ms, letter: true, reason: "bad_amount"})    // dead
	see(sighting{partition: 0, offset: 11, seen: 38 * ms, at: 10})                                // and alive
	see(sighting{partition: 0, offset: 4, seen: 38 * ms, at: 10})                                 // before the load
	see(sighting{partition: 0, offset: 8, seen: 38 * ms, at: 10})                                 // between own ones
	see(sighting{partition: 1, offset: 99, seen: 38 * ms, at: 10})                                // before the load
	see(sighting{partition: 9, offset: 5, seen: 38 * ms, at: 10})                                 // a new one
	see(sighting{partition: 1, offset: 101, seen: 38 * ms, letter: true, reason: "not_an_event"}) // too early to say
	l.close()
	see(sighting{partition: 1, offset: 101, seen: 38 * ms, at: 10}) // of nothing, now
	if n := l.outstanding(); n != 2 {
		t.Errorf("%d outstanding, want 2", n)
	}
	if got, want := l.ends(), []int64{12, 101}; !slices.Equal(got, want) {
		t.Errorf("ends %d, want %d", got, want)
	}
	source := func(partition int32, offset int64) contract.Source {
		return contract.Source{Topic: "in", Partition: partition, Offset: offset}
	}
	b := l.balance("in", nil)
	for name, c := range map[string]struct {
		got  benchFault
		want []contract.Source
	}{
		"missing":    {b.missing, []contract.Source{source(0, 10), source(1, 100)}},
		"repeated":   {b.repeated, []contract.Source{source(0, 7)}},
		"both":       {b.both, []contract.Source{source(0, 11)}},
		"disordered": {b.disordered, []contract.Source{source(0, 7)}},
	} {
		if int(c.got.count) != len(c.want) || !slices.Equal(c.got.first, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	if b.written != 6 || b.results != 4 || b.letters != 1 || b.foreign != 7 || b.reasons["bad_amount"] != 1 || len(b.reasons) != 1 {
		t.Errorf("balance %+v", b)
	}
	// Event 5 was created in the warm-up.
	if want := (latencies{20 * ms, 24 * ms, 25 * ms}); !slices.Equal(b.latencies, want) || b.counted != 5 || b.from != 10*ms || b.lastAck != 43*ms || b.lastSeen != 37*ms {
		t.Errorf("latencies %v of %d from %v, last %v and %v", b.latencies, b.counted, b.from, b.lastAck, b.lastSeen)
	}
	// Where only alerts are published, those below the group's offset are judged without a result.
	if b = l.balance("in", []int64{11, 100}); b.silent != 1 || !slices.Equal(b.missing.first, []contract.Source{source(1, 100)}) {
		t.Errorf("silent %d, missing %v", b.silent, b.missing)
	}
}

// TestBenchLedgerRandom compares the ledger with a map of everything, for random interleavings.
func TestBenchLedgerRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		l := newBenchLedger(1)
		owns := map[int64]int{} // results of own events by offset
		var all []sighting
		offset := int64(rng.IntN(5))
		type write struct {
			base int64
			n    int
		}
		var writes []write
		for range 1 + rng.IntN(20) {
			offset += int64(rng.IntN(3)) // others'
			w := write{offset, 1 + rng.IntN(4)}
			writes = append(writes, w)
			for i := range int64(w.n) {
				owns[w.base+i] = 0
			}
			offset += int64(w.n)
		}
		for at := range offset + 3 {
			for range rng.IntN(3) {
				all = append(all, sighting{offset: at, seen: 1, at: at})
			}
		}
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		next := 0
		for _, w := range writes {
			until := next + rng.IntN(len(all)-next+1)
			l.see(all[next:until])
			next = until
			l.wrote(0, w.base, make([]benchOwn, w.n), 1)
		}
		l.close()
		l.see(all[next:])
		foreign := int64(0)
		for _, s := range all {
			if _, own := owns[s.offset]; own {
				owns[s.offset]++
			} else {
				foreign++
			}
		}
		missing, repeated := int64(0), int64(0)
		for _, n := range owns {
			switch {
			case n == 0:
				missing++
			case n > 1:
				repeated++
			}
		}
		b := l.balance("in", nil)
		if b.written != int64(len(owns)) || b.missing.count != missing || b.repeated.count != repeated || b.foreign != foreign || l.outstanding() != missing {
			t.Fatalf("got %+v, want written %d, missing %d, repeated %d, foreign %d", b, len(owns), missing, repeated, foreign)
		}
	}
}

// TestBenchPace: events are made by their schedule and have its times, also those that had to wait; what is too late is
// left out.
func TestBenchPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBenchWriter(nil, nil, "in", 1<<20, time.Second)
		l := benchLoad{
			plan: benchPlan{perSecond: 1000, events: 5000, warm: 1000}, events: newBenchEvents(benchUsers{count: 10, first: 1}, []string{"deposit"}, false),
			writers: []*benchWriter{w}, began: time.Now(),
		}
		// A writer that takes nothing for the second of the five seconds, as if its broker stood still.
		w.bytes = benchBacklogBytesMax
		go func() {
			time.Sleep(time.Second)
			w.mu.Lock()
			w.bytes = 0
			w.mu.Unlock()
			w.room <- struct{}{}
		}()
		made := l.make(t.Context(), l.writers)
		if made != 5000 || time.Since(l.began).Round(10*time.Millisecond) != 5*time.Second {
			t.Fatalf("%d events in %v", made, time.Since(l.began))
		}
		n := 0
		for _, parcel := range w.waiting[0] {
			for _, own := range parcel.events {
				if want := time.Duration(n) * time.Millisecond; (own.created-want).Abs() > time.Microsecond || own.counted != (n >= 1000) {
					t.Fatalf("event %d is of %v, counted %t", n, own.created, own.counted)
				}
				n++
			}
		}
		if n != 5000 {
			t.Errorf("%d events wait", n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newBenchWriter(nil, nil, "in", 1<<20, time.Second)
		l := benchLoad{
			plan: benchPlan{perSecond: 1000, events: 2000}, events: newBenchEvents(benchUsers{count: 10, first: 1}, []string{"deposit"}, false),
			writers: []*benchWriter{w}, began: time.Now(),
		}
		w.bytes = benchBacklogBytesMax
		go func() {
			time.Sleep(4 * time.Second) // longer than the plan and what is waited beyond it
			w.mu.Lock()
			w.bytes = 0
			w.mu.Unlock()
			w.room <- struct{}{}
		}()
		if made := l.make(t.Context(), l.writers); made == 0 || made > benchChunk {
			t.Errorf("%d events were made, want those that were begun in time", made)
		}
	})
}
