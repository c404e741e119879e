package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lapwing/lapwing/consumer/consumertest"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/consumer/wire/msk"
)

// Secrets of these tests.
const (
	trustedPassword = "kafka-lapwing-test-secret-1"
	trustedSecret   = "oauth-lapwing-test-secret-2"
)

// secured is a broker of one test with a listener for each way to be secured, and an authorizer. The user "trusted" may
// do everything, by whichever mechanism it logs in; so may the test, on the plain listener.
type secured struct {
	*consumertest.Cluster
	authority *consumertest.Authority
	stranger  *consumertest.Authority // that the broker does not trust
	tokens    *consumertest.TokenServer
	client    *kgo.Client
	admin     *kadm.Client
}

const (
	// reauthAfter is how long a login at the listener REAUTH lasts.
	reauthAfter = 2 * time.Second
	// briefLife is how long the tokens of the client "brief" live.
	briefLife = 6 * time.Second
)

func newSecured(t *testing.T) *secured {
	t.Helper()
	b := &secured{authority: consumertest.NewAuthority(t), stranger: consumertest.NewAuthority(t)}
	b.tokens = consumertest.NewTokenServer(t, b.authority)
	b.tokens.Register("trusted", trustedSecret, time.Hour)
	b.tokens.Register("brief", trustedSecret, briefLife)
	tls := map[string]string{
		"ssl.keystore.type": "PEM", "ssl.keystore.location": b.authority.Keystore("broker", "localhost"),
	}
	mtls := map[string]string{
		"ssl.client.auth": "required", "ssl.truststore.type": "PEM", "ssl.truststore.location": b.authority.CAFile(),
		"ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
	}
	const security = "org.apache.kafka.common.security."
	logins := map[string]string{
		"sasl.enabled.mechanisms":                        "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		"plain.sasl.jaas.config":                         security + `plain.PlainLoginModule required user_trusted="` + trustedPassword + `";`,
		"scram-sha-256.sasl.jaas.config":                 security + "scram.ScramLoginModule required;",
		"scram-sha-512.sasl.jaas.config":                 security + "scram.ScramLoginModule required;",
		"oauthbearer.sasl.jaas.config":                   security + "oauthbearer.OAuthBearerLoginModule required;",
		"oauthbearer.sasl.server.callback.handler.class": security + "oauthbearer.OAuthBearerValidatorCallbackHandler",
	}
	reauth := with(logins, map[string]string{"sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,OAUTHBEARER"})
	for _, mechanism := range []string{"plain", "scram-sha-256", "oauthbearer"} {
		reauth[mechanism+".connections.max.reauth.ms"] = strconv.FormatInt(reauthAfter.Milliseconds(), 10)
	}
	b.Cluster = consumertest.OwnCluster(t, consumertest.ClusterOptions{
		Brokers: 1,
		Listeners: []consumertest.ClusterListener{
			{Name: "TLS", Protocol: "SSL", Settings: tls},
			{Name: "MUTUAL", Protocol: "SSL", Settings: with(tls, mtls)},
			{Name: "LOGIN", Protocol: "SASL_PLAINTEXT", Settings: logins},
			{Name: "BOTH", Protocol: "SASL_SSL", Settings: with(tls, logins)},
			{Name: "REAUTH", Protocol: "SASL_PLAINTEXT", Settings: reauth},
		},
		JavaOptions: []string{"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=" + b.tokens.KeysURL()},
		Settings: map[string]string{
			"authorizer.class.name":              "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			"super.users":                        "User:ANONYMOUS;User:trusted;User:brief",
			"sasl.oauthbearer.jwks.endpoint.url": b.tokens.KeysURL(),
			"sasl.oauthbearer.expected.audience": consumertest.TokenAudience,
			"sasl.oauthbearer.expected.issuer":   consumertest.TokenIssuer,
		},
	})
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b.client, b.admin = client, kadm.NewClient(client)
	b.addUser(t, "trusted")
	return b
}

// with is a map with the entries of another one, which win.
func with(a, b map[string]string) map[string]string {
	m := map[string]string{}
	for _, from := range []map[string]string{a, b} {
		for k, v := range from {
			m[k] = v
		}
	}
	return m
}

