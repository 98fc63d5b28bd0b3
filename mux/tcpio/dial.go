package tcpio

import (
	"net/netip"
	"syscall"
)

// A Dialer connects by plain TCP: Go's default would be a kernel MPTCP socket in some
// versions.
type Dialer struct {
	Local   netip.Addr                // the system's choice if it is invalid or unspecified
	Alive   bool                      // a dead peer is found by keep-alives
	Prepare func(raw syscall.RawConn) // sets options before anything else
}

// bound says that there is an address to be bound to.
func (d *Dialer) bound() bool { return d.Local.IsValid() && !d.Local.IsUnspecified() }
