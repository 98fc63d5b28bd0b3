package tun

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// MTU is that of a device: the longest IP packet. Nothing on the way to the
// tunnel is shorter.
const MTU = 65535

// Addresses of a program's end of the device, from the tunnel's own prefixes
// (RFC 2544; RFC 4193), so that they are no address of any network.
var (
	Inside4 = netip.MustParsePrefix("198.18.255.2/32")
	Inside6 = netip.MustParsePrefix("fd6d:7073::ffff:2/128")
)

// Tunnel is what a Device needs of the client.
type Tunnel interface {
	// Open takes an inner port for somebody. to gets what comes for it.
	Open(by Holder, to Sink) (Port, error)
	// Connect opens a connection by the exit and returns after its answer. from
	// is the program's address.
	Connect(ctx context.Context, from, to netip.AddrPort) (Stream, error)
	// Flush sends what Ports have taken.
	Flush()
	// Owner returns the user of this machine whose a socket of TCP or UDP is, by its own address
	// and the other end's; false if there is none, or the system does not tell, or where
	// all sockets behind the device count as one user's.
	Owner(proto uint8, from, to netip.AddrPort) (uid uint32, ok bool)
	// Crowded is told each time that a connection had to go, or to come again, because too
	// many waited.
	Crowded()
}

// A Sink is where goes what comes for an inner port. Its functions are called by several
// goroutines; what is not set is dropped.
type Sink struct {
	// UDP gets a datagram: pkt is a whole packet, payload its end; both may be rewritten until
	// the Batch, which may keep it, is flushed.
	UDP func(b *Batch, h *packet.UDP, pkt, payload []byte)
	// Echo gets the answer to an echo request, whose identifier is the inner port.
	Echo func(h *packet.Echo, payload []byte)
	// Failure is told of what the port has sent and did not arrive.
	Failure func(f *packet.Failure)
}

// Port is an inner port.
type Port interface {
	// Send takes payloads, the first first; it owns their Buffers from then on.
	Send(run []Datagram)
	// Echo sends an echo request with this payload; it owns b from then on.
	Echo(b *buf.Buffer, to netip.Addr, seq uint16, tos, ttl uint8)
	Close()
}

// Datagram is a payload that a program has sent.
type Datagram struct {
	Payload  *buf.Buffer
	To       netip.AddrPort
	TOS, TTL uint8
}

// Stream is a connection at the exit.
type Stream interface {
	net.Conn
	CloseWrite() error
	Reset()
}

// Counts says what a Device has carried and dropped.
type Counts struct {
	Out, In     uint64 // datagrams, and echo requests and their answers
	Failures    uint64 // ICMP errors that programs were told
	Streams     int64  // TCP connections open
	Ports       int    // inner ports in use
	Malformed   uint64 // packets that are none, or with a wrong checksum
	Fragments   uint64 // that were never whole, or over their bound
	Unsupported uint64 // protocols that the tunnel does not carry
	Refused     uint64 // to the tunnel's own hosts, or when no port was left
	Full        uint64 // that the kernel did not take
}

type counters struct {
	out, in, failures, malformed, fragments, unsupported, refused, full atomic.Uint64
	streams                                                             atomic.Int64
}

// Counts returns what the Device has carried and dropped so far.
func (d *Device) Counts() Counts {
	return Counts{
		Out: d.n.out.Load(), In: d.n.in.Load(), Failures: d.n.failures.Load(), Streams: d.n.streams.Load(), Ports: d.ports.count(),
		Malformed: d.n.malformed.Load(), Fragments: d.n.fragments.Load(), Unsupported: d.n.unsupported.Load(),
		Refused: d.n.refused.Load(), Full: d.n.full.Load(),
	}
}

// Device is a TUN device whose packets go through the tunnel.
type Device struct {
	// Set once.
	link   *link
	tunnel Tunnel
	ports  *ports
	// The connections that wait for an answer, and those to the resolver.
	connecting, asking seats

	joiner joiner // owned by the goroutine of Serve
	run    run    // owned by the goroutine of Serve
	n      counters

	capture atomic.Pointer[func(netip.Addr) bool] // whose questions go to the tunnel's resolver; nil = nobody's
}

// prepared is a Device behind a link, for serve.
func prepared(t Tunnel, l *link) *Device {
	d := &Device{tunnel: t, link: l}
	d.connecting = seats{most: maxConnecting, owner: t.Owner, told: t.Crowded}
	d.asking = seats{most: maxNames, owner: t.Owner, told: t.Crowded}
	d.ports = &ports{device: d, bySrc: make(map[socket]*port)}
	return d
}

// serve runs read, which carries packets until its ctx ends, with the stack of TCP beside it.
func (d *Device) serve(ctx context.Context, read func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newStack(d.link)
	if err != nil {
		return err
	}
	defer func() {
		s.Close()
		s.Wait()
	}()
	d.serveTCP(ctx, s)
	defer d.ports.end()
	return read(ctx)
}

