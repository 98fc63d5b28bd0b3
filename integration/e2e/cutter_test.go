package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// cutter stands between client and server as the network: it relays TCP and
// knows a path by the client's address, 127.0.0.1 to 127.0.0.4. A path can be
// cut (reset, and refused from then on), silenced (bytes are taken and kept),
// and healed. This needs neither root nor tools.
type cutter struct {
	listener net.Listener
	target   netip.AddrPort
	wg       sync.WaitGroup

	mu    sync.Mutex
	moved *sync.Cond // a path changed its state
	state map[string]state
	open  map[net.Conn]string // both ends of every connection -> path
	done  bool
}

type state uint8

const (
	healthy state = iota
	silent
	cut
)

// wayCount is how many paths the cut tests have.
const wayCount = 4

// way is the i-th path's address.
func way(i int) string { return fmt.Sprintf("127.0.0.%d", i+1) }

// beginCut starts a pair over four paths through a cutter.
func beginCut(t *testing.T) (*halves.Pair, *cutter) { return beginCutWith(t, halves.Config{}) }

// beginCutWith is beginCut with more in the configuration.
func beginCutWith(t *testing.T, more halves.Config) (*halves.Pair, *cutter) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, target: ports(t, 1)[0], state: map[string]state{}, open: map[net.Conn]string{}}
	c.moved = sync.NewCond(&c.mu)
	c.wg.Go(c.accept)
	t.Cleanup(c.close)
	var paths []halves.Path
	for i := range wayCount {
		paths = append(paths, halves.Path{Name: fmt.Sprint("way", i), Bind: way(i), Subflows: 1})
	}
	more.Tunnel, more.Reach, more.Paths = c.target, []string{l.Addr().String()}, paths
	p := begin(t, more)
	return p, c
}

// accept ends when the listener is closed.
func (c *cutter) accept() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(in.RemoteAddr().String())
		c.mu.Lock()
		refused := c.state[host] == cut || c.done
		c.mu.Unlock()
		if refused {
			reset(in)
			continue
		}
		out, err := net.Dial("tcp", c.target.String())
		if err != nil {
			reset(in) // the server is down: the client's connection fails too
			continue
		}
		c.mu.Lock()
		c.open[in], c.open[out] = host, host
		c.mu.Unlock()
		c.wg.Go(func() { c.relay(host, in, out) })
		c.wg.Go(func() { c.relay(host, out, in) })
	}
}

// relay is one direction; it ends with either connection.
func (c *cutter) relay(host string, from, to net.Conn) {
	defer func() {
		c.mu.Lock()
		delete(c.open, from)
		delete(c.open, to)
		c.mu.Unlock()
		_ = from.Close()
		_ = to.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		c.mu.Lock()
		for c.state[host] == silent && !c.done {
			c.moved.Wait()
		}
		c.mu.Unlock()
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// set changes a path. A cut one's connections are reset, and what they held
// is lost.
func (c *cutter) set(host string, s state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state[host] = s
	c.moved.Broadcast()
	if s != cut {
		return
	}
	for conn, h := range c.open {
		if h == host {
			reset(conn)
			delete(c.open, conn) // by now, so that carries means those that come later
		}
	}
}

// carries says whether a path has connections.
func (c *cutter) carries(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.open {
		if h == host {
			return true
		}
	}
	return false
}

func (c *cutter) close() {
	_ = c.listener.Close()
	c.mu.Lock()
	c.done = true
	c.moved.Broadcast()
	for conn := range c.open {
		reset(conn)
	}
	c.mu.Unlock()
	c.wg.Wait()
}

// reset closes at once, without delivering what waits.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}
