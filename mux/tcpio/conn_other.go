//go:build !linux || mpsocks_portable

package tcpio

import (
	"context"
	"net"
	"net/netip"
	"syscall"
)

// Is says whether v is a socket of this package: there are none here.
func Is(any) bool { return false }

// A Listener accepts connections.
type Listener struct{ *net.TCPListener }

// Listen takes a listener of package net's over.
func Listen(ln *net.TCPListener) (*Listener, error) { return &Listener{ln}, nil }

// Accept waits for a connection.
func (l *Listener) Accept() (Socket, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptFrom is the function of that name.
func (l *Listener) AcceptFrom(may func(from netip.Addr) bool, turn func(step func() (more bool))) (Socket, error) {
	return AcceptFrom(l.Accept, may, turn)
}

// Dial connects. Errors are *net.OpError, of the system or of ctx.
func (d *Dialer) Dial(ctx context.Context, to netip.AddrPort) (Socket, error) {
	nd := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error { d.Prepare(raw); return nil }}
	nd.SetMultipathTCP(false)
	if d.bound() {
		nd.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.Local, 0))
	}
	if !d.Alive {
		nd.KeepAlive = -1
	}
	c, err := nd.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
