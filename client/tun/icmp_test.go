package tun

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

func echoRequest(src, dst netip.Addr, payload string) []byte {
	h := packet.Echo{Src: src, Dst: dst, TOS: 0x28, TTL: 3, Bare: src.Is6(), ID: 77, Seq: 5}
	b := append(make([]byte, h.Overhead()), payload...)
	packet.PutEcho(b, &h)
	return b
}

// An echo request goes to the exit with all that it has, by an inner port of its
// identifier's own; the answer comes back with that identifier, and so does word that
// there is none. Other identifiers, sockets and programs are told nothing of it.
func TestEcho(t *testing.T) {
	for _, f := range []struct{ src, dst, server netip.AddrPort }{
		{src4, dst4, netip.AddrPortFrom(packet.ServerHost4, 0)}, {src6, dst6, netip.AddrPortFrom(packet.ServerHost6, 0)},
	} {
		d, tunnel, kernel := newDevice()
		take(d, &vnet{}, udp(netip.AddrPortFrom(f.src.Addr(), 77), f.dst, "x", 0, 64)) // a socket with the identifier's number
		take(d, &vnet{}, echoRequest(f.src.Addr(), f.dst.Addr(), "ping"))
		take(d, &vnet{}, echoRequest(f.src.Addr(), f.server.Addr(), ""))
		if len(tunnel.ports) != 2 {
			t.Fatalf("%d inner ports, want 2", len(tunnel.ports))
		}
		udpPort, p := tunnel.ports[0], tunnel.ports[1]
		want := []sentEcho{{f.dst.Addr(), "ping", 5, 0x28, 3}, {f.server.Addr(), "", 5, 0x28, 3}}
		if len(p.echoes) != 2 || p.echoes[0] != want[0] || p.echoes[1] != want[1] {
			t.Fatalf("sent %v, want %v", p.echoes, want)
		}
		back := packet.Echo{Src: f.dst.Addr(), Dst: f.src.Addr(), TOS: 1, TTL: 50, Reply: true, ID: 4242, Seq: 5}
		p.to.Echo(&back, []byte("ping"))
		udpPort.to.Echo(&back, []byte("ping"))
		if len(kernel.pkts) != 1 {
			t.Fatalf("%d packets for the kernel, want 1", len(kernel.pkts))
		}
		var got packet.Echo
		payload, err := packet.ParseEcho(kernel.pkts[0], &got)
		back.ID, back.Bare = 77, f.src.Addr().Is6()
		if err != nil || got != back || string(payload) != "ping" {
			t.Errorf("the kernel got %+v %q, %v; want %+v", got, payload, err, back)
		}
		// Word of what did not arrive.
		proto := uint8(packet.ProtoICMP6)
		if f.src.Addr().Is4() {
			proto = packet.ProtoICMP
		}
		for _, one := range []struct {
			port *fakePort
			src  netip.AddrPort
			not  *fakePort
			f    packet.Failure
		}{
			{p, netip.AddrPortFrom(f.src.Addr(), 77), udpPort, packet.Failure{Proto: proto, Dst: netip.AddrPortFrom(f.dst.Addr(), 5)}},
			{udpPort, netip.AddrPortFrom(f.src.Addr(), 77), p, packet.Failure{Proto: packet.ProtoUDP, Dst: f.dst}},
		} {
			kernel.pkts = nil
			one.f.From, one.f.To, one.f.Src = f.dst.Addr().Next(), packet.ClientHost4, netip.AddrPortFrom(packet.ClientHost4, 9)
			one.f.NoPort(f.src.Addr().Is4())
			one.not.to.Failure(&one.f)
			one.port.to.Failure(&one.f)
			if len(kernel.pkts) != 1 {
				t.Fatalf("%d packets for the kernel, want 1", len(kernel.pkts))
			}
			var got packet.Failure
			want := one.f
			want.To, want.Src = f.src.Addr(), one.src
			want.Bare = f.src.Addr().Is6()
			if err := packet.ParseFailure(kernel.pkts[0], &got); err != nil || got != want {
				t.Errorf("the kernel got %+v, %v; want %+v", got, err, want)
			}
		}
		if c := d.Counts(); c.Out != 3 || c.In != 1 || c.Failures != 2 || c.Malformed != 3 {
			t.Errorf("counts %+v", c)
		}
	}
}

