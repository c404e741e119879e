package main

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestEnvironment(t *testing.T) {
	for _, c := range []struct {
		entry string
		get   func(c *Config) any
		want  any
	}{
		{"LAPWING_KAFKA_BROKERS=a:9092,b:9092", func(c *Config) any { return c.Kafka.Brokers }, []string{"a:9092", "b:9092"}},
		{"LAPWING_KAFKA_BROKERS= a:9092 , b:9092,", func(c *Config) any { return c.Kafka.Brokers }, []string{"a:9092", "b:9092"}},
		{"LAPWING_KAFKA_INPUT=payments", func(c *Config) any { return c.Kafka.Input }, []string{"payments"}},
		{"LAPWING_KAFKA_GUARANTEE=at_least_once", func(c *Config) any { return c.Kafka.Guarantee }, "at_least_once"},
		{"LAPWING_KAFKA_CREATE_TOPICS=true", func(c *Config) any { return c.Kafka.CreateTopics }, true},
		{"LAPWING_KAFKA_PARTITIONS=12", func(c *Config) any { return c.Kafka.Partitions }, int32(12)},
		{"LAPWING_KAFKA_REPLICATION=3", func(c *Config) any { return c.Kafka.Replication }, int16(3)},
		{"LAPWING_KAFKA_START=latest", func(c *Config) any { return c.Kafka.Start }, Start{Latest: true}},
		{"LAPWING_KAFKA_TRANSACTION_PAUSE=5ms", func(c *Config) any { return c.Kafka.TransactionPause }, 5 * time.Millisecond},
		{"LAPWING_KAFKA_BATCH_BYTES_MAX=512KiB", func(c *Config) any { return c.Kafka.BatchBytesMax }, Bytes(524288)},
		{"LAPWING_KAFKA_TLS_ENABLED=true", func(c *Config) any { return c.Kafka.TLS.Enabled }, true},
		{"LAPWING_REDIS_ADDRS=redis:6379", func(c *Config) any { return c.Redis.Addrs }, []string{"redis:6379"}},
		{"LAPWING_REDIS_PASSWORD=a=b,c ", func(c *Config) any { return c.Redis.Password }, Secret("a=b,c ")},
		{"LAPWING_EVENTS_TYPES=in,out", func(c *Config) any { return c.Events.Types }, []string{"in", "out"}},
		{"LAPWING_RULES=my.yaml", func(c *Config) any { return c.Rules }, File("my.yaml")},
		{"LAPWING_HTTP=", func(c *Config) any { return c.HTTP }, ""},
		{"LAPWING_LOG_LEVEL=debug", func(c *Config) any { return c.Log.Level }, "debug"},
		{"LAPWING_GATEWAY_LISTEN=:8080", func(c *Config) any { return c.Gateway.Listen }, ":8080"},
	} {
		t.Run(c.entry, func(t *testing.T) {
			got, err := LoadConfig("", []string{"PATH=/bin", c.entry})
			if err != nil {
				t.Fatal(err)
			}
			if value := c.get(got); !reflect.DeepEqual(value, c.want) {
				t.Errorf("got %#v, want %#v", value, c.want)
			}
		})
	}
}

// Every leaf has a variable of its own, which sets it and nothing else.
func TestEveryLeafHasAVariable(t *testing.T) {
	seen := map[string]string{}
	for _, f := range fieldsOf(NewConfig()) {
		if other, ok := seen[f.variable]; ok {
			t.Errorf("%s and %s have the same variable %s", other, f.path, f.variable)
		}
		seen[f.variable] = f.path
		if serviceLink.MatchString(f.variable) {
			t.Errorf("%s would be taken for a variable of Kubernetes", f.variable)
		}
		l := newLoader("")
		l.readEnviron([]string{f.variable + "=?"})
		if _, ok := l.given[f.path]; !ok || len(l.given) > 2 { // A list has its element there, too.
			t.Errorf("%s set %v, want %s", f.variable, l.given, f.path)
		}
	}
	if seen["LAPWING_KAFKA_SASL_PASSWORD"] != "kafka.sasl.password" {
		t.Error("LAPWING_KAFKA_SASL_PASSWORD is not the variable of kafka.sasl.password")
	}
}

