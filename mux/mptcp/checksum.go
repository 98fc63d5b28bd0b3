package mptcp

import (
	"encoding/binary"
	"math/bits"
)

// Checksum returns the checksum of a DSS with a mapping (RFC 8684, Section
// 3.3.1): the Internet checksum over a pseudo-header of the 8-byte DSN, the
// SSN, the Data-Level Length and zeros, and then the mapped data. The DSN is
// always the whole one, whatever the option carries. Over the data and the
// pseudo-header with the right checksum in place of the zeros it would be 0.
func Checksum(dsn uint64, ssn uint32, dll uint16, data []byte) uint16 {
	sum, carry := bits.Add64(dsn, uint64(ssn)<<32|uint64(dll)<<16, 0)
	for len(data) >= 32 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(data), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(data[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(data[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(data[24:]), carry)
		data = data[32:]
	}
	for len(data) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(data), carry)
		data = data[8:]
	}
	var tail [8]byte // an odd last byte is padded with a zero behind it
	copy(tail[:], data)
	sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(tail[:]), carry)
	sum, carry = bits.Add64(sum, 0, carry)
	sum += carry
	sum = sum>>32 + sum&0xFFFFFFFF
	sum = sum>>32 + sum&0xFFFFFFFF
	sum = sum>>16 + sum&0xFFFF
	sum = sum>>16 + sum&0xFFFF
	return ^uint16(sum)
}
