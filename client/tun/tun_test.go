package tun

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// The TCP stack waits a minute for a program that has begun a connection and says no more.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*listenContext).performHandshake"))
}

// fakeTunnel notes what a Device sends and can answer.
type fakeTunnel struct {
	mu      sync.Mutex
	ports   []*fakePort
	refuse  bool
	streams chan net.Conn                                      // the exit's ends of connections
	silent  func(ctx context.Context, to netip.AddrPort) error // instead of them; or nil
	owners  bool                                               // sockets have users
	crowded atomic.Int64
}

type fakePort struct {
	tunnel *fakeTunnel
	to     Sink
	sent   []sentDatagram
	echoes []sentEcho
	closed bool
}

type sentEcho struct {
	to       netip.Addr
	payload  string
	seq      uint16
	tos, ttl uint8
}

type sentDatagram struct {
	to       netip.AddrPort
	payload  string
	tos, ttl uint8
}

func (t *fakeTunnel) Open(_ Holder, to Sink) (Port, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refuse {
		return nil, errors.New("no port")
	}
	p := &fakePort{tunnel: t, to: to}
	t.ports = append(t.ports, p)
	return p, nil
}

func (t *fakeTunnel) Flush() {}

// Owner says that a socket's user is its port by thousands, from 1,000 on.
func (t *fakeTunnel) Owner(_ uint8, from, _ netip.AddrPort) (uint32, bool) {
	return uint32(from.Port() / 1000), from.Port() >= 1000 && t.owners
}

func (t *fakeTunnel) Crowded() { t.crowded.Add(1) }

func (t *fakeTunnel) Connect(ctx context.Context, _, to netip.AddrPort) (Stream, error) {
	if t.silent != nil {
		if err := t.silent(ctx, to); err != nil {
			return nil, err
		}
	}
	if t.streams == nil {
		return nil, ErrRefused
	}
	a, b := net.Pipe()
	t.streams <- b
	return &fakeStream{Conn: a}, nil
}

type fakeStream struct{ net.Conn }

func (s *fakeStream) CloseWrite() error { return s.Close() }
func (s *fakeStream) Reset()            { s.Close() }

func (p *fakePort) Send(run []Datagram) {
	p.tunnel.mu.Lock()
	defer p.tunnel.mu.Unlock()
	for _, d := range run {
		p.sent = append(p.sent, sentDatagram{d.To, string(d.Payload.Bytes()), d.TOS, d.TTL})
		d.Payload.Release()
	}
}

func (p *fakePort) Echo(b *buf.Buffer, to netip.Addr, seq uint16, tos, ttl uint8) {
	p.tunnel.mu.Lock()
	defer p.tunnel.mu.Unlock()
	p.echoes = append(p.echoes, sentEcho{to, string(b.Bytes()), seq, tos, ttl})
	b.Release()
}

func (p *fakePort) Close() {
	p.tunnel.mu.Lock()
	defer p.tunnel.mu.Unlock()
	p.closed = true
}

// fakeKernel keeps what a Device writes.
type fakeKernel struct {
	mu    sync.Mutex
	pkts  [][]byte
	heads []vnet
	full  bool
}

func (k *fakeKernel) writePacket(head *[vnetLen]byte, parts [][]byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.full {
		var v vnet
		v.parse(head)
		k.pkts, k.heads = append(k.pkts, bytes.Join(parts, nil)), append(k.heads, v)
	}
	return !k.full
}

// give gives a port a datagram as if no other had come with it.
func give(to func(*Batch, *packet.UDP, []byte, []byte), h *packet.UDP, pkt, payload []byte) {
	var b Batch
	to(&b, h, pkt, payload)
	b.Flush()
}

func newDevice() (*Device, *fakeTunnel, *fakeKernel) {
	t, k := &fakeTunnel{}, &fakeKernel{}
	return prepared(t, &link{out: k}), t, k
}

// take gives a Device a packet, as if no other had come with it.
func take(d *Device, v *vnet, b []byte) {
	d.packet(v, b, nil)
	d.flush()
}

// udp4 and udp6 make packets as a kernel does: no fragment header.
func udp(src, dst netip.AddrPort, payload string, tos, ttl uint8) []byte {
	h := packet.UDP{Src: src, Dst: dst, TOS: tos, TTL: ttl, Bare: true}
	n := packet.UDP4Overhead
	if dst.Addr().Is6() {
		n = packet.IPv6HeaderLen + packet.UDPHeaderLen
	}
	b := append(make([]byte, n), payload...)
	packet.PutUDP(b, &h)
	return b
}

var (
	src4 = netip.MustParseAddrPort("198.18.255.2:4000")
	src6 = netip.MustParseAddrPort("[fd6d:7073::ffff:2]:4000")
	dst4 = netip.MustParseAddrPort("203.0.113.9:53")
	dst6 = netip.MustParseAddrPort("[2001:db8::9]:53")
)

