package mux

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// controlled is a client's session with one subflow on each of two paths, and no
// connection.
func controlled() (s *Session, fs []*subflow) {
	s = newSession(sessionConfig{client: true, handler: newCollector()})
	keys := s.establish(hsClientKey, hsServerKey, false)
	for range 2 {
		f := &subflow{s: s, carrier: new(counted), keys: keys}
		s.enter(func(e *engine.Engine, now int64) {
			f.path = e.AddPath(engine.PathConfig{}, -1)
			f.core = engine.NewSubflow(f, f.path, keys.epoch, now)
			e.Attach(f.core, 0)
		})
		fs = append(fs, f)
	}
	return s, fs
}

// options returns what a subflow would write before its next batch.
func (f *subflow) options() (control []byte) {
	f.s.enter(func(e *engine.Engine, _ int64) { _, control = e.Take(f.core, nil) })
	return control
}

// An address counts only with the HMAC of the session's keys (RFC 8684, Section 3.4.1);
// then it is echoed.
func TestAddAddrNeedsTheHMAC(t *testing.T) {
	addr := netip.MustParseAddrPort("192.0.2.7:443")
	good := mptcp.AddAddr{ID: 3, Addr: addr.Addr(), Port: addr.Port(), HMAC: mptcp.AddAddrHMAC(hsServerKey, hsClientKey, 3, addr.Addr(), addr.Port())}
	other := good
	other.Port++
	mine := good
	mine.HMAC = mptcp.AddAddrHMAC(hsClientKey, hsServerKey, 3, addr.Addr(), addr.Port())
	for name, c := range map[string]struct {
		o  mptcp.AddAddr
		ok bool
	}{"good": {good, true}, "of another port": {other, false}, "of the wrong direction": {mine, false}} {
		s, fs := controlled()
		learned := make(chan netip.AddrPort, 1)
		s.advertised = func(a netip.AddrPort) { learned <- a }
		if err := fs[0].command(&mptcp.Option{Subtype: mptcp.MPAddAddr, AddAddr: c.o}); err != nil {
			t.Fatal(err)
		}
		if echoed := len(fs[0].options()) > 0; echoed != c.ok {
			t.Errorf("%s: echoed is %v", name, echoed)
		}
		if c.ok {
			if a := <-learned; a != addr {
				t.Errorf("%s: learned %v", name, a)
			}
		} else if len(learned) > 0 {
			t.Errorf("%s: it is believed", name)
		}
	}
}

// REMOVE_ADDR has the subflows of that address asked whether they live.
func TestRemoveAddrAsks(t *testing.T) {
	_, fs := controlled()
	o := &mptcp.Option{Subtype: mptcp.MPRemoveAddr, RemoveAddr: mptcp.RemoveAddr{N: 1}}
	o.RemoveAddr.IDs[0] = fs[1].path.AddrID()
	if err := fs[0].command(o); err != nil {
		t.Fatal(err)
	}
	if len(fs[0].options()) > 0 || len(fs[1].options()) == 0 {
		t.Error("the wrong subflow was asked, or none")
	}
	if fs[0].core.State().Stale() || !fs[1].core.State().Stale() {
		t.Error("what is asked carries something, or what says so does not")
	}
	o.RemoveAddr.IDs[0] = fs[0].path.AddrID()
	if err := fs[0].command(o); err != nil || fs[0].core.State().Stale() {
		t.Errorf("the one that says that an address is lost lives: %v", err)
	}
}

// A lockWatcher sees whether the delivery's lock is held while it gets packets.
type lockWatcher struct {
	d    *delivery
	held []bool
}

func (l *lockWatcher) Deliver([][]byte) {
	free := l.d.mu.TryLock()
	if free {
		l.d.mu.Unlock()
	}
	l.held = append(l.held, !free)
}
func (l *lockWatcher) Stream(*Stream) {}
func (l *lockWatcher) Closed(error)   {}

// A server says in milliseconds when it ends. What is no time, or so much that it is another
// one in nanoseconds, is not believed.
func TestLeaveIsBounded(t *testing.T) {
	for ms, want := range map[uint64]time.Duration{
		30_000:             30 * time.Second,
		86_400_000:         leaveMost,
		86_400_001:         0,
		0:                  0,
		18_446_744_073_710: 0, // 448 µs, modulo 2^64 ns
		1<<64 - 1:          0,
	} {
		s, fs := controlled()
		var got time.Duration
		s.left = func(_ uint64, in time.Duration) { got = in }
		x := mptcp.Experimental{Type: probeLeave}
		x.SetPayload(binary.BigEndian.AppendUint64(nil, ms))
		fs[0].probe(&x)
		if got != want {
			t.Errorf("%d ms are %v, want %v", ms, got, want)
		}
	}
}

// What is put in order is delivered with the lock held, or another reader could swap it
// again; a flow that comes by one subflow waits for nobody.
func TestOrderedIsDeliveredUnderItsLock(t *testing.T) {
	for _, spread := range []bool{false, true} {
		s := newSession(sessionConfig{client: true, handler: newCollector()})
		w := &lockWatcher{d: &s.reseq}
		s.serve(w)
		from, to := netip.MustParseAddrPort("192.0.2.1:9"), netip.AddrPortFrom(packet.ClientHost4, 4000)
		for i := range 4 {
			p := testPacket(from, to, uint64(i), 1200)
			packet.SetID(p.Bytes(), uint32(i))
			slot := 0
			if spread {
				slot = i % 2
			}
			s.reseq.deliver(slot, []received{{pkt: p.Bytes()}}, nil, int64(i+1)*1e6)
		}
		if len(w.held) != 4 || w.held[3] != spread {
			t.Errorf("spread %v: the lock is held: %v", spread, w.held)
		}
	}
}

