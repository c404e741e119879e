package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/state"
)

// walled is a Redis that takes connections by TLS only, from clients with a certificate of its authority, and that knows
// a user with no more than the README gives it.
type walled struct {
	t         *testing.T
	authority *consumertest.Authority
	way       string // lines of the section redis: how the servers are found
	addr      string // a part of every error that names them
	servers   []*consumertest.RedisServer
	sentinels *consumertest.RedisSentinels // nil: none
	options   state.RedisOptions           // of the test's own store

	passwordFile, certFile, keyFile string
}

const (
	wallPassword     = "redis-lapwing-test-secret"
	sentinelPassword = "sentinel-lapwing-test-secret"
)

// newWalled starts one of the kinds single, sentinel and cluster. The user may use the keys of a group.
func newWalled(t *testing.T, kind, group string) *walled {
	t.Helper()
	w := &walled{t: t, authority: consumertest.NewAuthority(t), options: state.DefaultRedisOptions()}
	args := consumertest.RedisTLS(w.authority, true)
	o := &w.options
	rules := readmeRules(t, 0)
	switch kind {
	case "single":
		server := consumertest.OwnRedis(t, args...)
		w.servers, w.addr = []*consumertest.RedisServer{server}, server.Addr()
		w.way = fmt.Sprintf("  addrs: [%q]\n", server.Addr())
		o.Addrs = []string{server.Addr()}
	case "sentinel":
		w.sentinels = consumertest.OwnRedisSentinels(t, 1, 2, args...)
		w.servers = append(w.sentinels.Replicas(), w.sentinels.Current())
		w.addr = strings.Join(w.sentinels.Addrs(), ",")
		w.way = fmt.Sprintf("  sentinel:\n    master: %s\n    addrs: [%q, %q]\n    username: lapwing\n", w.sentinels.Master(), w.sentinels.Addrs()[0], w.sentinels.Addrs()[1])
		for _, s := range w.sentinels.Sentinels() {
			setUser(t, s, sentinelPassword, "", readmeRules(t, 1))
		}
		o.Addrs, o.Sentinel = nil, state.SentinelOptions{Master: w.sentinels.Master(), Addrs: w.sentinels.Addrs(), Username: "lapwing", Password: sentinelPassword}
	case "cluster":
		cluster := consumertest.OwnRedisCluster(t, 3, 0, append(args, "--tls-cluster", "yes")...)
		w.servers = cluster.Nodes()
		w.addr = "127.0.0.1:"
		w.way = fmt.Sprintf("  cluster: true\n  addrs: [%q, %q]\n", cluster.Addrs()[0], cluster.Addrs()[1])
		rules = append(rules, "+cluster|slots")
		o.Addrs, o.Cluster, o.Shards = cluster.Addrs(), true, state.ClusterShards
	}
	for _, server := range w.servers {
		setUser(t, server, wallPassword, group, rules)
	}
	w.passwordFile = writeFile(t, t.TempDir(), "password", wallPassword+"\n")
	w.certFile, w.keyFile = w.authority.Issue("lapwing")
	o.Username, o.Password, o.TLS = "lapwing", wallPassword, w.authority.ClientConfig()
	return w
}

// readmeRules returns the rules of the README's ACL SETUSER lines, the first for masters, the second for sentinels, from
// reset on.
func readmeRules(t *testing.T, line int) []string {
	t.Helper()
	var found [][]string
	for _, b := range readDocument(t, "README.md").blocks {
		if text, ok := strings.CutPrefix(b.text, "ACL SETUSER lapwing reset "); ok {
			found = append(found, append([]string{"reset"}, strings.Fields(text)...))
		}
	}
	if len(found) != 2 || !slices.Contains(found[0], "~lapwing:lapwing:*") || !slices.Contains(found[1], "+subscribe") {
		t.Fatalf("README.md has the rules %q, expected are those of masters and of sentinels", found)
	}
	return found[line]
}