func TestEnvironmentGoesBeforeTheFile(t *testing.T) {
	file := writeFile(t, t.TempDir(), "lapwing.yaml", "kafka:\n  group: of-the-file\n  brokers: [a:1, b:2]\n  output: out\n")
	got, err := LoadConfig(file, []string{"LAPWING_KAFKA_GROUP=of-the-variable", "LAPWING_KAFKA_BROKERS=c:3"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Kafka.Group != "of-the-variable" || !reflect.DeepEqual(got.Kafka.Brokers, []string{"c:3"}) || got.Kafka.Output != "out" {
		t.Errorf("got group %q, brokers %q, output %q", got.Kafka.Group, got.Kafka.Brokers, got.Kafka.Output)
	}
}

func TestVariablesThatAreNotOurs(t *testing.T) {
	got, err := LoadConfig("", []string{
		"LAPWING_TEST_KAFKA=127.0.0.1:29092",
		"LAPWINGS=2",
		"MY_LAPWING_KAFKA_GROUP=x",
		// Kubernetes sets these in every pod beside services named lapwing and lapwing-gateway.
		"LAPWING_SERVICE_HOST=10.0.0.1",
		"LAPWING_SERVICE_PORT=9644",
		"LAPWING_SERVICE_PORT_HTTP=9644",
		"LAPWING_PORT=tcp://10.0.0.1:9644",
		"LAPWING_PORT_9644_TCP=tcp://10.0.0.1:9644",
		"LAPWING_PORT_9644_TCP_PROTO=tcp",
		"LAPWING_PORT_9644_TCP_PORT=9644",
		"LAPWING_PORT_9644_TCP_ADDR=10.0.0.1",
		"LAPWING_GATEWAY_SERVICE_HOST=10.0.0.2",
		"LAPWING_GATEWAY_PORT_5001_TCP_ADDR=10.0.0.2",
	})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, NewConfig()) {
		t.Errorf("got %+v, want the defaults", got)
	}
}

func TestBadVariables(t *testing.T) {
	file := writeFile(t, t.TempDir(), "lapwing.yaml", "kafka:\n  partitions: many\n")
	_, err := LoadConfig(file, []string{
		"LAPWING_REDIS_DB=x",
		"LAPWING_KAFKA_BROKER=a:9092",
		"LAPWING_KAFKA_BROKERS=a:9092,b",
		"LAPWING_KAFKA_DRAIN_TIMEOUT=7s",
		"LAPWING_FLY=high",
		"LAPWING_KAFKA_SASL_PASSWORD=hunter2",
	})
	want := problems{
		{origin: origin{file: file, line: 2, column: 15}, path: "kafka.partitions", message: "must be a whole number", got: `"many"`},
		{origin: origin{variable: "LAPWING_FLY"}, message: "unknown variable; remove it"},
		{origin: origin{variable: "LAPWING_KAFKA_BROKER"}, message: "unknown variable; did you mean LAPWING_KAFKA_BROKERS?"},
		{origin: origin{variable: "LAPWING_KAFKA_BROKERS"}, path: "kafka.brokers[1]", message: "must be host:port with a port from 1 to 65535", got: `"b"`},
		{origin: origin{variable: "LAPWING_KAFKA_DRAIN_TIMEOUT"}, path: "kafka.drain_timeout",
			message: "7s must be below kafka.session_timeout, 6s, or the lanes are lost while they drain"},
		{origin: origin{variable: "LAPWING_KAFKA_SASL_PASSWORD"}, path: "kafka.sasl.password",
			message: "is not used without kafka.sasl.mechanism; set it to plain, scram-sha-256 or scram-sha-512"},
		{origin: origin{variable: "LAPWING_REDIS_DB"}, path: "redis.db", message: "must be a whole number", got: `"x"`},
	}
	var got problems
	if !errors.As(err, &got) || !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%v\nwant\n%v", err, want)
	}
	if text := want[3].String(); text != `LAPWING_KAFKA_BROKERS: kafka.brokers[1]: must be host:port with a port from 1 to 65535 (got "b")` {
		t.Errorf("a problem is shown as %q", text)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the password is shown")
	}
}
