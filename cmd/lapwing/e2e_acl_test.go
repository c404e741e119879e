package main

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// permission is a row of the table "Kafka ACLs" of deploy/README.md.
type permission struct {
	who, operation, resource, name, without string
}

// permissionRow is: | who | operation | resource `name` | without it |
var permissionRow = regexp.MustCompile("^\\| ([a-z]+(?:, .+?)?) \\| ([A-Za-z]+) \\| (topic|group|transactional-id|cluster)(?: `([^`]+)`)? \\| (.+) \\|$")

func readPermissions(t *testing.T) []permission {
	t.Helper()
	_, section, ok := strings.Cut(readDocument(t, "deploy/README.md").text, "\n### Kafka ACLs\n")
	if !ok {
		t.Fatal("deploy/README.md has no section Kafka ACLs")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var table []permission
	for line := range strings.Lines(section) {
		if m := permissionRow.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			table = append(table, permission{m[1], m[2], m[3], m[4], m[5]})
		} else if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| who ") {
			t.Errorf("this row cannot be read: %s", line)
		}
	}
	return table
}

// of returns the rows of some users of Kafka.
func of(table []permission, who ...string) (rows []permission) {
	for _, p := range table {
		if slices.Contains(who, p.who) {
			rows = append(rows, p)
		}
	}
	return rows
}

// without returns the rows but for one.
func without(rows []permission, left permission) []permission {
	return slices.DeleteFunc(slices.Clone(rows), func(p permission) bool { return p == left })
}

// at is the name of a row's resource in a system.
func (p permission) at(s *system) string {
	switch p.name {
	case "events":
		return s.input
	case "alerts":
		return s.output
	case "events.dead":
		return s.dead
	case "lapwing.rekey":
		return s.rekey()
	case "lapwing":
		return s.group
	case "lapwing-*":
		return s.group + "-"
	}
	return "kafka-cluster"
}

