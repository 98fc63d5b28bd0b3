package mux

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/packet"
)

var testPacket = muxtest.Packet

// A collector counts the numbers that arrive; reply, if set, answers.
type collector struct {
	mu    sync.Mutex
	seen  map[uint64]int
	order []uint64
	reply atomic.Pointer[Session]
	src   Source
	serve func(*Stream)
	ended chan error
	deaf  atomic.Bool // does not reply
}

func newCollector() *collector {
	return &collector{seen: make(map[uint64]int), ended: make(chan error, 16)}
}

func (c *collector) Deliver(pkts [][]byte) {
	for _, p := range pkts {
		var h packet.UDP
		payload, err := packet.ParseUDP(p, &h)
		if err != nil {
			panic(err)
		}
		n := binary.BigEndian.Uint64(payload)
		c.mu.Lock()
		c.seen[n]++
		c.order = append(c.order, n)
		c.mu.Unlock()
		if to := c.reply.Load(); to != nil && !c.deaf.Load() {
			to.Send(&c.src, []*buf.Buffer{testPacket(h.Dst, h.Src, n, len(payload))})
		}
	}
}

func (c *collector) Stream(st *Stream) {
	if c.serve != nil {
		c.serve(st)
	}
	st.Close()
}

func (c *collector) Closed(err error) { c.ended <- err }

// missing returns how many of n numbers did not come and how many came twice.
func (c *collector) missing(n int) (lost, twice int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range n {
		switch k := c.seen[uint64(i)]; {
		case k == 0:
			lost++
		case k > 1:
			twice++
		}
	}
	return lost, twice
}

// times is how often a number came.
func (c *collector) times(n uint64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[n]
}

// wait waits for n numbers, for as long as a machine may take that is busy with other tests.
func (c *collector) wait(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if lost, _ := c.missing(n); lost == 0 {
			return
		}
	}
	lost, twice := c.missing(n)
	t.Errorf("of %d packets %d lost, %d twice", n, lost, twice)
}

type loopTunnel struct {
	t              *testing.T
	client         *Client
	listener       *Listener
	near, far      *collector
	serverSession  chan *Session
	stopC, stopL   context.CancelFunc
	clientDone     chan struct{}
	listenerDone   chan struct{}
	key, serverKey ed25519.PrivateKey
	addr           netip.AddrPort
}

// newLoopTunnel joins a client and a listener over loopback TCP.
func newLoopTunnel(t *testing.T, paths, subflows int, tweak func(*ClientConfig, *ListenerConfig)) *loopTunnel {
	t.Helper()
	_, ck, _ := ed25519.GenerateKey(nil)
	_, sk, _ := ed25519.GenerateKey(nil)
	n := &loopTunnel{
		t: t, near: newCollector(), far: newCollector(), serverSession: make(chan *Session, 16),
		clientDone: make(chan struct{}), key: ck, serverKey: sk,
	}
	port, err := muxtest.FreePort() // to listen at again, too
	if err != nil {
		t.Fatal(err)
	}
	n.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	cc := ClientConfig{
		Key: ck, ServerKey: sk.Public().(ed25519.PublicKey), Handler: n.near,
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel),
	}
	for i := range paths {
		cc.Paths = append(cc.Paths, Path{Name: fmt.Sprint("path", i), Local: netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}), Subflows: subflows})
	}
	lc := n.listenerConfig()
	if tweak != nil {
		tweak(&cc, &lc)
	}
	n.listen(lc)
	cc.Addresses = []string{n.addr.String()}
	if n.client, err = NewClient(cc); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n.stopC = cancel
	go func() {
		defer close(n.clientDone)
		n.client.Run(ctx)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("client %+v", n.client.Session().Snapshot())
			for _, s := range n.listener.Sessions() {
				t.Logf("server %+v", s.Snapshot())
			}
		}
		n.stopC()
		<-n.clientDone
		n.stopL()
		<-n.listenerDone
	})
	n.waitSubflows(paths * subflows)
	return n
}

