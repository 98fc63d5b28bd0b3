package client

import (
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/client/sockdiag"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// A program that ends its direction of a connection looks like one that has closed it. On
// this machine the system tells them apart: it is asked after openFirst, when a program
// that was closing has done so, and then every openPause.
const (
	openFirst = 20 * time.Millisecond
	openPause = time.Second
)

// halfOpen says whether the program at the other end of a connection whose end was read
// may still read: that it has its socket, or that the system does not tell.
func halfOpen(conn tcpio.Socket) bool {
	open, known := sockdiag.TCPOpen(addrOf(conn.RemoteAddr()), addrOf(conn.LocalAddr()))
	return open || !known
}

// owns says whether a UDP socket may speak for the association. Where the application is on
// this machine, whichever of its addresses it has taken, every program could send to the relay
// port: the socket has to belong to the user whose program holds the control connection, or to
// root; of one that is closed it had to belong to him when its port was announced.
// Elsewhere, and where the system does not tell, the address is all there is to go by.
// The caller holds a.mu.
func (a *association) owns(from netip.AddrPort) bool {
	local := a.relay.LocalAddr()
	control, known := sockdiag.TCPOwner(addrOf(a.control.RemoteAddr()), addrOf(a.control.LocalAddr()))
	if !known {
		return true
	}
	sender, known := sockdiag.UDPOwner(from, local)
	if !known {
		if a.port.vouched && from.Port() == a.port.announced {
			return true // its last words
		}
		// It has closed its socket, or the system does not tell. Our own relay
		// socket is there: if that is not found either, it does not tell.
		_, tells := sockdiag.UDPOwner(local, from)
		return !tells
	}
	return sender == control || sender == 0
}
