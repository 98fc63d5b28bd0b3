package server

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
	"github.com/mpsocks/mpsocks/server/names/namestest"
)

func TestDeliverDrops(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	remote, at := remoteUDP(t, "127.0.0.1")
	good := makePacket(inner4(1), at, 0, 0, []byte("good"))
	spoiled := makePacket(inner4(1), at, 0, 0, []byte("spoiled"))
	spoiled[len(spoiled)-1] ^= 1
	to := func(dst string) []byte {
		d := netip.MustParseAddrPort(dst)
		src := inner4(1)
		if d.Addr().Is6() {
			src = inner6(1)
		}
		return makePacket(src, d, 0, 0, []byte("x"))
	}
	p.Deliver([][]byte{
		{},
		{0x45},
		spoiled,
		good[:len(good)-1],
		makePacket(netip.MustParseAddrPort("10.0.0.1:5"), at, 0, 0, nil),
		to("127.0.0.1:0"),
		to("192.168.0.1:53"),
		to("192.168.0.1:53"), // remembered
		to("198.18.0.2:53"),
		to("[fd6d:7073::2]:53"),
		to("198.18.0.1:80"),
		to("[fd6d:7073::1]:1080"),
		good,
	})
	if text, _ := read(t, remote); text != "good" {
		t.Errorf("got %q", text)
	}
	silent(t, remote)
	want := map[string]uint64{"packet": 4, "source": 1, "port": 1, "refused": 4, "service": 2}
	if diff := cmp.Diff(want, s.drops.snapshot()); diff != "" {
		t.Error(diff)
	}
	if n := p.nat.count(); n != 1 {
		t.Errorf("%d mappings", n)
	}
}

func TestEcho(t *testing.T) {
	s := testServer(t, nil, nil)
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	for _, tt := range []struct{ from, to netip.AddrPort }{
		{inner4(9), netip.AddrPortFrom(packet.ServerHost4, packet.EchoPort)},
		{inner6(9), netip.AddrPortFrom(packet.ServerHost6, packet.EchoPort)},
	} {
		p.Deliver([][]byte{makePacket(tt.from, tt.to, 0xB8, 77, []byte("ping"))})
		want := got{src: tt.to, dst: tt.from, tos: 0xB8, id: 77, payload: []byte("ping")}
		if diff := cmp.Diff(want, sess.next(t), sameGot); diff != "" {
			t.Error(diff)
		}
	}
	if n := p.nat.count(); n != 0 {
		t.Errorf("%d mappings", n)
	}
}

func TestDeliverAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop at random under the race detector")
	}
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	var pkts [][]byte
	for i := range 32 {
		_, at := remoteUDP(t, "127.0.0.1") // nobody reads: the kernel drops what is too much
		pkts = append(pkts, makePacket(inner4(uint16(1+i%8)), at, 0, 0, make([]byte, 1200)))
	}
	if n := testing.AllocsPerRun(200, func() { p.Deliver(pkts) }); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

func TestReceiveAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop at random under the race detector")
	}
	s := testServer(t, nil, nil)
	sess := newFakeSession()
	sess.discard = true
	p := newPeer(s, "laptop", sess)
	m := &mapping{peer: p, loop: &loop{}, inner: inner4(1)}
	msgs := make([]udpio.Message, 32)
	if n := testing.AllocsPerRun(200, func() {
		for i := range msgs {
			msgs[i] = udpio.Message{Buf: buf.Get(1200), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 20)}), 443)}
		}
		m.receive(new(udpio.Conn), msgs)
		m.loop.flush()
	}); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

// TestReceiveDrops gives a mapping datagrams that its packets cannot express.
func TestReceiveDrops(t *testing.T) {
	s := testServer(t, func(c *conf.Server) { c.Relay.Allow = allow(t, "fe80::/10") }, nil)
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	m := &mapping{peer: p, loop: &loop{}, inner: inner6(1)}
	msgs := []udpio.Message{
		{Buf: buf.Get(1), Addr: netip.MustParseAddrPort("192.0.2.1:1")},
		{Buf: buf.Get(65528), Addr: netip.MustParseAddrPort("[2001:db8::1]:1")},
		{Buf: buf.Get(65479), Addr: netip.MustParseAddrPort("[fe80::1%lo]:1")},
	}
	m.receive(new(udpio.Conn), msgs)
	m.loop.flush()
	if g := sess.next(t); g.src != netip.MustParseAddrPort("[fe80::1]:1") || len(g.payload) != 65479 {
		t.Errorf("%s, %d bytes", g.src, len(g.payload))
	}
	if msgs[0].Buf == nil || msgs[1].Buf == nil || msgs[2].Buf != nil {
		t.Error("the Loop would leak or free a Buffer twice")
	}
	if diff := cmp.Diff(map[string]uint64{"family": 1, "size": 1}, s.drops.snapshot()); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{64, 1200} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			s := testServer(b, nil, nil)
			p := newPeer(s, "laptop", newFakeSession())
			var pkts [][]byte
			for i := range 16 {
				_, at := remoteUDP(b, "127.0.0.1")
				for range 4 {
					pkts = append(pkts, makePacket(inner4(uint16(1+i)), at, 0, 0, make([]byte, size)))
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				p.Deliver(pkts)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(pkts)), "ns/datagram")
		})
	}
}

