package mux

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// orderedPacket is packet number id of a QUIC-like flow.
func orderedPacket(id uint32, six bool) []byte {
	src, dst := netip.MustParseAddrPort("192.0.2.1:443"), netip.AddrPortFrom(packet.ClientHost4, 4000)
	if six {
		src, dst = netip.MustParseAddrPort("[2001:db8::1]:443"), netip.AddrPortFrom(packet.ClientHost6, 4000)
	}
	n := packet.UDPOverhead(dst.Addr())
	b := make([]byte, n+1200)
	copy(b[n:], []byte{0xC3, 0, 0, 0, 1, 8}) // a QUIC long header
	packet.PutUDP(b, &packet.UDP{Src: src, Dst: dst, ID: id, TTL: 64})
	return b
}

type reseqTest struct {
	r     resequencer
	got   []uint32
	views [][]byte
}

func (x *reseqTest) Deliver(pkts [][]byte) {
	for _, p := range pkts {
		x.got = append(x.got, packet.ID(p))
	}
}
func (x *reseqTest) Stream(*Stream) {}
func (x *reseqTest) Closed(error)   {}

func newReseqTest() *reseqTest {
	x := &reseqTest{}
	x.r = resequencer{s: &Session{handler: x}, flows: make(map[packet.Key]*rflow)}
	return x
}

func (x *reseqTest) arrive(now int64, six bool, ids ...uint32) {
	var rs []received
	for _, id := range ids {
		rs = append(rs, received{pkt: orderedPacket(id, six)})
	}
	x.views = x.r.deliver(rs, x.views[:0], now)
}

// warm leaves next = start+100.
func (x *reseqTest) warm(start uint32, six bool) {
	for i := range uint32(100) {
		x.arrive(int64(i)*1e5, six, start+i)
	}
	x.got = nil
}

func TestReseq(t *testing.T) {
	for _, six := range []bool{false, true} {
		start := uint32(65500) // IPv4 wraps at 65,536
		x := newReseqTest()
		x.warm(start, six)
		n := start + 100
		x.arrive(20e6, six, n, n+2, n+3, n+5)
		x.arrive(25e6, six, n+1)
		x.arrive(26e6, six, n+4, n+6)
		var want []uint32
		for i := range uint32(7) {
			id := n + i
			if !six {
				id &= 0xFFFF
			}
			want = append(want, id)
		}
		if !slices.Equal(x.got, want) {
			t.Errorf("six %v: delivered %v, want %v", six, x.got, want)
		}
		if x.r.count != 0 {
			t.Errorf("six %v: %d still held", six, x.r.count)
		}
	}
}

// A gap is given up after the bound; what comes later still is delivered.
func TestReseqGivesUp(t *testing.T) {
	x := newReseqTest()
	x.warm(0, true)
	x.arrive(20e6, true, 101, 102)
	if !x.r.tick(30e6, 20e6) || len(x.got) != 0 {
		t.Fatalf("delivered %v before the bound", x.got)
	}
	if x.r.tick(41e6, 20e6) {
		t.Error("still holding")
	}
	x.arrive(42e6, true, 100)
	x.arrive(43e6, true, 103)
	if want := []uint32{101, 102, 100, 103}; !slices.Equal(x.got, want) {
		t.Errorf("delivered %v, want %v", x.got, want)
	}
}

// Other flows never wait.
func TestReseqLeavesOthersAlone(t *testing.T) {
	x := newReseqTest()
	for _, id := range []uint32{0, 2, 3, 1} {
		p := orderedPacket(id, true)
		p[packet.UDPOverhead(packet.ClientHost6)] = 0x43
		x.views = x.r.deliver([]received{{pkt: p}}, x.views[:0], 0)
	}
	if want := []uint32{0, 2, 3, 1}; !slices.Equal(x.got, want) {
		t.Errorf("%v, want %v", x.got, want)
	}
}

// Nor do acknowledgements of QUIC.
func TestReseqPassesSmallPackets(t *testing.T) {
	x := newReseqTest()
	x.arrive(0, true, 0)
	for i := range uint32(30) { // larger ones come first, such as the padded Initial
		x.views = x.r.deliver([]received{{pkt: orderedPacket(i+1, true)[:packet.UDPOverhead(packet.ClientHost6)+40]}}, x.views[:0], 0)
	}
	x.got = nil
	for _, id := range []uint32{32, 31, 33} {
		x.views = x.r.deliver([]received{{pkt: orderedPacket(id, true)[:packet.UDPOverhead(packet.ClientHost6)+40]}}, x.views[:0], 0)
	}
	if want := []uint32{32, 31, 33}; !slices.Equal(x.got, want) {
		t.Errorf("%v, want %v", x.got, want)
	}
}

// A flow that the sender had forgotten counts from zero again.
func TestReseqCountsAnew(t *testing.T) {
	x := newReseqTest()
	x.warm(2*reseqPackets, true)
	x.arrive(20e6, true, 0, 2, 1, 3)
	if want := []uint32{0, 1, 2, 3}; !slices.Equal(x.got, want) {
		t.Errorf("delivered %v, want %v", x.got, want)
	}
}
