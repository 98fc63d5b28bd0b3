package client

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// localFor is how long the list of this machine's addresses is believed.
const localFor = time.Second

// localAddrs knows the addresses of this machine.
type localAddrs struct {
	mu   sync.Mutex // guards the rest
	list map[netip.Addr]bool
	at   time.Time
}

// has says whether an address is this machine's.
func (l *localAddrs) has(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.list == nil || now.Sub(l.at) > localFor {
		l.list, l.at = make(map[netip.Addr]bool), now
		addrs, _ := net.InterfaceAddrs() // without them nothing is known to be local
		for _, n := range addrs {
			if n, ok := n.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(n.IP); ok {
					l.list[ip.Unmap()] = true
				}
			}
		}
	}
	return l.list[a.WithZone("")]
}
