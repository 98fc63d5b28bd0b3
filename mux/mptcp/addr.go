package mptcp

import (
	"encoding/binary"
	"net/netip"
)

// AddAddr is ADD_ADDR, which tells the peer a further address, and its echo
// (RFC 8684, Section 3.4.1).
//
//	+---------------+---------------+-------+-----+-+---------------+
//	|     Kind      |    Length     |Subtype|(res)|E|  Address ID   |
//	+---------------+---------------+-------+-----+-+---------------+
//	|           Address (IPv4: 4 octets / IPv6: 16 octets)          |
//	+-------------------------------+-------------------------------+
//	|   Port (2 octets, optional)   |                               |
//	+-------------------------------+                               |
//	|                Truncated HMAC (8 octets, if E = 0)            |
//	+---------------------------------------------------------------+
type AddAddr struct {
	Echo bool // E: confirms that this very option was received
	ID   uint8
	Addr netip.Addr // an IPv4-mapped IPv6 address is sent as IPv6
	Port uint16     // 0 = absent: the port of the subflow that carries it
	HMAC uint64     // rightmost 64 bits, see AddAddrHMAC; not with Echo
}

// Append appends the option to b. It panics on an invalid Addr.
func (a *AddAddr) Append(b []byte) []byte {
	n, head := 4+a.Addr.BitLen()/8, byte(MPAddAddr)<<4
	if a.Addr.BitLen() == 0 {
		panic("mptcp: append of an ADD_ADDR without an address")
	}
	if a.Port != 0 {
		n += 2
	}
	if a.Echo {
		head |= 1
	} else {
		n += 8
	}
	b = append(b, Kind, byte(n), head, a.ID)
	if a.Addr.Is4() {
		ip := a.Addr.As4()
		b = append(b, ip[:]...)
	} else {
		ip := a.Addr.As16()
		b = append(b, ip[:]...)
	}
	if a.Port != 0 {
		b = binary.BigEndian.AppendUint16(b, a.Port)
	}
	if !a.Echo {
		b = binary.BigEndian.AppendUint64(b, a.HMAC)
	}
	return b
}

func (a *AddAddr) parse(b []byte) error {
	*a = AddAddr{Echo: b[2]&1 != 0}
	rest := len(b) - 4 // address and port
	if !a.Echo {
		rest -= 8
	}
	n := 4
	switch rest {
	case 4, 6:
		a.Addr = netip.AddrFrom4([4]byte(b[n:]))
		n += 4
	case 16, 18:
		a.Addr = netip.AddrFrom16([16]byte(b[n:]))
		n += 16
	default:
		return badLength(b)
	}
	a.ID = b[3]
	if rest&2 != 0 {
		if a.Port = binary.BigEndian.Uint16(b[n:]); a.Port == 0 {
			return &Error{MPAddAddr, len(b), "port 0"}
		}
		n += 2
	}
	if !a.Echo {
		a.HMAC = binary.BigEndian.Uint64(b[n:])
	}
	return nil
}

// MaxRemove is how many address IDs fit into one REMOVE_ADDR.
const MaxRemove = MaxLen - 3

// RemoveAddr is REMOVE_ADDR, which withdraws addresses by their IDs
// (RFC 8684, Section 3.4.2).
//
//	+---------------+---------------+-------+-------+---------------+
//	|     Kind      |  Length = 3+n |Subtype|(resvd)|   Address ID  | ...
//	+---------------+---------------+-------+-------+---------------+
type RemoveAddr struct {
	N   uint8 // how many of IDs are meant, 1..MaxRemove
	IDs [MaxRemove]uint8
}

// Append appends the option to b. It panics when N is out of bounds.
func (r *RemoveAddr) Append(b []byte) []byte {
	if r.N < 1 || r.N > MaxRemove {
		panic("mptcp: append of a REMOVE_ADDR with a wrong number of IDs")
	}
	b = append(b, Kind, 3+r.N, byte(MPRemoveAddr)<<4)
	return append(b, r.IDs[:r.N]...)
}

func (r *RemoveAddr) parse(b []byte) error {
	*r = RemoveAddr{N: uint8(len(b) - 3)}
	if r.N == 0 {
		return badLength(b)
	}
	copy(r.IDs[:], b[3:])
	return nil
}
