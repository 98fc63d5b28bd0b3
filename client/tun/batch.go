package tun

import (
	"encoding/binary"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// A Batch gathers datagrams for programs. Those that come in a row for one socket from one
// sender, of one size, the kernel gets in one piece, where it can cut that: one call for many.
// It belongs to one goroutine at a time; the zero value is empty. What it was given is borrowed
// until Flush.
type Batch struct {
	device *Device // whose the piece is; nil = there is none
	head   packet.UDP
	header int      // bytes before the payload
	parts  [][]byte // the first with its header, of the others the payloads
	size   int      // of each payload; the last may be shorter
	bytes  int      // of all
	whole  bool     // takes no more
	burst  udpio.Burst[place]
}

// A place is a socket of a device's programs.
type place struct {
	device *Device
	at     netip.AddrPort
}

// add takes a datagram. pkt is the packet, whose header is not written yet, payload its end.
func (b *Batch) add(d *Device, h *packet.UDP, pkt, payload []byte) {
	n := len(payload)
	if b.takes(d, h, n) {
		b.parts = append(b.parts, payload)
		b.bytes += n
		b.whole = n < b.size
		return
	}
	b.flush()
	b.device, b.head, b.header, b.size, b.bytes = d, *h, len(pkt)-n, n, n
	b.whole = !d.link.cuts || n == 0
	b.parts = append(b.parts, pkt)
}

// takes says whether a datagram of n bytes may follow those that are there.
func (b *Batch) takes(d *Device, h *packet.UDP, n int) bool {
	return b.device == d && !b.whole && n > 0 && n <= b.size && len(b.parts) < maxRun && b.header+b.bytes+n <= MTU &&
		h.Dst == b.head.Dst && h.Src == b.head.Src && h.TOS == b.head.TOS && h.TTL == b.head.TTL
}

// Flush gives the kernel what was taken.
func (b *Batch) Flush() {
	b.flush()
	b.burst.Drain()
}

// flush is Flush while more comes.
func (b *Batch) flush() {
	d := b.device
	if d == nil {
		return
	}
	if !b.burst.Takes(place{d, b.head.Dst}, len(b.parts), b.bytes) {
		udpio.Pause()
	}
	first := b.parts[0]
	packet.PutUDP(first, &b.head)
	var head [vnetLen]byte
	if len(b.parts) > 1 {
		b.lengthen(first)
		ip := b.header - packet.UDPHeaderLen
		v := vnet{flags: vnetNeedsCsum, kind: vnetGSOUDP, header: uint16(b.header), size: uint16(b.size), start: uint16(ip), offset: 6}
		v.put(&head)
	}
	if !d.link.out.writePacket(&head, b.parts) {
		d.n.full.Add(uint64(len(b.parts)))
	}
	clear(b.parts)
	b.parts, b.device = b.parts[:0], nil
}

// lengthen has the header of the first packet be that of all of them, whose checksum is begun
// with the pseudo-header, and ended by the kernel in each piece.
func (b *Batch) lengthen(first []byte) {
	length := packet.UDPHeaderLen + b.bytes
	ip := b.header - packet.UDPHeaderLen
	if b.head.Dst.Addr().Is4() {
		binary.BigEndian.PutUint16(first[2:], uint16(ip+length))
		binary.BigEndian.PutUint16(first[10:], 0)
		binary.BigEndian.PutUint16(first[10:], packet.Checksum(first[:ip], 0))
	} else {
		binary.BigEndian.PutUint16(first[4:], uint16(length))
	}
	n := network{src: b.head.Src.Addr(), dst: b.head.Dst.Addr()}
	binary.BigEndian.PutUint16(first[ip+4:], uint16(length))
	binary.BigEndian.PutUint16(first[ip+6:], packet.Fold(pseudo(&n, length)))
}
