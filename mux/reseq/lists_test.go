package reseq

import (
	"net/netip"
	"testing"
	"unsafe"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// What is known of flows is memory, too, and the list of what one has held stays for the next
// that does; when nothing is held for a while it goes, and in the end all of it does.
func TestReseqMemory(t *testing.T) {
	if n := int(unsafe.Sizeof(held{})); n != heldMemory {
		t.Errorf("what is held takes %d bytes, not %d", n, heldMemory)
	}
	// The table has a place in eight free at least, and half of them after it has grown.
	entry := int(unsafe.Sizeof(packet.Key{}) + unsafe.Sizeof(uintptr(0)) + 1)
	if n := int(unsafe.Sizeof(rflow{})) + entry*3/2; n > flowMemory || 2*n < flowMemory {
		t.Errorf("a flow takes about %d bytes, not %d", n, flowMemory)
	}
	x := newReseqTest()
	const flows = 100
	for i := range flows {
		b := make([]byte, 28+8)
		packet.PutUDP(b, &packet.UDP{Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 53), Dst: netip.AddrPortFrom(packet.ClientHost4, 4000), TTL: 64})
		x.add(0, 0, b)
	}
	if n := x.r.Held(); n != flows*flowMemory {
		t.Errorf("%d flows hold %d bytes", flows, n)
	}
	x.arrive(0, true, 0)
	for id := range uint32(1000) {
		x.arrive(1, true, id+2)
	}
	x.arrive(2, true, 1)
	if len(x.got) != flows+1+1001 || x.r.Holds() {
		t.Fatalf("%d packets came, some are held: %v", len(x.got), x.r.Holds())
	}
	if n, known := x.r.Held(), (flows+1)*flowMemory; n < known+1000*heldMemory {
		t.Errorf("the list of 1,000 packets is not counted: %d bytes, %d of them for flows", n, known)
	}
	if cap(x.r.spent) > reseqSpent {
		t.Errorf("%d places stay for what was delivered", cap(x.r.spent))
	}
	x.tick(3+reseqSweep, 1)
	x.tick(4+2*reseqSweep, 1)
	if n, known := x.r.Held(), (flows+1)*flowMemory; n != known {
		t.Errorf("%d bytes when nothing is held for a while, %d of them for flows", n, known)
	}
	x.tick(reseqIdle+3, 1)
	if n := x.r.Held(); n != 0 || x.r.places != 0 {
		t.Errorf("%d bytes in the end, %d places", n, x.r.places)
	}
}

// flowPacket is packet number id of one of several flows of large packets that are not QUIC's.
func flowPacket(flow int, id uint32) []byte {
	h := packet.UDP{Src: netip.AddrPortFrom(packet.ClientHost4, uint16(4000+flow)), Dst: netip.MustParseAddrPort("192.0.2.1:9"), TTL: 64, ID: id}
	b := make([]byte, h.Overhead(500)+500)
	packet.PutUDP(b, &h)
	return b
}

// TestReseqSharesLists: thousands of flows that hold thousands of packets in turn need one list.
func TestReseqSharesLists(t *testing.T) {
	x := newReseqTest()
	const flows, packets = 50, 1000
	most := 0
	for i := range flows {
		add := func(slot int, id uint32) { x.add(slot, int64(i)+1, flowPacket(i, id)) }
		add(0, 0)
		for id := range uint32(packets) {
			add(1, id+2)
		}
		if !x.r.Holds() {
			t.Fatal("nothing is held")
		}
		most = max(most, x.r.Held())
		add(0, 1)
		if x.r.Holds() {
			t.Fatal("something is held still")
		}
	}
	if most := most - flows*flowMemory; most > 2*packets*(heldMemory+1024) {
		t.Errorf("up to %d bytes for %d packets at once", most, packets)
	}
	if n := x.r.Held() - flows*flowMemory; n > 2*packets*heldMemory {
		t.Errorf("%d bytes when nothing is held", n)
	}
}

// TestReseqTicksInPortions: what many flows hold is given up some thousands at a time.
func TestReseqTicksInPortions(t *testing.T) {
	x := newReseqTest()
	const flows, packets = 20, 400
	for i := range flows {
		x.add(0, 1, flowPacket(i, 0))
		for id := range uint32(packets) {
			x.add(1, 1, flowPacket(i, id+2)) // all but the second
		}
	}
	got, calls := len(x.got), 0
	for more := true; more; calls++ {
		if x.views, more = x.r.Tick(1e9, 1, x.views[:0]); len(x.views) >= reseqDue+packets {
			t.Errorf("%d packets at once", len(x.views))
		}
		x.take()
	}
	if got = len(x.got) - got; got != flows*packets || x.r.Holds() || calls < 2 {
		t.Errorf("%d packets in %d calls, some are held still: %v", got, calls, x.r.Holds())
	}
}
