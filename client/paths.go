package client

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
)

const (
	// pathDebounce gathers the burst of events of one change, and bounds how often a
	// busy routing table is looked at.
	pathDebounce = 30 * time.Millisecond
	// pathRetry is the pause before watching is tried again after it failed.
	pathRetry = time.Second
)

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
// up, and in defaultRoute those that the routing table chooses for the server.
type links map[string][]netip.Addr

// defaultRoute is no interface's name.
const defaultRoute = ""

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
		found := routable(addrs)
		slices.SortFunc(found, netip.Addr.Compare)
		out[i.Name] = found
	}
	return out, nil
}

// chosen returns the local addresses by which the routing table would reach the
// given ones from a socket with a mark, if it is not 0. Nothing is sent.
func chosen(far []netip.Addr, mark uint32) (out []netip.Addr) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error { return markSocket(raw, mark) }}
	for _, a := range far {
		conn, err := d.Dial("udp", netip.AddrPortFrom(a, 9).String())
		if err != nil {
			continue // no route
		}
		if l := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(); !slices.Contains(out, l) {
			out = append(out, l)
		}
		conn.Close()
	}
	return out
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
	return l[defaultRoute]
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

// checkPaths warns of the paths that cannot be used now: interfaces and addresses
// may come later, whatever their names.
func checkPaths(list []conf.Path, log zerolog.Logger) {
	for i, p := range muxPaths(list) {
		twin := Twin(list, i)
		switch {
		case twin != "":
			log.Warn().Str("path", p.Name).Msgf("leads by the same way as path %s: the two die together, and add up to one", twin)
		case p.Local.IsValid() && !bindable(p.Local):
			log.Warn().Str("path", p.Name).Stringer("address", p.Local).Msg("no interface has this address yet; waiting for it")
		case p.Interface != "" && FindInterface(p.Interface) == "":
			log.Warn().Str("path", p.Name).Str("interface", p.Interface).Str("there_are", interfaceNames()).Msg("no such interface yet; waiting for it")
		}
	}
}

// Twin returns the name of a path before list[i] that is bound to the same, as a copied line
// is, or "".
func Twin(list []conf.Path, i int) string {
	if at := slices.IndexFunc(list[:i], func(p conf.Path) bool { return p.Bind == list[i].Bind }); at >= 0 {
		return list[at].Name
	}
	return ""
}

// FindInterface returns the name of the interface that a binding means: a name, a
// glob of names (path.Match), or a hardware address, which a VLAN and a bridge have of their
// card. Of several the first one by name counts that can carry something, or else that is up;
// "" = there is none.
func FindInterface(bind string) string {
	list, err := net.Interfaces()
	if err != nil {
		return ""
	}
	slices.SortFunc(list, func(a, b net.Interface) int { return strings.Compare(a.Name, b.Name) })
	mac, _ := net.ParseMAC(bind)
	best, most := "", 0
	for _, i := range list {
		if glob, _ := path.Match(bind, i.Name); !glob && (mac == nil || !slices.Equal(mac, i.HardwareAddr)) && i.Name != bind {
			continue
		}
		if use := useOf(&i); best == "" || use > most {
			best, most = i.Name, use
		}
	}
	return best
}

// useOf is how much use an interface is now: 2 if it is up, with a carrier and an address, as a
// card without a cable is not, 1 if it is up, or 0.
func useOf(i *net.Interface) int {
	if i.Flags&net.FlagUp == 0 {
		return 0
	}
	if addrs, err := i.Addrs(); err == nil && i.Flags&net.FlagRunning != 0 && len(routable(addrs)) > 0 {
		return 2
	}
	return 1
}

// routable are the addresses of an interface by which other networks are reached.
func routable(addrs []net.Addr) []netip.Addr {
	found := []netip.Addr{}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && !ip.Unmap().IsLinkLocalUnicast() {
				found = append(found, ip.Unmap())
			}
		}
	}
	return found
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

