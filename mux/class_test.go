package mux

import (
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// What comes is put in order where a rule says so: on a client by the sender, on a
// server by whom it goes to.
func TestRulesWantOrder(t *testing.T) {
	far, inner := netip.MustParseAddrPort("192.0.2.1:51820"), netip.AddrPortFrom(packet.ClientHost4, 4000)
	rules := []Rule{{To: netip.MustParsePrefix("192.0.2.0/24"), Ports: [2]uint16{51820, 51820}, DSCP: -1, Class: fq.ClassOrdered}}
	for _, client := range []bool{false, true} {
		s := newSession(sessionConfig{client: client, rules: rules})
		for _, from := range []netip.AddrPort{far, inner} {
			to := inner
			if from == inner {
				to = far
			}
			p := testPacket(from, to, 0, 100)
			var k packet.Key
			packet.KeyOf(p.Bytes(), &k)
			if got := s.ordersByRule(k, 0); got != (client == (from == far)) {
				t.Errorf("client %v, from %v: %v", client, from, got)
			}
			p.Release()
		}
	}
}
