package packet

import (
	"encoding/binary"
	"math/bits"
)

// Checksum returns the Internet checksum (RFC 1071) over b; initial is added
// to the sum: the sum of a pseudo-header, as Sum returns it, or 0.
func Checksum(b []byte, initial uint64) uint16 {
	return ^Fold(Sum(b, initial))
}

// Sum adds the 16-bit words of b, the first byte of each being the higher one,
// to initial, in one's complement arithmetic of 64 bits. An odd last byte
// counts as the higher byte of a word. The result is to be folded, or to be
// passed on as the initial sum of further bytes (if b was of even length).
//
// The words are added in the machine's cheap order, little-endian: the sum is
// the same with its bytes exchanged (RFC 1071, Section 2 (B)), and they are
// exchanged once at the end.
func Sum(b []byte, initial uint64) uint64 {
	sum, carry := bits.ReverseBytes64(initial), uint64(0)
	for len(b) >= 128 {
		x := (*[128]byte)(b)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[0:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[24:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[32:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[40:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[48:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[56:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[64:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[72:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[80:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[88:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[96:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[104:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[112:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[120:]), carry)
		b = b[128:]
	}
	for len(b) >= 32 {
		x := (*[32]byte)(b)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[0:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(x[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var tail [8]byte
		copy(tail[:], b)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(tail[:]), carry)
	}
	sum, carry = bits.Add64(sum, 0, carry)
	return bits.ReverseBytes64(sum + carry)
}

// Fold brings a sum down to 16 bits.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xFFFFFFFF
	sum = sum>>32 + sum&0xFFFFFFFF
	sum = sum>>16 + sum&0xFFFF
	sum = sum>>16 + sum&0xFFFF
	return uint16(sum)
}

// addrSum4 is the sum of the two addresses of a parsed or built IP header:
// the 16-bit words that the header and the pseudo-header have in common.
func addrSum4(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint32(b[12:])) + uint64(binary.BigEndian.Uint32(b[16:]))
}

func addrSum6(b []byte) uint64 {
	sum, carry := bits.Add64(binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), 0)
	sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
	sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[32:]), carry)
	return fold32(sum) + carry
}

// fold32 leaves room above for a few more numbers to be added without a carry.
func fold32(sum uint64) uint64 { return sum>>32 + sum&0xFFFFFFFF }
