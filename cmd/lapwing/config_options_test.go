package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl/plain"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/consumer/wire"
	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// loadText loads a configuration from a text, in a directory of its own.
func loadText(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	c, err := LoadConfig(writeFile(t, t.TempDir(), "lapwing.yaml", text), environ)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDecoderOptions(t *testing.T) {
	c := loadText(t, `events: {types: [a, b], time_unit: ms, time_from: record, accept_numeric_amount: true, strip_frame: true, max_future: 5m, bytes_max: 2KiB}`)
	got, err := c.DecoderOptions()
	if err != nil {
		t.Fatal(err)
	}
	if names := strings.Join(got.Types.Names(), " "); names != "a b" {
		t.Errorf("types %s, want a b", names)
	}
	got.Types = nil
	want := contract.DecoderOptions{TimeMillis: true, TimeFromRecord: true, AcceptNumericAmount: true, StripFrame: true, MaxFuture: 5 * time.Minute, BytesMax: 2048}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, err = NewConfig().DecoderOptions(); err != nil || got.TimeMillis || got.TimeFromRecord || got.AcceptNumericAmount || got.StripFrame || got.MaxFuture != 0 {
		t.Errorf("defaults are %+v, error %v", got, err)
	}
}

func TestRuleSet(t *testing.T) {
	set, err := NewConfig().RuleSet()
	if err != nil || set != rules.Builtin() {
		t.Errorf("no rule file: %v, error %v; want the built-in set", set, err)
	}
	c := NewConfig()
	c.Events.Types = []string{"withdraw", "bonus", "deposit"}
	if set, err = c.RuleSet(); err != nil || set.Hash() != rules.Builtin().Hash() || set.Types().Len() != 3 {
		t.Errorf("more types: error %v, want the built-in rules over three types", err)
	}
	c.Rules = "missing.yaml"
	if _, err = c.RuleSet(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want %v", err, fs.ErrNotExist)
	}
	c.Rules = File(writeFile(t, t.TempDir(), "rules.yaml", "rules: []\n"))
	var listed rules.Problems
	if _, err = c.RuleSet(); !errors.As(err, &listed) {
		t.Errorf("error %v, want rules.Problems", err)
	}
}

func TestDetail(t *testing.T) {
	if got := NewConfig().ResultDetail(); got != contract.DetailFull {
		t.Errorf("default detail is %v, want full", got)
	}
	if got := loadText(t, "detail: minimal").ResultDetail(); got != contract.DetailMinimal {
		t.Errorf("detail is %v, want minimal", got)
	}
}

func TestWireOptions(t *testing.T) {
	c := loadText(t, `
kafka:
  brokers: [a:9092, b:9093]
  client_id: me
  dial_timeout: 1s
  request_timeout: 2s
  input: [in]
  output: out
  dead_letters: dead
  sasl: {mechanism: plain, username: u}
`, "LAPWING_KAFKA_SASL_PASSWORD=p")
	got, err := c.WireOptions()
	if err != nil {
		t.Fatal(err)
	}
	want := wire.Options{
		Brokers: []string{"a:9092", "b:9093"}, ClientID: "me", DialTimeout: time.Second, RequestTimeout: 2 * time.Second,
		Topics: []string{"in", "out", "dead"}, SASL: plain.Mechanism{Username: "u", Password: "p"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, err = NewConfig().WireOptions(); err != nil || got.SASL != nil || got.TLS != nil {
		t.Errorf("defaults are %+v, error %v; want neither SASL nor TLS", got, err)
	}
	if len(c.Kafka.Input) != 1 {
		t.Errorf("the list of input topics became %v", c.Kafka.Input)
	}
}

func TestSASLMechanisms(t *testing.T) {
	for mechanism, want := range map[string]string{"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"} {
		s := SASLConfig{Mechanism: mechanism, Username: "u", Password: "p"}
		got, err := s.mechanism()
		if err != nil || got.Name() != want {
			t.Errorf("%s is %v, error %v; want %s", mechanism, got, err, want)
		}
	}
}

func TestPasswordFiles(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{"hunter2": "hunter2", "hunter2\n": "hunter2", "hunter2\r\n": "hunter2", " hunter2 \n": " hunter2 ", "a\nb\n": "a\nb"} {
		file := File(writeFile(t, dir, "password", text))
		if got, err := readPassword("", file); err != nil || got != want {
			t.Errorf("file %q gives %q, error %v; want %q", text, got, err, want)
		}
	}
	if got, err := readPassword("direct", ""); err != nil || got != "direct" {
		t.Errorf("without a file: %q, error %v", got, err)
	}
	if _, err := readPassword("", File(writeFile(t, dir, "empty", "\n"))); !errors.Is(err, errNoPassword) {
		t.Errorf("an empty line: error %v, want %v", err, errNoPassword)
	}
	c := NewConfig()
	c.Redis.PasswordFile = File(filepath.Join(dir, "password.missing"))
	if _, err := c.RedisOptions(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "redis.password_file") {
		t.Errorf("error %v, want the key and %v", err, fs.ErrNotExist)
	}
	c.Kafka.SASL = SASLConfig{Mechanism: "plain", Username: "u", PasswordFile: c.Redis.PasswordFile}
	if _, err := c.WireOptions(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "kafka.sasl") {
		t.Errorf("error %v, want the key and %v", err, fs.ErrNotExist)
	}
}

func TestRedisOptions(t *testing.T) {
	c := loadText(t, `
kafka: {group: g}
redis: {addrs: ["r:1"], username: u, db: 3, prefix: x, dial_timeout: 1s, read_timeout: 2s, write_timeout: 4s, pool_size: 5}
events: {types: [deposit, withdraw, bonus]}
`, "LAPWING_REDIS_PASSWORD=p")
	got, err := c.RedisOptions()
	if err != nil {
		t.Fatal(err)
	}
	if names := strings.Join(got.Types.Names(), " "); names != "deposit withdraw bonus" {
		t.Errorf("types %s", names)
	}
	want := state.DefaultRedisOptions()
	want.Addrs, want.Username, want.Password, want.DB = []string{"r:1"}, "u", "p", 3
	want.Prefix, want.Group, want.Types = "x", "g", got.Types
	want.DialTimeout, want.ReadTimeout, want.WriteTimeout, want.PoolSize = time.Second, 2*time.Second, 4*time.Second, 5
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The keys that say how Redis is found, and the shards that follow from them: the engine and its store must agree.
func TestRedisTopologies(t *testing.T) {
	for text, want := range map[string]struct {
		addrs    []string
		sentinel state.SentinelOptions
		cluster  bool
		shards   int
	}{
		`{}`: {addrs: []string{"127.0.0.1:6379"}, shards: 1},
		`{cluster: true, addrs: ["a:1", "b:2"], username: u}`: {addrs: []string{"a:1", "b:2"}, cluster: true, shards: 64},
		`{sentinel: {master: m, addrs: ["s:1", "s:2"], username: w}}`: {
			sentinel: state.SentinelOptions{Master: "m", Addrs: []string{"s:1", "s:2"}, Username: "w", Password: "q"}, shards: 1},
	} {
		environ := []string{"LAPWING_REDIS_PASSWORD=p"}
		if strings.Contains(text, "sentinel") {
			environ = []string{"LAPWING_REDIS_SENTINEL_PASSWORD=q"}
		}
		c := loadText(t, "redis: "+text, environ...)
		got, err := c.RedisOptions()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Addrs, want.addrs) || !reflect.DeepEqual(got.Sentinel, want.sentinel) || got.Cluster != want.cluster || got.Shards != want.shards {
			t.Errorf("%s: %q, %+v, cluster %v, %d shards; want %+v", text, got.Addrs, got.Sentinel, got.Cluster, got.Shards, want)
		}
		engine, err := c.engineOptions()
		if err != nil || engine.Shards != want.shards {
			t.Errorf("%s: the engine has %d shards, %v", text, engine.Shards, err)
		}
		store, err := state.NewRedis(got)
		if err != nil {
			t.Errorf("%s: the store refuses it: %v", text, err)
		} else if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
	c := loadText(t, "redis: {sentinel: {master: m, addrs: [\"s:1\"]}}")
	c.Redis.Sentinel.PasswordFile = File(filepath.Join(t.TempDir(), "missing"))
	if _, err := c.RedisOptions(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "redis.sentinel.password_file") {
		t.Errorf("error %v, want the key and %v", err, fs.ErrNotExist)
	}
}

// The defaults of the configuration are those of the package, where both name one.
func TestRedisDefaults(t *testing.T) {
	got, err := NewConfig().RedisOptions()
	if err != nil {
		t.Fatal(err)
	}
	want := state.DefaultRedisOptions()
	want.Addrs, want.Group, want.Types = got.Addrs, got.Group, got.Types
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if store, err := state.NewRedis(got); err != nil {
		t.Errorf("the store refuses the defaults: %v", err)
	} else if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certPEM, keyPEM := selfSigned(t)
	writeFile(t, dir, "cert.pem", certPEM)
	writeFile(t, dir, "key.pem", keyPEM)
	text := "{enabled: true, ca_file: cert.pem, cert_file: cert.pem, key_file: key.pem, server_name: kafka.example}"
	c, err := LoadConfig(writeFile(t, dir, "lapwing.yaml", "kafka: {tls: "+text+"}\nredis: {tls: "+text+"}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	wireOptions, err := c.WireOptions()
	if err != nil {
		t.Fatal(err)
	}
	redisOptions, err := c.RedisOptions()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]*tls.Config{"kafka": wireOptions.TLS, "redis": redisOptions.TLS} {
		if got == nil || got.ServerName != "kafka.example" || got.MinVersion != tls.VersionTLS12 || got.InsecureSkipVerify {
			t.Fatalf("%s: %+v", name, got)
		}
		if len(got.Certificates) != 1 || !reflect.DeepEqual(got.Certificates[0].Certificate, pair.Certificate) {
			t.Errorf("%s: not the certificate of the file", name)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: got.RootCAs}); err != nil {
			t.Errorf("%s: the certificate of ca_file is not trusted: %v", name, err)
		}
	}
	only := TLSConfig{Enabled: true}
	if got, err := only.client(); err != nil || got == nil || got.RootCAs != nil {
		t.Errorf("no files: %+v, error %v; want the system's certificates", got, err)
	}
	_, err = LoadConfig(writeFile(t, dir, "swapped.yaml", "kafka: {tls: {enabled: true, cert_file: key.pem, key_file: cert.pem}}\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "kafka.tls.cert_file: cannot be used: certificate ") {
		t.Errorf("a key as certificate: %v", err)
	}
}

// selfSigned makes a certificate that is its own authority, and its key, in PEM.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}
