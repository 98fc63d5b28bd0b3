package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Path is one way between the namespaces. Its methods change it live and are safe for concurrent use.
type Path struct {
	Name  string // also the device on both sides
	lab   *Lab
	index int

	mu       sync.Mutex // guards all following fields
	up, down Link
	host     byte // last byte of the client's address, 2 at first
}

// The numbers of path i: 10.77.i+1.0/24 and fd77:0:0:i+1::/64, server .1, client .2 and on; routing table and rule
// priority tableBase+i, below the main table's 32766.
const (
	tableBase = 100
	maxPaths  = 100
	mtu       = 1500
	// deviceQueue is long enough that the emulated queue is always the one that fills: 10,000 packets are the whole
	// 4 MiB send buffers of three TCP connections, and the forwarder empties it every 50 µs.
	deviceQueue = 10_000
)

func newPath(l *Lab, i int, s PathSpec) (*Path, error) {
	if i >= maxPaths || s.Name == "" || len(s.Name) > 15 || strings.ContainsAny(s.Name, "/ \t.:") || s.Name == "lo" {
		return nil, errors.New("want at most 100 paths with device names of 1 to 15 characters")
	}
	if err := errors.Join(s.Up.Validate(), s.Down.Validate()); err != nil {
		return nil, err
	}
	return &Path{Name: s.Name, lab: l, index: i, up: s.Up, down: s.Down, host: 2}, nil
}

func (p *Path) addr4(host byte) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 77, byte(p.index + 1), host})
}

func (p *Path) addr6(host byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x77, 7: byte(p.index + 1), 15: host})
}

// ClientAddr is the client's address on this path now.
func (p *Path) ClientAddr() netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr4(p.host)
}

// ClientAddr6 is the client's IPv6 address on this path now.
func (p *Path) ClientAddr6() netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr6(p.host)
}

// ServerAddr is the world's own address on this path, reachable by this path only.
func (p *Path) ServerAddr() netip.Addr { return p.addr4(1) }

// configure brings both devices up with addresses, routes and rules. It may be called again to restore what a device
// lost when it went down.
func (p *Path) configure() error {
	if err := p.configureSide(p.lab.World, 1); err != nil {
		return fmt.Errorf("world: %w", err)
	}
	p.mu.Lock()
	host := p.host
	p.mu.Unlock()
	if err := p.configureSide(p.lab.Client, host); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return p.route(host)
}

func (p *Path) configureSide(n *Namespace, host byte) error {
	dev, err := n.links.LinkByName(p.Name)
	if err != nil {
		return err
	}
	if err := n.links.LinkSetMTU(dev, mtu); err != nil {
		return fmt.Errorf("mtu: %w", err)
	}
	if err := n.links.LinkSetTxQLen(dev, deviceQueue); err != nil {
		return fmt.Errorf("queue length: %w", err)
	}
	if err := n.links.LinkSetUp(dev); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	if err := n.links.AddrReplace(dev, address(p.addr4(host), 24)); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if err := n.links.AddrReplace(dev, address(p.addr6(host), 64)); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	return nil
}

// route makes what has this path's source address leave by its device, and gives programs that bind to the device or to
// nothing a default route: the first path's, while it is up.
func (p *Path) route(host byte) error {
	n := p.lab.Client
	dev, err := n.links.LinkByName(p.Name)
	if err != nil {
		return err
	}
	for _, a := range []netip.Addr{p.addr4(host), p.addr6(host)} {
		family, bits := unix.AF_INET, a.BitLen()
		if a.Is6() {
			family = unix.AF_INET6
		}
		own := &netlink.Route{LinkIndex: dev.Attrs().Index, Table: tableBase + p.index, Dst: address(a, 0).IPNet, Family: family}
		own.Dst.IP = own.Dst.IP.Mask(own.Dst.Mask)
		if err := n.links.RouteReplace(own); err != nil {
			return fmt.Errorf("route of table %d: %w", own.Table, err)
		}
		// While the device is down its address must not leave by another path: no provider would carry it.
		none := &netlink.Route{Table: own.Table, Dst: own.Dst, Family: family, Priority: 1 << 20, Type: unix.RTN_UNREACHABLE}
		if err := n.links.RouteReplace(none); err != nil {
			return fmt.Errorf("fallback route: %w", err)
		}
		all := &netlink.Route{LinkIndex: dev.Attrs().Index, Priority: tableBase + p.index, Dst: own.Dst, Family: family, Src: a.AsSlice()}
		if a.Is6() {
			all.Src = nil
		}
		if err := n.links.RouteReplace(all); err != nil {
			return fmt.Errorf("default route: %w", err)
		}
		rule := netlink.NewRule()
		rule.Family, rule.Src, rule.Table, rule.Priority = family, address(a, bits).IPNet, tableBase+p.index, tableBase+p.index
		if err := n.links.RuleAdd(rule); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("rule: %w", err)
		}
	}
	return nil
}

