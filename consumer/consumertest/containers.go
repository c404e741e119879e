package consumertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/wait"
)

// Environment of the tests in containers: other images than the published ones.
const (
	EnvKafkaImage = "KAFKA_IMAGE"
	EnvRedisImage = "REDIS_IMAGE"
)

const (
	defaultKafkaImage = "apache/kafka:4.3.1"
	defaultRedisImage = "redis:7-alpine"
	// containerStartTimeout bounds the pull of an image and the start of its container.
	containerStartTimeout = 3 * time.Minute
	// containerStopTimeout is how long a container may take to end by itself.
	containerStopTimeout = 5 * time.Second
)

// errNoContainer wraps why no container can be had here, as opposed to one that fails.
var errNoContainer = errors.New("no container can be had")

// container is one service in a container, shared by the tests of this process: started for the first
// that asks, ended when nobody holds it any more. Each test holds it until it ends, and [Main] until
// all have ended. Safe for concurrent use.
type container struct {
	env, image, port string // port as "9092/tcp"
	options          func(port string) []testcontainers.ContainerCustomizer

	mu      sync.Mutex // held through a start, so that others wait for it
	holders int
	running *testcontainers.DockerContainer
	addr    string
	err     error // of the first start that failed: it would fail for each other test, and slowly
}

var (
	kafkaContainer = &container{env: EnvKafkaImage, image: defaultKafkaImage, port: "9092/tcp", options: kafkaOptions}
	redisContainer = &container{env: EnvRedisImage, image: defaultRedisImage, port: "6379/tcp", options: redisOptions}
)

// KafkaContainer returns the address, host:port, of a real one-node Kafka in a container, one for
// all tests of the process. The image is that of EnvKafkaImage, or else apache/kafka. The test is
// skipped where no engine answers or the image cannot be pulled; see EnvRequire.
//
// A package whose tests use it more than once should have a TestMain with [Main], or each test
// starts a container of its own.
func KafkaContainer(tb testing.TB) string {
	tb.Helper()
	return kafkaContainer.require(tb)
}

// RedisContainer is to Redis, with EnvRedisImage or redis, what [KafkaContainer] is to Kafka.
func RedisContainer(tb testing.TB) string {
	tb.Helper()
	return redisContainer.require(tb)
}

// Compose has the test end, as [KafkaContainer] does, where no engine with docker compose answers (deploy/local/engine).
func Compose(tb testing.TB) {
	tb.Helper()
	for _, args := range [][]string{{"compose", "version"}, {"version"}} {
		if out, err := exec.CommandContext(tb.Context(), "docker", args...).CombinedOutput(); err != nil {
			lack(tb, RequireContainers, "docker %s: %v %s", strings.Join(args, " "), err, out)
		}
	}
}

// Main runs a package's tests, keeps their containers until all have ended, and fails if a program has printed a secret
// ([Inspect]):
//
//	func TestMain(m *testing.M) { os.Exit(consumertest.Main{M: m}.Run()) }
//
// It fits goleak.VerifyTestMain too. After a panic or a time-out containers stay, unless
// testcontainers' own reaper (Ryuk) runs.
type Main struct{ *testing.M }

// Run runs the tests and returns the exit code.
func (m Main) Run() int {
	shared := []*container{kafkaContainer, redisContainer}
	for _, c := range shared {
		c.mu.Lock()
		c.holders++
		c.mu.Unlock()
	}
	code := m.M.Run()
	for _, c := range shared {
		if err := c.release(); err != nil {
			fmt.Fprintln(os.Stderr, "consumertest:", err)
			code = max(code, 1)
		}
	}
	if err := inspected.err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

func (c *container) require(tb testing.TB) string {
	tb.Helper()
	addr, err := c.acquire(tb)
	if err != nil {
		lack(tb, RequireContainers, "%v", err)
	}
	return addr
}

// acquire returns the container's address and holds it until the test ends. An error wraps
// errNoContainer; a container that can be had and does not start fails the test.
func (c *container) acquire(tb testing.TB) (string, error) {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil && c.err == nil {
		c.err = c.start()
	}
	if errors.Is(c.err, errNoContainer) {
		return "", c.err
	}
	if c.err != nil {
		tb.Fatal(c.err)
	}
	c.holders++
	tb.Cleanup(func() {
		if err := c.release(); err != nil {
			tb.Error(err)
		}
	})
	return c.addr, nil
}

// release ends the container with its last holder.
func (c *container) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holders--
	if c.holders > 0 || c.running == nil {
		return nil
	}
	err := testcontainers.TerminateContainer(c.running, testcontainers.StopTimeout(containerStopTimeout))
	c.running = nil
	if err != nil {
		return fmt.Errorf("end the container of %s: %w", c.imageName(), err)
	}
	return nil
}

func (c *container) imageName() string {
	if image := os.Getenv(c.env); image != "" {
		return image
	}
	return c.image
}

