package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nftTime is how long nft may take to list its rules.
const nftTime = 5 * time.Second

// RedirectLacks lists what a redirect at these addresses needs of this machine and does
// not find: the privilege, a rule that leads marked packets to a table, and in that a
// route to here.
func RedirectLacks(listen []netip.AddrPort) (out []Lack) {
	if len(listen) == 0 {
		return nil
	}
	ln, err := listenTransparent(netip.MustParseAddrPort("127.0.0.1:0"), 0)
	switch {
	case err == nil:
		ln.Close()
	case errors.Is(err, syscall.EPERM):
		out = append(out, Lack{"this user may not make transparent sockets", "run the client as root, or with AmbientCapabilities=CAP_NET_ADMIN in its unit"})
	default:
		out = append(out, Lack{"transparent sockets cannot be made: " + err.Error(), "the kernel needs CONFIG_NETFILTER_XT_TARGET_TPROXY or CONFIG_NFT_TPROXY"})
	}
	seen := map[bool]bool{}
	for _, a := range listen {
		if six := a.Addr().Is6(); !seen[six] {
			seen[six] = true
			out = append(out, localRouteLacks(six)...)
		}
		if rules, err := nftRules(); err == nil && !bytes.Contains(rules, fmt.Appendf(nil, "tproxy ip%s to %s", six(a), a)) {
			out = append(out, Lack{fmt.Sprintf("no rule of nftables gives anything to %s", a), "docs/recipes/router.md has the rules, for nft -f"})
		}
	}
	return out
}

// six is what nft calls a family behind "ip".
func six(a netip.AddrPort) string {
	if a.Addr().Is6() {
		return "6"
	}
	return ""
}

// nftRules are the rules of nftables, where they can be listed.
func nftRules() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), nftTime)
	defer cancel()
	return exec.CommandContext(ctx, "nft", "list", "ruleset").Output()
}

// localRouteLacks looks for a rule by a mark, and in its table for a route that leads
// everything to this machine.
func localRouteLacks(v6 bool) []Lack {
	family, ip := unix.AF_INET, "ip"
	if v6 {
		family, ip = unix.AF_INET6, "ip -6"
	}
	rules, err := netlink.RuleList(family)
	if err != nil {
		return nil // what cannot be read is not said to be missing
	}
	marked := false
	for _, r := range rules {
		if r.Mark == 0 || r.Table == 0 {
			continue
		}
		marked = true
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: r.Table, Type: unix.RTN_LOCAL}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
		if err != nil {
			return nil
		}
		for _, route := range routes {
			if route.Dst == nil || bitsOf(route) == 0 {
				return nil
			}
		}
	}
	if !marked {
		return []Lack{{"no rule leads packets with a mark to a table of their own (" + ip + " rule)", ip + " rule add fwmark 100 lookup 100; " + ip + " route add local default dev lo table 100"}}
	}
	return []Lack{{"no table that a mark leads to has a local default route (" + ip + " route show table 100)", ip + " route add local default dev lo table 100"}}
}

func bitsOf(r netlink.Route) int {
	n, _ := r.Dst.Mask.Size()
	return n
}
