package server

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

const (
	// minIdle is the age below which no mapping ends, not even for the sake of
	// a new one (RFC 4787 REQ-5), unless the client has ended it: see news.go.
	minIdle = 2 * time.Minute
	// maxPermits is how many remotes one mapping's filter remembers, if it
	// filters at all: 24 KiB for a mapping that talks to so many.
	maxPermits = 1024
)

// A mapping is an inner source, an address and a port of one family, and its
// UDP socket. Whatever the destination, this socket sends (RFC 4787 REQ-1,
// endpoint-independent mapping). All mappings leave from the one address of
// relay.bind (REQ-2); ports are never shared (REQ-3); no ICMP error ends one
// (REQ-12); a mapping that sends to another one's external address reaches it
// through the system's loopback, with its external address as source (REQ-9).
type mapping struct {
	peer   *peer
	loop   *loop // which reads its socket
	conn   *udpio.Conn
	given  bool // its port is the system's choice
	inner  netip.AddrPort
	source mux.Source // the session's, for what comes back

	// sent is when the client last sent something (Server.now): only that
	// keeps the mapping (REQ-6).
	sent atomic.Int64
	// visitors is set for a port that the client has published: no idle time ends
	// that one, and whoever has sent to it may be answered, also where the access
	// rules would not let the client send to him.
	visitors *permits
	// displaced is called when the client publishes that port anew; nil for what is not published.
	displaced func()
	// permits is nil with endpoint-independent filtering.
	permits *permits
}

// innerKey packs a client's inner source into the key of the mapping table; ok
// is false for an address that no client has.
func innerKey(src netip.AddrPort) (key uint64, ok bool) {
	addr := src.Addr()
	var host uint32
	var family uint64
	if addr.Is4() {
		if !packet.TunnelPrefix4.Contains(addr) || addr == packet.ServerHost4 {
			return 0, false
		}
		a := addr.As4()
		host = binary.BigEndian.Uint32(a[:])
	} else {
		if !packet.TunnelPrefix6.Contains(addr) || addr == packet.ServerHost6 {
			return 0, false
		}
		a := addr.As16()
		if binary.BigEndian.Uint64(a[4:]) != 0 {
			return 0, false
		}
		host, family = binary.BigEndian.Uint32(a[12:]), 1
	}
	return family<<63 | uint64(host)<<16 | uint64(src.Port()), true
}
