package consumertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// nodeStopTimeout is how long a broker may take to hand over its partitions and end.
	nodeStopTimeout = time.Minute
	// nodeLogTailBytes is how much of each node's output a failing test shows.
	nodeLogTailBytes = 8 << 10
)

// clusterNode is one process of a Cluster.
type clusterNode struct {
	index   int
	java    []string // the command up to the class
	heapMiB int
	// javaOptions are further options of the virtual machine.
	javaOptions []string
	dir         string // holds the data, the configuration and the log
	addr        string // of the direct listener
	controller  string
	listeners   []nodeListener // beside the direct one
	client      *kgo.Client    // of this broker alone, for questions to it

	changing sync.Mutex // held through a start, an end, a freeze: one after the other. Taken before mu.

	mu      sync.Mutex // guards the rest, and is never held while anything is waited for
	process *os.Process
	done    chan struct{} // closed when the process has ended; nil before the first start
	frozen  bool
	starts  int
}

// nodeListener is a way in, of a link or with security.
type nodeListener struct{ name, protocol, addr, advertised string }

func newClusterNode(index int, java []string, heapMiB int, dir string) (*clusterNode, error) {
	n := &clusterNode{index: index, java: java, heapMiB: heapMiB, dir: filepath.Join(dir, "broker-"+strconv.Itoa(index))}
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of broker %d: %w", index, err)
	}
	return n, nil
}

func (n *clusterNode) id() int         { return n.index + 1 }
func (n *clusterNode) data() string    { return filepath.Join(n.dir, "data") }
func (n *clusterNode) config() string  { return filepath.Join(n.dir, "server.properties") }
func (n *clusterNode) logFile() string { return filepath.Join(n.dir, "log") }

// configure writes the configuration and makes the client.
func (n *clusterNode) configure(text string) error {
	if err := os.WriteFile(n.config(), []byte(text), 0o600); err != nil {
		return fmt.Errorf("configure broker %d: %w", n.index, err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(n.addr), kgo.DialTimeout(askTimeout))
	if err != nil {
		return fmt.Errorf("client of broker %d: %w", n.index, err)
	}
	n.client = client
	return nil
}

// command makes the command of one of Kafka's classes with these options of the virtual machine.
func (n *clusterNode) command(ctx context.Context, options []string, class string, args ...string) *exec.Cmd {
	words := append(append(append(append([]string{}, n.java[1:]...), options...), class), args...)
	return exec.CommandContext(ctx, n.java[0], words...)
}

// format makes the empty data folder.
func (n *clusterNode) format(ctx context.Context) error {
	// The process is short: what matters is its start.
	options := []string{"-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlapwing.log.level=WARN"}
	output, err := n.command(ctx, options, "kafka.tools.StorageTool",
		"format", "--cluster-id", clusterID, "--config", n.config()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("format the data of broker %d: %w\n%s", n.index, err, output)
	}
	return nil
}

// start starts the process.
func (n *clusterNode) start() error {
	n.changing.Lock()
	defer n.changing.Unlock()
	if n.running() {
		return fmt.Errorf("broker %d runs already", n.index)
	}
	log, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of broker %d: %w", n.index, err)
	}
	defer log.Close() // the process has its own
	heap := strconv.Itoa(n.heapMiB) + "m"
	// The first compiler alone takes a third of the work off a start, which tests with kills mostly wait for.
	options := []string{"-Xms" + heap, "-Xmx" + heap, "-XX:+UseG1GC", "-XX:TieredStopAtLevel=1", "-Dlapwing.log.level=WARN"}
	options = append(options, n.javaOptions...)
	// The process outlives any one context; close ends it.
	cmd := n.command(context.Background(), options, "kafka.Kafka", n.config())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithParent()
	started, done := make(chan error), make(chan struct{})
	go func() { // ends with the process, which kill waits for
		// Linux sends a child its parent's death when the thread that started it ends: this thread stays as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start broker %d: %w", n.index, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process, n.done, n.frozen = cmd.Process, done, false
	n.starts++
	return nil
}

// alive says whether the process was started and has not ended. It is called with mu held.
func (n *clusterNode) alive() bool {
	if n.done == nil {
		return false
	}
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

func (n *clusterNode) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.alive()
}

// answers says whether the broker may answer a question: whether it runs and is not frozen.
func (n *clusterNode) answers() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.alive() && !n.frozen
}

func (n *clusterNode) kill() {
	n.changing.Lock()
	defer n.changing.Unlock()
	n.end(syscall.SIGKILL, nil)
}

// stop asks the process to end, waits for it, and kills one that does not end.
func (n *clusterNode) stop() error {
	n.changing.Lock()
	defer n.changing.Unlock()
	timeout := time.NewTimer(nodeStopTimeout)
	defer timeout.Stop()
	if n.end(syscall.SIGTERM, timeout.C) {
		return nil
	}
	n.end(syscall.SIGKILL, nil)
	return fmt.Errorf("broker %d did not end in %v after SIGTERM", n.index, nodeStopTimeout)
}

// end sends a signal that ends the process, frozen or not, if it runs, and waits for the end; false: time was over first. It
// is called with changing held, so that the process stays the same.
func (n *clusterNode) end(signal os.Signal, timeout <-chan time.Time) bool {
	n.mu.Lock()
	process, done, alive, frozen := n.process, n.done, n.alive(), n.frozen
	n.mu.Unlock()
	if !alive {
		return true
	}
	_ = process.Signal(signal) // an error means that it has ended already
	if frozen {
		_ = process.Signal(syscall.SIGCONT) // or it would not see the signal
	}
	select {
	case <-done:
		return true
	case <-timeout:
		return false
	}
}

// freeze stops the process where it stands, or lets it go on.
func (n *clusterNode) freeze(on bool) error {
	n.changing.Lock()
	defer n.changing.Unlock()
	signal := syscall.SIGCONT
	if on {
		signal = syscall.SIGSTOP
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.alive() {
		return fmt.Errorf("send %v to broker %d: it does not run", signal, n.index)
	}
	if err := n.process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to broker %d: %w", signal, n.index, err)
	}
	n.frozen = on
	return nil
}

// close ends the process and the client, for good.
func (n *clusterNode) close() {
	n.kill()
	if n.client != nil {
		n.client.Close()
	}
}

func (n *clusterNode) logTail() []byte {
	text, err := os.ReadFile(n.logFile())
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.ToValidUTF8(text[max(0, len(text)-nodeLogTailBytes):], []byte("?"))
}
