package mptcp

import "encoding/binary"

// FastClose is MP_FASTCLOSE, which ends a whole session at once (RFC 8684,
// Section 3.5). It counts only with the key of the one who receives it.
//
//	+---------------+---------------+-------+-----------------------+
//	|     Kind      |  Length = 12  |Subtype|      (reserved)       |
//	+---------------+---------------+-------+-----------------------+
//	|                 Receiver's key (64 bits)                      |
//	+---------------------------------------------------------------+
type FastClose struct {
	Receiver Key
}

// Append appends the option to b.
func (f *FastClose) Append(b []byte) []byte {
	b = append(b, Kind, 12, byte(MPFastClose)<<4, 0)
	return binary.BigEndian.AppendUint64(b, uint64(f.Receiver))
}

func (f *FastClose) parse(b []byte) error {
	if len(b) != 12 {
		return badLength(b)
	}
	f.Receiver = Key(binary.BigEndian.Uint64(b[4:]))
	return nil
}
