//go:build linux && !mpsocks_portable

package server

import (
	"net/netip"
	"testing"
)

// TestTOS carries DSCP and ECN through, which only Linux's sockets tell.
func TestTOS(t *testing.T) {
	s := testServer(t, nil, nil)
	sess := newFakeSession()
	p := s.newPeer("laptop", sess)
	// One mapping sends to another one: both sides of the server carry it.
	p.Deliver([][]byte{makePacket(inner4(1), netip.MustParseAddrPort("127.0.0.1:9"), 0, 0, nil)})
	key, _ := innerKey(inner4(1))
	p.mu.RLock()
	port := p.mappings[key].conn.LocalAddr().Port()
	p.mu.RUnlock()
	const ef = 46<<2 | 2 // with ECT(0)
	p.Deliver([][]byte{makePacket(inner4(2), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), ef, 0, []byte("a"))})
	if g := sess.next(t); g.tos != ef || g.dst != inner4(1) {
		t.Errorf("got %+v", g)
	}
}
