package mptcp

import "encoding/binary"

// Join is MP_JOIN, which adds a subflow to a session (RFC 8684, Section 3.2).
//
//	SYN, length 12
//	+---------------+---------------+-------+-----+-+---------------+
//	|     Kind      |  Length = 12  |Subtype|     |B|  Address ID   |
//	+---------------+---------------+-------+-----+-+---------------+
//	|                     Receiver's token (32)                     |
//	|                     Sender's random number (32)               |
//	+---------------------------------------------------------------+
//	SYN/ACK, length 16
//	+---------------+---------------+-------+-----+-+---------------+
//	|     Kind      |  Length = 16  |Subtype|     |B|  Address ID   |
//	+---------------+---------------+-------+-----+-+---------------+
//	|                Sender's truncated HMAC (left 64)              |
//	|                     Sender's random number (32)               |
//	+---------------------------------------------------------------+
//	ACK, length 24
//	+---------------+---------------+-------+-----------------------+
//	|     Kind      |  Length = 24  |Subtype|      (reserved)       |
//	+---------------+---------------+-------+-----------------------+
//	|                Sender's truncated HMAC (left 160)             |
//	+---------------------------------------------------------------+
type Join struct {
	Phase  Phase // PhaseSYN, PhaseSYNACK or PhaseACK
	Backup bool  // B, not in PhaseACK
	AddrID uint8 // not in PhaseACK
	Token  Token // PhaseSYN
	Nonce  uint32
	HMAC   [20]byte // PhaseSYNACK uses the first 8 bytes
}

// Append appends the option to b.
func (j *Join) Append(b []byte) []byte {
	head := byte(MPJoin) << 4
	if j.Backup && j.Phase != PhaseACK {
		head |= 1
	}
	switch j.Phase {
	case PhaseSYN:
		b = append(b, Kind, 12, head, j.AddrID)
		b = binary.BigEndian.AppendUint32(b, uint32(j.Token))
		return binary.BigEndian.AppendUint32(b, j.Nonce)
	case PhaseSYNACK:
		b = append(b, Kind, 16, head, j.AddrID)
		b = append(b, j.HMAC[:8]...)
		return binary.BigEndian.AppendUint32(b, j.Nonce)
	case PhaseACK:
		b = append(b, Kind, 24, head, 0)
		return append(b, j.HMAC[:]...)
	}
	panic("mptcp: append of an MP_JOIN in no phase")
}

func (j *Join) parse(b []byte) error {
	*j = Join{}
	switch len(b) {
	case 12:
		j.Phase = PhaseSYN
		j.Token = Token(binary.BigEndian.Uint32(b[4:]))
		j.Nonce = binary.BigEndian.Uint32(b[8:])
	case 16:
		j.Phase = PhaseSYNACK
		copy(j.HMAC[:8], b[4:])
		j.Nonce = binary.BigEndian.Uint32(b[12:])
	case 24:
		j.Phase = PhaseACK
		copy(j.HMAC[:], b[4:])
		return nil
	default:
		return badLength(b)
	}
	j.Backup, j.AddrID = b[2]&1 != 0, b[3]
	return nil
}
