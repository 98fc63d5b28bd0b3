package client

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/ledger"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

const (
	// maxVisitors bounds the senders at one published UDP port: each has a socket
	// here, and addresses are easily invented.
	maxVisitors = 1024
	// swapsPerSecond is how many of them may be put in others' places: a flood of
	// invented addresses is not to make a socket for each.
	swapsPerSecond = 500
)

// visitors are those who send to a published UDP port. The program sees each of
// them at a port of this machine. When there are too many, the longest silent one gives
// way of those that have not sent again after the program had answered, as an invented
// address cannot; of the others only when there are no such.
type visitors struct {
	inner
	publication *publication
	loop        *loop
	lookup      func(ctx context.Context, network, host string) ([]netip.Addr, error)
	target      atomic.Pointer[netip.AddrPort] // of the program; nil if its name is not resolved; stored with table held
	lacking     atomic.Bool                    // that was said, and is so still
	refusals    chan netip.AddrPort            // has room for one: nobody is there

	table  sync.Mutex       // guards the rest; taken before mu
	found  []netip.AddrPort // the addresses of the program's name, as resolve last found them
	by     map[netip.AddrPort]*visitor
	places admission.Shares[netip.Prefix, *visitor]
	fresh  list.List // of *visitor: those that have not sent again after an answer, the longest silent one first
	swaps  *rate.Limiter
	ended  bool
}

func newVisitors(p *publication) *visitors {
	v := &visitors{
		publication: p, by: make(map[netip.AddrPort]*visitor), lookup: net.DefaultResolver.LookupNetIP, refusals: make(chan netip.AddrPort, 1),
	}
	v.places.Cap = maxVisitors
	v.swaps = rate.NewLimiter(swapsPerSecond, swapsPerSecond)
	v.client, v.source.User = p.client, ""
	return v
}

// visitor is one of them.
type visitor struct {
	visitors *visitors
	from     netip.AddrPort
	conn     *udpio.Conn
	place    ledger.Entry[netip.Prefix, *visitor] // guarded by visitors.table
	fresh    *list.Element                        // nil once it has sent again after an answer; guarded by visitors.table
	answered atomic.Bool
	active   activity // datagrams; swept with visitors.table held
}

// receive takes one packet from the tunnel to the program.
func (v *visitors) receive(d *delivery, _, payload []byte) {
	to := v.target.Load()
	if to == nil {
		v.client.drops.add(dropNoPeer)
		return
	}
	one := v.visitor(d.udp.Src, *to)
	if one == nil {
		v.client.drops.add(dropForwardPeer)
		return
	}
	one.active.note()
	if r := v.publication.route.Load(); r.ProxyProtocol {
		b := appendProxyHeader(make([]byte, 0, maxProxyHeader+len(payload)), proxyDatagram, one.from, cameTo(r.Listen, one.from))
		payload = append(b, payload...)
	}
	d.w.Add(one.conn, *to, d.udp.TOS, payload)
}

// cameTo is where a visitor's datagrams came to, as far as that is known here: an address of
// the visitor's family, unspecified where the port is one of all addresses.
func cameTo(at, from netip.AddrPort) netip.AddrPort {
	switch a := at.Addr(); {
	case a.Is4() == from.Addr().Is4():
		return at
	case from.Addr().Is4():
		return netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), at.Port())
}

// visitor finds a sender, or makes it known; nil if there is no room.
func (v *visitors) visitor(from, to netip.AddrPort) *visitor {
	v.table.Lock()
	defer v.table.Unlock()
	if one := v.by[from]; one != nil {
		v.came(one)
		return one
	}
	home := gate.Home(from.Addr())
	if v.ended || !v.room(home) {
		return nil
	}
	one := &visitor{visitors: v, from: from}
	local := netip.IPv4Unspecified()
	switch a := to.Addr(); {
	case a.IsLoopback():
		local = a // nobody else is to reach the socket
	case a.Is6():
		local = netip.IPv6Unspecified()
	}
	options := v.client.relays.of(v)
	options.Failed = v.refused
	var err error
	one.conn, err = v.loop.Listen(netip.AddrPortFrom(local, 0), options, one.uplink)
	if err != nil {
		v.give()
		return nil
	}
	v.by[from] = one
	v.places.Add(&one.place, home, one)
	one.fresh = v.fresh.PushBack(one)
	return one
}

// came notes that somebody has sent again; the caller holds v.table.
func (v *visitors) came(one *visitor) {
	v.places.Touch(&one.place)
	switch {
	case one.fresh == nil:
	case one.answered.Load():
		v.fresh.Remove(one.fresh)
		one.fresh = nil
	default:
		v.fresh.MoveToBack(one.fresh)
	}
}

// room makes room for one more of an address, whose descriptor is taken then; false if there
// is none. The caller holds v.table.
func (v *visitors) room(home netip.Prefix) bool {
	out, full := v.places.Beyond(home)
	if !full {
		if out, full = v.places.Full(home); full && v.fresh.Len() > 0 {
			out = v.fresh.Front().Value.(*visitor)
		}
	}
	if full {
		if !v.swaps.Allow() {
			return false
		}
		v.drop(out.from, out)
	}
	if v.take() {
		return true
	}
	if v.fresh.Len() == 0 || !v.swaps.Allow() {
		return false
	}
	gone := v.fresh.Front().Value.(*visitor)
	v.drop(gone.from, gone)
	return v.take()
}

// take takes a descriptor for one more.
func (v *visitors) take() bool {
	d := v.client.crowd.Descriptors
	if !d.Admit() {
		return false
	}
	if !d.Take(1) {
		d.Dismiss()
		return false
	}
	return true
}

// give gives one's descriptor back.
func (v *visitors) give() {
	v.client.crowd.Descriptors.Give(1)
	v.client.crowd.Descriptors.Dismiss()
}

// uplink takes what the program answers, on the Loop's goroutine.
func (o *visitor) uplink(_ *udpio.Conn, msgs []udpio.Message) {
	v := o.visitors
	target := v.target.Load()
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range msgs {
		m := &msgs[i]
		if v.closed || target == nil || m.Addr != *target {
			v.client.drops.add(dropSource)
			continue
		}
		o.answered.Store(true)
		o.active.note()
		if v.wrap(m.Buf, o.from, m.TOS) {
			v.loop.add(m.Buf)
			m.Buf = nil
		}
	}
	v.loop.send(&v.inner)
}

// sweep ends the visitors that were idle for forwardIdle sweeps.
func (v *visitors) sweep() {
	v.table.Lock()
	defer v.table.Unlock()
	for from, one := range v.by {
		if one.active.over(forwardIdle) {
			v.drop(from, one)
		}
	}
}

// drop ends one; the caller holds v.table.
func (v *visitors) drop(from netip.AddrPort, one *visitor) {
	delete(v.by, from)
	v.places.Remove(&one.place)
	if one.fresh != nil {
		v.fresh.Remove(one.fresh)
	}
	one.conn.Close()
	v.give()
}

// close ends all of them and the inner port.
func (v *visitors) close() {
	v.table.Lock()
	v.ended = true
	v.leave()
	v.table.Unlock()
	v.end()
}
