package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// TestGatewayBesideEngines runs `lapwing gateway` and two engines as processes of their own on the real services: the
// answers come from whichever engine owns the user's lane.
func TestGatewayBesideEngines(t *testing.T) {
	s := newSystem(t, systemOptions{})
	engines := []*consumertest.Engine{s.engine("one"), s.engine("two")}
	for _, e := range engines {
		e.Start()
	}
	listen := "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
	admin := "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
	gateway := consumertest.NewEngine(t, consumertest.EngineOptions{Command: "gateway", Name: "gateway", HTTP: admin, Config: fmt.Sprintf(`
kafka: {brokers: [%q], group: %s, input: [%s], output: %s, dead_letters: %s}
http: %s
gateway: {listen: %q}
`, s.broker, s.group, s.input, s.output, s.dead, admin, listen)})
	gateway.Start()
	for _, e := range append(engines, gateway) {
		e.WaitReady(readyTimeout)
	}
	url := "http://" + listen + "/event"
	for user := 1; user <= 12; user++ { // users of every lane
		for i, codes := range []string{"1100", "", "1100,30", "30"} {
			amount := []string{"200.00", "99.99", "101", "99.99"}[i]
			want := fmt.Sprintf(`{"alert":%t,"alert_codes":[%s],"user_id":%d}`, codes != "", codes, user)
			status, answer := post(t, url, fmt.Sprintf(`{"type":"withdraw","amount":%q,"user_id":%d,"time":%d}`, amount, user, 10+i))
			if status != http.StatusOK || answer != want {
				t.Errorf("user %d, event %d: %d %s, want 200 %s", user, i, status, answer, want)
			}
		}
	}
	if status, answer := post(t, url, `{"type":"transfer","amount":"1","user_id":1,"time":1}`); status != http.StatusBadRequest || !strings.Contains(answer, "unknown_type") {
		t.Errorf("no event: %d %s", status, answer)
	}
	for _, e := range append(engines, gateway) {
		if took, code := e.Term(termTimeout); code != exitOK {
			t.Errorf("exit code %d after %v", code, took)
		}
	}
	s.check(consumertest.CheckOptions{})
}