// follow tells the tunnel which paths can be used, whenever that changes.
// Run starts it.
func (w *pathWatch) follow(ctx context.Context, m *mux.Client) error {
	events := make(chan struct{}, 1) // one is enough: "look again"
	ended := make(chan struct{})
	defer func() { <-ended }()
	// This goroutine ends with ctx.
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if err := watchLinks(ctx, events); err != nil && ctx.Err() == nil {
				w.log.Warn().Err(err).Msg("watching interfaces failed; trying again")
				poke(events) // what was missed
				pause(ctx, pathRetry)
			}
		}
	}()
	s := &pathState{all: muxPaths(w.wanted()), told: muxPaths(w.configured()), set: m.SetPaths, redial: m.Redial, find: FindInterface, log: w.log}
	s.hops = func(p *mux.Path) map[netip.Addr]hop { return hops(p, m.Servers(), w.mark) }
	for {
		if l, err := readLinks(); err != nil {
			w.log.Warn().Err(err).Msg("interfaces not read")
		} else {
			l[defaultRoute] = chosen(m.Servers(), w.mark)
			s.update(l)
			m.Hurry()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.changed:
			s.replace(muxPaths(w.wanted()))
			continue
		case <-events:
		}
		pause(ctx, pathDebounce)
	}
}

// pathState remembers what the tunnel was told.
type pathState struct {
	all    []mux.Path
	set    func([]mux.Path)
	redial func(names []string)
	find   func(bind string) (name string)
	// hops are the first ones of a path to each of the server's addresses; nil = nobody tells.
	hops func(p *mux.Path) map[netip.Addr]hop
	log  zerolog.Logger
	told []mux.Path // at first all of them, by New
	used []foothold // by path, when they were last read; the zero value before
}

// replace puts other paths in the place of those of the configuration.
func (s *pathState) replace(all []mux.Path) {
	s.all, s.used = all, nil
	if len(all) == 0 {
		s.tell(nil) // one by the default route
	}
}

// update tells the tunnel the paths that can be used, if they changed. On a path
// that lost the address that it used, or that leads another way now, by another router too, the subflows
// are made anew at once: waiting for the old ones to notice takes longer.
func (s *pathState) update(l links) {
	all := s.all
	if len(all) == 0 {
		all = []mux.Path{{Name: mux.DefaultPath}} // which the tunnel makes by itself
	}
	if s.told == nil {
		s.told = s.all
	}
	if len(s.used) != len(all) {
		s.used = make([]foothold, len(all))
	}
	var usable []mux.Path
	var moved []string
	for i, p := range all {
		if p.Interface != "" {
			if name := s.find(p.Interface); name != "" {
				p.Interface = name
			}
		}
		now := l.use(p)
		stands := foothold{read: true, addrs: now}
		if s.hops != nil && len(now) > 0 {
			stands.hops = s.hops(&p)
			if a := sources(stands.hops); p.Interface != "" && len(a) > 0 {
				stands.addrs, stands.exact = a, true
			}
		}
		stands.keep(&s.used[i])
		lost, back := s.used[i].lost(&stands, now), s.used[i].read && len(s.used[i].addrs) == 0
		there := len(s.all) == 0 || slices.ContainsFunc(s.told, func(t mux.Path) bool { return t.Name == p.Name })
		if len(now) > 0 && there && (lost || back) { // one that was not there before is dialled anyway
			moved = append(moved, p.Name)
		}
		if s.used[i] = stands; len(now) > 0 || p.Interface == "" && !p.Local.IsValid() {
			usable = append(usable, p)
		}
	}
	if len(s.all) == 0 {
		usable = nil
	} else if len(usable) == 0 {
		// None at all would mean the default route. Trying them all finds
		// the first that comes back.
		usable = s.all
	}
	s.tell(usable)
	if len(moved) > 0 {
		s.log.Debug().Strs("paths", moved).Msg("addresses or routers of paths changed: their subflows are made anew")
		s.redial(moved)
	}
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
	s.log.Debug().Strs("paths", names).Msg("usable paths changed")
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