// addUser lets a user log in by SCRAM with trustedPassword.
func (b *secured) addUser(t *testing.T, user string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, mechanism := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} { // a request takes a user once
		altered, err := b.admin.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: mechanism, Iterations: 4096, Password: trustedPassword}})
		if err == nil {
			err = altered.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// system is topics, a group and engines on this broker, which the engines reach by a listener.
func (b *secured) system(t *testing.T, listener, extra string, o systemOptions) *system {
	t.Helper()
	o.broker, o.partitions = b.Addrs()[0], 2
	s := newSystem(t, o)
	s.kafkaAddr, s.extra = b.ListenerAddrs(listener)[0], extra
	return s
}

// tls is the section kafka.tls, with further keys.
func (b *secured) tls(more string) string {
	return fmt.Sprintf("  tls: {enabled: true, ca_file: %q%s}\n", b.authority.CAFile(), more)
}

func pair(certFile, keyFile string) string {
	return fmt.Sprintf(", cert_file: %q, key_file: %q", certFile, keyFile)
}

// login is the section kafka.sasl for a user, with the password in a file.
func login(t *testing.T, mechanism, user, password string) string {
	t.Helper()
	file := writeFile(t, t.TempDir(), "password", password+"\n")
	return fmt.Sprintf("  sasl: {mechanism: %s, username: %s, password_file: %q}\n", mechanism, user, file)
}

// oauth is the section kafka.sasl for a client, with the secret in a file.
func (b *secured) oauth(t *testing.T, client, secret string) string {
	t.Helper()
	file := writeFile(t, t.TempDir(), "secret", secret+"\n")
	return fmt.Sprintf("  sasl: {mechanism: oauthbearer, oauth: {token_url: %q, client_id: %s, client_secret_file: %q, scope: events alerts, ca_file: %q, extensions: [traceId=7]}}\n",
		b.tokens.TokenURL(), client, file, b.authority.CAFile())
}

// TestKafkaSecurity runs the binary, and the doctor, at a real broker with each security that Kafka has.
func TestKafkaSecurity(t *testing.T) {
	skipShort(t)
	b := newSecured(t)
	t.Run("mechanisms", b.mechanisms)
	t.Run("stages", b.stages)
	t.Run("backoff", b.backoff)
	t.Run("reauthentication", b.reauthentication)
	t.Run("acls", b.acls)
}

// mechanisms: by each way in, events are judged, offsets committed and results read back, and the doctor is content.
func (b *secured) mechanisms(t *testing.T) {
	t.Cleanup(func() { // after the last of them
		if scopes := b.tokens.Scopes(); len(scopes) == 0 || scopes[0] != "events alerts" {
			t.Errorf("%d requests for tokens, of the scopes %q", len(scopes), scopes)
		}
	})
	for name, x := range map[string]struct{ listener, extra, says string }{
		"TLS":              {"TLS", b.tls(""), "TLS"},
		"mutual TLS":       {"MUTUAL", b.tls(pair(b.authority.IssueUntil("trusted", time.Now().Add(time.Hour)))), "TLS"},
		"PLAIN":            {"LOGIN", login(t, "plain", "trusted", trustedPassword), "SASL plain"},
		"PLAIN, TLS":       {"BOTH", b.tls("") + login(t, "plain", "trusted", trustedPassword), "TLS, SASL plain"},
		"SCRAM-SHA-256":    {"LOGIN", login(t, "scram-sha-256", "trusted", trustedPassword), "SASL scram-sha-256"},
		"SCRAM-SHA-512":    {"BOTH", b.tls("") + login(t, "scram-sha-512", "trusted", trustedPassword), "TLS, SASL scram-sha-512"},
		"OAUTHBEARER":      {"LOGIN", b.oauth(t, "trusted", trustedSecret), "SASL oauthbearer"},
		"OAUTHBEARER, TLS": {"BOTH", b.tls("") + b.oauth(t, "trusted", trustedSecret), "TLS, SASL oauthbearer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := b.system(t, x.listener, x.extra, systemOptions{})
			s.produce(1000, consumertest.EventOptions{Seed: 1, Bad: 0.02, Strays: 0.1})
			e := s.engine("engine")
			e.Start()
			e.WaitReady(readyTimeout)
			s.drain(readyTimeout)
			s.check(consumertest.CheckOptions{})
			term(t, e)
			s.checkStopped(true)
			g := examined(t, "--config", writeFile(t, t.TempDir(), "lapwing.yaml", s.config("127.0.0.1:1")))
			g.only(levelFail)
			g.has(levelOK, checkBroker, "broker "+s.kafkaAddr, x.says, "protocol")
		})
	}
}

