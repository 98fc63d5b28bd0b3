package server

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// An outlet is where mappings leave this machine: the addresses and ports outside, and
// the Loops that read their sockets.
type outlet struct {
	egress   *egress
	yield    func()                // others that wait for the processor come first; another one in tests
	relay    atomic.Pointer[relay] // Apply replaces it
	loops    []*loop
	next     atomic.Uint32 // loop
	external external
	apart    sync.Map // netip.AddrPort of mappings at addresses of their own, to nil
}

// relay is what the configuration says of mappings that are made from now on.
type relay struct {
	filtering conf.Filtering
	socket    udpio.Options
	idle      time.Duration // of a mapping; for those that are there too
}

func newRelay(cfg *conf.Relay) *relay {
	return &relay{
		filtering: cfg.Filtering,
		socket:    udpio.Options{Offload: cfg.Offload != conf.OffloadOff, TOS: true, TTL: true},
		idle:      cfg.IdleTimeout,
	}
}

// listen makes a mapping with its socket at an address, on the Loops in turn. What is
// published is not filtered.
func (o *outlet) listen(p *peer, inner, at netip.AddrPort, published bool) (m *mapping, err error) {
	m = &mapping{
		peer:   p,
		loop:   o.loops[o.next.Add(1)%uint32(len(o.loops))],
		inner:  inner,
		source: mux.Source{User: p.client.name},
	}
	relay := o.relay.Load()
	switch {
	case published:
		m.visitors = &permits{table: remotes{limit: maxPermits}, ports: true, idle: int64(relay.idle)}
	case relay.filtering == conf.FilteringAddress || relay.filtering == conf.FilteringAddressPort:
		m.permits = &permits{
			table: remotes{limit: maxPermits},
			ports: relay.filtering == conf.FilteringAddressPort,
			idle:  int64(relay.idle),
		}
	}
	options := relay.socket
	options.Failed, options.Owner = m.failed, p.client
	options.RecvBuffer = receiveBuffer(p)
	m.conn, err = m.loop.Listen(at, options, m.receive)
	if err != nil {
		return nil, err
	}
	o.mark(m.conn.LocalAddr())
	return m, nil
}

// receiveBuffer is how much the kernel is told to hold for the client's newest mapping, of which it
// makes twice as much (socket(7)); 0 is udpio's own size. Who floods all mappings of a client that has
// thousands would fill the machine's memory otherwise.
func receiveBuffer(p *peer) int {
	return kernelBuffer(int(p.server.exits.share.Load()), int(p.client.mappings.used.Load())) / 2
}

// mark notes where a mapping is. One that is published at an address of its own is there only:
// the same port of other addresses of this machine may be another program's.
func (o *outlet) mark(at netip.AddrPort) {
	local, err := o.egress.local(at.Addr().Is4())
	if !at.Addr().IsUnspecified() && (err != nil || local != at.Addr()) {
		o.apart.Store(at, nil)
		return
	}
	o.external.add(at)
}

// unmark forgets where a mapping was.
func (o *outlet) unmark(at netip.AddrPort) {
	if _, ok := o.apart.LoadAndDelete(at); !ok {
		o.external.remove(at)
	}
}

// external are the ports of all mappings but those apart, of IPv4 and of IPv6: a client may send to
// another one's mapping by this server's own address (RFC 4787 REQ-9).
type external [2][1 << 16 / 64]atomic.Uint64

func (x *external) word(at netip.AddrPort) (*atomic.Uint64, uint64) {
	family := 0
	if !at.Addr().Unmap().Is4() {
		family = 1
	}
	return &x[family][at.Port()/64], 1 << (at.Port() % 64)
}

func (x *external) add(at netip.AddrPort) {
	w, bit := x.word(at)
	w.Or(bit)
}

func (x *external) remove(at netip.AddrPort) {
	w, bit := x.word(at)
	w.And(^bit)
}

// hairpin says whether an own address is a mapping's.
func (o *outlet) hairpin(dst netip.AddrPort) bool {
	if _, ok := o.apart.Load(dst); ok {
		return true
	}
	w, bit := o.external.word(dst)
	if w.Load()&bit == 0 {
		return false
	}
	local, err := o.egress.local(dst.Addr().Is4())
	return err == nil && (local.IsUnspecified() || local == dst.Addr())
}
