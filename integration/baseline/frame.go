package baseline

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
)

const (
	atypIPv4 = 1
	atypIPv6 = 4
	// maxFrame is the largest length: 16 bits.
	maxFrame = 65535
)

var errAddress = errors.New("baseline: no IPv4 or IPv6 address")

// appendAddr writes ATYP, address and port.
func appendAddr(b []byte, a netip.AddrPort) []byte {
	kind := byte(atypIPv4)
	addr := a.Addr().Unmap()
	if addr.Is6() {
		kind = atypIPv6
	}
	b = append(append(b, kind), addr.AsSlice()...)
	return binary.BigEndian.AppendUint16(b, a.Port())
}

// splitAddr reads ATYP, address and port, and returns what is behind them.
func splitAddr(b []byte) (netip.AddrPort, []byte, error) {
	if len(b) == 0 {
		return netip.AddrPort{}, nil, errAddress
	}
	n := 4
	if b[0] == atypIPv6 {
		n = 16
	} else if b[0] != atypIPv4 {
		return netip.AddrPort{}, nil, errAddress
	}
	if len(b) < 1+n+2 {
		return netip.AddrPort{}, nil, errAddress
	}
	a, _ := netip.AddrFromSlice(b[1 : 1+n])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[1+n:])), b[1+n+2:], nil
}

// appendFrame writes a whole frame; false when it would be too long for its length.
func appendFrame(b []byte, id uint16, a netip.AddrPort, payload []byte) ([]byte, bool) {
	start := len(b)
	b = binary.BigEndian.AppendUint16(append(b, 0, 0), id)
	b = append(appendAddr(b, a), payload...)
	n := len(b) - start - 2
	if n > maxFrame {
		return b[:start], false
	}
	binary.BigEndian.PutUint16(b[start:], uint16(n))
	return b, true
}

// readFrame reads one frame into the buffer, which holds maxFrame bytes; the payload is a view into it.
func readFrame(r *bufio.Reader, buf []byte) (id uint16, a netip.AddrPort, payload []byte, err error) {
	if _, err = io.ReadFull(r, buf[:2]); err != nil {
		return
	}
	b := buf[:binary.BigEndian.Uint16(buf)]
	if _, err = io.ReadFull(r, b); err != nil {
		return
	}
	if len(b) < 2 {
		return 0, a, nil, errAddress
	}
	a, payload, err = splitAddr(b[2:])
	return binary.BigEndian.Uint16(b), a, payload, err
}
