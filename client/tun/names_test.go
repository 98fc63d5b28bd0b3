package tun

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

func question(n int, fill byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(n)), bytes.Repeat([]byte{fill}, n)...)
}

// wait polls what another goroutine does, for up to ten seconds.
func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// Questions by TCP go to the resolver as datagrams, several in one connection, and their
// answers come back whole; a port is theirs, and no longer than the connection lives.
func TestNamesByTCP(t *testing.T) {
	d, tunnel, _ := newDevice()
	s := host(t, d)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	to := netip.AddrPortFrom(packet.ServerHost4, packet.ResolverPort)
	conn, err := dialAt(ctx, s, to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go conn.Write(append(question(30, 'a'), question(40, 'b')...))
	var p *fakePort
	wait(t, "two questions", func() bool {
		tunnel.mu.Lock()
		defer tunnel.mu.Unlock()
		if len(tunnel.ports) == 1 && len(tunnel.ports[0].sent) == 2 {
			p = tunnel.ports[0]
		}
		return p != nil
	})
	tunnel.mu.Lock()
	for i, n := range []int{30, 40} {
		if q := p.sent[i]; q.to != to || len(q.payload) != n {
			t.Errorf("question %d: %d bytes to %v", i, len(q.payload), q.to)
		}
	}
	tunnel.mu.Unlock()
	give(p.to.UDP, &packet.UDP{Src: dst4}, nil, make([]byte, 50)) // somebody else's
	answer := bytes.Repeat([]byte{'x'}, 40000)
	give(p.to.UDP, &packet.UDP{Src: to}, nil, answer)
	b := make([]byte, 2+len(answer))
	if _, err := io.ReadFull(conn, b); err != nil || !bytes.Equal(b, append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)) {
		t.Fatalf("%v, %.20q", err, b)
	}
	conn.Close()
	wait(t, "the port is given back", func() bool {
		tunnel.mu.Lock()
		defer tunnel.mu.Unlock()
		return p.closed
	})
	// No other port of the tunnel's hosts takes connections.
	if other, err := dialAt(ctx, s, netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort)); err == nil {
		other.Close()
		t.Error("connected to the exit itself")
	}
}

// What is no question ends the connection, and so does silence, and the device's end.
func TestNamesEnd(t *testing.T) {
	for name, send := range map[string][]byte{"a short one": {0, 3, 1, 2, 3}, "silence": nil, "half a one": {0, 20, 1}, "none that reads": question(20, 'q')} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, tunnel, _ := newDevice()
				here, there := net.Pipe()
				defer there.Close()
				done := make(chan struct{})
				began := time.Now()
				go func() {
					d.names(t.Context(), Holder{}, here, netip.AddrPortFrom(packet.ServerHost4, packet.ResolverPort))
					close(done)
				}()
				if send != nil {
					go there.Write(send) // ends with the pipe
				}
				synctest.Wait()
				for range 3 * maxAnswers { // nobody reads them, and nobody waits
					give(tunnel.ports[0].to.UDP, &packet.UDP{Src: netip.AddrPortFrom(packet.ServerHost4, packet.ResolverPort)}, nil, []byte("answer"))
				}
				<-done
				if took := time.Since(began); took > 2*namesIdle || !tunnel.ports[0].closed {
					t.Errorf("ends after %v, closed %v", took, tunnel.ports[0].closed)
				}
			})
		})
	}
}

// A question to whatever name server is answered by the tunnel's resolver, in that one's
// name; another's datagram is not let in, and what is no question goes where it is sent.
func TestCaptureNames(t *testing.T) {
	for _, f := range []struct {
		src, dst, other netip.AddrPort
		resolver        netip.Addr
	}{
		{src4, netip.MustParseAddrPort("192.168.1.1:53"), netip.MustParseAddrPort("192.0.2.77:7"), packet.ServerHost4},
		{src6, netip.MustParseAddrPort("[fe80::1]:53"), netip.MustParseAddrPort("[2001:db8::77]:7"), packet.ServerHost6},
	} {
		d, tunnel, kernel := newDevice()
		d.CaptureNames(AllNames)
		take(d, &vnet{}, udp(f.src, f.dst, "question", 0, 64))
		take(d, &vnet{}, udp(f.src, f.other, "else", 0, 64))
		if len(tunnel.ports) != 2 || len(tunnel.ports[0].sent) != 1 || len(tunnel.ports[1].sent) != 1 {
			t.Fatalf("%v: inner ports %+v, want two with a datagram each", f.src, tunnel.ports)
		}
		to := netip.AddrPortFrom(f.resolver, packet.ResolverPort)
		if got := tunnel.ports[0].sent[0]; got.to != to || got.payload != "question" {
			t.Errorf("asked %+v, want %v", got, to)
		}
		if got := tunnel.ports[1].sent[0]; got.to != f.other {
			t.Errorf("sent %+v, want %v", got, f.other)
		}
		for _, from := range []netip.AddrPort{f.other, to} {
			h := packet.UDP{Src: from, Dst: f.src, TTL: 50}
			pkt := append(make([]byte, h.Overhead(6)), "answer"...)
			packet.PutUDP(pkt, &h)
			give(tunnel.ports[0].to.UDP, &h, pkt, pkt[len(pkt)-6:])
		}
		if len(kernel.pkts) != 1 {
			t.Fatalf("%d packets for the kernel, want the resolver's alone", len(kernel.pkts))
		}
		var n network
		var g datagram
		if b := kernel.pkts[0]; !n.parse(b) || !g.parse(b, &n, true) || g.src != f.dst || g.dst != f.src || string(b[g.payload:]) != "answer" {
			t.Errorf("the program is answered by %v at %v", g.src, g.dst)
		}
		d.CaptureNames(func(a netip.Addr) bool { return a == f.other.Addr() }) // another's
		take(d, &vnet{}, udp(f.src, f.dst, "question", 0, 64))
		if got := tunnel.ports[1].sent; len(got) != 2 || got[1].to != f.dst {
			t.Errorf("sent %+v, want it to be asked itself", got)
		}
		d.CaptureNames(nil)
		take(d, &vnet{}, udp(f.src, f.dst, "question", 0, 64))
		if got := tunnel.ports[1].sent; len(got) != 3 || got[2].to != f.dst {
			t.Errorf("sent %+v, want it to be asked itself", got)
		}
	}
}
