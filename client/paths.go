package client

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
)

const (
	// pathDebounce gathers the burst of events of one change: a link that comes
	// up gets its addresses over some hundred milliseconds.
	pathDebounce = 250 * time.Millisecond
	// pathRetry is the pause before watching is tried again after it failed.
	pathRetry = time.Second
)

// hotplug lists how the names of interfaces begin that come and go: modems,
// USB tethering, Wi-Fi, Bluetooth, dial-up and tunnels. A path may be bound to
// one before it exists; any other unknown name is a mistake.
var hotplug = []string{"ww", "usb", "wl", "ppp", "bnep", "rmnet", "enx", "tun", "tap", "wg"}

// muxPath translates one path of the configuration.
func muxPath(p conf.Path) mux.Path {
	out := mux.Path{
		Name: p.Name, Subflows: int(p.Subflows), Backup: p.Backup, Metered: p.Metered, KernelMPTCP: p.KernelMPTCP,
		Weight: p.Weight, DailyCap: int64(p.DailyCap), MonthlyCap: int64(p.MonthlyCap), BillingDay: p.BillingDay,
	}
	if a, err := netip.ParseAddr(p.Bind); err == nil {
		out.Local = a.Unmap()
	} else {
		out.Interface = p.Bind
	}
	return out
}

func muxPaths(list []conf.Path) []mux.Path {
	out := make([]mux.Path, 0, len(list))
	for _, p := range list {
		out = append(out, muxPath(p))
	}
	return out
}

// links is what the machine has now: the addresses of each interface that is
// up.
type links map[string][]netip.Addr

// readLinks asks the system.
func readLinks() (links, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	out := make(links)
	for _, i := range list {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone in between
		}
		found := []netip.Addr{}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(n.IP); ok && !ip.Unmap().IsLinkLocalUnicast() {
					found = append(found, ip.Unmap())
				}
			}
		}
		slices.SortFunc(found, netip.Addr.Compare)
		out[i.Name] = found
	}
	return out, nil
}

// use returns the addresses that a path can use; none means that it cannot be
// used now.
func (l links) use(p mux.Path) []netip.Addr {
	switch {
	case p.Local.IsValid():
		if bindable(p.Local) {
			return []netip.Addr{p.Local}
		}
		return nil
	case p.Interface != "":
		return l[p.Interface]
	}
	return []netip.Addr{netip.IPv4Unspecified()} // by the routing table: always
}

// bindable says whether the machine has a local address. Trying tells more than
// a list: all of 127.0.0.0/8 can be used, for one.
func bindable(a netip.Addr) bool {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// checkPaths finds the paths whose interface exists nowhere. It warns where the
// interface may appear later, and fails where the name is a mistake.
func checkPaths(list []conf.Path, log zerolog.Logger) error {
	for _, p := range muxPaths(list) {
		switch {
		case p.Local.IsValid() && !bindable(p.Local):
			log.Warn().Str("path", p.Name).Stringer("address", p.Local).Msg("no interface has this address yet; waiting for it")
		case p.Interface != "":
			_, err := net.InterfaceByName(p.Interface)
			if err == nil {
				continue
			}
			if !slices.ContainsFunc(hotplug, func(s string) bool { return strings.HasPrefix(p.Interface, s) }) {
				return fmt.Errorf("path %s: unknown interface %q; this machine has %s", p.Name, p.Interface, interfaceNames())
			}
			log.Warn().Str("path", p.Name).Str("interface", p.Interface).Msg("no such interface yet; waiting for it")
		}
	}
	return nil
}

func interfaceNames() string {
	list, err := net.Interfaces()
	if err != nil {
		return "none that can be listed"
	}
	names := make([]string, 0, len(list))
	for _, i := range list {
		names = append(names, i.Name)
	}
	return strings.Join(names, ", ")
}

// watchPaths tells the tunnel which paths can be used, whenever that changes.
// Run starts it.
func (c *Client) watchPaths(ctx context.Context) error {
	events := make(chan struct{}, 1) // one is enough: "look again"
	ended := make(chan struct{})
	defer func() { <-ended }()
	// This goroutine ends with ctx.
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if err := watchLinks(ctx, events); err != nil && ctx.Err() == nil {
				c.log.Warn().Err(err).Msg("watching interfaces failed; trying again")
				poke(events) // what was missed
				pause(ctx, pathRetry)
			}
		}
	}()
	s := &pathState{all: muxPaths(c.wanted()), set: c.mux.SetPaths, log: c.log}
	for {
		if l, err := readLinks(); err != nil {
			c.log.Warn().Err(err).Msg("interfaces not read")
		} else {
			s.update(l)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.look:
			s.replace(muxPaths(c.wanted()))
			continue
		case <-events:
		}
		pause(ctx, pathDebounce)
	}
}

// pathState remembers what the tunnel was told.
type pathState struct {
	all  []mux.Path
	set  func([]mux.Path)
	log  zerolog.Logger
	told []mux.Path     // at first all of them, by New
	used [][]netip.Addr // by path: its addresses when they were last read
}

// replace puts other paths in the place of those of the configuration.
func (s *pathState) replace(all []mux.Path) {
	s.all, s.used = all, make([][]netip.Addr, len(all))
	if len(all) == 0 {
		s.tell(nil) // one by the default route
	}
}

// update tells the tunnel the paths that can be used, if they changed. A path
// that lost an address is taken away for a moment: its connections are dead, and
// waiting for them to notice takes longer.
func (s *pathState) update(l links) {
	if s.told == nil {
		s.told, s.used = s.all, make([][]netip.Addr, len(s.all))
	}
	var usable, kept []mux.Path
	for i, p := range s.all {
		now := l.use(p)
		lost := slices.ContainsFunc(s.used[i], func(a netip.Addr) bool { return !slices.Contains(now, a) })
		s.used[i] = now
		if len(now) == 0 {
			continue
		}
		usable = append(usable, p)
		if !lost {
			kept = append(kept, p)
		}
	}
	if len(usable) == 0 {
		// None at all would mean the default route. Trying them all finds
		// the first that comes back.
		usable, kept = s.all, s.all
	}
	if len(kept) > 0 && len(kept) < len(usable) {
		s.tell(kept)
	}
	s.tell(usable)
}

// tell sets the paths if they are others than before.
func (s *pathState) tell(paths []mux.Path) {
	if slices.Equal(paths, s.told) {
		return
	}
	names := make([]string, 0, len(paths))
	for _, p := range paths {
		names = append(names, p.Name)
	}
	s.log.Info().Strs("paths", names).Msg("usable paths changed")
	s.told = paths
	s.set(paths)
}

// poke puts an event on the channel unless one is there.
func poke(events chan<- struct{}) {
	select {
	case events <- struct{}{}:
	default:
	}
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
