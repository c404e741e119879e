package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// streakUsers have a withdrawal each before a change of the layout, in it and after it: the third raises code 30 only if the
// state came along whole.
const streakUsers = 40

// withdrawals is one of each user, at a time.
func withdrawals(at int) []string {
	var values []string
	for user := range streakUsers {
		values = append(values, event("withdraw", "1", user, at))
	}
	return values
}

// wantStreaks reads n rounds of results: the third of each user is the alert.
func (b *bench) wantStreaks(rounds int) {
	b.t.Helper()
	seen := map[string]int{}
	for _, r := range b.read(b.output, rounds*streakUsers) {
		user := string(r.Key)
		seen[user]++
		want := fmt.Sprintf(`{"alert":false,"alert_codes":[],"user_id":%s}`, user)
		if seen[user] >= 3 {
			want = fmt.Sprintf(`{"alert":true,"alert_codes":[30],"user_id":%s}`, user)
		}
		if string(r.Value) != want {
			b.t.Errorf("result %d of user %s is %s, want %s", seen[user], user, r.Value, want)
		}
	}
	for user, n := range seen {
		if n != rounds {
			b.t.Errorf("user %s has %d results", user, n)
		}
	}
}

// grow gives a topic more partitions, and the bench a producer that knows them.
func (b *bench) grow(topic string, partitions int) {
	b.t.Helper()
	if err := consumertest.GrowTopics(b.t.Context(), []string{b.broker}, partitions, topic); err != nil {
		b.t.Fatal(err)
	}
	b.client = b.newClient()
}

func creating(o *Options) { o.CreateTopics, o.Replication = true, 1 }

// lineageOf reads the group's.
func lineageOf(t *testing.T, store state.Store) lineage {
	t.Helper()
	text, err := store.Lineage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lin, err := parseLineage(text)
	if err != nil {
		t.Fatal(err)
	}
	return lin
}

// waitGrown waits until the engines have noticed that their input has so many partitions, and returns the lineage: what was sent
// after the growth may all be in old partitions still, since brokers tell of new ones at different times.
func waitGrown(t *testing.T, store state.Store, partitions int32) lineage {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		lin := lineageOf(t, store)
		if lin.Present.layout().partitions == partitions {
			return lin
		}
		if time.Now().After(deadline) {
			t.Fatalf("not noticed: lineage %s", lin)
		}
	}
}

// TestTopicGrown grows the input between two runs: the users who move to new partitions keep their states, a replay that was
// left is done as before, and the next start has nothing more to change.
func TestTopicGrown(t *testing.T) { onEachKafka(t, 2, testTopicGrown) }

func testTopicGrown(t *testing.T, b *bench) {
	moves := 0
	for user := range int64(streakUsers) {
		if contract.Murmur2.UserPartition(user, 2) != contract.Murmur2.UserPartition(user, 6) {
			moves++
		}
	}
	if moves < streakUsers/4 {
		t.Fatalf("only %d users move", moves)
	}
	store := state.NewMemory()
	b.judge(store, creating, streakUsers, withdrawals(1)...)
	b.judge(store, creating, 2*streakUsers, withdrawals(2)...)
	crashed(t, store, 3)
	b.grow(b.input, 6)
	b.judge(store, creating, 3*streakUsers, withdrawals(3)...)
	b.judge(store, creating, 4*streakUsers, withdrawals(4)...)
	b.wantStreaks(4)
	lin := lineageOf(t, store)
	if len(lin.Former) != 1 || lin.Former[0].layout().partitions != 2 || lin.Present.layout().partitions != 6 || lin.Version != 2 {
		t.Errorf("lineage %s", lin)
	}
	b.grow(b.input, 7)
	b.judge(store, creating, 5*streakUsers, withdrawals(5)...)
	b.wantStreaks(5)
}

// TestTopicGrownWhileRunning grows the input under two members, who have a backlog in the old partitions: all of it is judged
// before what the new ones have.
func TestTopicGrownWhileRunning(t *testing.T) { onEachKafka(t, 2, testTopicGrownWhileRunning) }

