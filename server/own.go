package server

import (
	"context"
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/conf"
)

// ownTick is how often the interfaces' addresses, and what is routed to this server, are looked
// at: a lease or a prefix may come at any time, and asking costs some microseconds.
const ownTick = time.Second

// own are the addresses of this server itself, and those that mean many hosts of a network
// that it is in. What listens there may be hidden from the world by a firewall that does
// not see what comes from the server, so that they are refused as loopback is.
type own map[netip.Addr]whose

type whose uint8

const (
	nobodys whose = iota
	ours          // of this server
	shared        // of all hosts of a network, or of any of its routers
)

func (o own) has(addr netip.Addr) bool { return o[addr] == ours }

// around adds what an interface's prefix makes special: an IPv4 network's broadcast
// addresses, the old one of zeros too (RFC 919, RFC 1122, Section 3.3.6), and of IPv6 the
// anycast address of its routers, which this server may be one of (RFC 4291, Section 2.6.1).
func (o own) around(p netip.Prefix) {
	addr := p.Addr().WithZone("").Unmap()
	bits := p.Bits()
	if addr.BitLen()-bits < 2 { // a host, or the two ends of a link (RFC 3021, RFC 6164)
		return
	}
	first := netip.PrefixFrom(addr, bits).Masked().Addr()
	many := []netip.Addr{first}
	if addr.Is4() {
		a := first.As4()
		n := binary.BigEndian.Uint32(a[:]) | (1<<(32-bits) - 1)
		many = append(many, netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))))
	}
	for _, a := range many {
		if o[a] == nobodys {
			o[a] = shared
		}
	}
}

// ownAddrs returns the addresses of all interfaces and those that are routed to this server, with
// the prefixes that are as a whole, and the further ones that the configuration names. When
// the system does not tell, it is those of before.
func ownAddrs(cfg *conf.Server, before *access) (out own, routed []netip.Prefix) {
	out = own{}
	for _, a := range cfg.Advertise {
		out[a.Addr().WithZone("").Unmap()] = ours
	}
	for _, a := range cfg.Relay.OwnAddresses {
		out[a.WithZone("").Unmap()] = ours
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		maps.Copy(out, before.own)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out.around(p)
			out[p.Addr().WithZone("").Unmap()] = ours
		}
	}
	routes, err := localRoutes()
	if err != nil {
		routes = before.routed
	}
	for _, p := range routes {
		if p.IsSingleIP() {
			out[p.Addr()] = ours
		} else if !p.Addr().IsLoopback() { // which is refused whatever it is
			routed = append(routed, p)
		}
	}
	return out, routed
}

// A rulebook has the access rules that hold, and the configuration that they are of.
type rulebook struct {
	current atomic.Pointer[access]

	mu    sync.Mutex // guards the rest
	from  *conf.Server
	nat64 translators
}

// govern has the access rules of a configuration hold from now on.
func (b *rulebook) govern(cfg *conf.Server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rules := *cfg // the caller's may change
	b.from = &rules
	b.refresh()
}

// refresh brings the access rules up to date with the interfaces; the caller holds b.mu.
func (b *rulebook) refresh() {
	old := b.current.Load()
	if old == nil {
		old = &access{}
	}
	now, routed := ownAddrs(b.from, old)
	if old.from == b.from && maps.Equal(old.own, now) && slices.Equal(old.routed, routed) && slices.Equal(old.nat64, b.nat64) {
		return
	}
	b.current.Store(&access{allow: b.from.Relay.Allow, deny: b.from.Relay.Deny, own: now, routed: routed, nat64: b.nat64, from: b.from})
}

// translated has the access rules hold for what these lead to.
func (b *rulebook) translated(by translators) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nat64 = by
	b.refresh()
}

// watch follows the interfaces' addresses until ctx ends.
func (b *rulebook) watch(ctx context.Context) {
	tick := time.NewTicker(ownTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.mu.Lock()
			b.refresh()
			b.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}
