package tun

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// The table of ports is bounded: the one idle for the longest makes room, and all
// are closed at the end.
func TestPortsBounded(t *testing.T) {
	d, tunnel, _ := newDevice()
	for i := range maxPorts + 10 {
		take(d, &vnet{}, udp(netip.AddrPortFrom(src4.Addr(), uint16(1000+i)), dst4, "x", 0, 64))
	}
	if n := d.ports.count(); n != maxPorts {
		t.Errorf("%d ports, want %d", n, maxPorts)
	}
	if !tunnel.ports[0].closed || tunnel.ports[len(tunnel.ports)-1].closed {
		t.Error("the oldest port stayed, or the newest went")
	}
	d.ports.end()
	for i, p := range tunnel.ports {
		if !p.closed {
			t.Fatalf("port %d is still open at the end", i)
		}
	}
	take(d, &vnet{}, udp(src4, dst4, "x", 0, 64))
	if d.ports.count() != 0 {
		t.Error("a port was opened after the end")
	}
}

// A program that opens one socket after the other costs the others little: all ports are looked
// at once for many that give way, and it is the oldest that do.
func TestPortsGiveWayCheaply(t *testing.T) {
	d, tunnel, _ := newDevice()
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 255, byte(i >> 16)}), uint16(i))
	}
	const more = 3000
	for i := range maxPorts + more {
		take(d, &vnet{}, udp(at(1+i), dst4, "x", 0, 64))
		take(d, &vnet{}, udp(src4, dst4, "x", 0, 64)) // an honest one
	}
	if n := d.ports.looks; n > more*lookShare/maxPorts+2 {
		t.Errorf("%d looks at all ports for %d that gave way", n, more)
	}
	if n := d.ports.count(); n != maxPorts {
		t.Errorf("%d ports", n)
	}
	honest := 0
	for _, p := range tunnel.ports {
		if len(p.sent) > 1 {
			honest++
			if p.closed || len(p.sent) != maxPorts+more {
				t.Errorf("the honest one has sent %d, closed %v", len(p.sent), p.closed)
			}
		}
	}
	if honest != 1 {
		t.Errorf("the honest one had %d ports", honest)
	}
	d.ports.end()
}

// When all ports are taken one of whoever has most gives way: another user's socket, or another
// machine's, that waits in silence for what comes keeps its port.
func TestPortsGiveWayOfWhoHasMost(t *testing.T) {
	for name, users := range map[string]bool{"users": true, "machines": false} {
		d, tunnel, _ := newDevice()
		tunnel.owners = users
		at := func(host byte, port int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 255, host}), uint16(port))
		}
		take(d, &vnet{}, udp(at(1, 3000), dst4, "x", 0, 64))
		for i := range maxPorts + 500 {
			from := at(2, 1+i)
			if users { // one's are from 2,000 on, see fakeTunnel
				from = at(byte(2+i/1000), 2000+i%1000)
			}
			take(d, &vnet{}, udp(from, dst4, "x", 0, 64))
		}
		if tunnel.ports[0].closed {
			t.Errorf("%s: the silent socket of another one gave way", name)
		}
		closed := 0
		for _, p := range tunnel.ports {
			if p.closed {
				closed++
			}
		}
		if closed < 500 || d.ports.count() != maxPorts {
			t.Errorf("%s: %d gave way, and %d are there", name, closed, d.ports.count())
		}
		for who, n := range d.ports.held {
			if n <= 0 || len(d.ports.held) > 2 {
				t.Errorf("%s: %+v has %d", name, who, n)
			}
		}
	}
}

// Who sends halves of packets keeps nobody's from being joined, and holds no more than so many.
func TestHalvesGiveWay(t *testing.T) {
	d, tunnel, _ := newDevice()
	whole := udp(src4, dst4, "a payload of some twenty bytes", 0, 64)
	half := func(id uint16, first bool) []byte {
		b := bytes.Clone(whole[:20])
		if first {
			b = append(b, whole[20:36]...)
			binary.BigEndian.PutUint16(b[6:], 0x2000)
		} else {
			b = append(b, whole[36:]...)
			binary.BigEndian.PutUint16(b[6:], 2)
		}
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], id)
		return b
	}
	for id := range uint16(10 * maxJoins) {
		take(d, &vnet{}, half(id, true))
	}
	if n := len(d.joiner.open); n != maxJoins {
		t.Errorf("%d wait", n)
	}
	take(d, &vnet{}, half(60000, true))
	take(d, &vnet{}, half(60000, false))
	d.flush()
	if len(tunnel.ports) != 1 || len(tunnel.ports[0].sent) != 1 {
		t.Error("an honest one was not joined")
	}
	d.ports.end()
}
