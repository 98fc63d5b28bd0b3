package server

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/server/names/namestest"
)

// FuzzUplink gives a client's session any packets, sound ones and others: to a host that it
// may reach, to those that it may not, and to the server's own ears, from its own ear and
// from its programs'. Nothing panics, caps hold, and what has ended has no mapping.
func FuzzUplink(f *testing.F) {
	_, at := remoteUDP(f, "127.0.0.1")
	const most = 8
	s := testServer(f, func(c *conf.Server) {
		c.Relay.Allow = allow(f, fmt.Sprintf("%s/32:%d", at.Addr(), at.Port()))
		c.Limits.MappingsPerClient = most
	}, func(s *Server) {
		askOnly(s)
	})
	sess := newFakeSession()
	sess.discard = true
	p := newPeer(s, "laptop", sess)
	step := func(kind, port byte, payload string) []byte {
		return append([]byte{kind, port, byte(len(payload))}, payload...)
	}
	ear := string(packet.ClientHost4.AsSlice()) + "\x00\x01"
	for i := range byte(4) {
		for kind := range byte(14) {
			f.Add(step(kind, i, "a payload"))
		}
		f.Add(append(append(step(1, i, "x"), step(4, i, ear)...), step(5, i, ear)...))
		f.Add(step(3, i, string((&packet.Wish{At: packet.End{Proto: packet.ProtoUDP, Host: 2, Port: 1}, Class: 1}).Append(nil))))
		f.Add(append(step(7, i, "1"), step(8, i, "1")...))
		f.Add(step(2, i, string(namestest.Question("example.com.", 1))))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		var pkts [][]byte
		for len(script) >= 3 {
			kind, port, n := script[0], uint16(script[1])+1, min(int(script[2]), len(script)-3)
			payload := script[3 : 3+n]
			script = script[3+n:]
			pkts = append(pkts, clientSays(kind, port, at, payload))
			if kind&0x80 != 0 { // in a batch of its own
				p.Deliver(pkts)
				pkts = nil
			}
		}
		p.Deliver(pkts)
		if n := p.nat.count(); n > most {
			t.Errorf("%d mappings, of %d at most", n, most)
		}
		p.nat.mu.RLock()
		var keys []uint64
		for key := range p.nat.mappings {
			keys = append(keys, key)
		}
		p.nat.mu.RUnlock()
		p.nat.end(keys)
		if n := p.nat.count(); n != 0 || p.client.mappings.used.Load() != 0 {
			t.Errorf("%d mappings stay, %d are counted", n, p.client.mappings.used.Load())
		}
	})
}

// clientSays is one packet of a client's.
func clientSays(kind byte, port uint16, at netip.AddrPort, payload []byte) []byte {
	src, host, own := inner4(port), packet.ServerHost4, inner4(packet.DiscardPort)
	if kind&0x40 != 0 {
		src, host, own = inner6(port), packet.ServerHost6, inner6(packet.DiscardPort)
	}
	if kind&0x20 != 0 {
		own = src // a program's word, and not the client's
	}
	switch kind & 0x1F {
	case 1:
		return makePacket(inner4(port), at, 0, uint32(port), payload)
	case 2:
		return makePacket(src, netip.AddrPortFrom(host, packet.ResolverPort), 0, 0, payload)
	case 3:
		return makePacket(own, netip.AddrPortFrom(host, packet.WishPort), 0, 0, payload)
	case 4:
		return makePacket(own, netip.AddrPortFrom(host, packet.AlivePort), 0, 0, payload)
	case 5:
		return makePacket(own, netip.AddrPortFrom(host, packet.DiscardPort), 0, 0, payload)
	case 6:
		return makePacket(src, netip.AddrPortFrom(host, packet.EchoPort), 0, 0, payload)
	case 7, 8:
		first, second := makeLong(inner6(port), netip.MustParseAddrPort("[::1]:9"), uint32(len(payload)), make([]byte, packet.MaxWhole6+1))
		if kind&0x1F == 7 {
			return first
		}
		return second
	case 9: // where nobody may
		return makePacket(inner4(port), netip.AddrPortFrom(at.Addr(), at.Port()^1), 0, 0, payload)
	case 10:
		return makePacket(inner6(port), netip.AddrPortFrom(netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b, 12: 127, 15: 1}), at.Port()), 0, 0, payload)
	case 11:
		return echoTo(inner4(port), netip.MustParseAddr("10.0.0.1"), port, 64, string(payload))
	case 12: // from somewhere else within the tunnel
		return makePacket(netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, byte(port), byte(port)}), port), at, 0, 0, payload)
	case 13:
		return makePacket(netip.AddrPortFrom(packet.ServerHost4, port), at, 0, 0, payload)
	}
	return append([]byte(nil), payload...)
}
