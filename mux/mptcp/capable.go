package mptcp

import "encoding/binary"

// Flags of MP_CAPABLE (RFC 8684, Section 3.1).
const (
	FlagChecksum   = 0x80 // A: DSS checksums are required; either side's wish binds both
	FlagExtensible = 0x40 // B: must be 0; a receiver that sees 1 must not use MPTCP
	FlagDenyJoin   = 0x20 // C: open no subflows to this source address and port
	FlagSHA256     = 0x01 // H: HMAC-SHA256, the only algorithm there is
)

// Version is the version of MPTCP that this package speaks.
const Version = 1

// Capable is MP_CAPABLE, which opens a session (RFC 8684, Section 3.1).
//
//	+---------------+---------------+-------+-------+---------------+
//	|     Kind      |    Length     |Subtype|Version|A|B|C|D|E|F|G|H|
//	+---------------+---------------+-------+-------+---------------+
//	|                Sender's key (64), SYN/ACK and ACK             |
//	+---------------------------------------------------------------+
//	|                Receiver's key (64), ACK only                  |
//	+-------------------------------+-------------------------------+
//	|  Data-Level Length, with data |  Checksum, if negotiated      |
//	+-------------------------------+-------------------------------+
//
// The length is 4 (PhaseSYN), 12 (PhaseSYNACK), 20 (PhaseACK), or 22 or 24
// (PhaseACKData, without and with a checksum).
type Capable struct {
	Phase       Phase
	Version     uint8 // 4 bits
	Flags       uint8
	Sender      Key    // PhaseSYNACK and later
	Receiver    Key    // PhaseACK and later
	Length      uint16 // PhaseACKData
	HasChecksum bool   // PhaseACKData
	Checksum    uint16
}

// Append appends the option to b.
func (c *Capable) Append(b []byte) []byte {
	n := byte(4 + 8*min(c.Phase, PhaseACK))
	if c.Phase == PhaseACKData {
		n += 2
		if c.HasChecksum {
			n += 2
		}
	}
	b = append(b, Kind, n, byte(MPCapable)<<4|c.Version&0xF, c.Flags)
	if c.Phase >= PhaseSYNACK {
		b = binary.BigEndian.AppendUint64(b, uint64(c.Sender))
	}
	if c.Phase >= PhaseACK {
		b = binary.BigEndian.AppendUint64(b, uint64(c.Receiver))
	}
	if c.Phase == PhaseACKData {
		b = binary.BigEndian.AppendUint16(b, c.Length)
		if c.HasChecksum {
			b = binary.BigEndian.AppendUint16(b, c.Checksum)
		}
	}
	return b
}

func (c *Capable) parse(b []byte) error {
	*c = Capable{}
	switch len(b) {
	case 4:
		c.Phase = PhaseSYN
	case 12:
		c.Phase = PhaseSYNACK
	case 20:
		c.Phase = PhaseACK
	case 22, 24:
		c.Phase = PhaseACKData
	default:
		return badLength(b)
	}
	c.Version, c.Flags = b[2]&0xF, b[3]
	if c.Phase >= PhaseSYNACK {
		c.Sender = Key(binary.BigEndian.Uint64(b[4:]))
	}
	if c.Phase >= PhaseACK {
		c.Receiver = Key(binary.BigEndian.Uint64(b[12:]))
	}
	if c.Phase == PhaseACKData {
		c.Length = binary.BigEndian.Uint16(b[20:])
		if c.HasChecksum = len(b) == 24; c.HasChecksum {
			c.Checksum = binary.BigEndian.Uint16(b[22:])
		}
	}
	return nil
}
