package server

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/conf"
)

// ownTick is how often the interfaces' addresses are looked at: a lease or a prefix
// may come at any time, and asking costs some microseconds.
const ownTick = time.Second

// own are the addresses of this server itself. What listens there may be hidden from
// the world by a firewall that does not see what comes from the server, so that they
// are refused as loopback is.
type own map[netip.Addr]struct{}

func (o own) has(addr netip.Addr) bool {
	_, ok := o[addr]
	return ok
}

// ownAddrs returns the addresses of all interfaces, and the further ones that the
// configuration names. When the system does not tell, it is those of before.
func ownAddrs(cfg *conf.Server, before own) own {
	out := own{}
	for _, a := range cfg.Advertise {
		out[a.Addr().WithZone("").Unmap()] = struct{}{}
	}
	for _, a := range cfg.Relay.OwnAddresses {
		out[a.WithZone("").Unmap()] = struct{}{}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		maps.Copy(out, before)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out[p.Addr().WithZone("").Unmap()] = struct{}{}
		}
	}
	return out
}

// govern has the access rules of a configuration hold from now on.
func (s *Server) govern(cfg *conf.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rules := *cfg // the caller's may change
	s.rules = &rules
	s.setAccess()
}

// setAccess brings the access rules up to date with the interfaces; with s.mu held.
func (s *Server) setAccess() {
	var before own
	old := s.access.Load()
	if old != nil {
		before = old.own
	}
	now := ownAddrs(s.rules, before)
	if old != nil && old.from == s.rules && maps.Equal(before, now) {
		return
	}
	s.access.Store(&access{allow: s.rules.Relay.Allow, deny: s.rules.Relay.Deny, own: now, from: s.rules})
}

// watchOwn follows the interfaces' addresses until ctx ends.
func (s *Server) watchOwn(ctx context.Context) {
	tick := time.NewTicker(ownTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.mu.Lock()
			s.setAccess()
			s.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// external are the ports of all mappings, of IPv4 and of IPv6: a client may send to
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
func (s *Server) hairpin(dst netip.AddrPort) bool {
	w, bit := s.external.word(dst)
	if w.Load()&bit == 0 {
		return false
	}
	local, err := s.egress.local(dst.Addr().Is4())
	return err == nil && (local.IsUnspecified() || local == dst.Addr())
}
