package mptcp

// MaxExperimental is how many bytes of payload an MP_EXPERIMENTAL carries.
const MaxExperimental = MaxLen - 4

// Experimental is MP_EXPERIMENTAL, the subtype for private use (RFC 8684,
// Section 8.2), whose body the RFC leaves to the experiment. Ours starts with
// a type; the sender sets Unknown when it wants to hear of types that the
// receiver does not know, and the receiver answers with Echo set.
//
//	+---------------+---------------+-------+---+-+-+---------------+
//	|     Kind      | Length = 4+n  |Subtype|   |S|U|     Type      |
//	+---------------+---------------+-------+---+-+-+---------------+
//	|                    Payload, 0 to 36 bytes                     |
//	+---------------------------------------------------------------+
type Experimental struct {
	Echo    bool  // S
	Unknown bool  // U
	Type    uint8 // what the payload is
	N       uint8 // length of the payload
	Data    [MaxExperimental]byte
}

// Payload returns the payload within x.
func (x *Experimental) Payload() []byte { return x.Data[:x.N] }

// SetPayload copies p, of at most MaxExperimental bytes, into x.
func (x *Experimental) SetPayload(p []byte) {
	if len(p) > MaxExperimental {
		panic("mptcp: payload too long for an MP_EXPERIMENTAL")
	}
	x.N = uint8(copy(x.Data[:], p))
}

// Append appends the option to b.
func (x *Experimental) Append(b []byte) []byte {
	head := byte(MPExperimental) << 4
	if x.Echo {
		head |= 2
	}
	if x.Unknown {
		head |= 1
	}
	b = append(b, Kind, 4+x.N, head, x.Type)
	return append(b, x.Data[:x.N]...)
}

func (x *Experimental) parse(b []byte) error {
	if len(b) < 4 {
		return badLength(b)
	}
	*x = Experimental{Echo: b[2]&2 != 0, Unknown: b[2]&1 != 0, Type: b[3]}
	x.SetPayload(b[4:])
	return nil
}
