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
