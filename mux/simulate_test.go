package mux

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A simulation joins two sessions in virtual time, over connections in memory that
// have a rate, a delay and a bounded queue, as a TCP connection has, and that can
// die in silence. The kernel tells nothing of them, as on other systems than
// Linux; the laboratory has the real thing.

// A simWay is one direction of a path. All connections of the path share it.
type simWay struct {
	mu    sync.Mutex
	room  sync.Cond
	rate  float64       // bytes a second
	delay time.Duration // without the queue
	queue int           // bytes that wait or are under way at most, of all connections
	held  int
	sent  int        // bytes so far,
	units int        // in so many packets
	free  time.Time  // when what was sent has left
	lost  func() int // how often the next packet is; nil = never
	dead  bool
	wait  []func() // arrivals held back until the way lives again
}

func newSimWay(rate float64, delay, queue time.Duration) *simWay {
	w := &simWay{rate: rate, delay: delay, queue: int(rate * (2*delay + queue).Seconds())}
	w.room.L = &w.mu
	return w
}

// kill stops all arrivals, revive lets them through: TCP would send them again.
func (w *simWay) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
}

func (w *simWay) revive() {
	w.mu.Lock()
	wait := w.wait
	w.dead, w.wait = false, nil
	w.mu.Unlock()
	for _, arrive := range wait {
		arrive()
	}
}

// A simConn is one end of a connection.
type simConn struct {
	out  *simWay
	peer *simConn

	mu     sync.Mutex
	come   sync.Cond
	last   time.Time // when the last of out arrives; out's lock guards it
	in     []byte
	ended  bool // by the peer
	closed bool
}

func simPair(there, back *simWay) (a, b *simConn) {
	a, b = &simConn{out: there}, &simConn{out: back}
	a.peer, b.peer = b, a
	a.come.L, b.come.L = &a.mu, &b.mu
	return a, b
}

// simUnit is what travels as one.
const simUnit = 1448

func (c *simConn) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		unit := p[:min(len(p), simUnit)]
		if err := c.send(unit); err != nil {
			return n, err
		}
		n, p = n+len(unit), p[len(unit):]
	}
	return n, nil
}

