package mux

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/dialer"
)

// A subflow whose TLS keys have protected enough is replaced, before it ends if
// there is room for both; no packet is lost.
func TestWornSubflowIsReplaced(t *testing.T) {
	for name, most := range map[string]int{"room": 0, "no room": 2} {
		t.Run(name, func(t *testing.T) {
			n := newLoopTunnel(t, 1, 2, func(c *ClientConfig, l *ListenerConfig) {
				c.retireBytes = 100_000
				l.MaxSubflows = most
			})
			first := n.locals()
			least := 2
			n.send(2000, 2000, 200, func(i int) {
				if i%10 == 0 {
					n.client.checkCaps(time.Now())
					least = min(least, len(n.client.Session().Snapshot().Subflows))
				}
			})
			n.far.wait(t, 2000)
			n.near.wait(t, 2000)
			if most == 0 && least < 2 {
				t.Errorf("there was one subflow, not two")
			}
			eventually(t, "two subflows, not the first ones, after 400,000 bytes each way", func() bool {
				now := n.locals()
				return len(now) == 2 && slices.ContainsFunc(now, func(a netip.AddrPort) bool { return !slices.Contains(first, a) })
			})
		})
	}
}

// Both directions have keys, and either wears them out.
func TestWear(t *testing.T) {
	f := &subflow{carrier: new(counted)}
	carried(f).sent.Store(5)
	carried(f).received.Store(7)
	if f.wear() != 7 {
		t.Errorf("worn by %d bytes, want 7", f.wear())
	}
	carried(f).sent.Store(9)
	if f.wear() != 9 {
		t.Errorf("worn by %d bytes, want 9", f.wear())
	}
}

// A relay stands on the way of a path. Its connections lead to the server that the first of them
// was for.
type relay struct {
	ln     net.Listener
	server chan string // its address, once
	up     func(to io.Writer, from io.Reader)
	down   func(to io.Writer, from io.Reader)
}

func newRelay(t *testing.T, up, down func(to io.Writer, from io.Reader)) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{ln, make(chan string, 1), up, down}
	go r.run() // ends with ln
	return r
}

// run takes connections; what carries one ends with both its ends.
func (r *relay) run() {
	to := <-r.server
	for {
		near, err := r.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", to)
		if err != nil {
			near.Close()
			continue
		}
		go func() {
			r.down(near, far)
			near.Close()
		}()
		go func() {
			r.up(far, near)
			far.Close()
		}()
	}
}

// dial connects by the relay to an address.
func (r *relay) dial(ctx context.Context, way *dialer.Way, segment int, a netip.AddrPort) (net.Conn, error) {
	select {
	case r.server <- a.String():
	default:
	}
	return way.Dialer(segment, carrier.Untimed).DialContext(ctx, "tcp", r.ln.Addr().String())
}

func carry(to io.Writer, from io.Reader) { io.Copy(to, from) }

// TestConnectionsThatFreeze is a path that lets each connection carry so much and then nothing,
// as censors do and some firewalls: that its connections freeze is reported, and of no other path.
func TestConnectionsThatFreeze(t *testing.T) {
	const most = 20_000
	r := newRelay(t, func(to io.Writer, from io.Reader) {
		io.CopyN(to, from, most)
		io.Copy(io.Discard, from)
	}, carry)
	frozen := netip.MustParseAddr("127.0.0.2")
	n := newLoopTunnel(t, 2, 1, func(c *ClientConfig, _ *ListenerConfig) {
		c.Paths[0].Backup = true
		c.dial = func(ctx context.Context, way *dialer.Way, segment int, a netip.AddrPort) (net.Conn, error) {
			if way.Local == frozen {
				return r.dial(ctx, way, segment, a)
			}
			return way.Dialer(segment, carrier.Untimed).DialContext(ctx, "tcp", a.String())
		}
	})
	t.Cleanup(func() { r.ln.Close() })
	eventually(t, "connections have frozen three times", func() bool {
		n.send(50, 2000, 1000, nil)
		return n.client.Reports()[1].Frozen >= 3
	})
	if got := n.client.Reports()[0].Frozen; got != 0 {
		t.Errorf("%d froze on the other path", got)
	}
}

// What a client has left for its silence is silent at the server too, which has heard of no end, and gives way when
// a session has as many subflows as it may: what was to take its place was refused for a quarter of a minute.
func TestSilentSubflowGivesWay(t *testing.T) {
	held := make(chan struct{})
	freeze := func(to io.Writer, from io.Reader) {
		io.CopyN(to, from, 20_000)
		io.Copy(io.Discard, from)
		<-held // nobody hears of an end
	}
	r := newRelay(t, freeze, freeze)
	frozen := netip.MustParseAddr("127.0.0.2")
	n := newLoopTunnel(t, 2, 1, func(c *ClientConfig, l *ListenerConfig) {
		l.MaxSubflows = 2
		c.Paths[0].Backup = true
		c.dial = func(ctx context.Context, way *dialer.Way, segment int, a netip.AddrPort) (net.Conn, error) {
			if way.Local == frozen {
				return r.dial(ctx, way, segment, a)
			}
			return way.Dialer(segment, carrier.Untimed).DialContext(ctx, "tcp", a.String())
		}
	})
	t.Cleanup(func() { r.ln.Close(); close(held) })
	seen := map[netip.AddrPort]bool{}
	eventually(t, "another subflow is in the place of one that froze, twice", func() bool {
		n.send(50, 2000, 1000, nil)
		for _, a := range n.locals() {
			if a.Addr() == frozen {
				seen[a] = true
			}
		}
		return len(seen) >= 3
	})
}

