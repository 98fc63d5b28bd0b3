package client

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
)

// How others carry datagrams in one TCP stream towards a proxy, for fronts that
// cannot ASSOCIATE: "UDP over TCP" of sing-box and mihomo, where the stream is a
// CONNECT to a name that does not exist, by whatever protocol, command 5 of
// hev-socks5, and command F3 of gost.
//
// Version 2 of UDP over TCP begins with a request: a byte that says whether all
// datagrams go to one destination, and that destination as SOCKS writes it. With
// one destination a frame is a length of two bytes and the payload; else the
// other end's address comes before the length, with types of its own. Version 1
// has no request and always addresses. A frame of hev has the payload's length,
// the length of the whole header in one byte, and an address as SOCKS writes it. One
// of gost is a SOCKS datagram with the payload's length in the place of RSV.
const (
	uotHost       = "sp.v2.udp-over-tcp.arpa"
	uotLegacyHost = "sp.udp-over-tcp.arpa"
	cmdHev        = 5
	cmdGost       = 0xf3
)

// udpFraming is one of these forms.
type udpFraming uint8

const (
	framingConnect   udpFraming = iota // version 2 with one destination
	framingDatagrams                   // version 2 without, and version 1
	framingHev
	framingGost
)

// gostFrag is what gost writes where a datagram has FRAG, which means nothing here.
const gostFrag = 0xff

// Address types of framingDatagrams.
const (
	uotIPv4 = 0
	uotIPv6 = 1
	uotName = 2
)

// maxFrameHeader is the longest header of a frame: hev's, with the longest name.
const maxFrameHeader = 3 + 1 + 1 + 255 + 2

var errFrame = errors.New("malformed frame of UDP in TCP")

// frameReader reads frames; it keeps the bytes of a name until the next one.
type frameReader struct {
	r       io.Reader
	framing udpFraming
	name    [256]byte
}

// request reads the request of version 2.
func (f *frameReader) request() (connect bool, to header, err error) {
	var b [2]byte
	if _, err := io.ReadFull(f.r, b[:]); err != nil {
		return false, to, err
	}
	if b[0] > 1 {
		return false, to, errFrame
	}
	to, _, err = f.address(b[1])
	return b[0] == 1, to, err
}

// next reads the header of a frame: where its payload goes, unless there is one
// destination, and how long it is.
func (f *frameReader) next() (to header, length int, err error) {
	var b [4]byte
	switch f.framing {
	case framingConnect:
		_, err = io.ReadFull(f.r, b[:2])
		return to, int(binary.BigEndian.Uint16(b[:])), err
	case framingHev, framingGost:
		if _, err = io.ReadFull(f.r, b[:]); err != nil {
			return to, 0, err
		}
		var n int
		to, n, err = f.address(b[3])
		if err == nil && f.framing == framingHev && n != int(b[2])-len(b) {
			err = errFrame
		}
		return to, int(binary.BigEndian.Uint16(b[:])), err
	}
	if _, err = io.ReadFull(f.r, b[:1]); err != nil {
		return to, 0, err
	}
	atyp := byte(0) // none that address knows
	switch b[0] {
	case uotIPv4:
		atyp = atypIPv4
	case uotIPv6:
		atyp = atypIPv6
	case uotName:
		atyp = atypDomain
	}
	if to, _, err = f.address(atyp); err != nil {
		return to, 0, err
	}
	_, err = io.ReadFull(f.r, b[:2])
	return to, int(binary.BigEndian.Uint16(b[:])), err
}

// address reads what follows an address type of SOCKS, and says how long it was.
// A name is borrowed until the next call.
func (f *frameReader) address(atyp byte) (to header, n int, err error) {
	var b [18]byte
	switch atyp {
	case atypIPv4:
		n, err = io.ReadFull(f.r, b[:6])
		to.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), binary.BigEndian.Uint16(b[4:]))
	case atypIPv6:
		n, err = io.ReadFull(f.r, b[:18])
		to.to = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])).Unmap(), binary.BigEndian.Uint16(b[16:]))
	case atypDomain:
		if _, err = io.ReadFull(f.r, b[:1]); err != nil {
			return to, 0, err
		}
		n = int(b[0])
		if n == 0 {
			return to, 0, errFrame
		}
		if _, err = io.ReadFull(f.r, f.name[:n]); err == nil {
			_, err = io.ReadFull(f.r, b[:2])
		}
		to.host = f.name[:n]
		to.to = netip.AddrPortFrom(netip.Addr{}, binary.BigEndian.Uint16(b[:]))
		n += 3
	default:
		err = errFrame
	}
	return to, n, err
}

// append appends a frame with a datagram from an address.
func (f udpFraming) append(b []byte, from netip.AddrPort, payload []byte) []byte {
	addr := from.Addr()
	switch f {
	case framingHev, framingGost:
		third := byte(gostFrag)
		if f == framingHev {
			third = byte(headerLen(addr)) // three bytes and the address, as in a datagram
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
		b = append(b, third, atypOf(addr))
		b = append(b, addr.AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, from.Port())
	case framingDatagrams:
		atyp := byte(uotIPv4)
		if !addr.Is4() {
			atyp = uotIPv6
		}
		b = append(append(b, atyp), addr.AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, from.Port())
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	default:
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	return append(b, payload...)
}

func atypOf(a netip.Addr) byte {
	if a.Is4() {
		return atypIPv4
	}
	return atypIPv6
}
