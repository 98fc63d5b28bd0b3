package mptcp

import "encoding/binary"

// MaxDSSLen is the longest DSS: 8-byte Data ACK, 8-byte DSN, checksum.
const MaxDSSLen = 28

// Flags in the fourth byte of a DSS.
const (
	dssAck  = 0x01 // A: Data ACK present
	dssAck8 = 0x02 // a: it has 8 bytes
	dssMap  = 0x04 // M: mapping present
	dssDSN8 = 0x08 // m: its DSN has 8 bytes
	dssFIN  = 0x10 // F: DATA_FIN
)

// DSS is the Data Sequence Signal (RFC 8684, Section 3.3): the data-level
// acknowledgement, and the mapping of the bytes that follow to the data
// sequence space. One with a mapping goes in front of every packet.
//
//	+---------------+---------------+-------+-----------+-+-+-+-+-+
//	|     Kind      |    Length     |Subtype| (reserved)|F|m|M|a|A|
//	+---------------+---------------+-------+-----------+-+-+-+-+-+
//	|           Data ACK (4 or 8 octets, depending on flags)       |
//	|   Data Sequence Number (4 or 8 octets, depending on flags)   |
//	|              Subflow Sequence Number (4 octets)              |
//	+-------------------------------+------------------------------+
//	|  Data-Level Length (2 octets) |  Checksum (2, if negotiated) |
//	+-------------------------------+------------------------------+
type DSS struct {
	HasAck, Ack8 bool
	HasMap, DSN8 bool
	DataFIN      bool // takes one DSN after the mapped bytes; needs a mapping
	HasChecksum  bool
	Length       uint16 // Data-Level Length, counts DATA_FIN; 0 = infinite mapping
	Checksum     uint16
	SSN          uint32 // relative to the subflow's start, from 1
	Ack, DSN     uint64 // the lower half only, unless Ack8, DSN8: see Expand
}

// Len returns the length of the option in bytes.
func (d *DSS) Len() int {
	n := 4
	if d.HasAck {
		n += 4
		if d.Ack8 {
			n += 4
		}
	}
	if d.HasMap {
		n += 10
		if d.DSN8 {
			n += 4
		}
		if d.HasChecksum {
			n += 2
		}
	}
	return n
}

// PayloadLen returns how many bytes follow the option in the stream: the
// Data-Level Length without the place that DATA_FIN takes in it.
func (d *DSS) PayloadLen() int {
	if !d.HasMap || d.Length == 0 {
		return 0
	}
	if d.DataFIN {
		return int(d.Length) - 1
	}
	return int(d.Length)
}

// Append appends the option to b. It does not allocate when b has room for
// MaxDSSLen more bytes.
func (d *DSS) Append(b []byte) []byte {
	var a [MaxDSSLen]byte
	return append(b, a[:d.put(&a)]...)
}

// put writes the option into a and returns its length.
func (d *DSS) put(a *[MaxDSSLen]byte) int {
	// The forms that most packets have, with all offsets known: those of a fast session,
	if d.HasAck && d.Ack8 && d.HasMap && d.DSN8 && !d.DataFIN && !d.HasChecksum {
		binary.BigEndian.PutUint32(a[0:], Kind<<24|26<<16|uint32(MPDSS)<<12|dssAck|dssAck8|dssMap|dssDSN8)
		binary.BigEndian.PutUint64(a[4:], d.Ack)
		binary.BigEndian.PutUint64(a[12:], d.DSN)
		binary.BigEndian.PutUint32(a[20:], d.SSN)
		binary.BigEndian.PutUint16(a[24:], d.Length)
		return 26
	}
	// And those in the middle of a batch, where the lower half of the DSN is enough.
	if !d.HasAck && d.HasMap && !d.DSN8 && !d.DataFIN && !d.HasChecksum {
		binary.BigEndian.PutUint32(a[0:], Kind<<24|14<<16|uint32(MPDSS)<<12|dssMap)
		binary.BigEndian.PutUint32(a[4:], uint32(d.DSN))
		binary.BigEndian.PutUint32(a[8:], d.SSN)
		binary.BigEndian.PutUint16(a[12:], d.Length)
		return 14
	}
	flags, n := byte(0), 4
	if d.HasAck {
		flags |= dssAck
		if d.Ack8 {
			flags |= dssAck8
			binary.BigEndian.PutUint64(a[n:], d.Ack)
			n += 8
		} else {
			binary.BigEndian.PutUint32(a[n:], uint32(d.Ack))
			n += 4
		}
	}
	if d.HasMap {
		flags |= dssMap
		if d.DSN8 {
			flags |= dssDSN8
			binary.BigEndian.PutUint64(a[n:], d.DSN)
			n += 8
		} else {
			binary.BigEndian.PutUint32(a[n:], uint32(d.DSN))
			n += 4
		}
		if d.DataFIN {
			flags |= dssFIN
		}
		binary.BigEndian.PutUint32(a[n:], d.SSN)
		binary.BigEndian.PutUint16(a[n+4:], d.Length)
		n += 6
		if d.HasChecksum {
			binary.BigEndian.PutUint16(a[n:], d.Checksum)
			n += 2
		}
	}
	a[0], a[1], a[2], a[3] = Kind, byte(n), byte(MPDSS)<<4, flags
	return n
}

