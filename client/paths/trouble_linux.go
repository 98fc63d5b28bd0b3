package paths

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RouteTrouble looks whether packets from a path's own address, or socket bound to its
// interface, with a mark if it is not 0, go out by that interface, and come in again. It returns what is wrong and
// what mends it; nothing when all is well, or when it cannot be told.
func RouteTrouble(bind string, local, remote netip.Addr, mark uint32) (words, remedy string) {
	if !local.IsValid() || local.IsLoopback() {
		return "", ""
	}
	link := linkOf(bind, local)
	if link == nil {
		return "", ""
	}
	name := link.Attrs().Name
	mend := fmt.Sprintf("give the uplink a table of its own: ip route add default via GATEWAY dev %s table 102; ip rule add from %s lookup 102 priority 102; ip rule add oif %s lookup 102 priority 102 (docs/recipes/uplinks.md)",
		name, local, name)
	to := net.IP(remote.AsSlice())
	if _, err := netip.ParseAddr(bind); err != nil { // bound to the interface
		routes, err := netlink.RouteGetWithOptions(to, &netlink.RouteGetOptions{Oif: name, Mark: mark})
		switch {
		case err != nil:
			return fmt.Sprintf("there is no route to %s by %s", remote, name), mend
		// Without a route the kernel takes the destination for a neighbour.
		case len(routes) > 0 && len(routes[0].Gw) == 0 && link.Attrs().RawFlags&(unix.IFF_NOARP|unix.IFF_POINTOPOINT) == 0 && !neighbour(link, remote):
			return fmt.Sprintf("no route by %s has a gateway: %s is taken for a neighbour there", name, remote), mend
		case len(routes) > 0 && local.Is4():
			if other := answersToo(link, local, routes[0].Gw); other != "" {
				return fmt.Sprintf("%s is in one network with %s, where the system answers for its address too: what the router then sends there is lost", name, other),
					"sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"
			}
		}
	}
	routes, err := netlink.RouteGetWithOptions(to, &netlink.RouteGetOptions{SrcAddr: local.AsSlice(), Mark: mark})
	if err != nil || len(routes) == 0 || routes[0].LinkIndex == link.Attrs().Index {
		return "", ""
	}
	other := fmt.Sprint("interface ", routes[0].LinkIndex)
	if l, err := netlink.LinkByIndex(routes[0].LinkIndex); err == nil {
		other = l.Attrs().Name
	}
	if bind == local.String() {
		return fmt.Sprintf("packets from %s, which is %s's, leave by %s", local, name, other), mend
	}
	if remote.Is4() && (sysctl("all", "rp_filter") == "1" || sysctl(name, "rp_filter") == "1") && sysctl("all", "rp_filter") != "2" && sysctl(name, "rp_filter") != "2" {
		return fmt.Sprintf("answers by %s are dropped: rp_filter is strict, and the system would answer by %s", name, other),
			"sysctl -w net.ipv4.conf.all.rp_filter=2, or " + mend
	}
	return "", ""
}

// answersToo returns another interface on which the system tells the router of a link who has a local address of
// the link's, as it does unless arp_ignore or arp_filter keep it from that (ip-sysctl); "" if there is none. A
// router by the same hardware address on both is one; that of another network with the same numbers is not.
func answersToo(link netlink.Link, local netip.Addr, router net.IP) string {
	is := link.Attrs()
	if router == nil {
		return ""
	}
	neighbours, err := netlink.NeighList(0, netlink.FAMILY_V4)
	if err != nil {
		return ""
	}
	own := slices.IndexFunc(neighbours, func(n netlink.Neigh) bool { return n.LinkIndex == is.Index && n.IP.Equal(router) })
	if own < 0 || len(neighbours[own].HardwareAddr) == 0 {
		return ""
	}
	for _, n := range neighbours {
		if n.LinkIndex == is.Index || !n.IP.Equal(router) || !bytes.Equal(n.HardwareAddr, neighbours[own].HardwareAddr) {
			continue
		}
		other, err := netlink.LinkByIndex(n.LinkIndex)
		if err != nil {
			continue
		}
		name := other.Attrs().Name
		if most(name, "arp_ignore") < "1" && most(name, "arp_filter") < "1" && neighbour(other, local) {
			return name
		}
	}
	return ""
}

// most is the greater one of an interface's setting and that of all, which is what counts.
func most(name, key string) string { return max(sysctl("all", key), sysctl(name, key)) }

// linkOf is the interface that a path is bound to, or that has its address; nil if there
// is none.
func linkOf(bind string, local netip.Addr) netlink.Link {
	if l, err := netlink.LinkByName(bind); err == nil {
		return l
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil
	}
	for _, l := range links {
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if a.IP.Equal(local.AsSlice()) {
				return l
			}
		}
	}
	return nil
}

// neighbour says whether an address is in a network of the interface's own.
func neighbour(link netlink.Link, a netip.Addr) bool {
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return true // not known: no alarm
	}
	for _, n := range addrs {
		if n.Contains(a.AsSlice()) {
			return true
		}
	}
	return false
}

// sysctl reads a setting of IPv4 for an interface, "" if it cannot be read.
func sysctl(name, key string) string {
	if strings.ContainsAny(name, "/") {
		return ""
	}
	b, _ := os.ReadFile("/proc/sys/net/ipv4/conf/" + name + "/" + key) // empty then
	return string(bytes.TrimSpace(b))
}
