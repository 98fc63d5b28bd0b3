package server

import (
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// TestHalvesAreCharged: halves of datagrams whose other half never comes are memory of the
// session's.
func TestHalvesAreCharged(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	before := p.memory()
	h := packet.UDP{
		Src: netip.AddrPortFrom(packet.ClientHost6, 4000),
		Dst: netip.MustParseAddrPort("[2001:db8::1]:9"), TTL: 64,
	}
	const halves, payload = 8, 65500
	for id := range uint32(2 * halves) {
		h.ID = id
		b, tail := make([]byte, packet.UDP6Overhead+payload), make([]byte, packet.MaxTail)
		first, _ := packet.SplitUDP(b, tail, &h)
		p.Deliver([][]byte{b[:first]})
	}
	if n := p.memory() - before; n < halves*60_000 || n > halves*70_000 {
		t.Errorf("%d halves of 60 KiB are charged with %d bytes", halves, n)
	}
}

// TestBuffersOfMappingsGoWithTheirNumber: what the kernel may hold for all mappings of a client that
// has thousands is a few times its share.
func TestBuffersOfMappingsGoWithTheirNumber(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	s.exits.share.Store(8 << 20)
	sum := 0
	const most = 1000
	for range most {
		if !p.mappings.take() {
			t.Fatal("there is no room for a mapping")
		}
		n := receiveBuffer(p)
		if n == 0 {
			n = 1 << 20 // udpio's own, which the kernel may double
		}
		sum += 2 * n
	}
	if limit := 5*(8<<20) + most*kernelLeast; sum > limit {
		t.Errorf("the kernel may hold %d MiB for %d mappings of a client with a share of 8", sum>>20, most)
	}
	for range most {
		p.mappings.give()
	}
}

// TestNewsOfAPortWakeFew: who waits for a port hears of it, and hardly anybody of another's, which
// a client may publish and give up without end.
func TestNewsOfAPortWakeFew(t *testing.T) {
	var ports publishing
	hear := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	var waits []<-chan struct{}
	for port := range uint16(1000) {
		waits = append(waits, ports.news(port))
	}
	ports.mu.Lock()
	ports.tell(300)
	ports.mu.Unlock()
	woken := 0
	for _, c := range waits {
		if hear(c) {
			woken++
		}
	}
	if !hear(waits[300]) || woken > 4 {
		t.Errorf("of a thousand ports' %d are woken by one's, that one: %v", woken, hear(waits[300]))
	}
	ports.allow(nil)
	for port, c := range waits {
		if !hear(c) {
			t.Fatalf("who waits for port %d is not woken by another configuration", port)
		}
	}
}