// another is a second client with the same key, that does not run yet.
func (n *loopTunnel) another() *Client {
	n.t.Helper()
	c, err := NewClient(ClientConfig{
		Key: n.key, ServerKey: n.serverKey.Public().(ed25519.PublicKey), Addresses: []string{n.addr.String()},
		Paths: []Path{{Name: "a", Subflows: 1}}, Handler: newCollector(), Log: zerolog.Nop(),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func (n *loopTunnel) listenerConfig() ListenerConfig {
	var pub [32]byte
	copy(pub[:], n.key.Public().(ed25519.PublicKey))
	return ListenerConfig{
		Key: n.serverKey, Clients: map[[32]byte]string{pub: "test"}, Listen: []ListenAddr{{Addr: n.addr}},
		Accept: func(s *Session) (Handler, error) {
			n.far.reply.Store(s)
			n.serverSession <- s
			return n.far, nil
		},
		Log: zerolog.New(zerolog.NewTestWriter(n.t)).Level(zerolog.WarnLevel),
	}
}

func (n *loopTunnel) listen(lc ListenerConfig) {
	n.t.Helper()
	l, err := Listen(lc)
	if err != nil {
		n.t.Fatal(err)
	}
	n.listener = l
	n.addr = l.Addrs()[0]
	ctx, cancel := context.WithCancel(context.Background())
	n.stopL = cancel
	done := make(chan struct{})
	n.listenerDone = done
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
}

func (n *loopTunnel) waitSubflows(want int) {
	n.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if len(n.client.Session().Snapshot().Subflows) == want {
			return
		}
	}
	n.t.Fatalf("%d subflows, not %d", len(n.client.Session().Snapshot().Subflows), want)
}

// send paces count numbered packets at rate a second.
func (n *loopTunnel) send(count, rate, size int, at func(i int)) {
	s, src := n.client.Session(), &Source{}
	from := netip.AddrPortFrom(packet.ClientHost4, 5000)
	to := netip.MustParseAddrPort("192.0.2.1:9")
	begin := time.Now()
	for i := range count {
		if at != nil {
			at(i)
		}
		s.Send(src, []*buf.Buffer{testPacket(from, to, uint64(i), size)})
		s.Flush()
		time.Sleep(time.Until(begin.Add(time.Duration(i+1) * time.Second / time.Duration(rate))))
	}
}

func TestEcho(t *testing.T) {
	n := newLoopTunnel(t, 2, 2, nil)
	n.send(2000, 20000, 200, nil)
	n.far.wait(t, 2000)
	n.near.wait(t, 2000)
	if _, twice := n.near.missing(2000); twice != 0 {
		t.Errorf("%d packets came twice", twice)
	}
}

// Killing any one of four subflows in the middle of 2,000 datagrams a second
// loses none and repeats none.
func TestKilledSubflow(t *testing.T) {
	for kill := range 4 {
		t.Run(fmt.Sprint(kill), func(t *testing.T) {
			n := newLoopTunnel(t, 2, 2, nil)
			s := n.client.Session()
			n.send(4000, 2000, 200, func(i int) {
				if i == 1000 {
					f := s.core.connections()[kill]
					f.carrier.Close()
				}
			})
			n.far.wait(t, 4000)
			n.near.wait(t, 4000)
			for _, c := range []*collector{n.far, n.near} {
				if _, twice := c.missing(4000); twice != 0 {
					t.Errorf("%d packets came twice", twice)
				}
			}
			n.waitSubflows(4)
		})
	}
}

// Killing all subflows at once loses nothing either: the session waits and the
// joins resume it.
func TestAllSubflowsKilled(t *testing.T) {
	n := newLoopTunnel(t, 2, 2, nil)
	s := n.client.Session()
	var epoch uint64
	n.send(2000, 2000, 200, func(i int) {
		if i == 1000 {
			epoch = s.keys().epoch
			for _, f := range s.core.connections() {
				f.carrier.Close()
			}
		}
	})
	n.far.wait(t, 2000)
	n.near.wait(t, 2000)
	if s.keys().epoch != epoch {
		t.Error("the session was renewed, not resumed")
	}
}

// A restarted server has forgotten the session: it is renewed, and what is
// sent then arrives.
func TestServerRestart(t *testing.T) {
	n := newLoopTunnel(t, 2, 1, nil)
	n.send(100, 10000, 200, nil)
	n.far.wait(t, 100)
	n.stopL()
	<-n.listenerDone
	n.far.mu.Lock()
	clear(n.far.seen)
	n.far.mu.Unlock()
	n.listen(n.listenerConfig())
	begin := time.Now()
	n.waitSubflows(2)
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("found again only after %v", d)
	}
	n.send(100, 10000, 200, nil)
	n.far.wait(t, 100)
}

// However many subflows a server refuses that has forgotten the session, it is
// renewed once, and that is said once.
func TestRenewedOnce(t *testing.T) {
	var said lineCount
	n := newLoopTunnel(t, 2, 8, func(c *ClientConfig, _ *ListenerConfig) { c.Log = zerolog.New(&said) })
	for i := range 3 {
		for _, s := range n.listener.Sessions() {
			n.listener.sessions.forget(s)
			s.end.shut(ErrTimeout, false)
		}
		eventually(t, "one session, with all subflows", func() bool {
			now := n.listener.Sessions()
			return len(now) == 1 && len(now[0].Snapshot().Subflows) == 16
		})
		if got := n.client.Session().Snapshot().Renewals; got != uint64(i+1) {
			t.Fatalf("%d renewals after the server forgot %d sessions", got, i+1)
		}
		if got := said.n.Load(); got != int64(i+1) {
			t.Fatalf("%d times said that %d sessions are not known any more", got, i+1)
		}
	}
	// Those that were refused at the same time all ask for it.
	epoch := n.client.Session().keys().epoch
	for range 8 {
		n.client.opening.renew(epoch)
	}
	if got := n.client.Session().Snapshot().Renewals; got != 4 {
		t.Errorf("%d renewals, want 4", got)
	}
	if got := said.n.Load(); got != 4 {
		t.Errorf("said %d times, want 4", got)
	}
}

// lineCount counts the log lines about sessions that are not known any more.
type lineCount struct{ n atomic.Int64 }

func (l *lineCount) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("a new session is begun")) {
		l.n.Add(1)
	}
	return len(p), nil
}

