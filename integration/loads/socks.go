package loads

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// The client's half of RFC 1928, as much of it as a load needs: no authentication, addresses and no names.
const (
	commandConnect   = 1
	commandAssociate = 3
	typeIPv4         = 1
	typeIPv6         = 4
)

// request greets the proxy and asks for one thing; it returns the bound address of the reply.
func request(ctx context.Context, c net.Conn, command byte, to netip.AddrPort) (netip.AddrPort, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(10 * time.Second)
	}
	_ = c.SetDeadline(deadline)
	defer c.SetDeadline(time.Time{})
	if _, err := c.Write([]byte{5, 1, 0}); err != nil {
		return netip.AddrPort{}, fmt.Errorf("socks greeting: %w", err)
	}
	b := make([]byte, 4, 32)
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return netip.AddrPort{}, fmt.Errorf("socks greeting: %w", err)
	}
	if b[0] != 5 || b[1] != 0 {
		return netip.AddrPort{}, fmt.Errorf("socks greeting: answer %x", b[:2])
	}
	if _, err := c.Write(appendAddr([]byte{5, command, 0}, to)); err != nil {
		return netip.AddrPort{}, fmt.Errorf("socks request: %w", err)
	}
	if _, err := io.ReadFull(c, b); err != nil {
		return netip.AddrPort{}, fmt.Errorf("socks reply: %w", err)
	}
	if b[1] != 0 {
		return netip.AddrPort{}, fmt.Errorf("socks reply: refused with code %d", b[1])
	}
	size := 4
	if b[3] == typeIPv6 {
		size = 16
	}
	b = b[:size+2]
	if _, err := io.ReadFull(c, b); err != nil {
		return netip.AddrPort{}, fmt.Errorf("socks reply: %w", err)
	}
	a, _ := netip.AddrFromSlice(b[:size])
	return netip.AddrPortFrom(a, uint16(b[size])<<8|uint16(b[size+1])), nil
}

// appendAddr writes ATYP, address and port.
func appendAddr(b []byte, a netip.AddrPort) []byte {
	kind := byte(typeIPv4)
	if a.Addr().Is6() {
		kind = typeIPv6
	}
	b = append(append(b, kind), a.Addr().AsSlice()...)
	return append(b, byte(a.Port()>>8), byte(a.Port()))
}

// datagramHeader is what stands before the payload of a datagram to the destination.
func datagramHeader(to netip.AddrPort) []byte { return appendAddr([]byte{0, 0, 0}, to) }

// datagramOffset is how many bytes of header a relayed datagram has, -1 when it is none.
func datagramOffset(b []byte) int {
	switch {
	case len(b) >= 10 && b[2] == 0 && b[3] == typeIPv4:
		return 10
	case len(b) >= 22 && b[2] == 0 && b[3] == typeIPv6:
		return 22
	}
	return -1
}
