package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/state"
)

// previousCommit is the last whose build writes records of version 2 and does not read those of version 3.
const previousCommit = "58e4c9a08c9158c4b10f9bb2f43a448c61bbc3d9"

// previousMade is the build of that commit, made once in a test process.
var previousMade previousBuilds

type previousBuilds struct {
	once sync.Once
	dir  string
	err  error
}

// previousBinary builds the previous release from the history, and returns "" where a checkout has none of it.
func previousBinary(t *testing.T) string {
	t.Helper()
	p := &previousMade
	ctx, cancel := context.WithTimeout(context.Background(), systemTimeout)
	defer cancel()
	if text, err := exec.CommandContext(ctx, "git", "-C", rootDir, "cat-file", "-e", previousCommit+"^{commit}").CombinedOutput(); err != nil {
		t.Logf("there is no history of %.12s: %v %s", previousCommit, err, text)
		return ""
	}
	p.once.Do(func() {
		if p.dir, p.err = os.MkdirTemp("", "lapwing-previous-"); p.err != nil {
			return
		}
		archive := exec.CommandContext(ctx, "git", "-C", rootDir, "archive", "--format=tar", "--output", filepath.Join(p.dir, "tree.tar"), previousCommit)
		unpack := exec.CommandContext(ctx, "tar", "-x", "-f", filepath.Join(p.dir, "tree.tar"), "-C", p.dir)
		build := exec.CommandContext(ctx, "go", "build", "-pgo=off", "-buildvcs=false", "-o", filepath.Join(p.dir, "lapwing"), "./cmd/lapwing")
		build.Dir = p.dir
		for _, command := range []*exec.Cmd{archive, unpack, build} {
			if text, err := command.CombinedOutput(); err != nil {
				p.err = fmt.Errorf("%v: %w\n%s", command, err, text)
				return
			}
		}
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	t.Logf("previous: the build of commit %.12s", previousCommit)
	return filepath.Join(p.dir, "lapwing")
}

// remove removes what was built.
func (p *previousBuilds) remove() {
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}

// writesFormer has a member write what the previous release can read.
var writesFormer = fmt.Sprintf("  record_version: %d", state.RecordVersionLeast)

// member makes an engine of a build with lines of the section redis.
func (s *system) member(name, binary, redis string) *consumertest.Engine {
	s.t.Helper()
	s.binary, s.redisExtra = binary, redis
	return s.engine(name)
}

// recordVersions counts the users' records in Redis by their version.
func (s *system) recordVersions() map[byte]int {
	s.t.Helper()
	ctx := s.context(time.Minute)
	client := redis.NewClient(&redis.Options{Addr: s.redisAddr})
	defer client.Close()
	versions := map[byte]int{}
	keys := client.Scan(ctx, 0, "lapwing:"+s.group+":{0}:u:*", 1000).Iterator()
	for keys.Next(ctx) {
		first, err := client.GetRange(ctx, keys.Val(), 0, 0).Result()
		if err != nil || len(first) != 1 {
			s.t.Fatalf("%s begins with %q, %v", keys.Val(), first, err)
		}
		versions[first[0]]++
	}
	if err := keys.Err(); err != nil {
		s.t.Fatal(err)
	}
	return versions
}

// checkStates compares all results and, after a clean stop, all states with the model.
func (s *system) checkStates() {
	s.t.Helper()
	ctx := s.context(systemTimeout)
	checker, err := consumertest.NewChecker(ctx, consumertest.CheckOptions{Brokers: s.brokers(), Inputs: s.inputs(), Output: s.output, DeadLetters: s.dead})
	if err != nil {
		s.t.Fatal(err)
	}
	defer checker.Close()
	if _, err := checker.Finish(ctx); err != nil {
		s.t.Fatal(err)
	}
	o := state.DefaultRedisOptions()
	o.Addrs, o.Group = []string{s.redisAddr}, s.group
	store, err := state.NewRedis(o)
	if err != nil {
		s.t.Fatal(err)
	}
	defer store.Close()
	report, err := checker.CheckStates(ctx, store, consumertest.RedisUsers(ctx, s.redisAddr, "lapwing", s.group))
	if err == nil {
		err = report.Err()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if report.Records == 0 || report.Alerts == 0 || report.States == 0 {
		s.t.Fatalf("nothing was tried: %v", report)
	}
	s.t.Log(report)
}

// TestRollingUpgrade has two members of the previous build judge a load. One after the other is replaced by this build, which
// writes what the previous one reads; rolled back; and replaced again, to write what it writes by default. One member of
// each round leaves as an operator has it leave, the other dies. All results and all states are the model's.
func TestRollingUpgrade(t *testing.T) {
	skipShort(t)
	rng, seed := seeded(t)
	previous, previousRedis := previousBinary(t), ""
	if previous == "" {
		// It writes what the previous release does. All is tried then but what that does with newer records.
		previousRedis = writesFormer
		t.Logf("previous: this tree's build with record_version: %d", state.RecordVersionLeast)
	}
	s := newSystem(t, systemOptions{})
	members := []*consumertest.Engine{s.member("previous-0", previous, previousRedis), s.member("previous-1", previous, previousRedis)}
	for _, e := range members {
		e.Start()
	}
	for _, e := range members {
		e.WaitReady(readyTimeout)
	}
	stop := s.load(2000, mixed(seed))
	roll := func(build, binary, redis string) {
		for i := range members {
			pause(rng, 300*time.Millisecond, 900*time.Millisecond)
			if i == 0 {
				term(t, members[i])
			} else {
				members[i].Kill()
			}
			members[i] = s.member(fmt.Sprintf("%s-%d", build, i), binary, redis)
			members[i].Start()
			members[i].WaitReady(readyTimeout)
		}
		pause(rng, 300*time.Millisecond, 900*time.Millisecond)
		t.Logf("two members of %s; records in Redis by version: %v", build, s.recordVersions())
	}
	roll("upgraded", "", writesFormer)
	roll("rolled-back", previous, previousRedis)
	roll("upgraded-again", "", writesFormer)
	if versions := s.recordVersions(); len(versions) != 1 || versions[state.RecordVersionLeast] == 0 {
		t.Errorf("records by version: %v; as long as the former one is asked for there is no other", versions)
	}
	roll("upgraded-for-good", "", "")
	stop()
	s.drain(time.Minute)
	for _, e := range members {
		term(t, e)
	}
	if versions := s.recordVersions(); versions[state.RecordVersion] == 0 {
		t.Errorf("records by version: %v; none is of today's", versions)
	}
	s.checkStates()
	if previous == "" {
		return
	}

	// Back once more, now that it is too late: the previous build judges nothing and says why.
	late := s.member("too-late", previous, previousRedis)
	s.produce(2000, mixed(seed+1))
	late.Start()
	if code, ended := late.Wait(readyTimeout); !ended || code != 1 {
		t.Errorf("ended %t with code %d, want 1", ended, code)
	}
	late.WaitLog(time.Second, "record version 3 is not known, a newer Lapwing may have written it")
	again := s.member("newest", "", "")
	again.Start()
	again.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	term(t, again)
	s.checkStates()
}

// TestNewerState puts before an engine what a release to come may write: a record, a checkpoint, a lineage, an offset. It
// ends and says what stands where and what to do; it has judged nothing of that lane. With the newer build's work undone, as
// if that build had started again, nothing is lost or judged twice.
func TestNewerState(t *testing.T) {
	s := newSystem(t, systemOptions{partitions: 1})
	r := &goneRig{system: s, ledger: ledger{}}
	r.connect()
	events := mixed(1)
	events.Users = 50
	s.produce(1000, events)
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	term(t, e)
	ctx := s.context(systemTimeout)
	client := redis.NewClient(&redis.Options{Addr: s.redisAddr})
	defer client.Close()
	prefix := "lapwing:" + s.group + ":{0}:"
	edit := func(key string, change func(value string) string) (undo func()) {
		value, err := client.Get(ctx, prefix+key).Result()
		if err != nil || change(value) == value {
			t.Fatalf("%s is %q, %v", key, value, err)
		}
		set := func(value string) {
			if err := client.Set(ctx, prefix+key, value, 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
		set(change(value))
		return func() {
			if key == "lane:0" { // whoever came meanwhile has claimed it: its epoch stays
				now, err := client.Get(ctx, prefix+key).Result()
				if err != nil {
					t.Fatal(err)
				}
				value = strings.Replace(now, ":v3 ", ":v1 ", 1)
			}
			set(value)
		}
	}
	offset := r.offsets()[0]
	cases := map[string]struct {
		newer func() (undo func())
		says  []string
	}{
		"record": {func() func() {
			var undo []func()
			for key := range s.userKeys(client) {
				undo = append(undo, edit(strings.TrimPrefix(key, prefix), func(v string) string { return "\x04" + v[1:] }))
			}
			return func() {
				for _, u := range undo {
					u()
				}
			}
		}, []string{"record version 4, this build reads 1 to 3", "lane 0, user ", "key " + prefix + "u:"}},
		"checkpoint": {func() func() {
			return edit("lane:0", func(v string) string { return strings.Replace(v, ":v1 ", ":v3 ", 1) })
		}, []string{`checkpoint "v3 offset=1000 `, "this build reads v1 and v2", "lane 0"}},
		"lineage": {func() func() {
			return edit("lineage", func(v string) string { return strings.Replace(v, "{", `{"shape":7,`, 1) })
		}, []string{"lineage", `unknown field "shape"`}},
		"offset": {func() func() {
			r.setOffset(0, offset.At, strings.Replace(offset.Metadata, "lapwing/1", "lapwing/2", 1))
			return func() { r.setOffset(0, offset.At, offset.Metadata) }
		}, []string{"the committed offset 1000 of " + s.input + "/0", "this build reads lapwing/1"}},
	}
	events.Seed = 2
	s.produce(1000, events)
	for name, c := range cases {
		undo := c.newer()
		e := s.engine(name)
		e.Start()
		if code, ended := e.Wait(readyTimeout); !ended || code != 1 {
			t.Errorf("%s: ended %t with code %d, want 1", name, ended, code)
		}
		e.WaitLog(time.Second, append(c.says, "written by a newer Lapwing", state.RemedyNewer)...)
		if at := r.offsets()[0].At; at != offset.At {
			t.Errorf("%s: the offset has moved from %d to %d", name, offset.At, at)
		}
		undo()
	}
	e = s.engine("newest")
	e.Start()
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	term(t, e)
	s.checkStates()
}

// userKeys lists the keys of the group's users.
func (s *system) userKeys(client *redis.Client) map[string]bool {
	s.t.Helper()
	ctx := s.context(time.Minute)
	found := map[string]bool{}
	keys := client.Scan(ctx, 0, "lapwing:"+s.group+":{0}:u:*", 1000).Iterator()
	for keys.Next(ctx) {
		found[keys.Val()] = true
	}
	if keys.Err() != nil || len(found) == 0 {
		s.t.Fatalf("%d users in Redis, %v", len(found), keys.Err())
	}
	return found
}
