package tun

import (
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
		d.packet(&vnet{}, udp(netip.AddrPortFrom(f.src.Addr(), 77), f.dst, "x", 0, 64), nil) // a socket with the identifier's number
		d.packet(&vnet{}, echoRequest(f.src.Addr(), f.dst.Addr(), "ping"), nil)
		d.packet(&vnet{}, echoRequest(f.src.Addr(), f.server.Addr(), ""), nil)
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
	d.packet(&vnet{}, bad, nil)
	reply := packet.Echo{Src: src4.Addr(), Dst: dst4.Addr(), TTL: 64, Reply: true}
	b := make([]byte, reply.Overhead())
	packet.PutEcho(b, &reply)
	d.packet(&vnet{}, b, nil)
	for _, to := range []string{"198.18.0.2", "198.18.255.2", "224.0.0.1", "255.255.255.255"} {
		d.packet(&vnet{}, echoRequest(src4.Addr(), netip.MustParseAddr(to), "x"), nil)
	}
	d.packet(&vnet{}, echoRequest(src6.Addr(), netip.MustParseAddr("ff02::1"), "x"), nil)
	if c := d.Counts(); c.Unsupported != 2 || c.Refused != 5 || len(tunnel.ports) != 0 {
		t.Errorf("unsupported %d, refused %d, %d ports; want 2, 5, 0", c.Unsupported, c.Refused, len(tunnel.ports))
	}
}
