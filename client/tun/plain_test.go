package tun

import (
	"context"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// fakePlain is a device of bare packets: what is put into up is read, what is written comes
// out of down.
type fakePlain struct {
	up, down chan []byte
	once     sync.Once
	closed   chan struct{}
}

func (f *fakePlain) Read(buffers [][]byte, sizes []int, offset int) (int, error) {
	select {
	case b := <-f.up:
		sizes[0] = copy(buffers[0][offset:], b)
		return 1, nil
	case <-f.closed:
		return 0, os.ErrClosed
	}
}

func (f *fakePlain) Write(buffers [][]byte, offset int) (int, error) {
	for _, b := range buffers {
		f.down <- append([]byte(nil), b[offset:]...)
	}
	return len(buffers), nil
}

func (f *fakePlain) BatchSize() int { return 1 }

func (f *fakePlain) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// A device without offload carries datagrams both ways, answers a refused connection with a
// reset whose checksum is right, and goes with its context; a broken one says so.
func TestPlain(t *testing.T) {
	f := &fakePlain{up: make(chan []byte), down: make(chan []byte, 16), closed: make(chan struct{})}
	tunnel := &fakeTunnel{}
	d := NewPlain(f, 1400, tunnel)
	if d.link.MTU() != 1400 || d.link.offload {
		t.Errorf("MTU %d, offload %v", d.link.MTU(), d.link.offload)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- ServePlain(ctx, d, f) }()
	to := netip.MustParseAddrPort("203.0.113.9:7")
	f.up <- udp(src4, to, "there", 0, 64)
	var p *fakePort
	wait(t, "a datagram", func() bool {
		tunnel.mu.Lock()
		defer tunnel.mu.Unlock()
		if len(tunnel.ports) == 1 && len(tunnel.ports[0].sent) == 1 {
			p = tunnel.ports[0]
		}
		return p != nil
	})
	if got := p.sent[0]; got.to != to || got.payload != "there" {
		t.Errorf("sent %+v", got)
	}
	h := packet.UDP{Src: to, Dst: src4, TTL: 50}
	pkt := append(make([]byte, h.Overhead(4)), "back"...)
	packet.PutUDP(pkt, &h)
	give(p.to.UDP, &h, pkt, pkt[len(pkt)-4:])
	var n network
	var g datagram
	if b := <-f.down; !n.parse(b) || !g.parse(b, &n, true) || string(b[g.payload:]) != "back" {
		t.Errorf("the program got % x", b)
	}
	// A SYN to the tunnel's own hosts, which are none for programs.
	f.up <- tcpSYN(src4, netip.AddrPortFrom(packet.ServerHost4, 80))
	select {
	case b := <-f.down:
		if !n.parse(b) || n.proto != packet.ProtoTCP || b[n.header+13]&4 == 0 {
			t.Errorf("a connection that is refused is answered by % x", b)
		} else if segment := b[n.header:n.total]; packet.Fold(packet.Sum(segment, tcpPseudo(&n, len(segment)))) != 0xFFFF {
			t.Errorf("the checksum of % x is wrong", b)
		}
	case <-time.After(20 * time.Second):
		t.Error("a connection that is refused is not answered")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	select {
	case <-f.closed:
	default:
		t.Error("the device is left open")
	}
	if err := ServePlain(t.Context(), NewPlain(f, 1400, tunnel), f); err == nil {
		t.Error("a device that has ended serves")
	}
}

func tcpPseudo(n *network, length int) uint64 {
	s, d := n.src.As4(), n.dst.As4()
	return packet.Sum(d[:], packet.Sum(s[:], uint64(packet.ProtoTCP)+uint64(length)))
}

// tcpSYN is the first packet of a connection.
func tcpSYN(from, to netip.AddrPort) []byte {
	const header = 20
	b := make([]byte, 2*header)
	s, d := from.Addr().As4(), to.Addr().As4()
	b[0], b[3], b[8], b[9] = 0x45, byte(len(b)), 64, packet.ProtoTCP
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	sum := packet.Checksum(b[:header], 0)
	b[10], b[11] = byte(sum>>8), byte(sum)
	m := b[header:]
	m[0], m[1], m[2], m[3] = byte(from.Port()>>8), byte(from.Port()), byte(to.Port()>>8), byte(to.Port())
	m[7], m[12], m[13], m[14] = 1, 5<<4, 2, 16
	n := network{src: from.Addr(), dst: to.Addr()}
	sum = packet.Checksum(m, tcpPseudo(&n, header))
	m[16], m[17] = byte(sum>>8), byte(sum)
	return b
}

// A port that is idle too long ends also when no packet comes any more, as from a program that
// waits: the server would be told for good that it is open.
func TestIdlePortOfSilentDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePlain{up: make(chan []byte), closed: make(chan struct{})}
		tunnel := &fakeTunnel{}
		d := NewPlain(f, 1400, tunnel)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- readPlain(ctx, d, f) }()
		f.up <- udp(src4, netip.MustParseAddrPort("203.0.113.9:7"), "one", 0, 64)
		f.up <- udp(src4, netip.MustParseAddrPort("203.0.113.9:7"), "two", 0, 64)
		time.Sleep(idleAfter - time.Second)
		if n := d.Counts().Ports; n != 1 {
			t.Errorf("%d ports before that", n)
		}
		time.Sleep(2*sweepEvery + time.Second)
		if n := d.Counts().Ports; n != 0 {
			t.Errorf("%d ports are open", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