// parse reads the option; b is exactly as long as its length byte says.
func (d *DSS) parse(b []byte, checksum bool) error {
	if len(b) < 4 {
		return badLength(b)
	}
	if len(b) == 26 && !checksum && b[3]&0x1F == dssAck|dssAck8|dssMap|dssDSN8 {
		*d = DSS{
			HasAck: true, Ack8: true, HasMap: true, DSN8: true,
			Ack: binary.BigEndian.Uint64(b[4:]), DSN: binary.BigEndian.Uint64(b[12:]),
			SSN: binary.BigEndian.Uint32(b[20:]), Length: binary.BigEndian.Uint16(b[24:]),
		}
		return nil
	}
	if len(b) == 14 && !checksum && b[3]&0x1F == dssMap {
		*d = DSS{
			HasMap: true, DSN: uint64(binary.BigEndian.Uint32(b[4:])),
			SSN: binary.BigEndian.Uint32(b[8:]), Length: binary.BigEndian.Uint16(b[12:]),
		}
		return nil
	}
	// The size bits say nothing where what they size is absent.
	flags := b[3]
	d.HasAck = flags&dssAck != 0
	d.Ack8 = d.HasAck && flags&dssAck8 != 0
	d.HasMap = flags&dssMap != 0
	d.DSN8 = d.HasMap && flags&dssDSN8 != 0
	d.DataFIN = flags&dssFIN != 0
	d.HasChecksum = d.HasMap && checksum
	d.Ack, d.DSN, d.SSN, d.Length, d.Checksum = 0, 0, 0, 0, 0
	if len(b) != d.Len() {
		return &Error{MPDSS, len(b), "the flags and the negotiated checksum make another length"}
	}
	n := 4
	if d.HasAck {
		if d.Ack8 {
			d.Ack = binary.BigEndian.Uint64(b[n:])
			n += 8
		} else {
			d.Ack = uint64(binary.BigEndian.Uint32(b[n:]))
			n += 4
		}
	}
	if d.HasMap {
		if d.DSN8 {
			d.DSN = binary.BigEndian.Uint64(b[n:])
			n += 8
		} else {
			d.DSN = uint64(binary.BigEndian.Uint32(b[n:]))
			n += 4
		}
		d.SSN = binary.BigEndian.Uint32(b[n:])
		d.Length = binary.BigEndian.Uint16(b[n+4:])
		if d.HasChecksum {
			d.Checksum = binary.BigEndian.Uint16(b[n+6:])
		}
	}
	if d.DataFIN && (!d.HasMap || d.Length == 0) {
		return &Error{MPDSS, len(b), "DATA_FIN without a mapping that covers it"}
	}
	return nil
}

// Expand returns the 64-bit sequence number whose lower half is low and that
// lies nearest to expected (RFC 8684, Section 3.3.1).
func Expand(expected uint64, low uint32) uint64 {
	return expected + uint64(int64(int32(low-uint32(expected))))
}