// setUser makes the user lapwing by rules for the README's default names.
func setUser(t *testing.T, server *consumertest.RedisServer, password, group string, rules []string) {
	t.Helper()
	args := []any{"acl", "setuser", "lapwing"}
	for _, rule := range rules {
		rule = strings.Replace(rule, ">PASSWORD", ">"+password, 1)
		args = append(args, strings.Replace(rule, "~lapwing:lapwing:", "~lapwing:"+group+":", 1))
	}
	if err := server.Client().Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

// login returns the lines of the user and of TLS.
func (w *walled) login() string {
	return fmt.Sprintf("  username: lapwing\n  password_file: %s\n  tls: {enabled: true, ca_file: %s, cert_file: %s, key_file: %s}\n",
		w.passwordFile, w.authority.CAFile(), w.certFile, w.keyFile)
}

// system is a system of a test that uses the walled Redis.
func (w *walled) system(t *testing.T) *system {
	t.Helper()
	s := newSystem(t, systemOptions{redis: w.servers[0].Addr(), partitions: 2})
	s.redisServers, s.redisExtra = strings.TrimSuffix(w.way+w.login(), "\n"), "  dial_timeout: 1s\n  read_timeout: 1s"
	if w.sentinels != nil {
		s.env = []string{"LAPWING_REDIS_SENTINEL_PASSWORD=" + sentinelPassword}
	}
	return s
}

// allow lets the user use the keys of a system.
func (w *walled) allow(s *system) {
	w.t.Helper()
	for _, server := range w.servers {
		if err := server.Client().Do(w.t.Context(), "acl", "setuser", "lapwing", "~lapwing:"+s.group+":*").Err(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestRedisBehindWalls judges with mutual TLS and the least permissions, on each topology: the results are the model's,
// also after a start that must read the states, and doctor finds nothing to mend.
func TestRedisBehindWalls(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some 30 seconds")
	}
	for _, kind := range []string{"single", "sentinel", "cluster"} {
		t.Run(kind, func(t *testing.T) {
			w := newWalled(t, kind, "nothing")
			s := w.system(t)
			w.allow(s)
			s.tail = "log: {level: debug}\npprof: true"
			events := consumertest.NewGenerator(consumertest.EventOptions{Seed: 7, Users: 300})
			s.produceFrom(3000, events)
			e := s.engine("engine")
			e.Start()
			e.WaitReady(readyTimeout)
			s.drain(readyTimeout)
			if w.sentinels != nil {
				w.failover(s, e)
			}
			e.Kill()
			e.Start()
			e.WaitReady(readyTimeout)
			s.produceFrom(3000, events)
			s.drain(readyTimeout)
			s.check(consumertest.CheckOptions{})
			if status, _, err := e.Get("/debug/pprof/cmdline"); status != 200 || err != nil {
				t.Errorf("pprof: %d, %v", status, err)
			}
			if w.sentinels != nil {
				t.Setenv("LAPWING_REDIS_SENTINEL_PASSWORD_FILE", writeFile(t, t.TempDir(), "sentinel", sentinelPassword))
			}
			g := examined(t, "--config", e.ConfigFile())
			g.only(levelFail)
			g.has(levelOK, checkEviction, w.subject())
			term(t, e)
			s.checkStoppedAt(w.options, true)
		})
	}
}

// failover kills the master: the replica takes its place, and the engine goes on with what it has.
func (w *walled) failover(s *system, e *consumertest.Engine) {
	w.t.Helper()
	var clients string // of the sentinels
	for _, sentinel := range w.sentinels.Sentinels() {
		clients += sentinel.Client().ClientList(w.t.Context()).Val()
	}
	if listening := regexp.MustCompile(`(?m)^.* sub=2 .*user=lapwing .*$`); !listening.MatchString(clients) {
		w.t.Errorf("the engine listens to no sentinel, and learns of a failover late:\n%s", clients)
	}
	former := w.sentinels.Current()
	w.sentinels.AwaitReplicas()
	former.Kill()
	w.sentinels.AwaitFailover(former)
	s.produce(500, consumertest.EventOptions{Seed: 8, Users: 300})
	s.drain(readyTimeout)
	e.WaitReady(readyTimeout)
	time.Sleep(time.Second) // a flush
}

// subject is the doctor's name for a master.
func (w *walled) subject() string {
	if w.sentinels != nil {
		return fmt.Sprintf("redis master %s of the sentinels %s", w.sentinels.Master(), w.addr)
	}
	return "redis " + w.servers[0].Addr()
}

// TestRedisLeastPermissions takes one rule of the README after the other away: doctor and the engine name the user, what is
// missing, and the command that allows it; and that is enough.
func TestRedisLeastPermissions(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some 20 seconds")
	}
	server := consumertest.OwnRedis(t)
	rules := readmeRules(t, 0)
	file := writeFile(t, t.TempDir(), "password", wallPassword)
	tried := 0
	for i, rule := range rules {
		if rule[0] != '+' && rule[0] != '~' {
			continue
		}
		tried++
		t.Run(rule, func(t *testing.T) {
			s := newSystem(t, systemOptions{redis: server.Addr(), partitions: 1})
			s.redisExtra = "  username: lapwing\n  password_file: " + file
			setUser(t, server, wallPassword, s.group, slices.Delete(slices.Clone(rules), i, i+1))
			server.Client().ScriptFlush(t.Context())
			s.produce(200, consumertest.EventOptions{Seed: 1, Users: 20})
			rule := strings.Replace(rule, "~lapwing:lapwing:", "~lapwing:"+s.group+":", 1)
			says := []string{"permission of the user lapwing", "ACL SETUSER lapwing " + rule, server.Addr()}
			s.endsByItself(says...)

			e := s.engine("mended")
			g := examined(t, "--config", e.ConfigFile())
			g.has(levelFail, checkRedis, "redis "+server.Addr(), says[:2]...)
			g.only(levelFail, checkRedis)
			if err := server.Client().Do(t.Context(), "acl", "setuser", "lapwing", rule).Err(); err != nil {
				t.Fatal(err)
			}
			examined(t, "--config", e.ConfigFile()).only(levelFail)
			e.Start()
			e.WaitReady(readyTimeout)
			s.drain(readyTimeout)
			s.check(consumertest.CheckOptions{})
			term(t, e)
		})
	}
	if tried < 10 {
		t.Errorf("%d rules were tried, the README has %q", tried, rules)
	}
}

// TestRedisSelectPermission: a database other than 0 needs a command more.
func TestRedisSelectPermission(t *testing.T) {
	server := consumertest.OwnRedis(t)
	setUser(t, server, wallPassword, "lapwing", readmeRules(t, 0))
	config := writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf("kafka: {brokers: [%q]}\nredis: {addrs: [%q], db: 3, username: lapwing, password_file: %s}\n",
		"127.0.0.1:1", server.Addr(), writeFile(t, t.TempDir(), "password", wallPassword)))
	examined(t, "--config", config).has(levelFail, checkRedis, "redis "+server.Addr(), "permission of the user lapwing", "ACL SETUSER lapwing +select")
	setUser(t, server, wallPassword, "lapwing", append(readmeRules(t, 0), "+select"))
	examined(t, "--config", config).has(levelOK, checkEviction, "redis "+server.Addr())
}

// TestSentinelLeastPermissions does the same with the rules of sentinels: doctor names each, and a store those that it
// cannot do without.
func TestSentinelLeastPermissions(t *testing.T) {
	w := newWalled(t, "sentinel", "lapwing")
	rules := readmeRules(t, 1)
	t.Setenv("LAPWING_REDIS_SENTINEL_PASSWORD", sentinelPassword)
	config := writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf("kafka: {brokers: [%q]}\nredis:\n%s", "127.0.0.1:1", w.way+w.login()))
	tried := 0
	for i, rule := range rules {
		if rule[0] != '+' && rule[0] != '&' {
			continue
		}
		tried++
		for _, s := range w.sentinels.Sentinels() {
			setUser(t, s, sentinelPassword, "", slices.Delete(slices.Clone(rules), i, i+1))
		}
		g := examined(t, "--config", config)
		want := "ACL SETUSER lapwing " + rule
		if rule[0] == '&' {
			want = "ACL SETUSER lapwing &+switch-master &+replica-reconf-done"
		}
		for _, addr := range w.sentinels.Addrs() {
			g.has(levelFail, checkRedis, "redis sentinel "+addr, "permission of the user lapwing", want)
		}
		fatal := rule == "+info" || rule == "+sentinel|get-master-addr-by-name"
		if err := w.check(); (err != nil) != fatal || fatal && !strings.Contains(err.Error(), "permission of the user lapwing") || fatal && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the store says %v", rule, err)
		}
	}
	if tried < 7 {
		t.Errorf("%d rules were tried, the README has %q", tried, rules)
	}
}

