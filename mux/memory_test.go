package mux

import (
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/reseq"
	"github.com/mpsocks/mpsocks/mux/stream"
)

// charged is a session of that client.
func charged(identity [32]byte) *Session {
	return &Session{identity: identity, streams: stream.NewTable(false, nil, nil, 1)}
}

func TestMemoryIsShared(t *testing.T) { synctest.Test(t, testMemoryIsShared) }

func testMemoryIsShared(t *testing.T) {
	m := newMemory()
	m.setLimit(400 << 20)
	greedy, second, honest := charged([32]byte{1}), charged([32]byte{1}), charged([32]byte{2})
	one, cut := m.hold(greedy, 1<<20)
	if cut || one != 100<<20 {
		t.Errorf("alone: a part of %d MiB, cut %v", one>>20, cut)
	}
	if w, _ := m.hold(second, 1<<20); w != 50<<20 {
		t.Errorf("with a second session: %d MiB", w>>20)
	}
	if _, cut := m.hold(honest, 1<<20); cut {
		t.Error("the honest one is cut")
	}
	m.hold(second, 60<<20)
	if _, cut := m.hold(second, 61<<20); cut {
		t.Error("a client within its share is cut")
	}
	m.hold(greedy, 50<<20)
	if _, cut := m.hold(second, 61<<20); cut {
		t.Error("a client that is just over its share has no time to become slower")
	}
	time.Sleep(overTime)
	m.hold(second, 40<<20)
	time.Sleep(time.Second)
	if _, cut := m.hold(second, 61<<20); cut {
		t.Error("the time that it was over before counts")
	}
	time.Sleep(overTime + 1)
	if _, cut := m.hold(greedy, 50<<20); cut {
		t.Error("over its share the client loses a session that is not its largest")
	}
	if _, cut := m.hold(second, 61<<20); !cut {
		t.Error("the largest session of a client over its share goes on")
	}
	m.drop(second)
	if _, cut := m.hold(greedy, 50<<20); cut {
		t.Error("it is cut when the other has gone")
	}
	if _, cut := m.hold(greedy, 151<<20); !cut {
		t.Error("a client that is over its share by more than a half goes on")
	}
	m.drop(greedy)
	m.drop(greedy)
	m.drop(honest)
	if u := m.Use(); u.Held != 0 || len(m.clients) != 0 || u.Cut != 2 {
		t.Errorf("all have gone: %+v, %d clients", u, len(m.clients))
	}
}

// When all together hold too much, the largest client pays.
func TestTheLargestClientPays(t *testing.T) {
	m := newMemory()
	m.setLimit(100)
	for i := range byte(20) {
		if _, cut := m.hold(charged([32]byte{i}), 5); cut {
			t.Fatalf("client %d is cut at %d of 100", i, m.Use().Held)
		}
	}
	big := charged([32]byte{200})
	if _, cut := m.hold(big, 20); !cut {
		t.Error("the largest goes on")
	}
}

