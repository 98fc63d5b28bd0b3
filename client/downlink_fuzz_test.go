package client

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// FuzzDownlink gives a client what a server may say: sound packets for what it has open, and
// others. It has an association, a datagram stream over TCP, a forward, a program behind a device,
// the visitors of a published port, and the ears of its own. Nothing panics, and what is
// given to a program came for its port.
func FuzzDownlink(f *testing.F) {
	tunnel := &fakeTunnel{}
	c := start(f, tunnel, func(cfg *conf.Client) {
		cfg.Forwards = []conf.Forward{{Listen: conf.EndpointOf(netip.MustParseAddrPort("127.0.0.1:0")), To: "192.0.2.1:53"}}
	})
	_, relay := associated(f, c, anywhere)
	app := newApp(f, "127.0.0.1", relay)
	app.send(f, datagram(0, "192.0.2.1:53", []byte("x")))
	newApp(f, "127.0.0.1", c.front.forwards()[0].address()).send(f, []byte("x"))
	talk(f, dial(f, c), append(uotConnect(uotHost), "\x01\x01\xc0\x00\x02\x01\x00\x35\x00\x02ok"...), 12)
	g, err := newEnclave(c, Program{Name: "game"})
	if err != nil {
		f.Fatal(err)
	}
	var theirs atomic.Pointer[innerPort]
	var other atomic.Bool // something came that was another's
	inside, err := g.Open(tun.Holder{}, tun.Sink{
		UDP: func(_ *tun.Batch, h *packet.UDP, _, _ []byte) {
			other.CompareAndSwap(false, h.Dst.Port() != theirs.Load().port)
		},
		Echo:    func(h *packet.Echo, _ []byte) { other.CompareAndSwap(false, h.ID != theirs.Load().port) },
		Failure: func(m *packet.Failure) { other.CompareAndSwap(false, m.Src.Port() != theirs.Load().port) },
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(inside.Close)
	theirs.Store(&inside.(*enclavePort).innerPort)
	v := newVisitors(newPublication(c, conf.Route{Proto: conf.ProtoUDP}))
	v.loop = c.loops[0]
	program := newApp(f, "127.0.0.1", netip.AddrPort{}).LocalAddr().String()
	to := netip.MustParseAddrPort(program)
	v.target.Store(&to)
	if err := c.ports.take(&v.innerPort, v); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(v.close)
	eventually(f, "all have a port", func() bool { return c.ports.used() == 6 })

	step := func(kind, port byte, payload string) []byte {
		return append([]byte{kind, port, byte(len(payload) >> 8), byte(len(payload))}, payload...)
	}
	refused := append(packet.ClientHost4.AsSlice(), 4, 0)
	for i := range byte(8) {
		for k := range byte(9) {
			f.Add(step(k, i, "a payload"))
		}
		f.Add(step(2, i, "\x00\x00\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x04host\x04test\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01"))
		f.Add(step(4, i, string(refused)))
		f.Add(append(step(7, i, "1"), step(8, i, "2")...))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if n, _ := c.associations.State(); n == 1 { // the server's word ended it
			associated(t, c, anywhere)
		}
		var ports []*innerPort
		c.ports.each(func(p *innerPort) { ports = append(ports, p) })
		var pkts [][]byte
		for len(script) >= 4 {
			kind, p := script[0], ports[int(script[1])%len(ports)]
			n := min(int(script[2])<<8|int(script[3]), len(script)-4)
			six, src := script[0]&16 != 0, script[1]>>3
			payload := script[4 : 4+n]
			script = script[4+n:]
			pkts = append(pkts, serverSays(kind&15, p, six, src, payload))
		}
		c.downlink.Deliver(pkts)
		if other.Load() {
			t.Error("a program got what was for another port")
		}
		tunnel.forget()
	})
}

// serverSays is one packet of a server's, for a port or for the client itself.
func serverSays(kind byte, p *innerPort, six bool, src byte, payload []byte) []byte {
	from, host := netip.AddrFrom4([4]byte{192, 0, 2, 1 + src}), packet.ServerHost4
	if six {
		from, host = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: 1 + src}), packet.ServerHost6
	}
	dst := p.source(from)
	udp := func(h packet.UDP, payload []byte) []byte {
		h.TTL = 64
		b := append(make([]byte, h.Overhead(len(payload))), payload...)
		packet.PutUDP(b, &h)
		return b
	}
	whole := netip.AddrPortFrom(from, 53)
	ear := netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort)
	if six {
		ear = netip.AddrPortFrom(packet.ClientHost6, packet.DiscardPort)
	}
	switch kind {
	case 1: // from anybody
		return udp(packet.UDP{Src: whole, Dst: dst}, payload)
	case 2: // an answer to a question
		return udp(packet.UDP{Src: resolver, Dst: p.source(resolver.Addr())}, payload)
	case 3: // words
		return udp(packet.UDP{Src: netip.AddrPortFrom(packet.ServerHost4, packet.WordPort), Dst: netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort)}, payload)
	case 4: // ports that are refused
		return udp(packet.UDP{Src: netip.AddrPortFrom(host, packet.DiscardPort), Dst: ear}, payload)
	case 5:
		h := packet.Echo{Src: from, Dst: dst.Addr(), ID: dst.Port(), Seq: uint16(src), TTL: 9, Reply: true}
		b := append(make([]byte, h.Overhead()), payload...)
		packet.PutEcho(b, &h)
		return b
	case 6:
		m := packet.Failure{From: host, To: dst.Addr(), Proto: packet.ProtoUDP, Src: dst, Dst: whole}
		m.NoPort(!six)
		if src&1 != 0 {
			m.Proto = packet.ProtoICMP
			if six {
				m.Proto = packet.ProtoICMP6
			}
		}
		b := make([]byte, m.Len())
		packet.PutFailure(b, &m)
		for i, x := range payload { // and nearly one
			b[i%len(b)] ^= x
		}
		return b
	case 7, 8: // halves
		long := make([]byte, packet.UDP6Overhead+packet.MaxWhole6+8)
		tail := make([]byte, packet.MaxTail)
		h := packet.UDP{Src: netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: 1 + src}), 53), Dst: p.source(packet.ServerHost6), TTL: 64, ID: 1}
		if len(payload) > 0 {
			h.ID = uint32(payload[0] & 7)
		}
		first, second := packet.SplitUDP(long, tail, &h)
		if kind == 7 {
			return long[:first]
		}
		return tail[:second]
	case 9: // an honest header and a payload that is longer or shorter than it says
		b := udp(packet.UDP{Src: whole, Dst: dst}, payload)
		if len(payload) > 1 {
			binary.BigEndian.PutUint16(b[len(b)-len(payload)-4:], uint16(payload[0])<<8|uint16(payload[1]))
		}
		return b
	}
	return append([]byte(nil), payload...)
}