// A socket has one inner port whatever it sends to, TOS and TTL go along, and an
// answer from anywhere arrives at the socket with its true sender.
func TestDatagrams(t *testing.T) {
	for _, f := range []struct{ src, dst, other netip.AddrPort }{
		{src4, dst4, netip.MustParseAddrPort("192.0.2.77:7")},
		{src6, dst6, netip.MustParseAddrPort("[2001:db8::77]:7")},
	} {
		d, tunnel, kernel := newDevice()
		take(d, &vnet{}, udp(f.src, f.dst, "one", 0xB8, 9))
		take(d, &vnet{}, udp(f.src, f.other, "", 1, 64))
		if len(tunnel.ports) != 1 {
			t.Fatalf("%v: %d inner ports, want 1", f.src, len(tunnel.ports))
		}
		p := tunnel.ports[0]
		want := []sentDatagram{{f.dst, "one", 0xB8, 9}, {f.other, "", 1, 64}}
		if len(p.sent) != 2 || p.sent[0] != want[0] || p.sent[1] != want[1] {
			t.Errorf("sent %v, want %v", p.sent, want)
		}
		// An answer as the tunnel brings it.
		h := packet.UDP{Src: f.other, Dst: f.src, TOS: 3, TTL: 50}
		pkt := append(make([]byte, h.Overhead(4)), "back"...)
		packet.PutUDP(pkt, &h)
		give(p.to.UDP, &h, pkt, pkt[len(pkt)-4:])
		if len(kernel.pkts) != 1 {
			t.Fatalf("%d packets for the kernel, want 1", len(kernel.pkts))
		}
		var got packet.UDP
		var n network
		var g datagram
		b := kernel.pkts[0]
		if !n.parse(b) || !g.parse(b, &n, true) {
			t.Fatalf("not a sound packet: % x", b)
		}
		got = packet.UDP{Src: g.src, Dst: g.dst, TOS: g.tos, TTL: g.ttl}
		if got.Src != f.other || got.Dst != f.src || got.TOS != 3 || got.TTL != 50 || string(b[g.payload:]) != "back" {
			t.Errorf("the kernel got %+v %q", got, b[g.payload:])
		}
		if n.proto != packet.ProtoUDP || f.src.Addr().Is6() && b[6] != packet.ProtoUDP {
			t.Error("an IPv6 header with a fragment header behind it")
		}
	}
}

// What stands in an IP packet behind its datagram (RFC 9868) is not sent as part of that,
// whether the packet is copied or taken whole.
func TestBytesBehindADatagram(t *testing.T) {
	for _, f := range []struct{ src, dst netip.AddrPort }{{src4, dst4}, {src6, dst6}} {
		for _, taken := range []bool{false, true} {
			d, tunnel, _ := newDevice()
			b := append(udp(f.src, f.dst, "payload", 0, 64), "behind"...)
			if f.dst.Addr().Is4() {
				binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
			} else {
				binary.BigEndian.PutUint16(b[4:], uint16(len(b)-packet.IPv6HeaderLen))
			}
			var whole *buf.Buffer
			if taken {
				whole = buf.Get(buf.SmallSize)
				b = whole.Bytes()[:copy(whole.Bytes(), b)]
			}
			d.packet(&vnet{}, b, whole)
			d.flush()
			if len(tunnel.ports) != 1 || len(tunnel.ports[0].sent) != 1 || tunnel.ports[0].sent[0].payload != "payload" {
				t.Errorf("to %v, taken %v: sent %+v", f.dst, taken, tunnel.ports)
			}
		}
	}
}

// What the kernel leaves in one piece is cut into datagrams of one size.
func TestSegments(t *testing.T) {
	d, tunnel, _ := newDevice()
	b := udp(src4, dst4, "aaaabbbbcc", 0, 64)
	v := vnet{flags: vnetNeedsCsum, kind: vnetGSOUDP, size: 4}
	take(d, &v, b)
	var got []string
	for _, s := range tunnel.ports[0].sent {
		got = append(got, s.payload)
	}
	if len(got) != 3 || got[0] != "aaaa" || got[1] != "bbbb" || got[2] != "cc" {
		t.Errorf("sent %q", got)
	}
}

// Fragments in any order make a packet; one that overlaps ends it.
func TestFragments(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789abcdef"), 100)
	whole := udp(src4, dst4, string(payload), 0, 64)
	cut := func(from, to int, more bool) []byte {
		b := append(append([]byte(nil), whole[:20]...), whole[20+from:20+to]...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		f := uint16(from / 8)
		if more {
			f |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], f)
		return b
	}
	end := len(whole) - 20
	d, tunnel, _ := newDevice()
	take(d, &vnet{}, cut(800, end, false))
	take(d, &vnet{}, cut(400, 800, true))
	if len(tunnel.ports) != 0 {
		t.Fatal("sent before it was whole")
	}
	take(d, &vnet{}, cut(0, 400, true))
	if len(tunnel.ports) != 1 || tunnel.ports[0].sent[0].payload != string(payload) {
		t.Fatal("not put together")
	}
	take(d, &vnet{}, cut(800, end, false))
	take(d, &vnet{}, cut(392, 808, true)) // overlaps
	take(d, &vnet{}, cut(0, 400, true))
	if n := len(tunnel.ports[0].sent); n != 1 {
		t.Errorf("%d datagrams of overlapping fragments", n-1)
	}
}

