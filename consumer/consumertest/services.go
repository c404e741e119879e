package consumertest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Environment of the integration tests.
const (
	// EnvKafka and EnvRedis name running services as host:port; deploy/local/up starts a pair and
	// prints both.
	EnvKafka = "LAPWING_TEST_KAFKA"
	EnvRedis = "LAPWING_TEST_REDIS"
	// EnvRequire lists, with commas, what a run must have: a test that lacks it fails where it would
	// be skipped otherwise. Words are RequireServices and RequireContainers.
	EnvRequire = "LAPWING_TEST_REQUIRE"
)

// Words of EnvRequire.
const (
	RequireServices   = "services"
	RequireContainers = "containers"
)

// serviceDialTimeout bounds the check that a named service is there at all.
const serviceDialTimeout = 5 * time.Second

// Kafka returns the address, host:port, of a real broker that other tests use at the same time: take
// names from [Topic]. It is the broker that EnvKafka names; without it, one in a container of this
// process ([KafkaContainer]); where no container can be had either, the test is skipped.
func Kafka(tb testing.TB) string {
	tb.Helper()
	return service(tb, "Kafka", EnvKafka, kafkaContainer)
}

// Redis returns the address, host:port, of a real Redis, found as [Kafka] finds a broker. Other tests
// use it at the same time: take keys of your own, never flush it.
func Redis(tb testing.TB) string {
	tb.Helper()
	return service(tb, "Redis", EnvRedis, redisContainer)
}

func service(tb testing.TB, name, env string, fallback *container) string {
	tb.Helper()
	addr := os.Getenv(env)
	if addr == "" {
		addr, err := fallback.acquire(tb)
		if err != nil {
			lack(tb, RequireServices, "%s names no %s (deploy/local/up starts one), and %v", env, name, err)
		}
		return addr
	}
	conn, err := net.DialTimeout("tcp", addr, serviceDialTimeout)
	if err != nil {
		tb.Fatalf("no %s answers where %s says: %v (deploy/local/up starts one)", name, env, err)
	}
	conn.Close()
	return addr
}

// Tool returns the path of a program that the machine has under the name, such as promtool. Without it the test is
// skipped, or fails if EnvRequire has RequireServices.
func Tool(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lack(tb, RequireServices, "%v (see .ci/run for its package)", err)
	}
	return path
}

// lack ends a test that misses something: as a failure if EnvRequire says that this run must have
// it, skipped otherwise.
func lack(tb testing.TB, what, format string, args ...any) {
	tb.Helper()
	required, err := requirements(os.Getenv(EnvRequire))
	if err != nil {
		tb.Fatal(err)
	}
	reason := fmt.Sprintf(format, args...)
	if slices.Contains(required, what) {
		tb.Fatalf("%s=%s: %s", EnvRequire, os.Getenv(EnvRequire), reason)
	}
	tb.Skip(reason)
}

// requirements splits the value of EnvRequire. A word it does not know is an error: it would
// otherwise turn failures into skips, unseen.
func requirements(value string) ([]string, error) {
	words := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
	for _, word := range words {
		if word != RequireServices && word != RequireContainers {
			return nil, fmt.Errorf("%s: unknown word %q, want %s or %s", EnvRequire, word, RequireServices, RequireContainers)
		}
	}
	return words, nil
}

// Kfake starts an in-process broker for one test, with transactions and groups, and returns its
// address, host:port. Like the real test brokers it makes no topic by itself; one that is created
// without a partition count has 6. Options are applied after these defaults. The broker ends with
// the test.
func Kfake(tb testing.TB, opts ...kfake.Opt) string {
	tb.Helper()
	defaults := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DefaultNumPartitions(6),
		kfake.GroupMinSessionTimeout(time.Second),
	}
	cluster, err := kfake.NewCluster(append(defaults, opts...)...)
	if err != nil {
		tb.Fatalf("start kfake: %v", err)
	}
	tb.Cleanup(cluster.Close)
	return cluster.ListenAddrs()[0]
}

// Topic returns a name that no other test, process or run uses, fit for a topic, a group, a
// transactional.id or the prefix of keys. It creates nothing.
func Topic(tb testing.TB, prefix string) string {
	tb.Helper()
	var random [6]byte
	rand.Read(random[:]) // never fails (crypto/rand)
	return prefix + "-" + hex.EncodeToString(random[:])
}
