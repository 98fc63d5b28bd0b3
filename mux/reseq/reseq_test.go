package reseq

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
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
	r     *Resequencer
	got   []uint32
	views [][]byte
}

func newReseqTest() *reseqTest {
	return &reseqTest{r: New(func(packet.Key, uint8) bool { return false })}
}

// add has packets come by a subflow.
func (x *reseqTest) add(slot int, now int64, pkts ...[]byte) {
	for _, p := range pkts {
		x.views, _ = x.r.Add(slot, p, x.views[:0], now)
		x.take()
	}
}

// tick gives up what is due, and reports whether anything still waits.
func (x *reseqTest) tick(now, bound int64) bool {
	for more := true; more; {
		x.views, more = x.r.Tick(now, bound, x.views[:0])
		x.take()
	}
	return x.r.Holds()
}

func (x *reseqTest) take() {
	for _, p := range x.views {
		x.got = append(x.got, packet.ID(p))
	}
	x.r.Done()
}

func (x *reseqTest) arrive(now int64, six bool, ids ...uint32) {
	for _, id := range ids {
		x.add(0, now, orderedPacket(id, six))
	}
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
	if !x.tick(30e6, 20e6) || len(x.got) != 0 {
		t.Fatalf("delivered %v before the bound", x.got)
	}
	if x.tick(41e6, 20e6) {
		t.Error("still holding")
	}
	x.arrive(42e6, true, 100)
	x.arrive(43e6, true, 103)
	if want := []uint32{101, 102, 100, 103}; !slices.Equal(x.got, want) {
		t.Errorf("delivered %v, want %v", x.got, want)
	}
}

// Small datagrams do not wait for what one subflow alone shows to be missing; large ones
// do, for it is under way elsewhere: by a subflow that has brought nothing lately.
func TestReseqGapOnOneSubflow(t *testing.T) {
	for size, want := range map[int][]uint32{60: {0, 2, 3, 1}, 1200: {0, 1, 2, 3}} {
		x := newReseqTest()
		one := func(slot int, id uint32, now int64) {
			p := orderedPacket(id, true)[:packet.UDPOverhead(packet.ClientHost6)+size]
			p[packet.UDPOverhead(packet.ClientHost6)] = 0x43 // no QUIC
			x.add(slot, now, p)
		}
		one(0, 0, 0)
		one(0, 2, 3e9)
		one(0, 3, 3e9+1)
		one(1, 1, 3e9+2)
		if !slices.Equal(x.got, want) {
			t.Errorf("%d bytes: %v, want %v", size, x.got, want)
		}
	}
}

// The first packet of a large flow may be overtaken, too; one that was forgotten here
// goes on where it is.
func TestReseqFirstPackets(t *testing.T) {
	for size, want := range map[int][]uint32{60: {2, 0, 3, 1}, 1200: {0, 1, 2, 3}} {
		x := newReseqTest()
		for i, id := range []uint32{2, 0, 3, 1} {
			p := orderedPacket(id, true)[:packet.UDPOverhead(packet.ClientHost6)+size]
			p[packet.UDPOverhead(packet.ClientHost6)] = 0x43 // no QUIC
			x.add(i%2, int64(i+1), p)
		}
		if size == 60 {
			slices.Sort(x.got) // they may wait a little, or not
			slices.Sort(want)
		}
		if !slices.Equal(x.got, want) {
			t.Errorf("%d bytes: %v, want %v", size, x.got, want)
		}
	}
	x := newReseqTest()
	x.arrive(0, true, 5000, 5001)
	if want := []uint32{5000, 5001}; !slices.Equal(x.got, want) {
		t.Errorf("%v, want %v", x.got, want)
	}
}

