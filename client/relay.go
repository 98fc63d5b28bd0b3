package client

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// maxBinds is how many ports of the configured range are tried for one relay
// socket. The cursor walks through the range, so that a taken port is rare until
// the range is nearly full.
const maxBinds = 256

// loop is one of UDP sockets, with what its handlers share: they run one at
// a time.
type loop struct {
	*udpio.Loop
	pkts []*buf.Buffer // of a handler's batch, and
	n    uint64        // how many datagrams they are; both are empty between two batches
	sent atomic.Uint64 // datagrams that the session took
}

// add adds a datagram that wrap has made packets of to the batch.
func (l *loop) add(b *buf.Buffer) {
	l.pkts = appendPackets(l.pkts, b)
	l.n++
}

// send gives the batch to the session. in.mu is held, so that datagrams that waited for a
// name and those of the batch keep their order.
func (l *loop) send(in *inner) {
	if l.n == 0 {
		return
	}
	in.client.tunnel.Send(&in.source, l.pkts)
	l.sent.Add(l.n)
	clear(l.pkts) // not to hold on to the Buffers
	l.pkts, l.n = l.pkts[:0], 0
}

// relays is how the relay sockets of associations are made.
type relays struct {
	now    atomic.Pointer[relayConfig]
	cursor atomic.Uint32
	shares *admission.Quota // of the ports of a range: one holder leaves some to the others
}

// relayConfig is what the configuration says of them.
type relayConfig struct {
	public  []netip.Addr   // told as BND.ADDR to applications that are not local, by family
	ports   conf.PortRange // zero = the kernel's choice
	sockets udpio.Options
}

// set has the relay sockets made from now on follow the configuration.
func (r *relays) set(cfg conf.UDP) {
	each := 0
	if !cfg.Ports.IsZero() {
		n := int(cfg.Ports.Len())
		each = n - n/admission.Reserve
	}
	r.shares.Set(0, each)
	r.now.Store(&relayConfig{
		public: cfg.PublicAddress, ports: cfg.Ports,
		sockets: udpio.Options{Offload: cfg.Offload != conf.OffloadOff, TOS: true},
	})
}

// of are the options of a socket that belongs to somebody.
func (r *relays) of(owner any) udpio.Options {
	options := r.now.Load().sockets
	options.Owner = owner
	return options
}

// listen binds a relay socket of somebody's to the address at which the application
// reached the control listener, on a port of the configured range.
func (r *relays) listen(loop *udpio.Loop, of admission.Holder, local netip.Addr, h udpio.Handler) (*udpio.Conn, error) {
	now := r.now.Load()
	options := r.of(of)
	if now.ports.IsZero() {
		return loop.Listen(netip.AddrPortFrom(local, 0), options, h)
	}
	size := uint32(now.ports.Len())
	var first error
	for range min(size, maxBinds) {
		port := now.ports.From + uint16(r.cursor.Add(1)%size)
		conn, err := loop.Listen(netip.AddrPortFrom(local, port), options, h)
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, fmt.Errorf("no relay port left in %s: %w", now.ports, first)
}

// publicFor is the address that applications of a family are told as the
// relay's, or none.
func (r *relays) publicFor(app netip.Addr) netip.Addr {
	for _, p := range r.now.Load().public {
		if p.Is4() == app.Is4() {
			return p
		}
	}
	return netip.Addr{}
}
