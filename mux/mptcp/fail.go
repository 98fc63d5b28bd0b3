package mptcp

import "encoding/binary"

// Fail is MP_FAIL, which tells the peer from which DSN on a checksum did not
// match (RFC 8684, Section 3.7).
//
//	+---------------+---------------+-------+-----------------------+
//	|     Kind      |  Length = 12  |Subtype|      (reserved)       |
//	+---------------+---------------+-------+-----------------------+
//	|                 Data Sequence Number (8 octets)               |
//	+---------------------------------------------------------------+
type Fail struct {
	DSN uint64
}

// Append appends the option to b.
func (f *Fail) Append(b []byte) []byte {
	b = append(b, Kind, 12, byte(MPFail)<<4, 0)
	return binary.BigEndian.AppendUint64(b, f.DSN)
}

func (f *Fail) parse(b []byte) error {
	if len(b) != 12 {
		return badLength(b)
	}
	f.DSN = binary.BigEndian.Uint64(b[4:])
	return nil
}
