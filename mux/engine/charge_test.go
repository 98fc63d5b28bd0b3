package engine

import (
	"net/netip"
	"testing"
	"unsafe"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// The records of flows are memory of the session's: a peer can have tens of thousands made,
// by one datagram each, and none of them waits. What is asked for ports is, too.
func TestFlowsAreCharged(t *testing.T) {
	const n = 3000
	e := New(false, ModeAuto, nil, 0)
	e.Establish(1)
	before := e.Charge(0)
	for i := range n {
		h := packet.UDP{Src: netip.AddrPortFrom(packet.ServerHost4, 7), Dst: netip.AddrPortFrom(packet.ClientHost4, uint16(1024+i)), TTL: 64}
		b := buf.Get(8)
		clear(b.Bytes())
		packet.PutUDP(b.Prepend(h.Overhead(8)), &h)
		e.Send(&Source{}, b, 1)
		Want(e, packet.End{Proto: packet.ProtoUDP, Host: 2, Port: uint16(1024 + i)}, fq.Wish{IDs: 2}, 1)
	}
	if len(e.table.flows) != n || len(e.table.wishes.at) != n {
		t.Fatalf("%d flows, %d wishes", len(e.table.flows), len(e.table.wishes.at))
	}
	// A map has room for some more than it holds.
	entry := func(key, value uintptr) int { return int(key+value) * 2 }
	record := int(unsafe.Sizeof(fq.Flow{})) + entry(unsafe.Sizeof(packet.Key{}), 8)
	asked := int(unsafe.Sizeof(wish{})) + entry(unsafe.Sizeof(packet.End{}), 8)
	if flowMemory < record || flowMemory > 2*record || wishMemory < asked || wishMemory > 3*asked {
		t.Errorf("a flow takes about %d bytes and counts %d, a wish %d and %d", record, flowMemory, asked, wishMemory)
	}
	if q := &e.table.queue; q.Held != n*buf.Get(8).Held() || q.Bytes >= q.Held {
		t.Errorf("%d packets of a few bytes wait in buffers of %d, and count %d", n, buf.Get(8).Held(), q.Held)
	}
	if held := e.Charge(0) - before - e.table.queue.Held; held < n*(record+asked) {
		t.Errorf("%d flows and wishes count %d bytes", n, held)
	}
}

// Whoever sends to one port of a client's from addresses that are none takes none of the flows of
// its other ports, and little of its memory; what he sends is carried, and the room is there again
// when he has gone.
func TestFlowsOfOneEndAreFew(t *testing.T) {
	for _, client := range []bool{false, true} {
		e := New(client, ModeAuto, nil, 0)
		e.Establish(1)
		inside := netip.AddrPortFrom(packet.ClientHost4, 1024)
		other := netip.AddrPortFrom(packet.ClientHost4, 1025)
		send := func(at netip.AddrPort, i int, now int64) {
			outside := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), 7)
			h := packet.UDP{Src: outside, Dst: at, TTL: 64}
			if client {
				h.Src, h.Dst = h.Dst, h.Src
			}
			b := buf.Get(8)
			clear(b.Bytes())
			packet.PutUDP(b.Prepend(h.Overhead(8)), &h)
			e.Send(&Source{}, b, now)
		}
		const n = 20_000
		for i := range n {
			send(inside, i, 1)
		}
		if got := len(e.table.flows); got != maxFlowsEach+1 || e.table.queue.Backlog() == 0 {
			t.Errorf("client %v: %d senders have %d flows", client, n, got)
		}
		for i := range 100 {
			send(other, i, 1)
		}
		if got := len(e.table.flows); got != maxFlowsEach+101 {
			t.Errorf("client %v: a hundred of another port have %d flows", client, got-maxFlowsEach-1)
		}
		e.drop()
		for range 100 {
			e.table.sweep(2 * flowIdle)
		}
		if len(e.table.flows) != 0 || len(e.table.ends) != 0 {
			t.Errorf("client %v: %d flows of %d ends are left", client, len(e.table.flows), len(e.table.ends))
		}
	}
}
