package packet

import (
	"net/netip"
	"testing"
)

func TestKeyOf(t *testing.T) {
	for _, ends := range [][2]netip.AddrPort{{client4, remote4}, {client6, remote6}} {
		want := Key{
			Src: ends[0].Addr().As16(), Dst: ends[1].Addr().As16(), SrcPort: ends[0].Port(), DstPort: ends[1].Port(),
			Proto: ProtoUDP,
		}
		var k Key
		if !KeyOf(buildUDP(ends[0], ends[1], 10), &k) || k != want {
			t.Errorf("UDP: %+v, want %+v", k, want)
		}
		want.Proto = ProtoTCP
		if !KeyOf(buildTCP(&TCP{Src: ends[0], Dst: ends[1]}, 10), &k) || k != want {
			t.Errorf("TCP: %+v, want %+v", k, want)
		}
		if !KeyOf(buildTCP(&TCP{Src: ends[0], Dst: ends[1], Bare: true}, 10), &k) || k != want {
			t.Errorf("bare TCP: %+v, want %+v", k, want)
		}
		// A later fragment has no ports.
		b := buildUDP(ends[0], ends[1], 10)
		if ends[1] == remote4 {
			b[7] = 9
		} else {
			b[42] = 9
		}
		want.Proto, want.SrcPort, want.DstPort = ProtoUDP, 0, 0
		if !KeyOf(b, &k) || k != want {
			t.Errorf("fragment: %+v, want %+v", k, want)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 60), {0x45}, buildUDP(client6, remote6, 1)[:51]} {
		var k Key
		if KeyOf(b, &k) {
			t.Errorf("% x has a flow: %+v", b, k)
		}
	}
}

func FuzzKeyOf(f *testing.F) {
	f.Add(buildUDP(client4, remote4, 3))
	f.Add(buildUDP(client6, remote6, 3))
	f.Add([]byte{0x45, 0, 0, 4})
	f.Add(buildUDP(client6, remote6, 3)[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		var k Key
		KeyOf(b, &k)
		TOS(b)
		ID(b)
		Proto(b)
		_, _ = Length(b)
	})
}
