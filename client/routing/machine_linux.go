package routing

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/conf"
)

// Machine is the routing of this machine, or of this network namespace, as far as a
// device is concerned. Its owner makes one call at a time.
type Machine struct {
	device  string
	cgroups cgroups
	names   names
}

// New prepares for a device that there is.
func New(device string) *Machine { return &Machine{device: device} }

// Set has the machine's routing be as the settings say, whatever it was before. An error
// leaves it in between: Set again, or Undo.
func (m *Machine) Set(s Settings) error {
	plans, err := s.plans()
	if err != nil {
		return err
	}
	dev, err := netlink.LinkByName(m.device)
	if err != nil {
		return fmt.Errorf("%s: %w", m.device, err)
	}
	if err := otherDevice(dev.Attrs().Index); err != nil {
		return err
	}
	if dev.Attrs().MTU != s.MTU {
		if err := netlink.LinkSetMTU(dev, s.MTU); err != nil {
			return fmt.Errorf("%s: MTU %d: %w", m.device, s.MTU, err)
		}
	}
	if dev.Attrs().Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(dev); err != nil {
			return fmt.Errorf("%s: %w", m.device, err)
		}
	}
	if err := m.cgroups.set(s.Exclude, s.Mark); err != nil {
		return err
	}
	for i, p := range plans {
		ok, err := address(dev, p.family, p.local)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", m.device, p.local, err)
		}
		if !ok { // the kernel has no such family, or none for this device
			s.Addresses = slices.DeleteFunc(slices.Clone(s.Addresses), func(a netip.Addr) bool { return a == p.local })
			if plans, err = s.plans(); err != nil {
				return err
			}
		}
		if err := plans[i].install(dev.Attrs().Index); err != nil {
			return err
		}
	}
	return m.names.set(m.device, s.DNS && s.Everything())
}

// Undo removes all that Set has made but the device.
func (m *Machine) Undo() error {
	return errors.Join(m.cgroups.set(nil, 0), Clean(), m.names.set(m.device, false))
}

// Clean removes what is ours of rules and routes, of a process that was killed, too.
func Clean() error {
	var errs []error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		errs = append(errs, (&plan{family: family}).install(0))
	}
	return errors.Join(errs...)
}

// Left says in words what a process that was killed has left behind. What belongs to a
// client that runs is not that.
func Left() (out []string, err error) {
	if err := otherDevice(0); err != nil {
		return nil, nil // one runs
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		rules, err := ownRules(family)
		if err != nil {
			return nil, err
		}
		ip := map[uint8]string{unix.AF_INET: "ip", unix.AF_INET6: "ip -6"}[family]
		if len(rules) > 0 {
			out = append(out, fmt.Sprintf("%d rules of routing (%s rule)", len(rules), ip))
		}
	}
	return out, nil
}

// otherDevice is an error if another device than that of an index has routes in our
// tables: they go with the device, so that its process lives.
func otherDevice(index int) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		routes, err := ownRoutes(family)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if r.Type == unix.RTN_UNICAST && r.LinkIndex != index {
				name := fmt.Sprint("device ", r.LinkIndex)
				if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
					name = l.Attrs().Name
				}
				return fmt.Errorf("another client leads this machine's traffic to %s: one can, at a time", name)
			}
		}
	}
	return nil
}

// address has the device have one address of a family, or none; false says that the
// kernel has no such family for it.
func address(dev netlink.Link, family uint8, want netip.Addr) (bool, error) {
	have, err := netlink.AddrList(dev, int(family))
	if err != nil && !noFamily(err) {
		return false, err
	}
	found := false
	for _, a := range have {
		is, _ := netip.AddrFromSlice(a.IP)
		switch {
		case is.Unmap() == want:
			found = true
		case !is.IsLinkLocalUnicast():
			if err := netlink.AddrDel(dev, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return false, err
			}
		}
	}
	if found || !want.IsValid() {
		return true, nil
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: want.AsSlice(), Mask: net.CIDRMask(want.BitLen(), want.BitLen())}}
	if want.Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	err = netlink.AddrAdd(dev, a)
	if want.Is6() && noFamily(err) {
		return false, nil
	}
	return err == nil, err
}

// noFamily says whether an error is of a kernel without IPv6, or with it switched off.
func noFamily(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EAFNOSUPPORT)
}

