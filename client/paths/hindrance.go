package paths

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// Hindrance asks the system what keeps a path from the server, of what a dial does not
// tell: without a route the kernel takes every address for a neighbour of an interface
// that the socket is bound to, and nobody answers. Nothing is sent. The zero value says
// that nothing is known to.
func Hindrance(p conf.Path, servers []netip.Addr, mark uint32) status.Cause {
	bound := pathOf(p)
	switch {
	case len(servers) == 0:
		return status.Cause{}
	case bound.Interface == "" && !bound.Local.IsValid():
		if c := absentRouter("", netip.Addr{}, servers, mark); c.Says != "" {
			return c
		}
		for _, to := range servers {
			if name := leadsBy(to, mark); name != "" {
				return silence(name)
			}
		}
		return status.Cause{}
	}
	var own []netip.Addr
	if bound.Interface != "" {
		name := Find(bound.Interface)
		i, err := net.InterfaceByName(name)
		if err != nil {
			return status.Cause{} // absence says it
		}
		switch {
		case i.Flags&net.FlagUp == 0:
			return status.Cause{Says: name + " is down", Remedy: "bring it up"}
		case i.Flags&net.FlagRunning == 0:
			return status.Cause{Says: name + " has no carrier", Remedy: "look at its cable or its radio"}
		}
		bound.Interface = name
		if own, err = addresses(i); err != nil {
			return status.Cause{}
		}
		if a := duplicate(name); a.IsValid() && !slices.ContainsFunc(servers, netip.Addr.Is4) {
			return status.Cause{
				Says:   "another machine has " + name + "'s address " + a.String(),
				Remedy: "give this one another address: of what is copied, as virtual machines are, each needs a hardware address of its own",
			}
		}
	} else {
		own = []netip.Addr{bound.Local}
	}
	name := p.Bind
	if bound.Interface != "" {
		name = bound.Interface
	}
	if c := obstacle(name, own, servers, func(to netip.Addr) bool { return routed(bound.Interface, bound.Local, to, mark) }); c.Says != "" {
		return c
	}
	if c := absentRouter(bound.Interface, bound.Local, servers, mark); c.Says != "" {
		return c
	}
	for _, to := range servers { // answers may not come in, though all goes out
		for _, local := range own {
			if words, remedy := RouteTrouble(name, local, to, mark); words != "" && local.Is4() == to.Is4() {
				return status.Cause{Says: words, Remedy: remedy}
			}
		}
	}
	return status.Cause{}
}

// diagnose puts an error of a path into words, while those others work: that nobody answers, or somebody refuses, is
// then hardly the server's fault.
func diagnose(err string, others []string) status.Cause {
	c := status.Diagnose(err)
	beside := "the server answers by " + strings.Join(others, " and ") + ": "
	switch {
	case len(others) == 0:
	case c.Says == Unanswered:
		c.Remedy = beside + "look at this path's modem, signal and contract, and whether its network lets TCP to that port through"
	case status.IsRefusal(err):
		c.Remedy = beside + "a firewall or a portal of this path's network may refuse in its place (open a browser by it), or a name mean another server there; " +
			"else compare the address with the one by which it answers"
	}
	return c
}

// silence is what it means that nobody answers on the path by the default route, which leads
// by that interface: the kernel has others, perhaps, and does not choose them by itself.
func silence(name string) status.Cause {
	return status.Cause{
		Says: Unanswered + " by " + name,
		Remedy: "the default route leads by " + name + ": if that is dead, as a VPN may be, `paths: [{name: any, bind: INTERFACE}]` goes by another one; " +
			"else: does the server run, and does its firewall let the port through?",
	}
}

// absentRouter says that the router by which one of the servers is reached does not answer for its
// own address, from an interface or an address or by the default route.
func absentRouter(name string, from netip.Addr, servers []netip.Addr, mark uint32) status.Cause {
	for _, to := range servers {
		if router, by := silentRouter(name, from, to, mark); router.IsValid() {
			return status.Cause{
				Says:   "the router " + router.String() + " does not answer on " + by,
				Remedy: "look whether it is on, and whether " + by + " is in its network",
			}
		}
	}
	return status.Cause{}
}

// obstacle says what is in the way of those who have the addresses own to the servers'.
func obstacle(name string, own, servers []netip.Addr, routed func(netip.Addr) bool) status.Cause {
	has := func(list []netip.Addr, four bool) bool {
		return slices.ContainsFunc(list, func(a netip.Addr) bool { return a.Is4() == four })
	}
	var reached []netip.Addr
	for _, a := range servers {
		if has(own, a.Is4()) {
			reached = append(reached, a)
		}
	}
	switch {
	case len(own) == 0: // the only path, or all are so: absence says it of others
		return status.Cause{
			Says:   name + " has no address",
			Remedy: "see whether the network gives it one; where it is a part of a bridge or a bond, bind the path to that",
		}
	case len(reached) > 0:
		if slices.ContainsFunc(reached, routed) {
			return status.Cause{}
		}
		return status.Cause{
			Says:   "no route to the server on " + name,
			Remedy: "give the path a route, of its own table if it is not the machine's default: `ip route get " + reached[0].String() + " oif " + name + " fibmatch` shows what the system has",
		}
	case has(servers, true):
		return status.Cause{
			Says:   name + " has no IPv4 address, and the server is known by IPv4 only",
			Remedy: "add an IPv6 address of the server, or a name that has one, to server.addresses",
		}
	}
	return status.Cause{
		Says:   name + " has no IPv6 address, and the server is known by IPv6 only",
		Remedy: "add an IPv4 address of the server, or a name that has one, to server.addresses",
	}
}