// CaptureNames says of which name servers the resolver in the tunnel answers the questions,
// by UDP and TCP; nil is of none. Programs see them answered by whom they have asked. Any
// goroutine may call it, at any time; of may be called by several at once.
func (d *Device) CaptureNames(of func(netip.Addr) bool) {
	if of == nil {
		d.capture.Store(nil)
		return
	}
	d.capture.Store(&of)
}

// packet takes one packet from the device. b is borrowed: what is kept is
// copied, but for whole, a Buffer that holds all of b, which is taken, if true
// is returned.
func (d *Device) packet(v *vnet, b []byte, whole *buf.Buffer) (taken bool) {
	var n network
	if !n.parse(b) {
		d.n.malformed.Add(1)
		return false
	}
	if n.fragment {
		b, whole = d.joiner.join(b, &n), nil
		if b == nil {
			d.n.fragments.Add(1)
			return false
		}
		v = &vnet{}
		if !n.parse(b) {
			d.n.malformed.Add(1)
			return false
		}
	}
	switch n.proto {
	case packet.ProtoUDP:
		return d.udp(v, b, &n, whole)
	case packet.ProtoTCP:
		d.link.inject(b[:n.total], n.dst.Is4())
	case packet.ProtoICMP, packet.ProtoICMP6:
		if !d.echo(b[:n.total], &n) {
			d.n.unsupported.Add(1)
		}
	default:
		d.n.unsupported.Add(1)
		d.unknown(b[:n.total], &n)
	}
	return false
}

// udp takes a datagram, or several of one size that the kernel left together.
func (d *Device) udp(v *vnet, b []byte, n *network, whole *buf.Buffer) (taken bool) {
	var h datagram
	if !h.parse(b, n, v.flags&vnetNeedsCsum == 0 && v.kind == vnetGSONone) {
		d.n.malformed.Add(1)
		return false
	}
	if v.kind == vnetGSONone {
		n.total = h.end
	}
	src := socket{at: h.src}
	if captures(d, h.dst) {
		src.as, h.dst = h.dst, resolverBeside(h.dst)
	}
	if !reachable(h.dst) {
		d.n.refused.Add(1)
		return false
	}
	if d.run.port == nil || d.run.port.src != src || len(d.run.list) >= maxRun {
		d.flush()
		if d.run.port = d.ports.of(src, h.dst); d.run.port == nil {
			d.n.refused.Add(1)
			return false
		}
	}
	payload := b[h.payload:n.total]
	if resolver(h.dst) {
		d.run.port.room.Store(int32(room(payload)))
	}
	size := len(payload)
	if v.kind&^vnetGSOECN == vnetGSOUDP && v.size > 0 {
		size = int(v.size)
	}
	if whole != nil && size >= len(payload) {
		whole.Resize(n.total)
		whole.Trim(h.payload)
		d.run.list = append(d.run.list, Datagram{whole, h.dst, h.tos, h.ttl})
		return true
	}
	for {
		part := payload[:min(size, len(payload))]
		payload = payload[len(part):]
		w := buf.Get(len(part))
		copy(w.Bytes(), part)
		d.run.list = append(d.run.list, Datagram{w, h.dst, h.tos, h.ttl})
		if len(payload) == 0 {
			return false
		}
	}
}

// A run is what one socket has sent in a row: it is given to the tunnel in one piece.
type run struct {
	port *port // nil = there is none
	list []Datagram
}

// maxRun bounds a run; what the kernel left in one piece is in one.
const maxRun = 64

// flush ends the run.
func (d *Device) flush() {
	if n := len(d.run.list); n > 0 {
		d.n.out.Add(uint64(n))
		d.run.port.sent.Add(uint32(n - 1)) // one was counted when the port was found
		d.run.port.port.Send(d.run.list)
		clear(d.run.list)
		d.run.list = d.run.list[:0]
	}
	d.run.port = nil
}

// reachable says whether a program may send there: of the tunnel's own hosts
// only the resolver and the echo port are there for programs.
func reachable(to netip.AddrPort) bool {
	if to.Port() == 0 || to.Addr().IsMulticast() || to.Addr() == broadcast {
		return false
	}
	if own4.Contains(to.Addr()) || own6.Contains(to.Addr()) {
		server := to.Addr() == packet.ServerHost4 || to.Addr() == packet.ServerHost6
		return server && (to.Port() == packet.ResolverPort || to.Port() == packet.EchoPort)
	}
	return true
}

// The tunnel's own prefixes.
var (
	own4      = netip.MustParsePrefix("198.18.0.0/15")
	own6      = netip.MustParsePrefix("fd6d:7073::/32")
	broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)
