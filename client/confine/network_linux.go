package confine

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/client/tun"
)

// bringUp gives the device its addresses and makes it the way to everywhere.
func bringUp(name string, o *order) error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	dev, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := netlink.LinkSetMTU(dev, o.MTU); err != nil {
		return fmt.Errorf("%s: MTU %d: %w", name, o.MTU, err)
	}
	if err := netlink.LinkSetUp(dev); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	// ping(8) has no privilege here: its sockets are allowed to everybody inside. Where
	// that fails there is no ping, and nothing else is missing.
	group := os.Getegid()
	last := group
	if !o.Drop {
		group, last = 0, math.MaxInt32
	}
	_ = os.WriteFile("/proc/sys/net/ipv4/ping_group_range", fmt.Appendf(nil, "%d %d\n", group, last), 0)
	for _, p := range []netip.Prefix{o.Local4, o.Local6} {
		if err := way(dev, p); err != nil {
			return fmt.Errorf("%s: %s: %w", name, p, err)
		}
	}
	leadStubs(dev, o.Local4.Addr())
	return nil
}

// leadStubs has the addresses at which systemd-resolved answers programs lead to the device:
// inside nobody answers there, and a resolv.conf of the host's that has come to be seen may
// name them. Where the kernel does not let it, names are found by the file that is put there.
func leadStubs(dev netlink.Link, from netip.Addr) {
	name := dev.Attrs().Name
	if os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/route_localnet", []byte("1\n"), 0) != nil {
		return
	}
	for _, host := range []byte{53, 54} {
		to := &net.IPNet{IP: net.IPv4(127, 0, 0, host).To4(), Mask: net.CIDRMask(32, 32)}
		_ = netlink.RouteAdd(&netlink.Route{
			LinkIndex: dev.Attrs().Index, Dst: to, Src: from.AsSlice(), Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_LINK,
		})
	}
}

// way adds an address and the default route of its family. A kernel without IPv6
// has none.
func way(dev netlink.Link, p netip.Prefix) error {
	local := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	addr := &netlink.Addr{IPNet: local}
	all := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
		all = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	err := netlink.AddrAdd(dev, addr)
	if p.Addr().Is6() && (err == unix.EOPNOTSUPP || err == unix.EACCES || err == unix.EAFNOSUPPORT) {
		return nil
	}
	if err != nil {
		return err
	}
	r := netlink.Route{LinkIndex: dev.Attrs().Index, Dst: all, Src: p.Addr().AsSlice(), Congctl: tun.Congestion}
	if err = netlink.RouteAdd(&r); errors.Is(err, unix.EINVAL) { // a kernel without it
		r.Congctl = ""
		err = netlink.RouteAdd(&r)
	}
	if err != nil {
		return err
	}
	settle(p.Addr())
	return nil
}

// settle waits until the kernel takes what is sent to a new address: an IPv6 one it makes
// its own a moment after it was added, and the first answer was lost now and then.
func settle(a netip.Addr) {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if r, err := netlink.RouteGet(a.AsSlice()); err != nil || len(r) > 0 && r[0].Type == unix.RTN_LOCAL {
			return
		}
	}
}
