package server

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"sync"
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

// A rulebook has the access rules that hold, and the configuration that they are of.
type rulebook struct {
	current atomic.Pointer[access]

	mu   sync.Mutex // guards the rest
	from *conf.Server
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
	var before own
	old := b.current.Load()
	if old != nil {
		before = old.own
	}
	now := ownAddrs(b.from, before)
	if old != nil && old.from == b.from && maps.Equal(before, now) {
		return
	}
	b.current.Store(&access{allow: b.from.Relay.Allow, deny: b.from.Relay.Deny, own: now, from: b.from})
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
