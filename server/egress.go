package server

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/conf"
)

// egressAge is how old what is known of an interface's addresses may become: a
// lease or a prefix may change at any time, and asking costs some microseconds.
const egressAge = time.Second

// An egress is the local address that datagrams and CONNECTs leave from: one
// per family, for all mappings (RFC 4787 REQ-2, paired pooling). It is of
// relay.bind, an address or an interface; with neither the routing table
// chooses. A family without an address there does not leave at all. An interface's address
// is kept as long as none of its others is better.
type egress struct {
	bind  string
	fixed netip.Addr // bind as an address

	mu     sync.Mutex // guards the rest, which is used with an interface only
	read   time.Time
	failed error // the last refresh, or nil
	v4, v6 netip.Addr
}

// newEgress checks relay.bind. Its error names what is wrong with it.
func newEgress(bind string) (*egress, error) {
	e := &egress{bind: bind}
	if bind == "" {
		return e, nil
	}
	if addr, err := netip.ParseAddr(bind); err == nil {
		e.fixed = addr.Unmap()
		ln, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.fixed, 0)))
		if err != nil {
			return nil, fmt.Errorf("relay.bind: %s is no address of this machine: %w", bind, err)
		}
		ln.Close()
		return e, nil
	}
	if err := e.refresh(); err != nil {
		return nil, err
	}
	return e, nil
}

// Binds says what is wrong with relay.bind here: a server with that does not start.
func Binds(cfg *conf.Server) error {
	_, err := newEgress(cfg.Relay.Bind)
	return err
}

// local returns the address to bind for a family: the unspecified one leaves
// the choice to the routing table.
func (e *egress) local(v4 bool) (netip.Addr, error) {
	if e.bind == "" {
		if v4 {
			return netip.IPv4Unspecified(), nil
		}
		return netip.IPv6Unspecified(), nil
	}
	addr := e.fixed
	if !addr.IsValid() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if time.Since(e.read) > egressAge {
			e.failed = e.refresh()
		}
		if e.failed != nil { // who sends all the same does not have the system asked each time
			return netip.Addr{}, e.failed
		}
		addr = e.v6
		if v4 {
			addr = e.v4
		}
	}
	if !addr.IsValid() || addr.Is4() != v4 {
		return netip.Addr{}, fmt.Errorf("relay.bind: %s has no address for this family: network is unreachable", e.bind)
	}
	return addr, nil
}

// reaches says whether there is a route to an address: a UDP socket is connected to
// it, which sends nothing.
func (e *egress) reaches(addr netip.Addr) bool {
	local, err := e.local(addr.Is4())
	if err != nil {
		return false
	}
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 9)))
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// refresh reads the interface's addresses; the caller holds e.mu, or has just made e.
func (e *egress) refresh() error {
	e.read = time.Now()
	ifc, err := net.InterfaceByName(e.bind)
	if err != nil {
		return fmt.Errorf("relay.bind: %s is neither an address nor an interface of this machine; `mpsocks check` shows which there are", e.bind)
	}
	addrs, err := ifaceAddrs(ifc)
	if err != nil {
		return fmt.Errorf("relay.bind: addresses of %s: %w", e.bind, err)
	}
	e.v4, e.v6 = choose(addrs, true, e.v4), choose(addrs, false, e.v6)
	if !e.v4.IsValid() && !e.v6.IsValid() {
		return fmt.Errorf("relay.bind: interface %s has no address", e.bind)
	}
	return nil
}

// An ifaceAddr is one of an interface's addresses; rank says how well it serves to reach
// others, 0 at the best: see the kinds.
type ifaceAddr struct {
	addr netip.Addr
	rank int
}

// What is against an address: the sum is its rank.
const (
	// temporary: it is to be another one tomorrow (RFC 8981), which all mappings would have to follow.
	temporary = 1 << iota
	// deprecated: what begins now had better not use it (RFC 4862, Section 5.5.4): its network may be gone.
	deprecated
	// local: other networks are not reached from it, but those of the same owner (RFC 4193).
	local
	// tentative: it cannot be used yet (RFC 4862, Section 5.4), and perhaps never.
	tentative
)

// unique is the space of addresses that reach no other networks (RFC 4193).
var unique = netip.MustParsePrefix("fc00::/7")

// choose returns the address of a family that serves best, the present one where it is as good; invalid
// if there is none.
func choose(addrs []ifaceAddr, v4 bool, present netip.Addr) (best netip.Addr) {
	least := 0
	for _, a := range addrs {
		if a.addr.Is4() != v4 || !v4 && a.addr.IsLinkLocalUnicast() {
			continue
		}
		rank := a.rank
		if unique.Contains(a.addr) || a.addr.IsLinkLocalUnicast() {
			rank |= local
		}
		if !best.IsValid() || rank < least || rank == least && a.addr == present {
			best, least = a.addr, rank
		}
	}
	return best
}