// install has the kernel have the plan's routes and rules and none of ours beside them.
func (p *plan) install(device int) error {
	routes, err := ownRoutes(p.family)
	if err != nil {
		return err
	}
	for _, want := range p.routes {
		if slices.ContainsFunc(routes, func(r netlink.Route) bool { return want.is(&r, device) && r.Src.Equal(want.source(p.local)) }) {
			continue // nobody is told of what has not changed
		}
		r := want.netlink(device, p.local)
		err := netlink.RouteReplace(r)
		if errors.Is(err, unix.EINVAL) && r.Congctl != "" { // a kernel without it
			r.Congctl = ""
			err = netlink.RouteReplace(r)
		}
		if err != nil {
			if noFamily(err) && p.family == unix.AF_INET6 {
				return nil // no way around either
			}
			return fmt.Errorf("route to %s: %w", want.to, err)
		}
	}
	rules, err := ownRules(p.family)
	if err != nil {
		return err
	}
	for i := range p.rules {
		if !slices.Contains(rules, p.rules[i]) {
			if err := p.rules[i].add(); err != nil {
				return err
			}
		}
	}
	// What leads to our tables goes before what leaves others out.
	slices.Reverse(rules)
	for i := range rules {
		if !slices.Contains(p.rules, rules[i]) {
			if err := rules[i].remove(); err != nil {
				return err
			}
		}
	}
	if routes, err = ownRoutes(p.family); err != nil {
		return err
	}
	for _, r := range routes {
		if !slices.ContainsFunc(p.routes, func(want route) bool { return want.is(&r, device) }) {
			if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove the route to %s: %w", r.Dst, err)
			}
		}
	}
	return nil
}

// netlink is the route for the kernel.
func (w route) netlink(device int, local netip.Addr) *netlink.Route {
	r := &netlink.Route{
		Dst:   &net.IPNet{IP: w.to.Addr().AsSlice(), Mask: net.CIDRMask(w.to.Bits(), w.to.Addr().BitLen())},
		Table: w.table, Priority: w.metric, Protocol: protocol,
	}
	if w.refused {
		r.Type = unix.RTN_UNREACHABLE
		return r
	}
	r.Type, r.LinkIndex, r.Src, r.Congctl = unix.RTN_UNICAST, device, w.source(local), tun.Congestion
	if w.to.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}

// source is the address that programs send from by the route; nil = none of its own.
func (w route) source(local netip.Addr) net.IP {
	if w.refused {
		return nil
	}
	return local.AsSlice()
}

// is says whether the kernel's route is this one.
func (w route) is(r *netlink.Route, device int) bool {
	if r.Table != w.table || r.Priority != w.metric || (r.Type == unix.RTN_UNREACHABLE) != w.refused || !w.refused && r.LinkIndex != device {
		return false
	}
	to := all(w.to.Addr().Is6())
	if r.Dst != nil {
		a, _ := netip.AddrFromSlice(r.Dst.IP)
		n, _ := r.Dst.Mask.Size()
		to = netip.PrefixFrom(a.Unmap(), n)
	}
	return to == w.to
}

// ownRoutes lists what is in our tables.
func ownRoutes(family uint8) (out []netlink.Route, err error) {
	for _, table := range []int{tableChosen, tableAll} {
		routes, err := netlink.RouteListFiltered(int(family), &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
		if err != nil && !noFamily(err) {
			return nil, fmt.Errorf("list the routes: %w", err)
		}
		for _, r := range routes {
			if r.Protocol == protocol {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// Covers lists the networks that this machine is part of and that settings lead to the
// device all the same.
func Covers(t *conf.TUN) (out []netip.Prefix) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(n.IP)
		bits, _ := n.Mask.Size()
		if ip = ip.Unmap(); ip.IsLoopback() || ip.IsLinkLocalUnicast() || slices.Contains(t.Addresses, ip) {
			continue
		}
		near := netip.PrefixFrom(ip, bits).Masked()
		for _, r := range t.Routes {
			excluded := slices.ContainsFunc(t.Exclude, func(e conf.Exclusion) bool { return e.To.IsValid() && e.To.Bits() <= bits && e.To.Contains(ip) })
			if r.Contains(ip) && (r.Bits() > 0 || !t.LAN) && !excluded {
				out = append(out, near)
				break
			}
		}
	}
	return out
}