// grant gives a new user exactly these permissions, and returns the section kafka by which it logs in.
func (b *secured) grant(t *testing.T, s *system, rows []permission) (user, section string) {
	t.Helper()
	user = consumertest.Topic(t, "user")
	b.addUser(t, user)
	request := kmsg.NewPtrCreateACLsRequest()
	for _, p := range rows {
		c := kmsg.NewCreateACLsRequestCreation()
		c.Principal, c.Host, c.ResourceName = "User:"+user, "*", p.at(s)
		c.ResourcePatternType, c.PermissionType = kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLPermissionTypeAllow
		if strings.HasSuffix(p.name, "*") {
			c.ResourcePatternType = kmsg.ACLResourcePatternTypePrefixed
		}
		var err error
		if c.ResourceType, err = kmsg.ParseACLResourceType(p.resource); err == nil {
			c.Operation, err = kmsg.ParseACLOperation(p.operation)
		}
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		request.Creations = append(request.Creations, c)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := request.RequestWith(ctx, b.client)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range answer.Results {
		if r.ErrorCode != 0 {
			t.Fatalf("%+v: error %d", rows[i], r.ErrorCode)
		}
	}
	// The broker hears of both a moment later from its controller.
	for ctx.Err() == nil && !b.knows(ctx, user, len(rows)) {
		time.Sleep(20 * time.Millisecond)
	}
	return user, login(t, "scram-sha-256", user, trustedPassword)
}

// knows reports whether the broker lets a user log in, and has so many permissions of it.
func (b *secured) knows(ctx context.Context, user string, permissions int) bool {
	request := kmsg.NewPtrDescribeACLsRequest()
	request.ResourceType, request.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
	request.Operation, request.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	request.Principal = kmsg.StringPtr("User:" + user)
	answer, err := request.RequestWith(ctx, b.client)
	if err != nil {
		return false
	}
	for _, r := range answer.Resources {
		permissions -= len(r.ACLs)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.ListenerAddrs("LOGIN")...), kgo.SASL(scram.Auth{User: user, Pass: trustedPassword}.AsSha256Mechanism()))
	if err != nil {
		return false
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return permissions == 0 && client.Ping(ctx) == nil
}

// acls: with the permissions of the documented table engine, gateway and doctor work, and without any one of them they say
// which it is.
func (b *secured) acls(t *testing.T) {
	table := readPermissions(t)
	least, optional, creating := of(table, "engine"), of(table, "engine, optional"), of(table, "engine, `create_topics`")
	if len(least) < 7 || len(optional) < 5 || len(creating) < 5 || len(of(table, "gateway")) < 2 {
		t.Fatalf("the table has %d, %d and %d rows for engines", len(least), len(optional), len(creating))
	}
	everything := consumertest.EventOptions{Seed: 3, Bad: 0.05, Strays: 0.2}
	judges := func(t *testing.T, rows []permission, extra string, o systemOptions) {
		t.Parallel()
		s := b.system(t, "LOGIN", "", o)
		_, section := b.grant(t, s, rows)
		s.extra = section + extra
		e := s.engine("engine")
		e.Start()
		e.WaitReady(readyTimeout)
		s.produce(500, everything)
		s.drain(readyTimeout)
		s.check(consumertest.CheckOptions{})
		term(t, e)
		s.checkStopped(true)
		g := examined(t, "--config", writeFile(t, t.TempDir(), "lapwing.yaml", s.config("127.0.0.1:1")))
		g.only(levelFail)
	}
	t.Run("least", func(t *testing.T) { judges(t, least, "", systemOptions{}) })
	t.Run("with the optional ones", func(t *testing.T) { judges(t, slices.Concat(least, optional), "", systemOptions{}) })
	t.Run("creating topics", func(t *testing.T) {
		judges(t, slices.Concat(least, creating), "  create_topics: true\n  partitions: 2\n", systemOptions{noTopics: true})
	})
	for _, left := range slices.Concat(least, creating) {
		create := !slices.Contains(least, left)
		t.Run("without "+left.operation+" on "+left.resource+" "+left.name, func(t *testing.T) {
			t.Parallel()
			rows, extra := without(least, left), ""
			s := b.system(t, "LOGIN", "", systemOptions{noTopics: left.operation == "Create"})
			switch {
			case left.operation == "Create":
				rows, extra = slices.Concat(least, without(creating, left)), "  create_topics: true\n  partitions: 2\n"
			case create:
				rows, extra = slices.Concat(least, without(creating, left)), "  create_topics: true\n"
				b.grow(t, s.input, 4)
			}
			_, section := b.grant(t, s, rows)
			s.extra = section + extra
			if left.operation != "Create" {
				s.produce(500, everything)
			}
			e := s.engine("engine")
			e.Start()
			if code, ended := e.Wait(readyTimeout); !ended || code != exitFailure {
				t.Errorf("ended = %v with exit code %d, want %d", ended, code, exitFailure)
			}
			text := e.Log()
			for _, says := range left.says(s) {
				if !strings.Contains(text, says) {
					t.Errorf("the engine does not say %q", says)
				}
			}
			if !create {
				// The doctor sees it without writing anything.
				g := examined(t, "--config", writeFile(t, t.TempDir(), "lapwing.yaml", s.config("127.0.0.1:1")))
				if left.resource != "group" || left.operation == "Read" {
					option := "--operation " + left.operation + " --" + left.resource + " " + left.at(s)
					if !strings.Contains(g.stdout, option) {
						t.Errorf("the doctor does not say %q:\n%s", option, g.lines())
					}
				}
			}
		})
	}
	for _, left := range append(of(table, "gateway"), permission{}) {
		t.Run("gateway without "+left.operation, func(t *testing.T) {
			t.Parallel()
			b.gatewayWith(t, without(of(table, "gateway"), left), left)
		})
	}
}

// says is what is told of a permission that is missing.
func (p permission) says(s *system) []string {
	name := p.at(s)
	option := "--" + p.resource + " " + name
	if strings.HasSuffix(p.name, "*") {
		option += " --resource-pattern-type prefixed"
	}
	operation := p.operation
	if p.resource == "topic" && p.name != "lapwing.rekey" && operation != "Create" {
		operation = "Describe" // is asked for first; it is part of the other, and nothing else gives it
	}
	return []string{"authorization: " + operation + " on " + p.resource, name, "is not allowed", "kafka-acls", "--operation " + operation + " " + option}
}

// grow gives a topic more partitions.
func (b *secured) grow(t *testing.T, topic string, partitions int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if r, err := b.admin.UpdatePartitions(ctx, partitions, topic); err != nil || r.Error() != nil {
		t.Fatal(err, r.Error())
	}
}

// gatewayWith runs a gateway with some permissions, of which one may be missing.
func (b *secured) gatewayWith(t *testing.T, rows []permission, left permission) {
	t.Helper()
	s := b.system(t, "LOGIN", login(t, "plain", "trusted", trustedPassword), systemOptions{})
	engine := s.engine("engine")
	engine.Start()
	engine.WaitReady(readyTimeout)
	_, s.extra = b.grant(t, s, rows)
	listen, admin := "127.0.0.1:"+strconv.Itoa(consumertest.FreePort(t)), "127.0.0.1:"+strconv.Itoa(consumertest.FreePort(t))
	s.tail = fmt.Sprintf("gateway: {listen: %q}", listen)
	gateway := consumertest.NewEngine(t, consumertest.EngineOptions{Command: "gateway", Name: "gateway", HTTP: admin, Config: s.config(admin)})
	gateway.Start()
	event := func() (int, string) {
		return post(t, "http://"+listen+"/event", `{"type":"withdraw","amount":"101","user_id":1,"time":10}`)
	}
	if left == (permission{}) {
		gateway.WaitReady(readyTimeout)
		if status, answer := event(); status != http.StatusOK {
			t.Errorf("%d %s", status, answer)
		}
		return
	}
	gateway.WaitLog(readyTimeout, left.says(s)...)
	if gateway.Ready() {
		t.Error("ready")
	}
}