// Mappings and an end from before a renewal do not touch the space of the new keys.
func TestReceiveSpaceOfOtherKeys(t *testing.T) {
	var w receiveSpace
	w.reset(100, 2)
	p := testPacket(netip.MustParseAddrPort("192.0.2.1:9"), netip.AddrPortFrom(packet.ClientHost4, 1), 0, 10)
	if fresh, err := w.enter(1, []received{{dsn: 100, pkt: p.Bytes()}}); err == nil || len(fresh) > 0 {
		t.Error("a mapping of other keys was taken")
	}
	if w.finish(1, 100) || w.next.Load() != 100 {
		t.Error("an end of other keys was taken")
	}
}

// A join counts only from the key that opened the session.
func TestJoinNeedsTheSessionsKey(t *testing.T) {
	s := newSession(sessionConfig{identity: [32]byte{1}})
	l := &registry{sessions: map[mptcp.Token]*Session{7: s}}
	if got, err := l.find([32]byte{1}, 7); got != s || err != nil {
		t.Errorf("its own key: %v", err)
	}
	if got, err := l.find([32]byte{2}, 7); got != nil || err == nil {
		t.Error("another client's key is let in")
	}
}

// A slowHandler takes its time for the first packets that it gets.
type slowHandler struct {
	lockWatcher
	begun, end chan struct{}
	first      atomic.Bool
	mu         sync.Mutex // guards got
	got        []uint32
}

func (h *slowHandler) Deliver(pkts [][]byte) {
	if h.first.CompareAndSwap(false, true) {
		close(h.begun)
		<-h.end
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range pkts {
		h.got = append(h.got, packet.ID(p))
	}
}

// What a flow sends by another subflow than before is not delivered while the first
// one's reader still has what came earlier.
func TestFirstMoveKeepsOrder(t *testing.T) {
	s := newSession(sessionConfig{client: true, handler: newCollector()})
	h := &slowHandler{begun: make(chan struct{}), end: make(chan struct{})}
	s.serve(h)
	from, to := netip.MustParseAddrPort("192.0.2.1:9"), netip.AddrPortFrom(packet.ClientHost4, 4000)
	deliver := func(slot int, id uint32) {
		p := testPacket(from, to, uint64(id), 1200)
		packet.SetID(p.Bytes(), id)
		s.reseq.deliver(slot, []received{{pkt: p.Bytes()}}, nil, 1e6*int64(id+1))
	}
	var wg sync.WaitGroup
	wg.Go(func() { deliver(0, 0) })
	<-h.begun
	second := make(chan struct{})
	wg.Go(func() { deliver(1, 1); close(second) })
	select { // one that does not wait is done at once
	case <-second:
	case <-time.After(50 * time.Millisecond):
	}
	close(h.end)
	wg.Wait()
	if !slices.Equal(h.got, []uint32{0, 1}) {
		t.Errorf("delivered in the order %v", h.got)
	}
}

// A stream's packets have a valid checksum of TCP until the peer says that it does not
// look, and again with the keys of another session; what another writer may be reading is
// not written to.
func TestChecksumsOfStreams(t *testing.T) {
	s, fs := controlled()
	kept := make([]byte, packet.TCPOverhead(packet.ServerHost4, 0)+5)
	copy(kept[len(kept)-5:], "hello")
	packet.PutTCP(kept, &packet.TCP{
		Src: netip.AddrPortFrom(packet.ClientHost4, 4000), Dst: netip.AddrPortFrom(packet.ServerHost4, 1080), TTL: 64, Bare: true, Unsummed: true,
	})
	want := slices.Clone(kept)
	packet.SumTCP(want)
	sends := func() []byte {
		p := buf.Get(len(kept))
		copy(p.Bytes(), kept)
		defer p.Release()
		k := &gathering{}
		fs[0].carrier, fs[0].most, fs[0].batch = k, 16384, []engine.Outgoing{{P: p, DSN: 7, First: true}}
		if _, err := fs[0].write(nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Bytes(), kept) {
			t.Error("the packet itself was written to")
		}
		return k.got[len(k.got)-len(kept):]
	}
	if got := sends(); !bytes.Equal(got, want) {
		t.Errorf("a peer that says nothing is sent % x, not % x", got, want)
	}
	said := &mptcp.Option{Subtype: mptcp.MPExperimental}
	if _, err := said.Parse(engine.AppendProbe(nil, probeUnsummed), false); err != nil {
		t.Fatal(err)
	}
	if err := fs[0].command(said); err != nil {
		t.Fatal(err)
	}
	if got := sends(); !bytes.Equal(got, kept) {
		t.Errorf("a peer that does not look is sent % x", got)
	}
	s.establish(hsClientKey, hsServerKey, false)
	if got := sends(); !bytes.Equal(got, want) {
		t.Error("what one peer has said holds for the next one")
	}
}

// A gathering is a carrier that keeps what is written.
type gathering struct {
	counted
	got []byte
}

func (g *gathering) Write(p []byte) (int, error) { g.got = append(g.got, p...); return len(p), nil }

func (g *gathering) WriteOver(p []byte) (int, error) { return g.Write(p) }

func (g *gathering) Flush() (blocked bool, err error) { return false, nil }