// A flow that came by two subflows lately is put in order, whatever it speaks: a
// large one for as long as the paths differ, a small one for a few milliseconds.
func TestReseqOrdersWhatIsSpread(t *testing.T) {
	for _, size := range []int{1200, 60} {
		x := newReseqTest()
		one := func(slot int, id uint32, now int64) {
			p := orderedPacket(id, true)[:packet.UDPOverhead(packet.ClientHost6)+size]
			p[packet.UDPOverhead(packet.ClientHost6)] = 0x43 // no QUIC
			x.add(slot, now, p)
		}
		one(0, 0, 0)
		one(1, 1, 1e6)
		one(0, 3, 2e6)
		one(1, 2, 3e6)
		one(0, 5, 4e6) // 4 never comes
		if want := []uint32{0, 1, 2, 3}; !slices.Equal(x.got, want) {
			t.Errorf("%d bytes: %v, want %v", size, x.got, want)
		}
		x.tick(12e6, 20e6)
		if waits := len(x.got) == 4; waits != (size == 1200) {
			t.Errorf("%d bytes: 8 ms later %v", size, x.got)
		}
		x.tick(25e6, 20e6)
		if want := []uint32{0, 1, 2, 3, 5}; !slices.Equal(x.got, want) {
			t.Errorf("%d bytes: at last %v, want %v", size, x.got, want)
		}
		// Two seconds on one subflow, and a small one waits for nothing any more.
		one(0, 6, 30e6)
		one(0, 7, 3e9)
		one(0, 9, 3e9)
		if waits := x.got[len(x.got)-1] == 7; waits != (size == 1200) {
			t.Errorf("%d bytes: %v", size, x.got)
		}
	}
}

// Nor do acknowledgements of QUIC.
func TestReseqPassesSmallPackets(t *testing.T) {
	x := newReseqTest()
	x.arrive(0, true, 0)
	for i := range uint32(30) { // larger ones come first, such as the padded Initial
		x.add(0, 0, orderedPacket(i+1, true)[:packet.UDPOverhead(packet.ClientHost6)+40])
	}
	x.got = nil
	for _, id := range []uint32{32, 31, 33} {
		x.add(0, 0, orderedPacket(id, true)[:packet.UDPOverhead(packet.ClientHost6)+40])
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

// A flow that a rule wants ordered is put in order, whatever it looks like; one
// that nobody wants ordered is not.
func TestReseqByRule(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		x := &reseqTest{r: New(func(k packet.Key, _ uint8) bool { return ordered && k.SrcPort == 51820 })}
		for _, id := range []uint32{0, 1, 3, 2, 4} {
			src, dst := netip.MustParseAddrPort("192.0.2.1:51820"), netip.AddrPortFrom(packet.ClientHost4, 4000)
			b := make([]byte, packet.UDPOverhead(dst.Addr())+1200)
			packet.PutUDP(b, &packet.UDP{Src: src, Dst: dst, ID: id, TTL: 64})
			x.add(0, 0, b)
		}
		if slices.IsSorted(x.got) != ordered {
			t.Errorf("rule %v: %v came", ordered, x.got)
		}
	}
}

// A peer that counts backwards does not renew the bound with each packet.
func TestReseqBoundIsOfTheOldest(t *testing.T) {
	x := newReseqTest()
	x.warm(0, true)
	for i := range uint32(50) {
		now := int64(1e9) + int64(i)*1e6
		x.arrive(now, true, 200-i)
		x.tick(now, 20e6)
	}
	if len(x.got) < 20 {
		t.Errorf("%d of 50 packets came after 50 ms with a bound of 20", len(x.got))
	}
}

// The table is full of flows that want no order: those that do find room.
func TestReseqTableFull(t *testing.T) {
	x := newReseqTest()
	for i := range reseqFlows + 10 {
		b := make([]byte, 28+8)
		packet.PutUDP(b, &packet.UDP{Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 53), Dst: netip.AddrPortFrom(packet.ClientHost4, 4000), TTL: 64})
		x.add(0, 0, b)
	}
	x.warm(0, true)
	x.arrive(1e9, true, 101, 100)
	if !slices.Equal(x.got, []uint32{100, 101}) {
		t.Errorf("%v came", x.got)
	}
	if n := len(x.r.flows); n > reseqFlows {
		t.Errorf("%d flows", n)
	}
}

