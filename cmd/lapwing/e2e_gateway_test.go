package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lapwing/lapwing/consumer/consumertest"
)

// TestGatewayBesideEngines runs `lapwing gateway`, with TLS and tokens, and two engines as processes of their own on the real
// services: the answers come from whichever engine owns the user's lane. Even the debug log has nothing of the requests.
func TestGatewayBesideEngines(t *testing.T) {
	s := newSystem(t, systemOptions{})
	engines := []*consumertest.Engine{s.engine("one"), s.engine("two")}
	for _, e := range engines {
		e.Start()
	}
	listen := "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
	admin := "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
	const token = "lapwing-test-secret-token"
	dir, authority := t.TempDir(), consumertest.NewAuthority(t)
	cert, key := authority.Pair("gateway")
	gateway := consumertest.NewEngine(t, consumertest.EngineOptions{Command: "gateway", Name: "gateway", HTTP: admin, Config: fmt.Sprintf(`
kafka: {brokers: [%q], group: %s, input: [%s], output: %s, dead_letters: %s}
http: %s
log: {level: debug}
gateway: {listen: %q, tls: {enabled: true, cert_file: %q, key_file: %q}, tokens_file: %q}
`, s.broker, s.group, s.input, s.output, s.dead, admin, listen, writeFile(t, dir, "tls.crt", string(cert)), writeFile(t, dir, "tls.key", string(key)),
		writeFile(t, dir, "tokens", token+"\n"))})
	gateway.Start()
	for _, e := range append(engines, gateway) {
		e.WaitReady(readyTimeout)
	}
	url := "https://" + listen + "/event"
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}}
	defer transport.CloseIdleConnections()
	client := httpClient{t, &http.Client{Transport: transport, Timeout: 20 * time.Second}}
	for user := 1; user <= 12; user++ { // users of every lane
		for i, codes := range []string{"1100", "", "1100,30", "30"} {
			amount := []string{"200.00", "99.99", "101", "99.99"}[i]
			want := fmt.Sprintf(`{"alert":%t,"alert_codes":[%s],"user_id":%d}`, codes != "", codes, user)
			event := fmt.Sprintf(`{"type":"withdraw","amount":%q,"user_id":%d,"time":%d}`, amount, user, 10+i)
			if answer := client.within(http.StatusOK, http.MethodPost, url, token, event); answer != want {
				t.Errorf("user %d, event %d: %s, want %s", user, i, answer, want)
			}
		}
	}
	if status, answer := client.do(http.MethodPost, url, token+"x", `{"type":"withdraw","amount":"1","user_id":1,"time":1}`); status != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d %s", status, answer)
	}
	if status, answer := client.do(http.MethodPost, url, token, `{"type":"transfer","amount":"1","user_id":1,"time":1}`); status != http.StatusBadRequest || !strings.Contains(answer, "unknown_type") {
		t.Errorf("no event: %d %s", status, answer)
	}
	for _, e := range append(engines, gateway) {
		if took, code := e.Term(termTimeout); code != exitOK {
			t.Errorf("exit code %d after %v", code, took)
		}
	}
	log := gateway.Log()
	if !strings.Contains(log, "gateway is listening") {
		t.Errorf("the log is\n%s", log)
	}
	for _, secret := range []string{token, "withdraw", "99.99", "Bearer", "user_id"} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log:\n%s", secret, log)
		}
	}
	s.check(consumertest.CheckOptions{})
}
