package packet

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// PublishPort is where the server takes streams that publish a port (TCP).
const PublishPort = 1081

// The bytes that a stream to PublishPort begins with, and those that come back.
const (
	PublishRequestLen = 1 + 1 + 2 + 16 + 1 + 2
	PublishVisitorLen = 2 * (16 + 2)
	publishVersion    = 1
)

// What the server answers to a request: one byte.
const (
	PublishOK         = 0
	PublishNotAllowed = 1 // the client may not publish this port
	PublishTaken      = 2 // another client, or another program, has it
	PublishFailed     = 3 // the server could not do it
	PublishAgain      = 4 // after a no: it may be another answer now
)

// IP protocols of a request.
const (
	ProtocolTCP = 6
	ProtocolUDP = 17
)

// ErrPublish says that a request is none.
var ErrPublish = errors.New("malformed request to publish a port")

// A Publish asks the server to listen at a port of its own.
type Publish struct {
	Protocol uint8          // ProtocolTCP or ProtocolUDP
	At       netip.AddrPort // :: is every address of both families
	// Host and Port are the client's inner port at which datagrams arrive: Host
	// counts from ClientHost4 and ClientHost6. Only for UDP.
	Host uint8
	Port uint16
}

// Append appends the request to b.
func (p *Publish) Append(b []byte) []byte {
	b = append(b, publishVersion, p.Protocol)
	b = binary.BigEndian.AppendUint16(b, p.At.Port())
	a := p.At.Addr().As16()
	b = append(append(b, a[:]...), p.Host)
	return binary.BigEndian.AppendUint16(b, p.Port)
}

// ParsePublish reads a request of PublishRequestLen bytes.
func ParsePublish(b []byte) (p Publish, err error) {
	if len(b) != PublishRequestLen || b[0] != publishVersion || b[1] != ProtocolTCP && b[1] != ProtocolUDP {
		return p, ErrPublish
	}
	p = Publish{
		Protocol: b[1],
		At:       netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[4:20])).Unmap(), binary.BigEndian.Uint16(b[2:])),
		Host:     b[20],
		Port:     binary.BigEndian.Uint16(b[21:]),
	}
	if p.At.Port() == 0 || p.Protocol == ProtocolUDP && p.Port == 0 {
		return p, ErrPublish
	}
	return p, nil
}

// AppendVisitor appends what goes before a connection's bytes: who it is from,
// and which of the server's addresses it came to.
func AppendVisitor(b []byte, from, to netip.AddrPort) []byte {
	for _, a := range []netip.AddrPort{from, to} {
		ip := a.Addr().As16()
		b = binary.BigEndian.AppendUint16(append(b, ip[:]...), a.Port())
	}
	return b
}

// ParseVisitor reads what AppendVisitor has written, PublishVisitorLen bytes.
func ParseVisitor(b []byte) (from, to netip.AddrPort) {
	at := func(b []byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])).Unmap(), binary.BigEndian.Uint16(b[16:]))
	}
	return at(b), at(b[18:])
}