// Of echo requests what is wrong, or to nobody, goes no further.
func TestEchoRefused(t *testing.T) {
	d, tunnel, _ := newDevice()
	bad := echoRequest(src4.Addr(), dst4.Addr(), "ping")
	bad[len(bad)-1]++
	take(d, &vnet{}, bad)
	reply := packet.Echo{Src: src4.Addr(), Dst: dst4.Addr(), TTL: 64, Reply: true}
	b := make([]byte, reply.Overhead())
	packet.PutEcho(b, &reply)
	take(d, &vnet{}, b)
	for _, to := range []string{"198.18.0.2", "198.18.255.2", "224.0.0.1", "255.255.255.255"} {
		take(d, &vnet{}, echoRequest(src4.Addr(), netip.MustParseAddr(to), "x"))
	}
	take(d, &vnet{}, echoRequest(src6.Addr(), netip.MustParseAddr("ff02::1"), "x"))
	if c := d.Counts(); c.Unsupported != 2 || c.Refused != 5 || len(tunnel.ports) != 0 {
		t.Errorf("unsupported %d, refused %d, %d ports; want 2, 5, 0", c.Unsupported, c.Refused, len(tunnel.ports))
	}
}

// A protocol that the tunnel does not carry is said to be unknown where it was to go, at
// once: programs with such sockets would wait for an answer otherwise.
func TestUnknownProtocol(t *testing.T) {
	for _, f := range []struct{ src, dst netip.AddrPort }{{src4, dst4}, {src6, dst6}} {
		d, _, kernel := newDevice()
		b := udp(f.src, f.dst, "an association of SCTP", 0, 64)
		proto, kind, code, head := 9, byte(3), byte(2), packet.IPv4HeaderLen
		if f.src.Addr().Is6() {
			proto, kind, code, head = 6, 4, 1, packet.IPv6HeaderLen
		}
		b[proto] = 132
		take(d, &vnet{}, b)
		if len(kernel.pkts) != 1 {
			t.Fatalf("%v: %d packets for the kernel, want 1", f.src, len(kernel.pkts))
		}
		got := kernel.pkts[0]
		var n network
		if !n.parse(got) || n.src != f.dst.Addr() || n.dst != f.src.Addr() || n.total != len(got) {
			t.Fatalf("%v: % x", f.src, got)
		}
		m := got[head:]
		sum := uint64(0)
		if f.src.Addr().Is6() {
			s, t := n.src.As16(), n.dst.As16()
			sum = packet.Sum(t[:], packet.Sum(s[:], packet.ProtoICMP6+uint64(len(m))))
		} else if packet.Fold(packet.Sum(got[:head], 0)) != 0xFFFF {
			t.Errorf("%v: the header's checksum", f.src)
		}
		if f.src.Addr().Is6() && m[7] != 6 {
			t.Errorf("the pointer is at %d, want 6, the next header", m[7])
		}
		if m[0] != kind || m[1] != code || packet.Fold(packet.Sum(m, sum)) != 0xFFFF || !bytes.Equal(m[8:], b) {
			t.Errorf("%v: % x", f.src, m)
		}
		// Nobody is told of what went to many.
		many := netip.MustParseAddrPort("224.0.0.251:5353")
		if f.src.Addr().Is6() {
			many = netip.MustParseAddrPort("[ff02::fb]:5353")
		}
		b = udp(f.src, many, "", 0, 64)
		b[proto] = 132
		take(d, &vnet{}, b)
		if len(kernel.pkts) != 1 || d.Counts().Unsupported != 2 {
			t.Errorf("%v: %d packets for the kernel, %d unsupported", f.src, len(kernel.pkts), d.Counts().Unsupported)
		}
	}
}
