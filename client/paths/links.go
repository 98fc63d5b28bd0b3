package paths

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/mpsocks/mpsocks/mux"
)

// links is what the machine has now: the addresses of each interface of a path
// that is up, and in defaultRoute those that the routing table chooses for the server.
type links map[string][]netip.Addr

// defaultRoute is no interface's name.
const defaultRoute = ""

// readLinks asks the system what the interfaces of some paths have, and returns the name of the one that each
// binding means. Others are not asked for their addresses: to tell those of one the system lists those of all, and
// a host of containers has hundreds.
func readLinks(paths []mux.Path) (l links, names map[string]string, err error) {
	l, names = make(links), make(map[string]string)
	var list []net.Interface
	for _, p := range paths {
		if p.Interface == "" {
			continue
		}
		if list == nil {
			if list, err = net.Interfaces(); err != nil {
				return nil, nil, fmt.Errorf("list interfaces: %w", err)
			}
		}
		name := findAmong(list, p.Interface)
		names[p.Interface] = name
		at := slices.IndexFunc(list, func(i net.Interface) bool { return i.Name == name })
		if at < 0 || list[at].Flags&net.FlagUp == 0 {
			continue
		}
		if own, err := addresses(&list[at]); err == nil { // else it is gone in between
			l[name] = own
		}
	}
	return l, names, nil
}

// addresses are those of an interface by which other networks are reached, in order.
func addresses(i *net.Interface) ([]netip.Addr, error) {
	addrs, err := i.Addrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", i.Name, err)
	}
	found := routable(addrs)
	slices.SortFunc(found, netip.Addr.Compare)
	return found, nil
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

// Find returns the name of the interface that a binding means: a name, a
// glob of names (path.Match), or a hardware address, which a VLAN and a bridge have of their
// card. Of several the first one by name counts that can carry something, or else that is up;
// "" = there is none.
func Find(bind string) string {
	list, err := net.Interfaces()
	if err != nil {
		return ""
	}
	return findAmong(list, bind)
}

// findAmong is Find among some interfaces.
func findAmong(list []net.Interface, bind string) string {
	list = slices.SortedFunc(slices.Values(list), func(a, b net.Interface) int { return strings.Compare(a.Name, b.Name) })
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