// What is wrong, or not for programs, goes no further and is counted.
func TestRefused(t *testing.T) {
	d, tunnel, _ := newDevice()
	bad := udp(src4, dst4, "payload", 0, 64)
	bad[len(bad)-1]++
	take(d, &vnet{}, bad)
	short := udp(src4, dst4, "payload", 0, 64)
	take(d, &vnet{}, short[:len(short)-1])
	for _, to := range []string{"198.18.0.1:9", "198.18.0.2:1024", "[fd6d:7073::1]:9", "224.0.0.1:5353", "255.255.255.255:67", "203.0.113.1:0"} {
		a := netip.MustParseAddrPort(to)
		from := src4
		if a.Addr().Is6() {
			from = src6
		}
		take(d, &vnet{}, udp(from, a, "x", 0, 64))
	}
	c := d.Counts()
	if c.Malformed != 2 || c.Refused != 6 || len(tunnel.ports) != 0 {
		t.Errorf("malformed %d, refused %d, %d ports; want 2, 6, 0", c.Malformed, c.Refused, len(tunnel.ports))
	}
	take(d, &vnet{}, udp(src4, netip.MustParseAddrPort("198.18.0.1:53"), "x", 0, 64))
	if len(tunnel.ports) != 1 {
		t.Error("the resolver is not reached")
	}
}

// A packet from or to an IPv4-mapped address is none: an answer to it, or word of its failure,
// would have two families.
func TestMappedAddresses(t *testing.T) {
	d, tunnel, _ := newDevice()
	mapped := netip.MustParseAddr("::ffff:192.0.2.1").As16()
	for _, at := range []int{8, 24} {
		b := udp(src6, dst6, "payload", 0, 64)
		copy(b[at:], mapped[:])
		take(d, &vnet{flags: vnetNeedsCsum}, b)
	}
	if len(tunnel.ports) != 0 || d.n.malformed.Load() != 2 {
		t.Errorf("%d ports, %d malformed", len(tunnel.ports), d.n.malformed.Load())
	}
}

// Whatever comes from a device, nothing panics, and what is sent was in it.
func FuzzPacket(f *testing.F) {
	f.Add(uint8(0), uint8(0), uint16(0), udp(src4, dst4, "payload", 0, 64))
	f.Add(uint8(0), uint8(0), uint16(0), echoRequest(src4.Addr(), dst4.Addr(), "payload"))
	f.Add(uint8(0), uint8(0), uint16(0), echoRequest(src6.Addr(), dst6.Addr(), "payload"))
	f.Add(uint8(1), uint8(vnetGSOUDP), uint16(3), udp(src6, dst6, "payload", 0, 64))
	f.Fuzz(func(t *testing.T, flags, kind uint8, size uint16, b []byte) {
		d, tunnel, _ := newDevice()
		d.link.Attach(discard{})
		v := vnet{flags: flags, kind: kind, size: size}
		whole := buf.Get(len(b) % buf.SmallSize)
		b = b[:len(b)%buf.SmallSize]
		copy(whole.Bytes(), b)
		if !d.packet(&v, whole.Bytes(), whole) {
			whole.Release()
		}
		d.flush()
		total := 0
		for _, p := range tunnel.ports {
			for _, s := range p.sent {
				total += len(s.payload)
			}
			for _, s := range p.echoes {
				total += len(s.payload)
			}
		}
		if total > len(b) {
			t.Errorf("%d bytes of payload from a packet of %d", total, len(b))
		}
	})
}

// An extension header (RFC 8200, Section 4) is skipped if all of it is there.
func TestExtensionHeaders(t *testing.T) {
	plain := udp(src6, dst6, "payload", 0, 64)
	build := func(length uint8, extension []byte) []byte {
		b := append(append(append([]byte(nil), plain[:40]...), extension...), plain[40:]...)
		b[6] = 60 // destination options
		if len(extension) > 1 {
			b[40], b[41] = 17, length
		}
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		return b
	}
	var n network
	if !n.parse(build(0, make([]byte, 8))) || n.proto != 17 || n.header != 48 {
		t.Errorf("eight bytes of options: %+v", n)
	}
	if !n.parse(build(1, make([]byte, 16))) || n.proto != 17 || n.header != 56 {
		t.Errorf("sixteen: %+v", n)
	}
	if n.parse(build(200, make([]byte, 8))) {
		t.Error("options that end beyond the packet are taken")
	}
	short := build(0, make([]byte, 8))[:44]
	binary.BigEndian.PutUint16(short[4:], 4)
	if n.parse(short) {
		t.Error("half of an option header is taken")
	}
}

// What is written reads the same.
func TestVirtioHeader(t *testing.T) {
	want := vnet{flags: 1, kind: vnetGSOTCP6, header: 0x1234, size: 1448, start: 40, offset: 16}
	var b [vnetLen]byte
	want.put(&b)
	var got vnet
	if got.parse(&b); got != want {
		t.Errorf("%+v reads as %+v", want, got)
	}
}