// stages: whatever is wrong, engine and doctor name the broker, the stage, and what to do. What only an operator can mend
// ends the engine.
func (b *secured) stages(t *testing.T) {
	expired := pair(b.authority.IssueUntil("expired", time.Now().Add(-time.Minute)))
	unknown := pair(b.stranger.IssueUntil("unknown", time.Now().Add(time.Hour)))
	closed := "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
	_, tlsPort, _ := net.SplitHostPort(b.ListenerAddrs("TLS")[0])
	other := fmt.Sprintf("  tls: {enabled: true, ca_file: %q}\n", b.stranger.CAFile())
	otherTokens := strings.Replace(b.oauth(t, "trusted", trustedSecret), b.authority.CAFile(), b.stranger.CAFile(), 1)
	noTokens := strings.Replace(b.oauth(t, "trusted", trustedSecret), b.tokens.TokenURL(), "https://"+closed+"/token", 1)
	for name, x := range map[string]struct {
		listener, extra string
		addr            string // in place of the listener's
		ends            bool   // only an operator mends it
		stage           string
		says            []string
	}{
		"unknown host":                 {addr: "nowhere.invalid:9092", stage: "DNS", says: []string{"no such host", "does not resolve"}},
		"closed port":                  {addr: closed, stage: "TCP", says: []string{"refused", "check the port"}},
		"unknown authority":            {listener: "TLS", extra: other, ends: true, stage: "TLS", says: []string{"unknown authority", "kafka.tls.ca_file"}},
		"wrong host name":              {addr: "127.0.0.1:" + tlsPort, extra: b.tls(""), ends: true, stage: "TLS", says: []string{"127.0.0.1", "kafka.tls.server_name"}},
		"expired client certificate":   {listener: "MUTUAL", extra: b.tls(expired), ends: true, stage: "TLS", says: []string{"refuses our certificate", "kafka.tls.cert_file"}},
		"untrusted client certificate": {listener: "MUTUAL", extra: b.tls(unknown), ends: true, stage: "TLS", says: []string{"refuses our certificate"}},
		"no client certificate":        {listener: "MUTUAL", extra: b.tls(""), ends: true, stage: "TLS", says: []string{"refuses our certificate"}},
		"TLS to a plaintext port":      {addr: b.Addrs()[0], extra: b.tls(""), stage: "TLS", says: []string{"check that this is the broker's TLS port"}},
		"plaintext to a TLS port":      {listener: "TLS", ends: true, stage: "TLS", says: []string{"TLS alert", "kafka.tls.enabled: true"}},
		"login to a TLS port":          {listener: "BOTH", extra: login(t, "plain", "trusted", trustedPassword), ends: true, stage: "TLS", says: []string{"TLS alert", "kafka.tls.enabled: true"}},
		"login to a port without":      {addr: b.Addrs()[0], extra: login(t, "plain", "trusted", trustedPassword), ends: true, stage: "SASL", says: []string{"this port has no SASL"}},
		"no login":                     {listener: "LOGIN", stage: "SASL", says: []string{"wants a login", "set kafka.sasl"}},
		"wrong password, PLAIN":        {listener: "LOGIN", extra: login(t, "plain", "trusted", "wrong-lapwing-test-secret"), ends: true, stage: "SASL", says: []string{"Invalid username or password", "user and password"}},
		"wrong password, SCRAM":        {listener: "BOTH", extra: b.tls("") + login(t, "scram-sha-512", "trusted", "wrong-lapwing-test-secret"), ends: true, stage: "SASL", says: []string{"invalid credentials", "user and password"}},
		"unknown user":                 {listener: "LOGIN", extra: login(t, "scram-sha-256", "nobody", "wrong-lapwing-test-secret"), ends: true, stage: "SASL", says: []string{"invalid credentials"}},
		"another mechanism":            {listener: "REAUTH", extra: login(t, "scram-sha-512", "trusted", trustedPassword), ends: true, stage: "SASL", says: []string{"SCRAM-SHA-256", "not SCRAM-SHA-512", "kafka.sasl.mechanism"}},
		"wrong client secret":          {listener: "LOGIN", extra: b.oauth(t, "trusted", "oauth-lapwing-test-secret-wrong"), ends: true, stage: "SASL", says: []string{"token server " + b.tokens.TokenURL(), "401", "invalid_client", "kafka.sasl.oauth"}},
		"token server unknown":         {listener: "LOGIN", extra: otherTokens, ends: true, stage: "SASL", says: []string{"token server", "unknown authority", "kafka.sasl.oauth"}},
		"token server away":            {listener: "LOGIN", extra: noTokens, stage: "SASL", says: []string{"token server", "refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := x.addr
			if addr == "" {
				addr = b.ListenerAddrs(x.listener)[0]
			}
			b.refused(t, addr, x.extra, x.ends, x.stage, x.says...)
		})
	}
	t.Run("MSK IAM", func(t *testing.T) {
		// There is no MSK here: a plain OAUTHBEARER listener takes the exchange up to the token, and refuses that.
		t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "aws-lapwing-test-secret-5")
		mechanism, err := msk.Mechanism("eu-central-1")
		if err != nil {
			t.Fatal(err)
		}
		addr := b.ListenerAddrs("LOGIN")[0]
		client, err := wire.New(wire.Options{Brokers: []string{addr}, SASL: mechanism})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		failed := client.ProbeBroker(t.Context(), addr)
		if failed == nil || failed.Stage != wire.StageSASL || !strings.Contains(failed.Error(), "invalid_token") {
			t.Error(failed)
		}
	})
	t.Run("token of another server", func(t *testing.T) {
		t.Parallel()
		tokens := consumertest.NewTokenServer(t, b.authority) // its key is not the broker's either
		tokens.Register("trusted", trustedSecret, time.Hour)
		extra := strings.Replace(b.oauth(t, "trusted", trustedSecret), b.tokens.TokenURL(), tokens.TokenURL(), 1)
		b.refused(t, b.ListenerAddrs("LOGIN")[0], extra, true, "SASL", `{"status":"invalid_token"}`)
		if n := tokens.Requests("trusted"); n == 0 || n > 4 {
			t.Errorf("%d requests for tokens", n)
		}
	})
}

