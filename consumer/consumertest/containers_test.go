package consumertest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/testcontainers/testcontainers-go"
)

func TestKafkaContainer(t *testing.T) {
	addr := KafkaContainer(t)
	brokerTransactions(t, addr)
	if again := KafkaContainer(t); again != addr {
		t.Fatalf("a second container at %s beside %s, want one for the process", again, addr)
	}
}

func TestRedisContainer(t *testing.T) {
	addr := RedisContainer(t)
	redisKeeps(t, addr)
	if again := RedisContainer(t); again != addr {
		t.Fatalf("a second container at %s beside %s, want one for the process", again, addr)
	}
}

// TestContainerEnds: without Main's hold a container ends with the last test that holds it, and the
// next test gets a new one.
func TestContainerEnds(t *testing.T) {
	RedisContainer(t) // skips where there are none
	own := &container{env: EnvRedisImage, image: defaultRedisImage, port: "6379/tcp", options: redisOptions}
	var first *testcontainers.DockerContainer
	t.Run("held", func(t *testing.T) {
		t.Run("twice", func(t *testing.T) {
			own.require(t)
			redisKeeps(t, own.require(t))
			first = own.running
		})
		if own.holders != 0 || own.running != nil {
			t.Fatalf("%d holders and container %v after the tests that held it", own.holders, own.running)
		}
		if _, err := first.State(t.Context()); err == nil {
			t.Fatal("the container is still there")
		}
	})
	t.Run("anew", func(t *testing.T) { redisKeeps(t, own.require(t)) })
}

func TestContainerWithoutImage(t *testing.T) {
	RedisContainer(t) // skips where there are none
	t.Setenv(EnvRequire, "")
	// A host of the reserved domain: the name cannot be resolved anywhere.
	t.Setenv(EnvRedisImage, "registry.invalid/none:1")
	own := &container{env: EnvRedisImage, port: "6379/tcp", options: redisOptions}
	for range 2 { // the second answer is the first one's, kept
		got := ending(t, func(tb testing.TB) { own.require(tb) })
		if !strings.Contains(got.skipped, "registry.invalid/none:1") || !errors.Is(own.err, errNoContainer) {
			t.Fatalf("the test ended as %+v, want it skipped for the image", got)
		}
	}
}

// TestRunOnceWritten: a script is not run before it is whole, though it is there, empty at first and then in part.
func TestRunOnceWritten(t *testing.T) {
	script := filepath.Join(t.TempDir(), "start.sh")
	const last = "exec echo whole"
	cmd := exec.CommandContext(t.Context(), "sh", "-c", runOnceWritten(script, last))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "echo first\n", "echo first\n" + last + "\n"} {
		if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond) // several looks of the shell
	}
	if err := cmd.Wait(); err != nil || out.String() != "first\nwhole\n" {
		t.Fatalf("printed %q, %v, want the whole script's lines once", out.String(), err)
	}
}

func redisKeeps(t *testing.T, addr string) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	key := Topic(t, "key")
	if err := client.Set(t.Context(), key, "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := client.Get(t.Context(), key).Result(); err != nil || got != "value" {
		t.Fatalf("%s at %s is %q, %v", key, addr, got, err)
	}
	client.Del(t.Context(), key)
}

func TestMain(m *testing.M) { os.Exit(Main{M: m}.Run()) }
