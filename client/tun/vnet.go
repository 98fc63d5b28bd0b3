package tun

import "encoding/binary"

// vnetLen is the length of a virtio-net header without the count of buffers
// (virtio 1.2, Section 5.1.6; the kernel's struct virtio_net_hdr).
const vnetLen = 10

// Flags and kinds of segmentation of a virtio-net header.
const (
	vnetNeedsCsum = 1 // the checksum covers the pseudo-header only so far
	vnetGSONone   = 0
	vnetGSOTCP4   = 1
	vnetGSOTCP6   = 4
	vnetGSOUDP    = 5
	vnetGSOECN    = 0x80 // beside a kind
)

// vnet is a virtio-net header: what the kernel has left undone in a packet that
// it gives us, or is to do in one that it gets.
//
//	 0      1      2        4        6          8           10
//	┌──────┬──────┬────────┬────────┬──────────┬───────────┐
//	│flags │ kind │ header │  size  │ sum from │ sum at    │  in the machine's order
//	└──────┴──────┴────────┴────────┴──────────┴───────────┘
type vnet struct {
	flags, kind uint8
	header      uint16 // bytes before the payload
	size        uint16 // payload of each segment
	start       uint16 // where the checksum begins
	offset      uint16 // where it is stored, from start
}

func (v *vnet) parse(b *[vnetLen]byte) {
	e := binary.NativeEndian
	v.flags, v.kind = b[0], b[1]
	v.header, v.size, v.start, v.offset = e.Uint16(b[2:]), e.Uint16(b[4:]), e.Uint16(b[6:]), e.Uint16(b[8:])
}

func (v *vnet) put(b *[vnetLen]byte) {
	e := binary.NativeEndian
	b[0], b[1] = v.flags, v.kind
	e.PutUint16(b[2:], v.header)
	e.PutUint16(b[4:], v.size)
	e.PutUint16(b[6:], v.start)
	e.PutUint16(b[8:], v.offset)
}