func (c *container) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), containerStartTimeout)
	defer cancel()
	image := c.imageName()
	if err := ensureImage(ctx, image); err != nil {
		return fmt.Errorf("%w: %w", errNoContainer, err)
	}
	options := append(c.options(c.port),
		testcontainers.WithExposedPorts(c.port),
		testcontainers.WithLogger(tclog.NewNoopLogger()),
	)
	running, err := testcontainers.Run(ctx, image, options...)
	if err == nil {
		c.addr, err = running.PortEndpoint(ctx, c.port, "")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start a container of %s: %w", image, err), testcontainers.TerminateContainer(running))
	}
	c.running = running
	return nil
}

// ensureImage asks the engine for an image and pulls it where it is not there yet.
func ensureImage(ctx context.Context, image string) (err error) {
	defer func() {
		// What testcontainers does where it finds no engine.
		if r := recover(); r != nil {
			err = fmt.Errorf("no container engine: %v", r)
		}
	}()
	provider, err := testcontainers.NewDockerProvider(testcontainers.WithLogger(tclog.NewNoopLogger()))
	if err != nil {
		return fmt.Errorf("no container engine: %w", err)
	}
	defer provider.Close()
	if err := provider.Health(ctx); err != nil {
		return fmt.Errorf("the container engine does not answer: %w", err)
	}
	if _, err := provider.Client().ImageInspect(ctx, image); err == nil {
		return nil
	}
	if err := provider.PullImage(ctx, image); err != nil {
		return fmt.Errorf("image %s is not here and cannot be pulled: %w", image, err)
	}
	return nil
}

func redisOptions(port string) []testcontainers.ContainerCustomizer {
	return []testcontainers.ContainerCustomizer{
		testcontainers.WithWaitStrategy(wait.ForListeningPort(port), wait.ForLog("Ready to accept connections")),
	}
}

// kafkaOptions configures the layout of apache/kafka: KAFKA_* variables and /etc/kafka/docker/run.
//
// A broker tells clients where to reach it, and its published port is known only once the container
// runs. So the container waits at first, for a script that a hook copies in with the address.
// (testcontainers' own Kafka module knows Confluent's images only.)
func kafkaOptions(port string) []testcontainers.ContainerCustomizer {
	const script = "/tmp/start.sh"
	const last = "exec /etc/kafka/docker/run"
	advertise := func(ctx context.Context, c testcontainers.Container) error {
		if err := wait.ForMappedPort(port).WaitUntilReady(ctx, c); err != nil {
			return fmt.Errorf("await the published port of Kafka: %w", err)
		}
		endpoint, err := c.PortEndpoint(ctx, port, "PLAINTEXT")
		if err != nil {
			return fmt.Errorf("ask for the published port of Kafka: %w", err)
		}
		text := "export KAFKA_ADVERTISED_LISTENERS=" + endpoint + ",BROKER://localhost:9093\n" + last + "\n"
		if err := c.CopyToContainer(ctx, []byte(text), script, 0o755); err != nil {
			return fmt.Errorf("copy the start script of Kafka: %w", err)
		}
		return wait.ForLog("Kafka Server started").WithStartupTimeout(containerStartTimeout).WaitUntilReady(ctx, c)
	}
	return []testcontainers.ContainerCustomizer{
		testcontainers.WithEnv(map[string]string{
			"KAFKA_NODE_ID":                                  "1",
			"KAFKA_PROCESS_ROLES":                            "broker,controller",
			"KAFKA_LISTENERS":                                "PLAINTEXT://0.0.0.0:9092,BROKER://0.0.0.0:9093,CONTROLLER://0.0.0.0:9094",
			"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP":           "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
			"KAFKA_INTER_BROKER_LISTENER_NAME":               "BROKER",
			"KAFKA_CONTROLLER_LISTENER_NAMES":                "CONTROLLER",
			"KAFKA_CONTROLLER_QUORUM_VOTERS":                 "1@localhost:9094",
			"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                "false",
			"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":         "1",
			"KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS":             "4",
			"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
			"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":            "1",
			"KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS":     "4",
			"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":         "0",
			"KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS":             "1000",
		}),
		testcontainers.WithEntrypoint("sh"),
		testcontainers.WithCmd("-c", runOnceWritten(script, last)),
		testcontainers.WithLifecycleHooks(testcontainers.ContainerLifecycleHooks{
			PostStarts: []testcontainers.ContainerHook{advertise},
		}),
	}
}

// runOnceWritten is a shell command that waits until a script has its last line, and becomes it. That the script is
// there does not mean that it is whole: the engine creates the file, the container's shell finds it and runs nothing
// but its beginning, and ends with code 0, and only then the engine writes the rest.
func runOnceWritten(script, last string) string {
	return "until grep -qsxF '" + last + "' " + script + "; do sleep 0.05; done; exec sh " + script
}
