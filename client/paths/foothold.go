package paths

import (
	"net/netip"
	"slices"

	"github.com/mpsocks/mpsocks/mux"
)

// A foothold is what a path stands on.
type foothold struct {
	read  bool
	addrs []netip.Addr // from which the server is reached, if exact: else all that the path has
	exact bool
	hops  map[netip.Addr]hop // to the server's addresses, as they were last known
	away  []netip.Addr       // of these, those to which nothing leads at the moment
}

// A hop is how what goes to an address leaves this machine: from which address, by which interface
// and to which router. The zero value is that of what nothing leads to.
type hop struct {
	from   netip.Addr // that the system chooses: none that is deprecated, as long as there is another one (RFC 6724, Section 5)
	router netip.Addr // invalid: the address is a neighbour
	link   int        // 0: no route leads there
}

// hops are the first ones of a path to some addresses.
func hops(p *mux.Path, far []netip.Addr, mark uint32) map[netip.Addr]hop {
	out := make(map[netip.Addr]hop, len(far))
	for _, to := range far {
		out[to] = hopTo(p.Interface, p.Local, to, mark)
	}
	return out
}

// sources are the addresses from which these leave.
func sources(hops map[netip.Addr]hop) (out []netip.Addr) {
	for _, h := range hops {
		if h.from.IsValid() && !slices.Contains(out, h.from) {
			out = append(out, h.from)
		}
	}
	return out
}

// keep has a foothold remember the hops of the one before that are not known at the moment: a route
// that is replaced may be gone for a while.
func (f *foothold) keep(before *foothold) {
	if len(f.hops) == 0 {
		f.hops, f.away = before.hops, before.away
		return
	}
	for to, h := range f.hops {
		if h.link == 0 {
			f.hops[to] = before.hops[to]
			f.away = append(f.away, to)
		}
	}
}

// led says that something leads to one of the server's addresses by now to which nothing did. What was
// dialled until then waits for a neighbour who is none, for seconds: a card gets its address before its route.
func (f *foothold) led(now *foothold) bool {
	return slices.ContainsFunc(f.away, func(to netip.Addr) bool {
		return now.hops[to].link != 0 && !slices.Contains(now.away, to)
	})
}

// lost says that the path's subflows have to be made anew, now that it stands on another
// one and has the addresses all. What is not used may come and go. Another router may be
// that of another network, which knows none of the path's connections, though it has given the same address.
func (f *foothold) lost(now *foothold, all []netip.Addr) bool {
	for to, h := range f.hops {
		if n := now.hops[to]; h.link != 0 && n.link != 0 && (n.link != h.link || n.router != h.router) {
			return true
		}
	}
	return slices.ContainsFunc(f.addrs, func(a netip.Addr) bool {
		return !slices.Contains(now.addrs, a) && (f.exact == now.exact || !slices.Contains(all, a))
	})
}
