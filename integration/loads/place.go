package loads

import (
	"context"
	"net"
	"net/netip"
)

// The ports of the world.
const (
	DatagramPort = 7000
	StreamPort   = 7001
	WebPort      = 7443
)

// Place is where sockets are made: a netlab.Namespace, or Here.
type Place interface {
	Do(func() error) error
}

// Here is the process's own network.
type Here struct{}

// Do calls f.
func (Here) Do(f func() error) error { return f() }

// Route is how an application reaches the world.
type Route struct {
	Place  Place
	Proxy  netip.AddrPort // SOCKS5 proxy; the zero value goes there directly
	Source netip.Addr     // local address of direct sockets; the zero value leaves it to the routing table
}

// Stream opens a TCP connection to the destination, by CONNECT if there is a proxy.
func (r Route) Stream(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	if !r.Proxy.IsValid() {
		return r.dial(ctx, to)
	}
	c, err := r.dial(ctx, r.Proxy)
	if err != nil {
		return nil, err
	}
	if _, err := request(ctx, c, commandConnect, to); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (r Route) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{}
	d.SetMultipathTCP(false)
	if r.Source.IsValid() && !r.Proxy.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: r.Source.AsSlice()}
	}
	var c net.Conn
	err := r.Place.Do(func() (err error) {
		c, err = d.DialContext(ctx, "tcp", to.String())
		return err
	})
	return c, err
}

// associate opens a UDP association: the control connection, on which its life hangs, and the relay's address.
func (r Route) associate(ctx context.Context) (net.Conn, netip.AddrPort, error) {
	c, err := r.dial(ctx, r.Proxy)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	relay, err := request(ctx, c, commandAssociate, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	if err != nil {
		c.Close()
		return nil, netip.AddrPort{}, err
	}
	if relay.Addr().IsUnspecified() {
		relay = netip.AddrPortFrom(r.Proxy.Addr(), relay.Port())
	}
	return c, relay, nil
}

// Packets opens a UDP socket that talks to one destination only, inside an association if there is a proxy: addresses
// given to WriteTo are ignored, and everything read is from the destination.
func (r Route) Packets(ctx context.Context, to netip.AddrPort) (net.PacketConn, error) {
	var control net.Conn
	bind := netip.AddrPortFrom(r.Source, 0)
	peer, prefix := to, []byte(nil)
	if r.Proxy.IsValid() {
		var err error
		if control, peer, err = r.associate(ctx); err != nil {
			return nil, err
		}
		prefix = datagramHeader(to)
		bind = netip.AddrPort{}
	}
	var c *net.UDPConn
	err := r.Place.Do(func() (err error) {
		var local *net.UDPAddr
		if bind.Addr().IsValid() {
			local = net.UDPAddrFromAddrPort(bind)
		}
		c, err = net.DialUDP("udp", local, net.UDPAddrFromAddrPort(peer))
		return err
	})
	if err != nil {
		if control != nil {
			control.Close()
		}
		return nil, err
	}
	// What a QUIC implementation asks for; without the right to it, the kernel's limit.
	_ = c.SetReadBuffer(7 << 20)
	_ = c.SetWriteBuffer(7 << 20)
	return &packetConn{UDPConn: c, control: control, prefix: prefix, to: net.UDPAddrFromAddrPort(to)}, nil
}
