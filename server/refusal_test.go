package server

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A program whose port gets no mapping hears of it, by way of its client.
func TestRefusedPortsAreTold(t *testing.T) {
	for _, tt := range []struct {
		host  string
		inner func(uint16) netip.AddrPort
	}{{"127.0.0.1", inner4}, {"::1", inner6}} {
		s := testServer(t, func(c *conf.Server) { c.Limits.MappingsPerClient = 1 }, nil)
		sess := newFakeSession()
		p := newPeer(s, "laptop", sess)
		remote, at := remoteUDP(t, tt.host)
		send := func(port uint16) []byte { return makePacket(tt.inner(port), at, 0, 0, []byte{byte(port)}) }
		p.Deliver([][]byte{send(5), send(6), send(7), send(6)})
		read(t, remote)
		told := sess.next(t)
		want := tt.inner(packet.DiscardPort)
		if told.dst != want || told.src.Port() != packet.DiscardPort {
			t.Errorf("the news goes from %s to %s", told.src, told.dst)
		}
		var list []byte
		for _, port := range []uint16{6, 7} {
			list = binary.BigEndian.AppendUint16(append(list, tt.inner(port).Addr().AsSlice()...), port)
		}
		if string(told.payload) != string(list) {
			t.Errorf("told % x, want % x", told.payload, list)
		}
		p.refused.SetBurst(0) // a flood is not answered as such
		p.Deliver([][]byte{send(8), send(9)})
		sess.quiet(t)
	}
}
