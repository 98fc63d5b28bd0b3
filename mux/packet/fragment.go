package packet

import (
	"encoding/binary"
	"net/netip"
)

// One mapping of the tunnel carries one packet, and its Data-Level Length
// reaches to 65,535. An IPv6 packet can be 40 bytes longer. The few datagrams
// for which that matters (payloads over 65,479 bytes) travel as what IPv6 has
// for this: two fragments (RFC 8200, Section 4.5). No other packets of ours are
// ever fragmented.

const (
	// MaxWhole6 is the longest UDP payload that travels in one IPv6 packet.
	MaxWhole6 = 0xFFFF - UDP6Overhead // 65,479
	// fragmentCut is where a datagram is cut, counted from its UDP header: a
	// multiple of 8, and far enough behind that the rest is short.
	fragmentCut = 61440
	// MaxTail is how long the second fragment can be.
	MaxTail = IPv6HeaderLen + FragmentHeaderLen + UDPHeaderLen + MaxUDP6Payload - fragmentCut
)

// SplitUDP writes a datagram whose payload is longer than MaxWhole6 as two
// packets. b is as for PutUDP: UDP6Overhead bytes of room, then the payload.
// The first packet is then the beginning of b; the second is written into tail,
// which has room for MaxTail bytes. The lengths of both are returned. It panics
// when the datagram is too long, or too short to be cut.
func SplitUDP(b, tail []byte, h *UDP) (first, second int) {
	const head = IPv6HeaderLen + FragmentHeaderLen
	u := b[head:]
	if len(u) > 0xFFFF || len(u) <= fragmentCut {
		panic("packet: a datagram of this length is not split")
	}
	ip := ipHeader{src: h.Src.Addr(), dst: h.Dst.Addr(), tos: h.TOS, ttl: h.TTL, proto: ProtoUDP, id: h.ID}
	rest := u[fragmentCut:]
	copy(tail[head:], rest)
	ip.put(tail[:head+len(rest)])
	binary.BigEndian.PutUint16(tail[42:], fragmentCut)
	_, sum := ip.put(b[:head+fragmentCut])
	b[43] = 1 // more fragments

	sum += ProtoUDP + 2*uint64(len(u)) + uint64(h.Src.Port()) + uint64(h.Dst.Port())
	c := Checksum(u[UDPHeaderLen:], sum)
	if c == 0 {
		c = 0xFFFF
	}
	binary.BigEndian.PutUint32(u[0:], uint32(h.Src.Port())<<16|uint32(h.Dst.Port()))
	binary.BigEndian.PutUint32(u[4:], uint32(len(u))<<16|uint32(c))
	return head + fragmentCut, head + len(rest)
}

// IsFragment says whether b is a part of an IPv6 datagram and not, with an
// atomic fragment header or none, a whole one.
func IsFragment(b []byte) bool {
	return len(b) >= IPv6HeaderLen+FragmentHeaderLen && b[0]>>4 == 6 && b[6] == protoFragment &&
		binary.BigEndian.Uint16(b[42:])&0xFFF9 != 0
}

// reassembleSlots is how many datagrams a Reassembler waits for at once: their
// fragments leave together, and 64 KiB each is held for the last missing one.
const reassembleSlots = 8

// A Reassembler puts fragments of UDP datagrams together again. Its zero value
// is ready. When more datagrams are incomplete than it has room for, it forgets
// the oldest.
type Reassembler struct {
	slots [reassembleSlots]fragments
	count uint64 // halves kept so far, for their age
}

// fragments is a datagram of which one half has arrived.
type fragments struct {
	src, dst [16]byte
	id       uint32
	offset   int    // of the half, from the UDP header
	half     []byte // nil = free slot
	age      uint64 // the lower, the older; 0 = free slot
}

// Add takes a packet that ParseUDP has refused with ErrFragment. When it
// completes a datagram of two fragments, Add fills in h and returns the
// payload, which belongs to the caller, and true. Everything else is kept until
// its other half comes, or dropped.
func (r *Reassembler) Add(b []byte, h *UDP) (payload []byte, ok bool) {
	const head = IPv6HeaderLen + FragmentHeaderLen
	if len(b) <= head || b[0]>>4 != 6 || b[6] != protoFragment || b[40] != ProtoUDP ||
		int(binary.BigEndian.Uint16(b[4:]))+IPv6HeaderLen != len(b) {
		return nil, false
	}
	f := fragments{src: [16]byte(b[8:]), dst: [16]byte(b[24:]), id: binary.BigEndian.Uint32(b[44:])}
	f.offset = int(binary.BigEndian.Uint16(b[42:]) & 0xFFF8)
	data, more := b[head:], b[43]&1 != 0
	if more != (f.offset == 0) || more && len(data)%8 != 0 || f.offset+len(data) > 0xFFFF {
		return nil, false // of more than two, or of no datagram
	}
	other, found := r.match(&f, data)
	if !found {
		return nil, false
	}
	u, tail := data, other.half
	if f.offset != 0 {
		u, tail = other.half, data
	}
	if len(u) != f.offset+other.offset || len(u) < UDPHeaderLen {
		return nil, false
	}
	u = append(append(make([]byte, 0, len(u)+len(tail)), u...), tail...)
	sum := addrSum6(b) + ProtoUDP + uint64(len(u))
	if int(binary.BigEndian.Uint16(u[4:])) != len(u) || u[6]|u[7] == 0 || Fold(Sum(u, sum)) != 0xFFFF {
		return nil, false
	}
	if netip.AddrFrom16(f.src).Is4In6() || netip.AddrFrom16(f.dst).Is4In6() {
		return nil, false // as ErrMapped
	}
	*h = UDP{
		Src: netip.AddrPortFrom(netip.AddrFrom16(f.src), binary.BigEndian.Uint16(u[0:])),
		Dst: netip.AddrPortFrom(netip.AddrFrom16(f.dst), binary.BigEndian.Uint16(u[2:])),
		TOS: b[0]<<4 | b[1]>>4, TTL: b[7], ID: f.id,
	}
	return u[UDPHeaderLen:], true
}

// Held is how many bytes of halves wait.
func (r *Reassembler) Held() (n int) {
	for i := range r.slots {
		n += cap(r.slots[i].half)
	}
	return n
}

// match returns the other half of the datagram and frees its slot, or keeps
// this one.
func (r *Reassembler) match(f *fragments, data []byte) (other fragments, found bool) {
	keep := &r.slots[0] // a free slot, else the oldest
	for i := range r.slots {
		s := &r.slots[i]
		if s.half != nil && s.id == f.id && s.src == f.src && s.dst == f.dst {
			if (s.offset == 0) == (f.offset == 0) {
				return other, false // the same half again
			}
			other, *s = *s, fragments{}
			return other, true
		}
		if s.age < keep.age {
			keep = s
		}
	}
	r.count++
	f.age = r.count
	f.half = append([]byte(nil), data...)
	*keep = *f
	return other, false
}