// refused starts an engine and a doctor that cannot use the broker.
func (b *secured) refused(t *testing.T, addr, extra string, ends bool, stage string, says ...string) {
	t.Helper()
	s := &system{t: t, kafkaAddr: addr, redisAddr: consumertest.Redis(t), input: "events", output: "alerts", dead: "events.dead",
		group: consumertest.Topic(t, "e2e"), extra: extra}
	e := s.engine("engine")
	e.Start()
	e.WaitLog(readyTimeout, append([]string{"kafka broker " + addr + ": " + stage + ": "}, says...)...)
	wait := time.Second
	if ends {
		wait = readyTimeout
	}
	if code, ended := e.Wait(wait); ended != ends || ended && code != exitFailure {
		t.Errorf("ended = %v with exit code %d, want %v", ended, code, ends)
	}
	// The same failure is told once, however often it is met.
	if n := strings.Count(e.Log(), "trying again"); n > 3 {
		t.Errorf("%d lines about it", n)
	}
	file := writeFile(t, t.TempDir(), "lapwing.yaml", s.config("127.0.0.1:1"))
	g := examined(t, "--config", file)
	g.has(levelFail, checkBroker, "broker "+addr, append([]string{stage + ": "}, says...)...)
	for _, text := range []string{e.Log(), g.stdout} {
		if strings.Contains(text, "lapwing-test-secret") {
			t.Errorf("a secret is shown:\n%s", text)
		}
	}
}