// What freezes together does for one cause, as a router that is started anew and has forgotten all: six subflows were six
// that froze, and status said that no connection may carry much.
func TestFreezesTogether(t *testing.T) {
	p := &clientPath{c: &Client{}}
	at := time.Now()
	for i := range 60 {
		p.freezes(at.Add(time.Duration(i)*10*time.Second/60), time.Second)
	}
	if len(p.froze) != 5 {
		t.Errorf("what froze for 10 s did so %d times", len(p.froze))
	}
	p.froze = nil
	for i := range 6 {
		p.freezes(at.Add(time.Duration(i)*200*time.Millisecond), time.Second)
	}
	if len(p.froze) != 1 {
		t.Errorf("six that froze within a second did so %d times", len(p.froze))
	}
}

// A path that was away for a while and is back has not let connections freeze, though those that
// it had are made anew, and get through at once; nor has one whose interface was taken down and up again.
func TestPathThatWasAwayDidNotFreeze(t *testing.T) {
	t.Run("away", func(t *testing.T) { testAway(t, false, func(*Client) {}) })
	t.Run("taken down", func(t *testing.T) {
		testAway(t, true, func(c *Client) {
			c.Redial([]string{c.Reports()[1].Path.Name})
			time.Sleep(100 * time.Millisecond) // attempts have begun
		})
	})
}

// testAway has a path be away; comes is called right before it is there again, where nothing of
// what was begun before goes on if it forgets that.
func testAway(t *testing.T, forgets bool, comes func(c *Client)) {
	const subflows = 3
	var away atomic.Pointer[chan struct{}] // closed when the path is there
	leave := func() func() {
		c := make(chan struct{})
		away.Store(&c)
		return func() { close(c) }
	}
	leave()() // it is there
	pass := func(to io.Writer, from io.Reader) {
		b, begun := make([]byte, 4096), away.Load()
		for {
			k, err := from.Read(b)
			if err != nil {
				return
			}
			if <-*away.Load(); forgets && away.Load() != begun {
				continue
			}
			if _, err := to.Write(b[:k]); err != nil {
				return
			}
		}
	}
	r := newRelay(t, pass, pass)
	moves := netip.MustParseAddr("127.0.0.2")
	n := newLoopTunnel(t, 2, subflows, func(c *ClientConfig, _ *ListenerConfig) {
		c.Paths[0].Backup = true
		c.dial = func(ctx context.Context, way *dialer.Way, segment int, a netip.AddrPort) (net.Conn, error) {
			if way.Local != moves {
				return way.Dialer(segment, carrier.Untimed).DialContext(ctx, "tcp", a.String())
			}
			select {
			case <-*away.Load():
				return r.dial(ctx, way, segment, a)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	})
	t.Cleanup(func() { r.ln.Close() })
	old := n.locals()
	back := leave()
	for range 10 {
		n.send(50, 200, 100, nil)
		time.Sleep(250 * time.Millisecond)
	}
	comes(n.client)
	back()
	eventually(t, "all subflows are new ones", func() bool {
		now := n.locals()
		now = slices.DeleteFunc(now, func(a netip.AddrPort) bool { return a.Addr() != moves || slices.Contains(old, a) })
		return len(now) == subflows
	})
	if got := n.client.Reports()[1].Frozen; got != 0 {
		t.Errorf("%d froze", got)
	}
}

// What frozen connections are told by is one way: a new connection from another address, or to
// another one, says nothing of the one before.
func TestAlike(t *testing.T) {
	flow := func(local, remote string) *subflow {
		return &subflow{local: netip.MustParseAddrPort(local), remote: netip.MustParseAddrPort(remote)}
	}
	old := flow("192.168.1.2:40000", "203.0.113.5:443")
	for _, tt := range []struct {
		local, remote string
		want          bool
	}{
		{"192.168.1.2:40001", "203.0.113.5:443", true},
		{"192.168.2.2:40001", "203.0.113.5:443", false},
		{"192.168.1.2:40001", "203.0.113.5:7443", false},
		{"192.168.1.2:40001", "203.0.113.6:443", false},
	} {
		if got := alike(old, flow(tt.local, tt.remote)); got != tt.want {
			t.Errorf("from %s to %s: %v", tt.local, tt.remote, got)
		}
	}
}

// That a path loses large packets is said when the least size that gets through is a smaller one
// than was said, and its subflows are made anew only where less gets through than was known. What
// gets lost while small packets do too says nothing, and neither does what goes well with the size
// that was known.
func TestSizesThatGetThrough(t *testing.T) {
	p := &clientPath{}
	for i, tt := range []struct {
		tried, mtu     int
		lossy          bool
		narrower, news bool
		known          int
	}{
		{0, 0, false, false, false, 0},
		{0, 0, true, false, false, 0},
		{0, 1280, true, false, false, 0},
		{0, 1492, false, true, true, 1492},
		{0, 1492, false, false, false, 1492}, // another slot's, which began with it
		{1492, 1492, false, false, false, 1492},
		{1492, 1280, true, false, false, 1492},
		{1492, 1400, false, true, true, 1400},
		{1492, 1492, false, false, false, 1400}, // it began before that was known
		{0, 0, false, false, false, 0},
		{0, 1492, false, true, false, 1492},
		{1492, 1400, false, true, false, 1400},
		{1400, 1280, false, true, true, 1280},
		{0, 0, true, false, false, 0}, // large ones got through, for all that was lost
	} {
		narrower, news := p.fits(tt.tried, tt.mtu, tt.lossy, time.Now())
		if narrower != tt.narrower || news != tt.news || p.mtu != tt.known {
			t.Errorf("%d, %+v: narrower %v, news %v, known %d", i, tt, narrower, news, p.mtu)
		}
	}
}
