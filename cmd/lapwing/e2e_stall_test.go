package main

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// stallTimeout is the least for the timeouts of a system, with stallExtra.
const (
	stallTimeout = 7 * time.Second
	stallExtra   = "  request_timeout: 1s\n  fetch_wait_max: 200ms\n  stall_timeout: 7s"
)

var (
	stalled = regexp.MustCompile(`(?m)^lapwing_stalls_total\{.*\} [^0].*$`)
	lagging = regexp.MustCompile(`(?m)^lapwing_lag_records\{.*\} [^0].*$`)
)

// get returns the status and the body of an admin endpoint.
func (s *system) get(path string) (status int, body string) {
	s.t.Helper()
	client := http.Client{Timeout: 2 * time.Second}
	response, err := client.Get("http://" + s.http + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	consumertest.Inspect(consumertest.Output(path), s.t.Name(), string(text))
	return response.StatusCode, string(text)
}

// staysAlive asks for so long whether the engine is alive, and whether a lane has stalled.
func (s *system) staysAlive(what string, d time.Duration) {
	s.t.Helper()
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if status, body := s.get("/healthz"); status != http.StatusOK {
			s.t.Fatalf("%s: /healthz answers %d %q", what, status, body)
		}
		if _, body := s.get("/metrics"); stalled.MatchString(body) || !strings.Contains(body, "lapwing_stalls_total") {
			s.t.Fatalf("%s: stalls are counted: %q", what, stalled.FindString(body))
		}
	}
}

// TestFrozenIsNoStall stops a process with a backlog where it stands, for longer than the stall timeout. When it goes on it
// has done nothing wrong.
func TestFrozenIsNoStall(t *testing.T) {
	skipShort(t)
	_, seed := seeded(t)
	s := newSystem(t, systemOptions{partitions: 2})
	s.extra, s.http = stallExtra, fmt.Sprintf("127.0.0.1:%d", consumertest.FreePort(t))
	s.extra += "\n  transaction_pause: 100ms\n  batch_records_max: 100" // so that a backlog lasts
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	s.produce(8000, mixed(seed))
	for deadline := time.Now().Add(readyTimeout); ; time.Sleep(20 * time.Millisecond) {
		if _, body := s.get("/metrics"); lagging.MatchString(body) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no lag is seen")
		}
	}
	e.Freeze()
	time.Sleep(stallTimeout + 2*time.Second) // the fault
	e.Thaw()
	s.staysAlive("thawed", 2*time.Second)
	e.WaitReady(readyTimeout)
	s.drain(readyTimeout)
	s.check(consumertest.CheckOptions{})
	s.staysAlive("at the end", time.Second)
	term(t, e)
}

// TestFetchBlackHoleIsNoStall holds back the answers to all fetches of the input for three stall timeouts, while all else
// is answered: the broker is to blame, so the process is not ready, and alive. The broker is a fake one, which can do that.
func TestFetchBlackHoleIsNoStall(t *testing.T) {
	skipShort(t)
	_, seed := seeded(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	s := newSystem(t, systemOptions{broker: cluster.ListenAddrs()[0], partitions: 2})
	s.extra, s.http = stallExtra, fmt.Sprintf("127.0.0.1:%d", consumertest.FreePort(t))
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	input := cluster.TopicInfo(s.input).TopicID
	hole := make(chan struct{})
	cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if f := req.(*kmsg.FetchRequest); len(f.Topics) == 1 && f.Topics[0].TopicID == input {
			cluster.SleepControl(func() { <-hole })
		}
		return nil, nil, false
	})
	s.produce(2000, mixed(seed))
	s.staysAlive("black hole", 3*stallTimeout)
	if status, body := s.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "partition 0: cannot read") || !strings.Contains(body, "partition 1: cannot read") {
		t.Errorf("/readyz answers %d %q", status, body)
	}
	close(hole)
	s.drain(readyTimeout)
	e.WaitReady(readyTimeout)
	s.check(consumertest.CheckOptions{})
	term(t, e)
}
