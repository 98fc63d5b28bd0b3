package server

import (
	"testing"
)

// TestSocketsInPortions: while a client's sockets are made and closed by the hundred, others that
// wait for the processor have it in between.
func TestSocketsInPortions(t *testing.T) {
	s := testServer(t, nil, nil)
	pauses := 0
	s.outlet.yield = func() { pauses++ }
	p := newPeer(s, "laptop", newFakeSession())
	_, at := remoteUDP(t, "127.0.0.1")
	const sockets = 10 * natPortion
	var pkts [][]byte
	for i := range sockets {
		pkts = append(pkts, makePacket(inner4(uint16(4000+i)), at, 0, uint32(i), nil))
	}
	p.Deliver(pkts)
	if n := p.nat.count(); n != sockets || pauses < 10 {
		t.Errorf("%d of %d sockets were made, with %d pauses", n, sockets, pauses)
	}
	var some []uint64
	for key := range p.nat.mappings {
		if some = append(some, key); len(some) == sockets/2 {
			break
		}
	}
	pauses = 0
	p.nat.end(some)
	if n := p.nat.count(); n != sockets/2 || pauses < 5 {
		t.Errorf("%d of %d sockets are left, with %d pauses", n, sockets, pauses)
	}
	pauses = 0
	p.Closed(nil)
	if n := p.nat.count(); n != 0 || pauses < 5 {
		t.Errorf("%d sockets are left, with %d pauses", n, pauses)
	}
}