// All that is held together is bounded, and nothing of it is lost.
func TestReseqBytes(t *testing.T) {
	x := newReseqTest()
	sent := 0
	for flow := range 2 * reseqBytes / (reseqPackets * 1200) {
		for id := range uint32(reseqPackets) {
			if id == 1 {
				continue // the gap
			}
			src, dst := netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), uint16(flow)), netip.AddrPortFrom(packet.ClientHost6, 4000)
			n := packet.UDPOverhead(dst.Addr())
			b := make([]byte, n+1200)
			copy(b[n:], []byte{0xC3, 0, 0, 0, 1, 8})
			packet.PutUDP(b, &packet.UDP{Src: src, Dst: dst, ID: id, TTL: 64})
			x.add(0, 0, b)
			sent++
		}
		if x.r.bytes > reseqBytes+buf.MaxSize {
			t.Fatalf("%d bytes held", x.r.bytes)
		}
	}
	x.tick(1e9, 20e6)
	if len(x.got) != sent || x.r.bytes != 0 || x.r.count != 0 || len(x.r.holding) != 0 {
		t.Errorf("%d of %d came, %d bytes in %d packets of %d flows are held", len(x.got), sent, x.r.bytes, x.r.count, len(x.r.holding))
	}
}

// TestReseqPassesFragments: their Identification is no number in a flow.
func TestReseqPassesFragments(t *testing.T) {
	x := newReseqTest()
	x.warm(0, true)
	first, second := buf.Get(packet.UDP6Overhead+65500), buf.Get(packet.MaxTail)
	n, m := packet.SplitUDP(first.Bytes(), second.Bytes(), &packet.UDP{
		Src: netip.AddrPortFrom(packet.ClientHost6, 5000), Dst: netip.MustParseAddrPort("[2001:db8::1]:9"), TTL: 64, ID: 70000,
	})
	first.Resize(n)
	second.Resize(m)
	x.add(0, 20e6, first.Bytes(), orderedPacket(101, true), second.Bytes())
	if want := []uint32{70000, 70000}; !slices.Equal(x.got, want) {
		t.Errorf("delivered %v, want %v", x.got, want)
	}
	x.arrive(21e6, true, 100)
	if want := []uint32{70000, 70000, 100, 101}; !slices.Equal(x.got, want) {
		t.Errorf("delivered %v, want %v", x.got, want)
	}
}

// Of a full table the flow that has been silent the longest goes, one that wants order
// last, and one that holds something never.
func TestReseqForgets(t *testing.T) {
	key := func(port uint16) packet.Key { return packet.Key{SrcPort: port} }
	for _, c := range []struct {
		name  string
		flows []rflow
		want  uint16
	}{
		{"the longest silent", []rflow{{last: 3}, {last: 1}, {last: 2}}, 1},
		{"not the ordered one", []rflow{{last: 1, order: true}, {last: 2}, {last: 3, order: true}}, 1},
		{"an ordered one, of those alone", []rflow{{last: 2, order: true}, {last: 1, order: true}}, 1},
		{"what holds something stays", []rflow{{last: 1, waiting: []held{{}}}, {last: 2}}, 1},
	} {
		for range 20 { // the map's order is random
			r := New(func(packet.Key, uint8) bool { return false })
			for i := range c.flows {
				f := c.flows[i]
				f.key = key(uint16(i))
				r.flows[f.key] = &f
			}
			if !r.forgetOne() || r.flows[key(c.want)] != nil || len(r.flows) != len(c.flows)-1 {
				t.Errorf("%s: another one went", c.name)
				break
			}
		}
	}
	r := New(func(packet.Key, uint8) bool { return false })
	r.flows[key(0)] = &rflow{waiting: []held{{}}}
	if r.forgetOne() {
		t.Error("a flow that holds something was forgotten")
	}
	// Where all hold something the next one passes as it comes, and nothing grows.
	for i := range reseqFlows - 1 {
		r.flows[key(uint16(i+1))] = &rflow{waiting: []held{{}}}
	}
	if views, spread := r.Add(0, orderedPacket(1, true), nil, 1); len(views) != 1 || spread || len(r.flows) != reseqFlows {
		t.Errorf("%d packets passed, spread %v, %d flows", len(views), spread, len(r.flows))
	}
}
