package carrier

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// ListenAddr is one address to accept TCP connections on.
type ListenAddr struct {
	Addr        netip.AddrPort
	KernelMPTCP bool // sockets of the kernel's MPTCP
}

// A Door is one bound address.
type Door struct {
	net.Listener
	At      ListenAddr // as it was asked for
	network string     // "" = somebody else has bound it
}

// Fits reports whether the door can stay where all of these addresses are to be bound: one
// that takes both families has to go where another wants IPv4 at its port.
func (d Door) Fits(all []ListenAddr) bool { return d.network == "" || d.network == network(d.At, all) }

// AcceptFrom waits for a connection from an address that may come in, as tcpio's Listener does.
func (d Door) AcceptFrom(may func(from netip.Addr) bool, turn func(step func() (more bool))) (net.Conn, error) {
	if l, ok := d.Listener.(listener); ok {
		return orphaned(l.AcceptFrom(may, turn))
	}
	return tcpio.AcceptFrom(d.Accept, may, turn)
}

// A listener is one of the kernel's.
type listener struct{ *tcpio.Listener }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) { return orphaned(l.Listener.Accept()) }

// orphaned has a connection of package net's have the keep-alives of orphans, as best effort; others inherit them.
func orphaned(c tcpio.Socket, err error) (net.Conn, error) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetKeepAliveConfig(orphans)
	}
	return c, err
}

// Is reports whether the door is what a is, also where the system chose its port.
func (d Door) Is(a ListenAddr) bool {
	return d.At == a || AddrPort(d.Addr()) == a.Addr && d.At.KernelMPTCP == a.KernelMPTCP
}

// orphans are the kernel's keep-alives: it asks on a connection after so much silence that those
// whose client is gone without a word end some time. What a session needs to know sooner
// it asks itself.
var orphans = net.KeepAliveConfig{Enable: true, Idle: time.Hour, Interval: 5 * time.Second, Count: 3}

// listens sets what a listening socket of ours has beside its address, as best effort.
func listens(raw syscall.RawConn) {
	Untimed(raw)
	deferSilent(raw)
	keepAlive(raw)
}

// own takes a listener over if it is one of the kernel's.
func own(ln net.Listener) (net.Listener, error) {
	t, ok := ln.(*net.TCPListener)
	if !ok {
		return ln, nil
	}
	l, err := tcpio.Listen(t)
	if err != nil {
		return nil, err
	}
	return listener{l}, nil
}

// network is how an address is bound: an IPv4 one for IPv4 alone, 0.0.0.0 too, and the
// IPv6 wildcard for both families, unless another one of all has that port for IPv4.
func network(a ListenAddr, all []ListenAddr) string {
	switch {
	case a.Addr.Addr().Is4():
		return "tcp4" // "tcp" would take 0.0.0.0 for all of IPv6 too
	case a.Addr.Addr().IsUnspecified() && slices.ContainsFunc(all, func(o ListenAddr) bool {
		return o.Addr.Addr().Is4() && o.Addr.Port() == a.Addr.Port()
	}):
		return "tcp6"
	}
	return "tcp"
}

// Bind binds all of the addresses or none; its error names the one that failed. all are
// those that are bound beside them, too.
func Bind(addrs, all []ListenAddr) (doors []Door, err error) {
	for _, a := range addrs {
		lc := net.ListenConfig{KeepAlive: -1} // Door.Accept's
		lc.SetMultipathTCP(a.KernelMPTCP)     // Go's default is on
		lc.Control = func(_, _ string, raw syscall.RawConn) error {
			listens(raw)
			return nil
		}
		by := network(a, all)
		ln, err := lc.Listen(context.Background(), by, a.Addr.String())
		if err == nil {
			ln, err = own(ln)
		}
		if err != nil {
			CloseDoors(doors)
			return nil, fmt.Errorf("listen for clients on %s: %w", a.Addr, err)
		}
		doors = append(doors, Door{ln, a, by})
	}
	return doors, nil
}

// Adopt finds the listeners that somebody else has bound, a service manager, among the
// addresses: it returns doors of them, the addresses that are left, and the listeners
// that have no address here. What it finds gets the options of those that Bind makes.
func Adopt(handed []net.Listener, addrs []ListenAddr) (doors []Door, rest []ListenAddr, unknown []net.Listener) {
	unknown = slices.Clone(handed)
	for _, a := range addrs {
		i := slices.IndexFunc(unknown, func(l net.Listener) bool {
			return AddrPort(l.Addr()) == netip.AddrPortFrom(a.Addr.Addr().Unmap(), a.Addr.Port())
		})
		if i < 0 {
			rest = append(rest, a)
			continue
		}
		if c, ok := unknown[i].(syscall.Conn); ok {
			if raw, err := c.SyscallConn(); err == nil {
				listens(raw)
			}
		}
		if ln, err := own(unknown[i]); err == nil {
			doors = append(doors, Door{ln, a, ""})
		} else { // it is closed
			rest = append(rest, a)
		}
		unknown = slices.Delete(unknown, i, i+1)
	}
	return doors, rest, unknown
}

// CloseDoors closes all of them; what was accepted lives on.
func CloseDoors(doors []Door) {
	for _, d := range doors {
		d.Close()
	}
}

// AddrPort is the address of a TCP connection's end, without a zone and never an IPv4 one
// in IPv6's form; the zero value for what is none.
func AddrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	}
	return netip.AddrPort{}
}