// The client's end reaches the server as MP_FASTCLOSE.
func TestFastClose(t *testing.T) {
	n := newLoopTunnel(t, 2, 1, nil)
	n.stopC()
	begin := time.Now()
	<-n.clientDone
	if d := time.Since(begin); d > 20*time.Second { // the server would go on for two minutes
		t.Errorf("closing took %v", d)
	}
	select {
	case err := <-n.far.ended:
		if err != ErrPeerClosed {
			t.Errorf("ended by %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the server did not hear of the end")
	}
}

// Bulk of many flows arrives whole, but for what the queue counts as dropped.
func TestBulk(t *testing.T) {
	n := newLoopTunnel(t, 2, 2, nil)
	s := n.client.Session()
	to := netip.MustParseAddrPort("192.0.2.1:9")
	n.far.deaf.Store(true)
	const count = 40000
	var src [8]Source
	for i := range count {
		from := netip.AddrPortFrom(packet.ClientHost4, uint16(5000+i%8))
		s.Send(&src[i%8], []*buf.Buffer{testPacket(from, to, uint64(i), 1200)})
		if i%32 == 31 {
			s.Flush()
			for s.Snapshot().Queued > 1<<20 {
				time.Sleep(time.Millisecond)
			}
		}
	}
	s.Flush()
	var lost, dropped int
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		dropped = 0
		for _, d := range s.Snapshot().Drops {
			dropped += int(d)
		}
		if lost, _ = n.far.missing(count); lost == dropped {
			break
		}
	}
	if lost != dropped || lost > count/4 {
		t.Errorf("%d of %d packets lost, %d counted as dropped", lost, count, dropped)
	}
}

// A session with nothing to do sleeps.
func TestIdleSessionSleeps(t *testing.T) {
	n := newLoopTunnel(t, 2, 2, nil)
	n.send(100, 10000, 200, nil)
	n.near.wait(t, 100)
	time.Sleep(300 * time.Millisecond) // the last Data ACKs
	s := n.client.Session()
	for try := 1; ; try++ { // what has begun before it is idle may take a second more
		before := s.monitor.ticks.Load()
		time.Sleep(time.Second)
		d := s.monitor.ticks.Load() - before
		switch {
		case d <= 10:
			return
		case try == 5:
			t.Fatalf("%d ticks in the fifth idle second", d)
		}
	}
}

// Keys of sessions that are made by hand.
const (
	hsClientKey mptcp.Key = 0x0102030405060708
	hsServerKey mptcp.Key = 0x1122334455667788
)