// Links returns both directions as they are now.
func (p *Path) Links() (up, down Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up, p.down
}

// Change edits both directions of the running path: f gets each in turn.
func (p *Path) Change(f func(l *Link)) error {
	return p.ChangeEach(func(up, down *Link) { f(up); f(down) })
}

// ChangeEach edits the two directions of the running path.
func (p *Path) ChangeEach(f func(up, down *Link)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	up, down := p.up, p.down
	f(&up, &down)
	if err := errors.Join(up.Validate(), down.Validate()); err != nil {
		return fmt.Errorf("path %s: %w", p.Name, err)
	}
	p.lab.mu.Lock()
	defer p.lab.mu.Unlock()
	for i, l := range []Link{up, down} {
		if err := p.lab.exchange(&request{Set: true, Pipe: 2*p.index + i, Link: l}, &reply{}); err != nil {
			return fmt.Errorf("path %s: %w", p.Name, err)
		}
	}
	p.up, p.down = up, down
	return nil
}

// SetBlackHole makes the path swallow everything, or lets it go again, while the devices stay up.
func (p *Path) SetBlackHole(on bool) error { return p.Change(func(l *Link) { l.BlackHole = on }) }

// Down takes the client's device down, as an unplugged cable or a modem that lost its carrier does.
func (p *Path) Down() error {
	dev, err := p.lab.Client.links.LinkByName(p.Name)
	if err == nil {
		err = p.lab.Client.links.LinkSetDown(dev)
	}
	if err != nil {
		return fmt.Errorf("path %s down: %w", p.Name, err)
	}
	return nil
}

// Up brings the client's device back, with its addresses and routes.
func (p *Path) Up() error {
	if err := p.configure(); err != nil {
		return fmt.Errorf("path %s up: %w", p.Name, err)
	}
	return nil
}

// Renumber gives the client's end of the path new addresses and takes the old ones away, as a modem that dialled in
// anew does.
func (p *Path) Renumber() error {
	p.mu.Lock()
	old := p.host
	p.host++
	if p.host == 255 {
		p.host = 2
	}
	host := p.host
	p.mu.Unlock()
	n := p.lab.Client
	dev, err := n.links.LinkByName(p.Name)
	if err != nil {
		return fmt.Errorf("renumber %s: %w", p.Name, err)
	}
	for _, a := range []*netlink.Addr{address(p.addr4(old), 24), address(p.addr6(old), 64)} {
		if err := n.links.AddrDel(dev, a); err != nil {
			return fmt.Errorf("renumber %s: %w", p.Name, err)
		}
	}
	for _, a := range []netip.Addr{p.addr4(old), p.addr6(old)} {
		rule := netlink.NewRule()
		rule.Src, rule.Table, rule.Priority, rule.Family = address(a, a.BitLen()).IPNet, tableBase+p.index, tableBase+p.index, unix.AF_INET
		if a.Is6() {
			rule.Family = unix.AF_INET6
		}
		_ = n.links.RuleDel(rule) // harmless when it stays: nothing has that source any more
	}
	if err := p.configureSide(n, host); err != nil {
		return fmt.Errorf("renumber %s: %w", p.Name, err)
	}
	return p.route(host)
}

// Stats returns what both directions have counted so far.
func (p *Path) Stats() (up, down LinkStats, err error) {
	all, err := p.lab.stats()
	if err != nil {
		return up, down, err
	}
	return all[2*p.index], all[2*p.index+1], nil
}

// ProcessCPU is the processor time, user and system, that a process has used so far; zero when it is gone. It is the
// scheduler's exact account, not the sampled one of /proc.
func ProcessCPU(pid int) time.Duration {
	const cpuClockSched = 2 // CPUCLOCK_SCHED: the clock id of a process is its number, inverted, above these bits
	var ts unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|cpuClockSched), &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
