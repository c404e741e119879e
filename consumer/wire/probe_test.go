package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"
)

// certificate returns a server's configuration and the pool that trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

// listener answers every connection with a text and closes it.
func listener(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, answer)
			conn.Close()
		}
	}()
	return l.Addr().String()
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func scramMechanism(t *testing.T, password string) sasl.Mechanism {
	t.Helper()
	m, err := scram.Mechanism(scram.SHA256, "user", password)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestProbe(t *testing.T) {
	server, trusted := certificate(t)
	plaintext := fakeBroker(t).addr
	encrypted := fakeBroker(t, kfake.TLS(server)).addr
	authenticated := fakeBroker(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "right"), kfake.Superuser("SCRAM-SHA-256", "user", "right")).addr
	both := fakeBroker(t, kfake.TLS(server), kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "right")).addr
	old := fakeBroker(t, kfake.MaxVersions(kversion.V3_0_0())).addr
	for _, x := range []struct {
		name  string
		addr  string
		tls   *tls.Config
		sasl  sasl.Mechanism
		stage Stage // Empty: all is well.
		class Class
		says  string
	}{
		{name: "plaintext", addr: plaintext},
		{name: "TLS", addr: encrypted, tls: &tls.Config{RootCAs: trusted}},
		{name: "PLAIN", addr: authenticated, sasl: plain.Mechanism{Username: "user", Password: "right"}},
		{name: "SCRAM", addr: authenticated, sasl: scramMechanism(t, "right")},
		{name: "TLS and PLAIN", addr: both, tls: &tls.Config{RootCAs: trusted}, sasl: plain.Mechanism{Username: "user", Password: "right"}},
		{name: "name without address", addr: "nowhere.invalid:9092", stage: StageDNS, class: Retry, says: "nowhere.invalid"},
		{name: "nothing listens", addr: closedPort(t), stage: StageTCP, class: Retry, says: "refused"},
		{name: "unknown authority", addr: encrypted, tls: &tls.Config{}, stage: StageTLS, class: Fatal, says: "certificate"},
		{name: "other name", addr: encrypted, tls: &tls.Config{RootCAs: trusted, ServerName: "other"}, stage: StageTLS, class: Fatal, says: "certificate"},
		{name: "TLS to a plaintext port", addr: plaintext, tls: &tls.Config{RootCAs: trusted}, stage: StageTLS, class: Retry, says: "TLS port"},
		{name: "plaintext to a TLS port", addr: encrypted, stage: StageProtocol, class: Retry, says: "TLS or SASL port"},
		{name: "wrong password, PLAIN", addr: authenticated, sasl: plain.Mechanism{Username: "user", Password: "wrong"}, stage: StageSASL, class: Retry, says: "user and password"},
		{name: "wrong password, SCRAM", addr: authenticated, sasl: scramMechanism(t, "wrong"), stage: StageSASL, class: Retry, says: "user and password"},
		{name: "SASL to a port without", addr: plaintext, sasl: plain.Mechanism{Username: "user", Password: "right"}, stage: StageSASL, class: Retry, says: "SASL port"},
		{name: "no SASL to a port with", addr: authenticated, stage: StageSASL, class: Retry, says: "set kafka.sasl"},
		{name: "not Kafka", addr: listener(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), stage: StageProtocol, says: "does not answer as Kafka"},
		{name: "hangs up", addr: listener(t, ""), stage: StageProtocol, class: Retry, says: "does not answer as Kafka"},
		{name: "old broker", addr: old, stage: StageProtocol, class: Fatal, says: "Fetch 13 is needed"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := broker{addr: x.addr}.client(t, func(o *Options) {
				o.TLS, o.SASL, o.DialTimeout = x.tls, x.sasl, 3*time.Second
			})
			err := c.Probe(testContext(t))
			if x.stage == "" {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Topics(testContext(t)); err != nil {
					t.Fatalf("usable by the probe only: %v", err)
				}
				return
			}
			var probe *StageError
			if !errors.As(err, &probe) || probe.Broker != x.addr || probe.Stage != x.stage {
				t.Fatalf("%v", err)
			}
			if !strings.Contains(err.Error(), x.says) || !strings.Contains(err.Error(), x.addr) {
				t.Fatalf("%q does not say %q", err, x.says)
			}
			if got := Classify(err); got != x.class && x.name != "not Kafka" {
				t.Fatalf("%v is %v, want %v", err, got, x.class)
			}
		})
	}
}

func TestProbeOfSeveralBrokers(t *testing.T) {
	dead, living := closedPort(t), fakeBroker(t).addr
	c := broker{addr: dead + "," + living}.client(t)
	if err := c.Probe(testContext(t)); err != nil {
		t.Fatalf("one broker of two is enough: %v", err)
	}
	failed := c.ProbeBrokers(testContext(t))
	if len(failed) != 1 || failed[0].Broker != dead {
		t.Fatalf("%v", failed)
	}
	other := closedPort(t)
	err := broker{addr: dead + "," + other}.client(t).Probe(testContext(t))
	if err == nil || !strings.Contains(err.Error(), dead) || !strings.Contains(err.Error(), other) {
		t.Fatalf("%v", err)
	}
}