func testTopicGrownWhileRunning(t *testing.T, b *bench) {
	store := state.NewMemory()
	e, _ := b.minimal(store, creating)
	waitReady(t, e)
	other, _ := b.minimal(store, creating)
	waitReady(t, other)
	b.send(withdrawals(1)...)
	b.read(b.output, streakUsers)
	b.send(withdrawals(2)...)
	b.grow(b.input, 6)
	b.send(withdrawals(3)...)
	b.read(b.output, 3*streakUsers)
	b.wantStreaks(3)
	if lin := waitGrown(t, store, 6); len(lin.Former) != 1 {
		t.Errorf("lineage %s", lin)
	}
	waitReady(t, e)
	waitReady(t, other)
	b.send(withdrawals(4)...)
	b.wantStreaks(4)
}

// TestRekeyTopicTooSmall says what to do where the engine may not grow the topic, and goes on when that is done.
func TestRekeyTopicTooSmall(t *testing.T) { onEachKafka(t, 2, testRekeyTopicTooSmall) }

func testRekeyTopicTooSmall(t *testing.T, b *bench) {
	store := state.NewMemory()
	b.judge(store, nil, streakUsers, withdrawals(1)...)
	b.grow(b.input, 3)
	e, stop := b.minimal(store, nil)
	waitProblem(t, e, "kafka-topics --alter --topic "+b.group+".rekey --partitions 3")
	b.grow(b.group+".rekey", 3)
	waitReady(t, e)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b.judge(store, nil, 2*streakUsers, withdrawals(2)...)
	b.judge(store, nil, 3*streakUsers, withdrawals(3)...)
	b.wantStreaks(3)
}

// TestPartitionerChanged configures another partitioner at one of two members: it waits as long as the other runs, and says
// why. Then it takes over: what is in the old partitions is forwarded, copies of the old layout once more, and none for ever.
func TestPartitionerChanged(t *testing.T) { onEachKafka(t, 6, testPartitionerChanged) }

