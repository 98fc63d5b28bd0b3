package client

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"sync"
)

// party is an application at one end of a flow, for status.
type party struct {
	app   netip.AddrPort // of its TCP connection: a CONNECT's, or the control connection
	proxy netip.AddrPort // our end of that connection
	user  string
	name  string // of the program, where it is known from elsewhere
	to    string // what a CONNECT asked for
}

// calls knows the parties of the streams that are up, by the stream's address
// inside the tunnel.
type calls struct {
	mu sync.Mutex // guards by
	by map[netip.AddrPort]party
}

// add notes the party of a stream.
func (c *calls) add(st net.Conn, p party) {
	at, ok := innerAddr(st)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = make(map[netip.AddrPort]party)
	}
	c.by[at] = p
}

// drop forgets it.
func (c *calls) drop(st net.Conn) {
	if at, ok := innerAddr(st); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.by, at)
	}
}

func (c *calls) of(at netip.AddrPort) (party, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.by[at]
	return p, ok
}

// innerAddr is a stream's own address inside the tunnel.
func innerAddr(st net.Conn) (netip.AddrPort, bool) {
	at := addrOf(st.LocalAddr())
	return at, at.IsValid()
}

// addrOf is a TCP address as such, in its own family; the zero value for another kind.
func addrOf(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// askedFor reads what a flight to the exit asks for: host:port, as the application
// gave it. The flight is one of ours, so it is whole.
func askedFor(flight []byte) string {
	const head = 4 // VER, CMD, RSV, ATYP of RFC 1928, Section 4
	if len(flight) < len(greeting)+head+1 {
		return ""
	}
	b := flight[len(greeting):]
	kind, b := b[3], b[head:]
	size, skip := 0, 0
	switch kind {
	case atypIPv4:
		size = 4
	case atypIPv6:
		size = 16
	case atypDomain:
		size, skip = int(b[0]), 1
	}
	if size == 0 || len(b) < skip+size+2 {
		return ""
	}
	host := string(b[skip : skip+size])
	if kind != atypDomain {
		a, _ := netip.AddrFromSlice(b[:size])
		host = a.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(b[skip+size:]))))
}