// Sessions are counted while they live, with all that they hold, and not longer.
func TestSessionsAreCharged(t *testing.T) {
	n := newLoopTunnel(t, 1, 2, func(_ *ClientConfig, l *ListenerConfig) { l.MaxMemory = 64 << 20 })
	m := n.listener.memory
	over := make(chan struct{})
	n.far.serve = func(*Stream) { <-over } // reads nothing
	end := sync.OnceFunc(func() { close(over) })
	defer end()
	await := func(what string, ok func(MemoryUse) bool) {
		t.Helper()
		for limit := time.Now().Add(20 * time.Second); !ok(m.Use()); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("never: %s: %+v", what, m.Use())
			}
		}
	}
	await("two subflows are counted", func(u MemoryUse) bool { return u.Held >= 128<<10 && u.Limit == 64<<20 })
	s := <-n.serverSession
	s.Beside(3 << 20)
	await("what the handler holds is counted", func(u MemoryUse) bool { return u.Held >= 3<<20 })
	// The stream of a client that reads nothing: what waits for it is the session's.
	st, err := n.client.Session().OpenStream(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s.Beside(0)
	await("what the handler has given back is not", func(u MemoryUse) bool { return u.Held < 3<<20 })
	far := s.streams
	await("a stream is there", func(MemoryUse) bool { return far.Count() == 1 })
	alone := s.streams.Held()
	go func() { _, _ = st.Write(make([]byte, 200<<10)) }() // nobody reads it
	await("what nobody reads is counted", func(u MemoryUse) bool { return far.Held() >= alone+200<<10 && u.Held >= 128<<10+200<<10 })
	n.stopC() // its session would be opened anew
	<-n.clientDone
	end()
	s.Close(nil)
	if u := m.Use(); u.Held != 0 || u.Cut != 0 {
		t.Errorf("it has ended: %+v", u)
	}
	m.hold(s, 1<<20) // by a monitor that has not seen the end
	if len(m.clients) != 0 {
		t.Error("a session that has ended is counted")
	}
}

// Whoever holds more than the share loses its session, by what the monitor counts.
func TestSessionsAreCut(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, func(_ *ClientConfig, l *ListenerConfig) { l.MaxMemory = 64 << 20 })
	s := <-n.serverSession
	s.Beside(25 << 20)
	select {
	case <-s.end.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on with far more than a quarter of the memory")
	}
	if _, u := n.listener.Door(); u.Cut != 1 {
		t.Errorf("%+v", u)
	}
}

// A session that is cut is counted and said once, however long its end takes.
func TestCutIsCountedOnce(t *testing.T) {
	m := newMemory()
	m.setLimit(64 << 20)
	s := charged([32]byte{1})
	s.memory, s.monitor.s, s.monitor.held = m, s, 1<<30
	cuts := 0
	for range 3 {
		if s.monitor.overdrawn() {
			cuts++
		}
	}
	if cuts != 1 || m.cuts != 1 {
		t.Errorf("cut %d times, %d counted", cuts, m.cuts)
	}
}

// TLS answers to KeyUpdates do not pile up for a peer that reads nothing, and who wants no
// answers does not make keys anew for ever: its subflow ends after so many.
func TestKeyUpdatesAreBounded(t *testing.T) {
	for name, quiet := range map[string]bool{"answered": false, "not answered": true} {
		t.Run(name, func(t *testing.T) { testKeyUpdatesAreBounded(t, quiet) })
	}
}

