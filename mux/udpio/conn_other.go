//go:build !linux || mpsocks_portable

package udpio

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// A Conn is one bound UDP socket that a Loop reads and Writers send on.
type Conn struct {
	// Set by Listen, never changed.
	udp     *net.UDPConn
	v6      bool
	loop    *Loop
	handler Handler
	local   netip.AddrPort

	closed atomic.Bool
	peer   atomic.Pointer[netip.AddrPort] // set by Connect, or nil
}

// open binds the socket of a new Conn.
func open(local netip.AddrPort, opt Options) (*Conn, error) {
	addr := local.Addr().Unmap()
	if !addr.IsValid() {
		return nil, errors.New("no address")
	}
	if opt.Reuse || opt.Transparent || opt.Mark != 0 {
		return nil, errors.ErrUnsupported
	}
	network := "udp4"
	if addr.Is6() {
		network = "udp6"
	}
	u, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, local.Port())))
	if err != nil {
		return nil, err
	}
	_ = u.SetReadBuffer(buffer(opt.RecvBuffer)) // best effort
	_ = u.SetWriteBuffer(buffer(opt.SendBuffer))
	port := u.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	return &Conn{udp: u, v6: addr.Is6(), local: netip.AddrPortFrom(addr, port)}, nil
}

// LocalAddr returns the bound address, with the port that the system chose if
// none was asked for.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Held is not known here.
func (c *Conn) Held() int { return 0 }

// Connect drops what other peers send from now on, and lets Writers leave out
// the destination. Errors: net.ErrClosed, or the system's.
func (c *Conn) Connect(peer netip.AddrPort) error {
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	if !peer.IsValid() || peer.Addr().Is6() != c.v6 {
		return fmt.Errorf("connect udp %s to %s: %w", c.local, peer, syscall.EAFNOSUPPORT)
	}
	if c.closed.Load() {
		return fmt.Errorf("connect udp %s to %s: %w", c.local, peer, net.ErrClosed)
	}
	c.peer.Store(&peer)
	return nil
}

// Gather does nothing here: what comes is read at once.
func (c *Conn) Gather(bool) {}

// drainTime is how long Drain waits.
const drainTime = 20 * time.Millisecond

// Drain waits a moment for what has come by the socket: its goroutine gives it to the Handler.
func (c *Conn) Drain() { time.Sleep(drainTime) }

// Close closes the socket. It is idempotent and safe from any goroutine,
// handlers included, and never waits. After it returns no call of the Handler
// begins; one that had begun may still be running.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.loop.mu.Lock()
	delete(c.loop.conns, c)
	c.loop.mu.Unlock()
	return c.udp.Close()
}