func (c *simConn) send(unit []byte) error {
	w := c.out
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.held+len(unit) > w.queue && !c.isClosed() {
		w.room.Wait()
	}
	if c.isClosed() {
		return net.ErrClosed
	}
	now := time.Now()
	w.held += len(unit)
	w.sent, w.units = w.sent+len(unit), w.units+1
	if w.free.Before(now) {
		w.free = now
	}
	again, times := time.Duration(0), 1
	if w.lost != nil {
		for k := range w.lost() {
			again, times = again+min(time.Second<<k, 8*time.Second), times+1
		}
	}
	w.free = w.free.Add(time.Duration(float64(times*len(unit)) / w.rate * 1e9))
	at := w.free.Add(w.delay + again)
	if !at.After(c.last) { // TCP keeps the order
		at = c.last.Add(1)
	}
	c.last = at
	data := append([]byte(nil), unit...)
	arrive := func() {
		c.peer.take(data)
		time.AfterFunc(w.delay, func() { // the acknowledgement
			w.mu.Lock()
			w.held -= len(data)
			w.mu.Unlock()
			w.room.Broadcast()
		})
	}
	time.AfterFunc(at.Sub(now), func() {
		w.mu.Lock()
		if dead := w.dead; dead {
			w.wait = append(w.wait, arrive)
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		arrive()
	})
	return nil
}

func (c *simConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *simConn) take(data []byte) {
	c.mu.Lock()
	c.in = append(c.in, data...)
	c.mu.Unlock()
	c.come.Broadcast()
}

func (c *simConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.in) == 0 && !c.closed && !c.ended {
		c.come.Wait()
	}
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case len(c.in) == 0:
		return 0, io.EOF
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

// Close ends both ends at once.
func (c *simConn) Close() error {
	for _, e := range []*simConn{c, c.peer} {
		e.mu.Lock()
		e.ended = true
		e.closed = e.closed || e == c
		e.mu.Unlock()
		e.come.Broadcast()
		e.out.room.Broadcast()
	}
	return nil
}

func (c *simConn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (c *simConn) RemoteAddr() net.Addr             { return c.LocalAddr() }
func (c *simConn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *simConn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *simConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// A simPath is a path with both its ways.
type simPath struct{ there, back *simWay }

func newSimPath(mbits float64, rtt time.Duration) simPath {
	rate := mbits * 1e6 / 8
	return simPath{newSimWay(rate, rtt/2, 50*time.Millisecond), newSimWay(rate, rtt/2, 50*time.Millisecond)}
}

func (p simPath) kill() {
	p.there.kill()
	p.back.kill()
}

func (p simPath) revive() {
	p.there.revive()
	p.back.revive()
}

// An arrivals notes when each number came first.
type arrivals struct {
	mu sync.Mutex
	at map[uint64]time.Time
	n  int // bytes of payload
}

func (a *arrivals) Deliver(pkts [][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range pkts {
		var h packet.UDP
		payload, err := packet.ParseUDP(p, &h)
		if err != nil {
			panic(err)
		}
		number := binary.BigEndian.Uint64(payload)
		if _, twice := a.at[number]; !twice {
			a.at[number] = time.Now()
			a.n += len(payload)
		}
	}
}
func (a *arrivals) Stream(st *Stream) { st.Close() }
func (a *arrivals) Closed(error)      {}

// A simTunnel is two sessions, the client's and the server's, in virtual time.
type simTunnel struct {
	t         *testing.T
	ctx       context.Context
	ends      [2]*Session
	near, far *tls.Config
	paths     []simPath
	at        [][2]*engine.Path // of each path, at both ends
}

// simulateEnds has play use two sessions with those handlers, keys and paths, which have no subflow yet.
func simulateEnds(t *testing.T, handlers [2]Handler, keys [2]mptcp.Key, paths []simPath, play func(n *simTunnel)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		_, ck, _ := ed25519.GenerateKey(nil)
		_, sk, _ := ed25519.GenerateKey(nil)
		n := &simTunnel{t: t, paths: paths, at: make([][2]*engine.Path, len(paths))}
		var err error
		if n.near, err = handshake.ClientTLS(ck, sk.Public().(ed25519.PublicKey)); err != nil {
			t.Fatal(err)
		}
		if n.far, err = handshake.ServerTLS(sk, Cover{}, func([32]byte) bool { return true }); err != nil {
			t.Fatal(err)
		}
		var cancel func()
		n.ctx, cancel = context.WithCancel(t.Context())
		var tasks sync.WaitGroup
		for e := range n.ends {
			s := newSession(sessionConfig{client: e == 0, handler: handlers[e]})
			s.establish(keys[e], keys[1-e], false)
			tasks.Go(func() { s.monitor.run(n.ctx) })
			for i := range paths {
				s.enter(func(core *engine.Engine, _ int64) {
					n.at[i][e] = core.AddPath(engine.PathConfig{Name: string(rune('a' + i))}, -1)
				})
			}
			n.ends[e] = s
		}
		play(n)
		for _, s := range n.ends {
			s.Close(ErrClosed)
		}
		cancel()
		tasks.Wait()
		time.Sleep(10 * time.Second) // what is under way arrives nowhere
	})
}

// join adds a subflow of a path, and returns the client's end of its connection.
func (n *simTunnel) join(path int) *simConn {
	a, b := simPair(n.paths[path].there, n.paths[path].back)
	var joined sync.WaitGroup
	for e, c := range []*simConn{a, b} {
		joined.Go(func() {
			k := carrier.NewTLS(c, engine.MinLowat)
			shake, cfg := k.Server, n.far
			if e == 0 {
				shake, cfg = k.Client, n.near
			}
			if err := shake(n.ctx, cfg); err != nil {
				n.t.Error(err)
				return
			}
			s := n.ends[e]
			if err := s.attach(newSubflow(s, n.at[path][e], k, s.keys())); err != nil {
				n.t.Error(err)
			}
		})
	}
	joined.Wait()
	return a
}

// simulate joins two sessions over the paths, with as many subflows on each, and
// calls play with the sending one; what it sends arrives at the other.
func simulate(t *testing.T, paths []simPath, subflows int, play func(s *Session, got *arrivals)) {
	t.Helper()
	got := &arrivals{at: make(map[uint64]time.Time)}
	handlers := [2]Handler{&arrivals{at: make(map[uint64]time.Time)}, got}
	simulateEnds(t, handlers, [2]mptcp.Key{1, 2}, paths, func(n *simTunnel) {
		for i := range paths {
			for range subflows {
				n.join(i)
			}
		}
		time.Sleep(time.Second) // round trips are known
		play(n.ends[0], got)
	})
}

// sendEvery sends n packets of that payload, one each interval, and returns when
// each was sent.
func sendEvery(s *Session, n, size int, interval time.Duration) []time.Time {
	sent := make([]time.Time, n)
	for i := range sent {
		sent[i] = time.Now()
		sendOne(s, uint64(i), size)
		time.Sleep(interval)
	}
	return sent
}

func sendOne(s *Session, number uint64, size int) {
	from, to := netip.AddrPortFrom(packet.ClientHost4, 4000), netip.MustParseAddrPort("192.0.2.1:9")
	s.Send(nil, []*buf.Buffer{testPacket(from, to, number, size)})
	s.Flush()
}

// gaps returns how many did not come, and the longest time one was under way.
func (a *arrivals) gaps(sent []time.Time) (lost int, longest time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, at := range sent {
		came, ok := a.at[uint64(i)]
		if !ok {
			lost++
			continue
		}
		longest = max(longest, came.Sub(at))
	}
	return lost, longest
}

// A small flow goes by the nearest path.
func TestSimulateSmallFlow(t *testing.T) {
	simulate(t, []simPath{newSimPath(60, 20*time.Millisecond), newSimPath(40, 50*time.Millisecond)}, 3, func(s *Session, got *arrivals) {
		sent := sendEvery(s, 500, 200, 2*time.Millisecond)
		time.Sleep(time.Second)
		if lost, longest := got.gaps(sent); lost > 0 || longest > 11*time.Millisecond {
			t.Errorf("%d lost, the longest under way for %v", lost, longest)
		}
	})
}

// More than both paths carry fills both, however unequal they are.
func TestSimulateBulk(t *testing.T) {
	simulate(t, []simPath{newSimPath(60, 20*time.Millisecond), newSimPath(40, 50*time.Millisecond)}, 3, func(s *Session, got *arrivals) {
		const interval, n, first = 80 * time.Microsecond, 30000, 5000 // 120 Mbit/s
		before := 0
		time.AfterFunc(first*interval, func() {
			got.mu.Lock()
			before = got.n
			got.mu.Unlock()
		})
		sendEvery(s, n, 1200, interval)
		got.mu.Lock()
		mbits := float64(got.n-before) * 8 / ((n - first) * interval.Seconds()) / 1e6
		got.mu.Unlock()
		t.Logf("%.1f of 100 Mbit/s", mbits)
		if mbits < 90 {
			t.Error("the paths do not add up")
		}
	})
}

// The path in use dies in silence: nothing is lost, and the gap is a few round
// trips. It comes back and is used again.
func TestSimulateDeath(t *testing.T) {
	near, far := newSimPath(60, 20*time.Millisecond), newSimPath(40, 50*time.Millisecond)
	simulate(t, []simPath{near, far}, 3, func(s *Session, got *arrivals) {
		time.AfterFunc(500*time.Millisecond, near.kill)
		time.AfterFunc(2*time.Second, near.revive)
		sent := sendEvery(s, 2000, 200, 2*time.Millisecond)
		time.Sleep(3 * time.Second)
		lost, longest := got.gaps(sent)
		t.Logf("the longest under way for %v", longest)
		if lost > 0 || longest > 200*time.Millisecond {
			t.Errorf("%d lost, the longest under way for %v", lost, longest)
		}
		late := 0
		for i, at := range sent[1600:] { // more than a second after the return
			if got.at[uint64(1600+i)].Sub(at) > 12*time.Millisecond {
				late++
			}
		}
		if late > 0 {
			t.Errorf("%d of %d went by the far path after the near one was back", late, len(sent[1600:]))
		}
	})
}

// Both paths die, one comes back: what was given to the other goes by it.
func TestSimulateBothDie(t *testing.T) {
	near, far := newSimPath(60, 20*time.Millisecond), newSimPath(40, 50*time.Millisecond)
	simulate(t, []simPath{near, far}, 3, func(s *Session, got *arrivals) {
		time.AfterFunc(500*time.Millisecond, func() { near.kill(); far.kill() })
		time.AfterFunc(1500*time.Millisecond, far.revive)
		sent := sendEvery(s, 1000, 200, 2*time.Millisecond)
		time.Sleep(3 * time.Second)
		drops := s.Snapshot().Drops
		lost, longest := got.gaps(sent)
		t.Logf("%d lost, %v dropped, the longest under way for %v", lost, drops, longest)
		dropped := uint64(0)
		for _, n := range drops {
			dropped += n
		}
		if uint64(lost) > dropped || longest > 2*time.Second {
			t.Errorf("%d lost, %d of them dropped in the queue, the longest under way for %v", lost, dropped, longest)
		}
	})
}
