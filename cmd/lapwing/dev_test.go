package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// lockedBuffer is written by a command and read by its test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startDev runs `lapwing dev` on free ports until the test ends, and returns what it printed and the gateway's URL.
func startDev(t *testing.T, args ...string) (printed, url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stdout, stderr, code := new(lockedBuffer), new(lockedBuffer), make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"dev", "--kafka", "127.0.0.1:0", "--redis", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...),
			strings.NewReader(""), stdout, stderr)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case c := <-code:
			if c != exitOK {
				t.Errorf("dev ended with %d: %s", c, stderr)
			}
		case <-time.After(20 * time.Second):
			t.Error("dev did not end within 20s")
		}
		inspectCommand(t, args, stdout.String(), stderr.String())
	})
	where := regexp.MustCompile(`gateway +(https?://127\.0\.0\.1:[1-9][0-9]*/event)`)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if found := where.FindStringSubmatch(stdout.String()); found != nil {
			return stdout.String(), found[1]
		}
	}
	t.Fatalf("dev did not say where the gateway is: %s%s", stdout, stderr)
	return "", ""
}

// post sends one event; while the gateway still starts (503) it tries again.
func post(t *testing.T, url, body string) (status int, answer string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := http.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusServiceUnavailable || time.Now().After(deadline) {
			return response.StatusCode, string(text)
		}
	}
}

// TestDevPublishedCases posts what the README shows and the ten published cases of the service that Lapwing grew from,
// on a fresh start each time.
func TestDevPublishedCases(t *testing.T) {
	cases := []struct{ event, want string }{
		{`{"type":"deposit","amount":"42.00","user_id":1,"time":10}`, `{"alert":false,"alert_codes":[],"user_id":1}`},
		{`{"type":"withdraw","amount":"200.00","user_id":3,"time":10}`, `{"alert":true,"alert_codes":[1100],"user_id":3}`},
		{`{"type":"withdraw","amount":"99.99","user_id":3,"time":20}`, `{"alert":false,"alert_codes":[],"user_id":3}`},
		{`{"type":"withdraw","amount":"101","user_id":3,"time":30}`, `{"alert":true,"alert_codes":[1100,30],"user_id":3}`},
		{`{"type":"withdraw","amount":"99.99","user_id":3,"time":40}`, `{"alert":true,"alert_codes":[30],"user_id":3}`},
		{`{"type":"deposit","amount":"10","user_id":4,"time":10}`, `{"alert":false,"alert_codes":[],"user_id":4}`},
		{`{"type":"deposit","amount":"15","user_id":4,"time":20}`, `{"alert":false,"alert_codes":[],"user_id":4}`},
		{`{"type":"deposit","amount":"20","user_id":4,"time":32}`, `{"alert":true,"alert_codes":[300],"user_id":4}`},
		{`{"type":"deposit","amount":"100","user_id":5,"time":40}`, `{"alert":false,"alert_codes":[],"user_id":5}`},
		{`{"type":"deposit","amount":"101","user_id":5,"time":41}`, `{"alert":true,"alert_codes":[123],"user_id":5}`},
		{`{"type":"deposit","amount":"103","user_id":5,"time":42}`, `{"alert":true,"alert_codes":[300,123],"user_id":5}`},
	}
	for range 2 {
		t.Run("run", func(t *testing.T) {
			printed, url := startDev(t)
			for _, command := range []string{"curl -XPOST", "kcat -b", "| kcat -b"} {
				if !strings.Contains(printed, command) {
					t.Errorf("%q is not among the commands to try:\n%s", command, printed)
				}
			}
			for _, c := range cases {
				if status, answer := post(t, url, c.event); status != http.StatusOK || answer != c.want {
					t.Errorf("%s: %d %s, want 200 %s", c.event, status, answer, c.want)
				}
			}
			if status, answer := post(t, url, `{"type":"deposit"}`); status != http.StatusBadRequest || !strings.Contains(answer, "missing_member") {
				t.Errorf("no event: %d %s", status, answer)
			}
		})
	}
}

// TestDevSeveralInputs writes a user's events to two topics: they are judged on one state. The doctor reads the layout.
func TestDevSeveralInputs(t *testing.T) {
	printed, url := startDev(t, "--input", "events,refunds")
	where := regexp.MustCompile(`Kafka +(\S+) +topics events,refunds -> alerts, events\.dead\n +Redis +(\S+)`).FindStringSubmatch(printed)
	if where == nil {
		t.Fatalf("no addresses in\n%s", printed)
	}
	const first, last = `{"alert":false,"alert_codes":[],"user_id":7}`, `{"alert":true,"alert_codes":[30],"user_id":7}`
	if status, answer := post(t, url, `{"type":"withdraw","amount":"1","user_id":7,"time":10}`); status != http.StatusOK || answer != first {
		t.Fatalf("the first withdrawal: %d %s", status, answer)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(where[1]), kgo.ConsumeTopics("alerts"), kgo.DefaultProduceTopic("refunds"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, kgo.StringRecord(`{"type":"withdraw","amount":"1","user_id":7,"time":20}`)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for results := 0; results < 2; { // the second is judged
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		results += fetches.NumRecords()
	}
	if status, answer := post(t, url, `{"type":"withdraw","amount":"1","user_id":7,"time":30}`); status != http.StatusOK || answer != last {
		t.Errorf("the third withdrawal: %d %s, want 200 %s", status, answer, last)
	}
	g := examined(t, "--config", writeFile(t, t.TempDir(), "lapwing.yaml",
		fmt.Sprintf("kafka: {brokers: [%q], input: [refunds, events]}\nredis: {addrs: [%q]}\n", where[1], where[2])))
	for _, topic := range []string{"events", "refunds", "lapwing.rekey"} {
		g.has(levelOK, checkTopic, "topic "+topic, "1 partition")
	}
	g.has(levelOK, checkLayout, "group lapwing", "judges 1 partition of events, refunds")
}

// TestDevInputs: what is no list of topics is told with the flag.
func TestDevInputs(t *testing.T) {
	for inputs, want := range map[string]string{
		"":              "--input: kafka.input: must name at least one topic",
		"events,events": "--input: kafka.input[1]: is there twice",
		"alerts":        `kafka.output: is "alerts", which is in kafka.input too`,
		"lapwing.rekey": `--input: kafka.input[0]: is "lapwing.rekey", which the group lapwing keeps`,
	} {
		var stderr bytes.Buffer
		if code := run(context.Background(), []string{"dev", "--input", inputs}, strings.NewReader(""), io.Discard, &stderr); code != exitFailure || !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: exit code %d, %s", inputs, code, stderr.String())
		}
	}
}

// TestDevTakenPort checks that a taken port is named with the flag that moves it.
func TestDevTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, flag := range []string{"--kafka", "--redis", "--http"} {
		args := []string{"dev", "--kafka", "127.0.0.1:0", "--redis", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", flag, l.Addr().String()}
		var stderr bytes.Buffer
		code := run(context.Background(), args, strings.NewReader(""), io.Discard, &stderr)
		if code != exitFailure || !strings.Contains(stderr.String(), l.Addr().String()+" is taken") || !strings.Contains(stderr.String(), flag+" HOST:PORT") {
			t.Errorf("%s: exit code %d, %s", flag, code, stderr.String())
		}
	}
}