func testPartitionerChanged(t *testing.T, b *bench) {
	store := state.NewMemory()
	murmur2 := func(o *Options) { o.Partitioner = contract.Murmur2 }
	crc32 := func(o *Options) { o.Partitioner = contract.CRC32 }
	former, stop := b.minimal(store, murmur2)
	waitReady(t, former)
	b.send(withdrawals(1)...)
	b.read(b.output, streakUsers)
	next, _ := b.minimal(store, crc32)
	waitProblem(t, next, "runs with other settings or topics")
	b.send(withdrawals(2)...)
	b.read(b.output, 2*streakUsers)
	if ok, problems := former.Ready(); !ok {
		t.Errorf("the former member is disturbed: %s", problems)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b.send(withdrawals(3)...)
	waitReady(t, next)
	// A copy of the former layout that turns up late, as of a producer that was frozen, goes on once more; one of the present
	// layout in a wrong partition is nobody's.
	late, wrong := b.copies(former.layout, streakUsers, next.layout), b.copies(next.layout, streakUsers+10, next.layout)
	if err := b.manual().ProduceSync(t.Context(), append(late, wrong...)...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	b.wantStreaksOf(3, len(late))
	for _, r := range b.read(b.dead, len(wrong)) {
		if header(r, contract.HeaderReason) != string(contract.ReasonWrongPartition) {
			t.Errorf("dead letter %s: %s", header(r, contract.HeaderReason), r.Value)
		}
	}
	ends, err := kadm.NewClient(b.client).ListEndOffsets(t.Context(), b.group+".rekey")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	later, err := kadm.NewClient(b.client).ListEndOffsets(t.Context(), b.group+".rekey")
	if err != nil {
		t.Fatal(err)
	}
	later.Each(func(o kadm.ListedOffset) {
		if before, _ := ends.Lookup(o.Topic, o.Partition); before.Offset != o.Offset {
			t.Errorf("copies go round: partition %d of the rekey topic had %d, has %d", o.Partition, before.Offset, o.Offset)
		}
	})
}

// TestPartitionerChangedAfterLoss: the partitioner changes, and the store has lost everything before any member of the new
// layout has started: so the lineage too. The states are made anew under the former layout and go over from there.
func TestPartitionerChangedAfterLoss(t *testing.T) {
	onEachKafka(t, 6, testPartitionerChangedAfterLoss)
}

func testPartitionerChangedAfterLoss(t *testing.T, b *bench) {
	former, stop := b.minimal(state.NewMemory(), func(o *Options) { o.Partitioner = contract.Murmur2 })
	waitReady(t, former)
	b.send(withdrawals(1)...)
	b.send(withdrawals(2)...)
	b.read(b.output, 2*streakUsers)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	store := state.NewMemory()
	next, _ := b.minimal(store, func(o *Options) { o.Partitioner = contract.CRC32 })
	waitReady(t, next)
	b.send(withdrawals(3)...)
	b.wantStreaks(3)
	if lin := lineageOf(t, store); len(lin.Former) != 1 || lin.Former[0].Layout != former.layout.String() || lin.Present.Layout != next.layout.String() {
		t.Errorf("lineage %s, want %s and before it %s", lin, next.layout, former.layout)
	}
}

// manual returns a producer that is told each record's partition.
func (b *bench) manual() *kgo.Client {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(client.Close)
	return client
}

// copies returns a copy, as a layout writes it, of one withdrawal of each of two users from one on, of records that exist nowhere
// else. They are in another partition than the present layout's.
func (b *bench) copies(under layout, first int, present layout) (copies []*kgo.Record) {
	for user := first; user < first+2; user++ {
		home := present.laneOf(contract.AppendUserKey(nil, int64(user)))
		copies = append(copies, &kgo.Record{
			Topic: b.group + ".rekey", Partition: (home + 1) % present.partitions, Key: contract.AppendUserKey(nil, int64(user)), Value: []byte(event("withdraw", "1", user, 1)),
			Headers: []kgo.RecordHeader{
				{Key: contract.HeaderSource, Value: fmt.Appendf(nil, "%s/0/%d", b.input, 1_000_000+user)},
				{Key: contract.HeaderTimestamp, Value: []byte("5")}, {Key: headerLayout, Value: []byte(under.String())},
			},
		})
	}
	return copies
}

// wantStreaksOf is wantStreaks with a result more of each of some users.
func (b *bench) wantStreaksOf(rounds, more int) {
	b.t.Helper()
	seen := map[string]int{}
	for _, r := range b.read(b.output, rounds*streakUsers+more) {
		seen[string(r.Key)]++
		if alert := strings.Contains(string(r.Value), `"alert_codes":[30]`); alert != (seen[string(r.Key)] == 3) {
			b.t.Errorf("result %d of user %s is %s", seen[string(r.Key)], r.Key, r.Value)
		}
	}
	if len(seen) != streakUsers+more {
		b.t.Errorf("results of %d users", len(seen))
	}
}

// TestInputsChanged adds an input to a group, reads both, and takes the first away: states stay, and order within a topic.
func TestInputsChanged(t *testing.T) { onEachKafka(t, 2, testInputsChanged) }

func testInputsChanged(t *testing.T, b *bench) {
	more := consumertest.Topic(t, "a-second") // sorts before the first
	if err := consumertest.CreateTopics(t.Context(), []string{b.broker}, consumertest.TopicSpec{Name: more, Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	store := state.NewMemory()
	first := b.input
	b.judge(store, nil, streakUsers, withdrawals(1)...)
	both := func(o *Options) { o.Inputs = []string{first, more} }
	b.input = more
	b.client = b.newClient()
	b.judge(store, both, 2*streakUsers, withdrawals(2)...)
	reversed := func(o *Options) { o.Inputs = []string{more, first} }
	b.judge(store, reversed, 3*streakUsers, withdrawals(3)...)
	if n := len(lineageOf(t, store).Former); n != 1 {
		t.Errorf("the order of the inputs matters: %d changes", n)
	}
	b.judge(store, func(o *Options) { o.Inputs = []string{more} }, 4*streakUsers, withdrawals(4)...)
	b.judge(store, reversed, 5*streakUsers, withdrawals(5)...) // the first goes on where it was
	b.wantStreaks(5)
	b.grow(more, 3)
	e, _ := b.minimal(store, reversed)
	waitProblem(t, e, "kafka-topics --alter --topic "+first+" --partitions 3 (it has 2)")
}

// TestChangeGivenUp goes back to the former layout when some lanes are settled for another one already. Who was about to begin
// that finds another lineage.
func TestChangeGivenUp(t *testing.T) { onEachKafka(t, 2, testChangeGivenUp) }

func testChangeGivenUp(t *testing.T, b *bench) {
	store := state.NewMemory()
	b.judge(store, nil, streakUsers, withdrawals(1)...)
	before := lineageOf(t, store)
	lane, err := store.Claim(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := lane.Previous()
	c.Layout = settled.in(&before.Present)
	s := new(state.Snapshot)
	s.Reset(0, rules.DefaultTypes(), c)
	if err := lane.Flush(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	b.judge(store, nil, 2*streakUsers, withdrawals(2)...)
	b.judge(store, nil, 3*streakUsers, withdrawals(3)...)
	b.wantStreaks(3)
	next := newEra(layout{partitions: 9}, nil)
	if done, err := store.SwapLineage(t.Context(), before.stored, before.next(next, nil).String()); err != nil || done {
		t.Fatalf("the change was made all the same: %v, %v", done, err)
	}
}

// TestChangeWaitsForEveryLane has a lane that a past owner may still write: nothing is judged under the new layout before it is
// claimed and settled.
func TestChangeWaitsForEveryLane(t *testing.T) {
	b := newBench(t, consumertest.Kfake(t), 2)
	memory := state.NewMemory()
	b.judge(memory, creating, streakUsers, withdrawals(1)...)
	past, err := memory.Claim(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	b.grow(b.input, 4)
	release := make(chan struct{})
	e, _ := b.minimal(&slowClaims{Store: memory, lane: 1, release: release}, creating)
	waitProblem(t, e, "waits until lanes [0 1] are settled")
	b.send(withdrawals(2)...)
	time.Sleep(500 * time.Millisecond)
	b.read(b.output, streakUsers) // and no more
	s := new(state.Snapshot)
	c, _ := past.Previous()
	s.Reset(1, rules.DefaultTypes(), c)
	if err := past.Flush(t.Context(), s); err != nil {
		t.Fatal(err) // it owns the lane still
	}
	close(release)
	waitReady(t, e)
	if err := past.Flush(t.Context(), s); !errors.Is(err, state.ErrFenced) {
		t.Fatalf("a past owner writes after the change: %v", err)
	}
	b.read(b.output, 2*streakUsers)
}

// slowClaims lets nobody claim a lane until it is released.
type slowClaims struct {
	state.Store
	lane    int32
	release chan struct{}
}

func (s *slowClaims) Claim(ctx context.Context, lane int32) (state.Lane, error) {
	if lane == s.lane {
		select {
		case <-s.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Store.Claim(ctx, lane)
}

// TestInherits goes through what a lane of the third era finds of a user: who belongs to lane 0 of 1, then to some of 2, then
// of 4.
func TestInherits(t *testing.T) {
	era := func(partitions int32, began, ended []uint32) era {
		return era{Layout: layout{topics: "t", partitions: partitions, settings: "s"}.String(), Began: began, Ended: ended}
	}
	user := int64(7)
	second := contract.Murmur2.UserPartition(user, 2)
	third := contract.Murmur2.UserPartition(user, 4)
	pair := func(of, other uint32) []uint32 {
		p := []uint32{other, other}
		p[second] = of
		return p
	}
	for _, c := range []struct {
		name          string
		endedSecond   uint32 // of the user's lane; it began with 20
		endedFirst    uint32
		now           uint32 // the lane's incarnation; it began with 30
		lane          int32  // that wrote the record
		incarnation   uint32 // of the record
		want, nothing bool
	}{
		{name: "of the second era", endedSecond: 20, endedFirst: 10, now: 30, lane: second, incarnation: 20, want: true},
		{name: "of the first, untouched in the second", endedSecond: 20, endedFirst: 10, now: 30, lane: 0, incarnation: 10, want: true},
		{name: "of the second, but not as it ended", endedSecond: 21, endedFirst: 10, now: 30, lane: second, incarnation: 20},
		{name: "of the second, void in between", endedSecond: 21, endedFirst: 10, now: 30, lane: second, incarnation: 21, want: true},
		{name: "of the first, void in the second", endedSecond: 21, endedFirst: 10, now: 30, lane: 0, incarnation: 10},
		{name: "of the first, the second ended with nothing", endedSecond: 0, endedFirst: 10, now: 30, lane: 0, incarnation: 10},
		{name: "of the first, an older incarnation", endedSecond: 20, endedFirst: 10, now: 30, lane: 0, incarnation: 9},
		{name: "of another lane of the second", endedSecond: 20, endedFirst: 10, now: 30, lane: 1 - second, incarnation: 20},
		{name: "of no lane's incarnation", endedSecond: 20, endedFirst: 0, now: 30, lane: 0, incarnation: 0},
		{name: "the lane was made void since", endedSecond: 20, endedFirst: 10, now: 31, lane: second, incarnation: 20, nothing: true},
	} {
		lin := lineage{Present: era(4, []uint32{30, 30, 30, 30}, nil)}
		lin.Former = append(lin.Former, era(2, pair(20, 22), pair(c.endedSecond, 22)), era(1, nil, []uint32{c.endedFirst}))
		inherits := lin.inherits(third, c.now)
		if c.nothing != (inherits == nil) {
			t.Errorf("%s: inherits anything: %t", c.name, inherits != nil)
			continue
		}
		if inherits != nil && inherits(user, c.lane, c.incarnation) != c.want {
			t.Errorf("%s: %t", c.name, !c.want)
		}
	}
}

// TestLineageText writes a lineage and reads it back, through some changes.
func TestLineageText(t *testing.T) {
	inputs := []source{{topic: "events", id: [16]byte{1}}, {topic: "g.rekey", rekey: true}}
	two, six := layout{topics: "t", partitions: 2, settings: "s"}, layout{topics: "t", partitions: 6, partitioner: contract.FNV1a, settings: "s"}
	lin := lineage{}.restarted(newEra(two, inputs))
	texts := []string{lin.String()}
	for i := range erasMax + 3 {
		next := newEra([]layout{six, two}[i%2], inputs)
		ended := []uint32{1 << 20, 0}
		next.draw(ended)
		lin = lin.next(next, ended)
		if next.Began[0] <= ended[0] || slices.Contains(next.Began, 0) || len(next.Began) != int(next.layout().partitions) {
			t.Fatalf("began with %d after %d", next.Began, ended)
		}
		back, err := parseLineage(lin.String())
		if err != nil || back.String() != lin.String() || back.stored != lin.String() {
			t.Fatalf("%v, %v", back, err)
		}
		texts = append(texts, lin.String(), lin.touched().String())
		lin = lin.touched()
	}
	if len(lin.Former) != erasMax {
		t.Errorf("%d eras are kept", len(lin.Former))
	}
	slices.Sort(texts)
	if len(slices.Compact(texts)) != 1+2*(erasMax+3) {
		t.Error("two lineages are the same text")
	}
	for _, bad := range []string{"", "x", "{}", `{"present":{"layout":"a.b.c"}}`, `{"present":{"layout":"t.2.murmur2.s"},"former":[{"layout":""}]}`} {
		if _, err := parseLineage(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	newer := strings.Replace(lin.String(), `"version"`, `"shape":"x","version"`, 1)
	if _, err := parseLineage(newer); !errors.Is(err, state.ErrNewer) || !strings.Contains(err.Error(), "shape") || classify(err) != fatal {
		t.Errorf("a lineage with a field to come: %v", err)
	}
	for text, want := range map[string]settling{
		"settled.7": settled, "drained.7": drained, "settled.8": "", "settled.": "", "drained.x": "", "t.2.murmur2.s": "", "": "", "other.7": "",
	} {
		if got := (&era{Number: 7}).step(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	if text := drained.in(&era{Number: 7}); text != "drained.7" {
		t.Error(text)
	}
}