// check connects as an engine would.
func (w *walled) check() error {
	w.t.Helper()
	o := w.options
	o.Group = "lapwing"
	store, err := state.NewRedis(o)
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	return store.Check(w.t.Context())
}

// TestClusterLeastPermissions: what a Cluster needs beside the README's line, and what it needs of it.
func TestClusterLeastPermissions(t *testing.T) {
	w := newWalled(t, "cluster", "lapwing")
	config := writeFile(t, t.TempDir(), "lapwing.yaml", fmt.Sprintf("kafka: {brokers: [%q]}\nredis:\n%s", "127.0.0.1:1", w.way+w.login()))
	for _, rule := range []string{"+cluster|slots", "+evalsha", "+mset", "~lapwing:lapwing:*"} {
		for _, server := range w.servers {
			setUser(t, server, wallPassword, "lapwing", slices.DeleteFunc(append(readmeRules(t, 0), "+cluster|slots"), func(r string) bool { return r == rule }))
		}
		g := examined(t, "--config", config)
		want := []string{"permission of the user lapwing", "ACL SETUSER lapwing " + rule}
		if rule == "+cluster|slots" {
			found := slices.ContainsFunc(g.Findings, func(f finding) bool {
				return f.Level == levelFail && f.Check == checkRedis && !slices.ContainsFunc(want, func(text string) bool { return !strings.Contains(f.Finding, text) })
			})
			if !found {
				t.Errorf("%s: no %q in\n%s", rule, want, g.lines())
			}
			continue
		}
		for _, server := range w.servers {
			g.has(levelFail, checkRedis, "redis "+server.Addr(), want...)
		}
	}
}