// backoff: a broker that hangs up is dialed now and then, not all the time.
func (b *secured) backoff(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dialed := make(chan int, 1)
	go func() { // ends with the listener
		n := 0
		for {
			conn, err := listener.Accept()
			if err != nil {
				dialed <- n
				return
			}
			n++
			conn.Close()
		}
	}()
	s := &system{t: t, kafkaAddr: listener.Addr().String(), redisAddr: consumertest.Redis(t), input: "events", output: "alerts", dead: "events.dead",
		group: consumertest.Topic(t, "e2e"), extra: login(t, "plain", "trusted", trustedPassword)}
	e := s.engine("engine")
	e.Start()
	e.WaitLog(readyTimeout, "SASL")
	time.Sleep(4 * time.Second)
	term(t, e)
	listener.Close()
	if n := <-dialed; n < 3 || n > 20 {
		t.Errorf("dialed %d times in 4 s", n)
	}
}

// reauthentication: where a login lasts 2 s, nothing is lost, and the group stays as it is.
func (b *secured) reauthentication(t *testing.T) {
	b.sessionsEnd(t)
	lasts := 20 * time.Second
	if text := os.Getenv("LAPWING_TEST_REAUTH"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatalf("LAPWING_TEST_REAUTH: %v", err)
		}
	}
	for name, extra := range map[string]string{
		"SCRAM-SHA-256": login(t, "scram-sha-256", "trusted", trustedPassword),
		"OAUTHBEARER":   b.oauth(t, "brief", trustedSecret),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b.undisturbed(t, "REAUTH", extra, lasts)
		})
	}
	t.Cleanup(func() { // after both
		// A token serves for 3.6 s of its 6, however many connections log in.
		if n, most := b.tokens.Requests("brief"), int((lasts+readyTimeout)/(briefLife/2)); n < int(lasts/briefLife) || n > most {
			t.Errorf("%d requests for tokens, at most %d are needed", n, most)
		}
	})
}

// sessionsEnd makes sure that the broker does end the connection of a client that does not log in again.
func (b *secured) sessionsEnd(t *testing.T) {
	t.Helper()
	dialer := kafka.Dialer{SASLMechanism: plain.Mechanism{Username: "trusted", Password: trustedPassword}}
	conn, err := dialer.Dial("tcp", b.ListenerAddrs("REAUTH")[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Brokers(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(reauthAfter + 200*time.Millisecond)
	if _, err := conn.Brokers(); err == nil {
		t.Fatal("the broker lets a login last: nothing is tried here")
	}
}

// undisturbed judges events for a while: all of them once, in one generation and without a failed transaction.
func (b *secured) undisturbed(t *testing.T, listener, extra string, lasts time.Duration) {
	t.Helper()
	s := b.system(t, listener, extra, systemOptions{})
	s.http = "127.0.0.1:" + strconv.Itoa(consumertest.FreePort(t))
	e := s.engine("engine")
	e.Start()
	e.WaitReady(readyTimeout)
	starting := len(e.Log()) // on a cold broker it waits for the coordinator
	stop := s.load(300, consumertest.EventOptions{Seed: 2, Bad: 0.02, Strays: 0.1})
	time.Sleep(lasts)
	n := stop()
	s.drain(10 * time.Second)
	report := s.check(consumertest.CheckOptions{})
	if report.Records != n {
		t.Errorf("%d records were acknowledged, the input has %d", n, report.Records)
	}
	view := &engineView{t: t, http: s.http}
	view.metrics(map[string]int64{"rejoins_total": 1, `lane_starts_total{outcome="started"}`: 2})
	_, exposed := get(t, "http://"+s.http+"/metrics")
	if strings.Contains(exposed, `outcome="failed"`) {
		t.Errorf("something has failed:\n%s", exposed)
	}
	for _, trouble := range []string{"trying again", "starts again", "level=ERROR"} {
		if strings.Contains(e.Log()[starting:], trouble) {
			t.Errorf("%s:\n%s", trouble, e.Log())
		}
	}
	term(t, e)
	s.checkStopped(true)
}
