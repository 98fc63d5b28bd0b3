package dialer

import (
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/mpsocks/mpsocks/mux/resolvconf"
)

// Where sockets have a mark, other programs' questions may be led into the tunnel, those of
// a resolver on this machine too, and the server's name would never be found. Such a
// resolver, systemd-resolved, says whom it asks.

// turns has a lookup that is tried again ask another server.
var turns atomic.Uint32

// beyondStub is a name server that a resolver on this machine asks, if that is what an
// address is of, and if it is known.
func beyondStub(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return address
	}
	b, err := os.ReadFile(resolvconf.Resolved)
	if err != nil {
		return address
	}
	list := nameServers(b)
	if len(list) == 0 {
		return address
	}
	return net.JoinHostPort(list[int(turns.Add(1))%len(list)].String(), "53")
}

// nameServers are those of a resolv.conf(5) that are neither on this machine nor in the
// tunnel.
func nameServers(file []byte) (out []netip.Addr) {
	for _, a := range resolvconf.Parse(string(file)).Servers {
		if resolvconf.Beyond(a) {
			out = append(out, a)
		}
	}
	return out
}
