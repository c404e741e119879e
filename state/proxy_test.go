package state_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
)

// proxy stands between a store and a Redis and knows their protocol: it sees
// each command, and can change it, keep it back, or lose its reply.
type proxy struct {
	t        testing.TB
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	holder *held                                   // keeps back the next write, and its connection with it
	lose   int                                     // connections that still lose the reply to a write
	change func(command [][]byte) (other [][]byte) // nil: no change
	writes int                                     // commands seen that are writes of a lane
}

// held is a connection that is slow: from a write on nothing gets through until
// it is released.
type held struct {
	arrived chan struct{} // closed when the write is there
	release chan struct{} // closed by the test
	reply   chan string   // the server's reply to the write
}

// newProxy starts a proxy that ends with the test.
func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, target: target, listener: listener}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// addr is where stores connect to.
func (p *proxy) addr() string { return p.listener.Addr().String() }

// hold keeps back the next write of a lane with its whole connection. Other
// connections go on.
func (p *proxy) hold() *held {
	h := &held{arrived: make(chan struct{}), release: make(chan struct{}), reply: make(chan string, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holder = h
	return h
}

// loseReplies ends the next n connections that carry a write when the reply is
// there, instead of passing it on.
func (p *proxy) loseReplies(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = n
}

// changeCommands passes each command through a function, nil: not at all.
func (p *proxy) changeCommands(change func(command [][]byte) [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.change = change
}

// written is the number of writes seen so far.
func (p *proxy) written() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.conns = nil
}

// accept serves connections until the listener is closed.
func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		c := &proxyConn{proxy: p, client: client, server: server, losing: make(chan struct{}), held: make(chan *held, 1)}
		p.wg.Go(c.up)
		p.wg.Go(c.down)
	}
}

// proxyConn is one connection.
type proxyConn struct {
	proxy          *proxy
	client, server net.Conn
	losing         chan struct{} // closed when replies are lost from now on
	held           chan *held    // sent when the connection was released
}

// up passes commands on to the server. When the client is gone the server still
// gets all that was sent.
func (c *proxyConn) up() {
	in := bufio.NewReader(c.client)
	for {
		command, err := readCommand(in)
		if err != nil {
			_ = c.server.(*net.TCPConn).CloseWrite()
			return
		}
		c.pass(command)
	}
}

// pass passes on one command, with the faults that are set.
func (c *proxyConn) pass(command [][]byte) {
	p := c.proxy
	p.mu.Lock()
	var h *held
	if bytes.Equal(command[0], writeCommand) {
		p.writes++
		h, p.holder = p.holder, nil
		select {
		case <-c.losing:
		default:
			if p.lose > 0 {
				p.lose--
				close(c.losing)
			}
		}
	}
	if p.change != nil {
		command = p.change(command)
	}
	p.mu.Unlock()
	if h != nil {
		close(h.arrived)
		<-h.release
		c.held <- h
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "*%d\r\n", len(command))
	for _, arg := range command {
		fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(arg), arg)
	}
	_, _ = c.server.Write(out.Bytes()) // a server that is gone shows in down
}

// down passes replies on to the client, also to one that is gone.
func (c *proxyConn) down() {
	defer c.client.Close()
	defer c.server.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := c.server.Read(buffer)
		if err != nil {
			return
		}
		select {
		case h := <-c.held:
			h.reply <- string(buffer[:n])
		case <-c.losing:
			_ = c.client.Close()
			_, _ = io.Copy(io.Discard, c.server)
			return
		default:
		}
		_, _ = c.client.Write(buffer[:n])
	}
}

// readCommand reads a command, an array of bulk strings.
func readCommand(in *bufio.Reader) ([][]byte, error) {
	n, err := readLength(in, '*')
	if err != nil {
		return nil, err
	}
	command := make([][]byte, n)
	for i := range command {
		size, err := readLength(in, '$')
		if err != nil {
			return nil, err
		}
		arg := make([]byte, size+2)
		if _, err := io.ReadFull(in, arg); err != nil {
			return nil, err
		}
		command[i] = arg[:size]
	}
	return command, nil
}

// readLength reads a line of a kind and a number.
func readLength(in *bufio.Reader, kind byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("line %q is not of kind %c", line, kind)
	}
	return strconv.Atoi(line[1 : len(line)-2])
}