func testKeyUpdatesAreBounded(t *testing.T, quiet bool) {
	n := newLoopTunnel(t, 1, 1, nil)
	g, err := handshake.NewGreeter(n.key, Cover{}, n.serverKey.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Dial("tcp", n.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	_ = tcp.SetDeadline(time.Now().Add(20 * time.Second))
	r := muxtest.NewRekeyer(tcp)
	r.Quiet = quiet
	cfg, _ := g.Config(time.Now())
	conn, err := r.Client(cfg)
	if err != nil {
		t.Skip(err)
	}
	if _, err := handshake.Capable(conn, handshake.NewKey(), false); err != nil {
		t.Fatal(err)
	}
	ack := (&mptcp.DSS{HasAck: true, Ack8: true, Ack: 1}).Append(nil)
	for sent, err := 0, error(nil); err == nil; sent += 64 {
		if sent > 8*1024 {
			break // the answers are counted below
		}
		_, err = r.Conn.Write(r.KeyUpdates(64, ack))
	}
	got, err := io.Copy(io.Discard, r.Conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the subflow goes on after %d bytes of answers", got)
	}
	if got > 8<<10 { // 32 answers of 27 bytes, and what the server has to say by itself
		t.Errorf("%d bytes of answers", got)
	}
}

// A session takes in less when more of its part is held by streams and the kernel, never
// nothing, and all of it together fits into the part.
func TestRoomIsWhatOthersLeave(t *testing.T) {
	const part = 64 << 20
	for beside, want := range map[int64]int64{0: 16 << 20, 16 << 20: 16 << 20, 32 << 20: 12 << 20, 50 << 20: 4 << 20, 100 << 20: 4 << 20} {
		if got := room(part, beside); got != want {
			t.Errorf("beside %d MiB: %d MiB, not %d", beside>>20, got>>20, want>>20)
		}
	}
	if room(0, 0) != 0 || room(0, 1<<20) != 0 {
		t.Error("without a limit there is one")
	}
}

// Packets that wait for those before them are memory of the session's.
func TestWhatWaitsForOrderIsCharged(t *testing.T) {
	s := charged([32]byte{1})
	s.reseq.order = reseq.New(func(packet.Key, uint8) bool { return true })
	s.reseq.to = newCollector()
	const each = 1000
	pkt := func(id uint32) received {
		h := packet.UDP{Src: netip.MustParseAddrPort("[2001:db8::1]:53"), Dst: netip.AddrPortFrom(packet.ClientHost6, 4000), TTL: 64, ID: id}
		b := make([]byte, h.Overhead(each)+each)
		packet.PutUDP(b, &h)
		return received{pkt: b}
	}
	s.reseq.deliver(0, []received{pkt(0)}, nil, 1)
	before := s.reseq.memory()
	for id := range uint32(10) {
		s.reseq.deliver(0, []received{pkt(id + 2)}, nil, 1)
	}
	if n := s.reseq.memory() - before; n < 10*each || n > 10*4096 {
		t.Errorf("ten packets of %d bytes that wait are charged with %d", each, n)
	}
	s.reseq.tick(1e9, 1)
	if n := s.reseq.memory(); n >= before+each {
		t.Errorf("%d bytes when nothing waits, %d before", n, before)
	}
}

// So are the records of flows that came, which a client makes by a datagram each, the list
// of what came behind gaps, the list of what has no Data ACK, and what is kept of a chunk of
// tiny packets for the next one.
func TestListsAreCharged(t *testing.T) {
	s := charged([32]byte{1})
	s.reseq.order = reseq.New(func(packet.Key, uint8) bool { return false })
	s.reseq.to = newCollector()
	const flows = 1000
	for i := range uint16(flows) {
		h := packet.UDP{Src: netip.AddrPortFrom(packet.ClientHost4, 1+i), Dst: netip.MustParseAddrPort("192.0.2.1:53"), TTL: 64}
		b := make([]byte, h.Overhead(8)+8)
		packet.PutUDP(b, &h)
		s.reseq.deliver(0, []received{{pkt: b}}, nil, 1)
	}
	if n := s.reseq.memory(); n < 150*flows {
		t.Errorf("%d flows are charged with %d bytes", flows, n)
	}

	const stretches = 5000
	s.space.reset(1, 0)
	var pkts []received
	for i := range uint64(stretches) {
		pkts = append(pkts, received{dsn: 100 + 200*i, pkt: make([]byte, 100)})
	}
	if _, err := s.space.enter(0, pkts); err != nil {
		t.Fatal(err)
	}
	if n := s.space.memory(); n < stretches*16 {
		t.Errorf("%d gaps are charged with %d bytes", stretches, n)
	}

	f := &subflow{rxPkts: make([]received, 0, 8192), views: make([][]byte, 8000)}
	f.tidy(8000)
	const each = 32 + 24 // a received, and a view
	if n := f.scratch.Load(); n < 8000*each {
		t.Errorf("a chunk of 8,000 packets is charged with %d bytes", n)
	}
	f.views = f.views[:10]
	f.tidy(10)
	if n := f.scratch.Load(); n != 0 || f.rxPkts != nil || f.views != nil {
		t.Errorf("after a chunk of 10 packets %d bytes are kept of one of 8,000", n)
	}
}