func BenchmarkReceive(b *testing.B) {
	s := testServer(b, nil, nil)
	sess := newFakeSession()
	sess.discard = true
	p := newPeer(s, "laptop", sess)
	m := &mapping{peer: p, loop: &loop{}, inner: inner4(1)}
	msgs := make([]udpio.Message, 32)
	b.ReportAllocs()
	for b.Loop() {
		for i := range msgs {
			msgs[i] = udpio.Message{Buf: buf.Get(64), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 4)}), 443)}
		}
		m.receive(new(udpio.Conn), msgs)
		m.loop.flush()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(msgs)), "ns/datagram")
}

// A packet from or to an IPv4-mapped address is dropped, and nothing is said about it.
func TestMappedAddressesAreDropped(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	mapped := netip.MustParseAddr("::ffff:192.0.2.1").As16()
	six := netip.MustParseAddr("2001:db8::1")
	sum := func(b []byte) []byte { // of UDP, or of ICMPv6
		at := len(b) - 8 - 1
		b[at+6], b[at+7] = 0, 0
		if b[40] == packet.ProtoICMP6 {
			b[at+2], b[at+3] = 0, 0
		}
		c := ^packet.Fold(packet.Sum(b[at:], packet.Sum(b[8:40], uint64(b[40])+9)))
		if b[40] == packet.ProtoICMP6 {
			binary.BigEndian.PutUint16(b[at+2:], c)
		} else {
			binary.BigEndian.PutUint16(b[at+6:], c)
		}
		return b
	}
	for _, at := range []int{8, 24} {
		datagram := makePacket(inner6(1), netip.AddrPortFrom(six, 53), 0, 0, []byte("x"))
		copy(datagram[at:], mapped[:])
		ping := echoTo(inner6(1), six, 0, 64, "x")
		copy(ping[at:], mapped[:])
		for _, pkt := range [][]byte{sum(datagram), sum(ping)} {
			before := s.drops.all()["packet"]
			p.Deliver([][]byte{pkt})
			if n := s.drops.all()["packet"] - before; n != 1 {
				t.Errorf("% x: %d counted as no packet", pkt[:48], n)
			}
		}
	}
}

func FuzzDeliver(f *testing.F) {
	// Nothing leaves. The rules are the configuration's: others would be replaced when
	// interfaces are looked at.
	s := testServer(f, func(c *conf.Server) { c.Relay.Deny = allow(f, "0.0.0.0/0", "::/0") }, func(s *Server) {
		askOnly(s)
	})
	sess := newFakeSession()
	sess.discard = true
	p := newPeer(s, "laptop", sess)
	f.Add([]byte{}, false)
	f.Add(makePacket(inner4(1), netip.MustParseAddrPort("1.1.1.1:53"), 0, 0, []byte("x")), false)
	f.Add(makePacket(inner6(1), netip.MustParseAddrPort("[fd6d:7073::1]:7"), 0, 0, []byte("x")), false)
	f.Add(makePacket(inner4(1), netip.AddrPortFrom(packet.ServerHost4, 53), 0, 0, namestest.Question("example.com.", 1)), true)
	f.Add(echoTo(inner4(1), netip.MustParseAddr("1.1.1.1"), 1, 64, "x"), false)
	f.Add(echoTo(inner6(1), packet.ServerHost6, 1, 64, "x"), false)
	f.Fuzz(func(t *testing.T, b []byte, wrap bool) {
		if wrap && len(b) < 60000 {
			b = makePacket(inner4(1), netip.AddrPortFrom(packet.ServerHost4, 53), 0, 0, b)
		}
		p.Deliver([][]byte{b, b})
		if p.nat.count() != 0 {
			t.Fatal("a mapping")
		}
	})
}
