package consumertest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Servers that tests end and start again take their ports from below the range from which the systems give ports to
// outgoing connections (32768 and up): a client that keeps dialing a dead server's port of that range may be given this
// very port for its own end, is then connected with itself, and the server cannot listen any more.
const (
	portFirst = 10000
	portEnd   = 32768
	portTries = 1000
)

// handedOut holds the ports of this process, of which some are not listened on yet or for a while.
var handedOut struct {
	mu    sync.Mutex
	ports map[int]bool
}

// listenAnywhere listens on a port of 127.0.0.1 that was not handed out before and can be listened on again later.
func listenAnywhere() (net.Listener, error) {
	handedOut.mu.Lock()
	defer handedOut.mu.Unlock()
	if handedOut.ports == nil {
		handedOut.ports = map[int]bool{}
	}
	var last error
	for range portTries {
		port := portFirst + rand.IntN(portEnd-portFirst)
		if handedOut.ports[port] {
			continue
		}
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			handedOut.ports[port] = true
			return listener, nil
		}
		last = err
	}
	return nil, fmt.Errorf("no free port in %d tries: %w", portTries, last)
}

// FreePort returns a TCP port of 127.0.0.1 that nobody listened on a moment ago and that no other call in this process
// returns. Nothing reserves it from other processes.
func FreePort(tb testing.TB) int {
	tb.Helper()
	listener, err := listenAnywhere()
	if err != nil {
		tb.Fatalf("find a free port: %v", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