// TestRedisWalls runs into each wall, on each topology: doctor says which it is, where, and what to do; so does an engine,
// which ends if time does not mend it.
func TestRedisWalls(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some 20 seconds")
	}
	for _, kind := range []string{"single", "sentinel", "cluster"} {
		t.Run(kind, func(t *testing.T) {
			w := newWalled(t, kind, "nothing")
			other := consumertest.NewAuthority(t)
			otherCert, otherKey := other.Issue("lapwing")
			wrong := writeFile(t, t.TempDir(), "wrong", "wrong-lapwing-test-secret")
			cut := func(text, from, to string) string {
				if !strings.Contains(text, from) {
					t.Fatalf("no %q in %s", from, text)
				}
				return strings.Replace(text, from, to, 1)
			}
			ownFiles := fmt.Sprintf(", cert_file: %s, key_file: %s", w.certFile, w.keyFile)
			for name, wall := range map[string]struct {
				login string
				ends  bool // the engine, by itself
				says  []string
			}{
				"wrong CA":          {cut(w.login(), w.authority.CAFile(), other.CAFile()), true, []string{"TLS: ", "unknown authority", "redis.tls.ca_file"}},
				"no certificate":    {cut(w.login(), ownFiles, ""), true, []string{"TLS: ", "redis.tls.cert_file"}},
				"other certificate": {cut(w.login(), ownFiles, fmt.Sprintf(", cert_file: %s, key_file: %s", otherCert, otherKey)), true, []string{"TLS: ", "redis.tls.cert_file"}},
				"other name":        {cut(w.login(), "enabled: true", "enabled: true, server_name: redis.example"), true, []string{"TLS: ", "redis.example", "redis.tls.server_name"}},
				"no TLS":            {cut(w.login(), w.login()[strings.Index(w.login(), "  tls:"):], ""), false, []string{"TLS: ", "set redis.tls.enabled to true"}},
				"wrong password":    {cut(w.login(), w.passwordFile, wrong), true, []string{"authentication of the user lapwing", "WRONGPASS", "redis.password_file", "LAPWING_REDIS_PASSWORD"}},
			} {
				t.Run(name, func(t *testing.T) {
					s := w.system(t)
					s.redisServers = strings.TrimSuffix(w.way+wall.login, "\n")
					if w.sentinels != nil {
						t.Setenv("LAPWING_REDIS_SENTINEL_PASSWORD", sentinelPassword)
					}
					e := s.engine("engine")
					g := examined(t, "--config", e.ConfigFile())
					g.hasAnywhere(append(wall.says, w.addr)...)
					e.Start()
					e.WaitLog(readyTimeout, append(wall.says, w.addr)...)
					if !wall.ends {
						e.Kill()
					} else if code, ended := e.Wait(readyTimeout); !ended || code != exitFailure {
						t.Errorf("ended = %v with exit code %d, want %d", ended, code, exitFailure)
					}
				})
			}
		})
	}
	t.Run("TLS to a port without", func(t *testing.T) {
		server := consumertest.OwnRedis(t)
		s := newSystem(t, systemOptions{redis: server.Addr(), partitions: 1})
		s.redisExtra = "  dial_timeout: 500ms\n  tls: {enabled: true}"
		e := s.engine("engine")
		says := []string{"TLS: ", "redis.tls.enabled to false", server.Addr()}
		examined(t, "--config", e.ConfigFile()).hasAnywhere(says...)
		e.Start()
		e.WaitLog(readyTimeout, says...)
		e.Kill()
	})
	t.Run("a sentinel's password", func(t *testing.T) {
		w := newWalled(t, "sentinel", "nothing")
		s := w.system(t)
		s.env = []string{"LAPWING_REDIS_SENTINEL_PASSWORD=wrong-" + sentinelPassword}
		t.Setenv("LAPWING_REDIS_SENTINEL_PASSWORD", "wrong-"+sentinelPassword)
		says := []string{"authentication of the user lapwing", "redis.sentinel.password_file", "LAPWING_REDIS_SENTINEL_PASSWORD", w.addr}
		examined(t, "--config", s.engine("doctor's").ConfigFile()).hasAnywhere(says...)
		s.endsByItself(says...)
	})
}

// hasAnywhere makes sure that one failure of Redis has all of these texts.
func (g *diagnosis) hasAnywhere(texts ...string) {
	g.t.Helper()
	for _, f := range g.Findings {
		text := f.Subject + ": " + f.Finding + "; " + f.Remedy
		if f.Level == levelFail && f.Check == checkRedis && !slices.ContainsFunc(texts, func(want string) bool { return !strings.Contains(text, want) }) {
			return
		}
	}
	g.t.Errorf("no failure of Redis with %q in\n%s", texts, g.lines())
}
