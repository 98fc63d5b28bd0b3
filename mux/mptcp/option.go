// Package mptcp holds the options of Multipath TCP version 1 (RFC 8684), bit
// for bit, and the derivations that go with them: tokens, initial data
// sequence numbers, HMACs and the DSS checksum. It is pure: no I/O, no clock,
// no allocation, nothing of the rest of mpsocks.
//
// A byte stream of mpsocks is nothing but these options in sequence, where a
// DSS with a mapping is followed by the bytes that it maps (DSS.PayloadLen).
// The reader of a subflow calls Option.Parse in a loop on one reused Option;
// the writer calls the Append method of the type it wants to send.
//
//	 0                   1                   2                   3
//	+---------------+---------------+-------+-----------------------+
//	|   Kind = 30   |    Length     |Subtype|  subtype-specific ... |
//	+---------------+---------------+-------+-----------------------+
package mptcp

import (
	"errors"
	"fmt"
)

const (
	// Kind is the TCP option kind of every MPTCP option (RFC 8684, Section 8.1).
	Kind = 30
	// MaxLen is the longest option: all the option space of a TCP header
	// (60 bytes at most, 20 of them fixed).
	MaxLen = 40
	// minLen is kind, length and the byte with the subtype.
	minLen = 3
)

// Subtype says which MPTCP option follows (RFC 8684, Section 8.2, Table 3).
type Subtype uint8

// The subtypes of RFC 8684.
const (
	MPCapable      Subtype = 0x0
	MPJoin         Subtype = 0x1
	MPDSS          Subtype = 0x2
	MPAddAddr      Subtype = 0x3
	MPRemoveAddr   Subtype = 0x4
	MPPrio         Subtype = 0x5
	MPFail         Subtype = 0x6
	MPFastClose    Subtype = 0x7
	MPTCPRst       Subtype = 0x8
	MPExperimental Subtype = 0xF
)

var subtypeNames = [16]string{
	"MP_CAPABLE", "MP_JOIN", "DSS", "ADD_ADDR", "REMOVE_ADDR", "MP_PRIO", "MP_FAIL", "MP_FASTCLOSE", "MP_TCPRST",
	"subtype 0x9", "subtype 0xa", "subtype 0xb", "subtype 0xc", "subtype 0xd", "subtype 0xe", "MP_EXPERIMENTAL",
}

// String returns the name that RFC 8684 gives the option.
func (s Subtype) String() string { return subtypeNames[s&0xF] }

// ErrShort means that the option is not whole yet: more bytes are needed.
var ErrShort = errors.New("mptcp: option not whole yet")

// Error is a malformed option: whatever comes behind it in the stream cannot
// be trusted, so the subflow must end.
type Error struct {
	Subtype Subtype // meaningful when Length >= 3
	Length  int     // the length byte, or 0 when it was not reached
	Reason  string
}

func (e *Error) Error() string {
	if e.Length < minLen {
		return "mptcp: " + e.Reason
	}
	return fmt.Sprintf("mptcp: %s of length %d: %s", e.Subtype, e.Length, e.Reason)
}

// Option is one parsed option. Only the member that Subtype names is valid;
// the others keep what earlier calls of Parse left there. A reader reuses one
// Option for a whole stream.
type Option struct {
	Subtype      Subtype
	Capable      Capable
	Join         Join
	DSS          DSS
	AddAddr      AddAddr
	RemoveAddr   RemoveAddr
	Prio         Prio
	Fail         Fail
	FastClose    FastClose
	Reset        Reset
	Experimental Experimental
}

// Parse reads the option at the start of b and returns its length n, at most
// MaxLen. checksum says whether the session negotiated DSS checksums, which
// cannot be seen from the option itself. The error is ErrShort with n = 0 when
// b ends before the option does, or an *Error. Nothing of b is kept.
func (o *Option) Parse(b []byte, checksum bool) (n int, err error) {
	if len(b) < minLen {
		return 0, startError(b)
	}
	n = int(b[1])
	if b[0] != Kind || n < minLen || n > MaxLen {
		return 0, startError(b)
	}
	if len(b) < n {
		return 0, ErrShort
	}
	b = b[:n]
	o.Subtype = Subtype(b[2] >> 4)
	switch o.Subtype {
	case MPDSS:
		err = o.DSS.parse(b, checksum)
	case MPCapable:
		err = o.Capable.parse(b)
	case MPJoin:
		err = o.Join.parse(b)
	case MPAddAddr:
		err = o.AddAddr.parse(b)
	case MPRemoveAddr:
		err = o.RemoveAddr.parse(b)
	case MPPrio:
		err = o.Prio.parse(b)
	case MPFail:
		err = o.Fail.parse(b)
	case MPFastClose:
		err = o.FastClose.parse(b)
	case MPTCPRst:
		err = o.Reset.parse(b)
	case MPExperimental:
		err = o.Experimental.parse(b)
	default:
		err = &Error{o.Subtype, n, "not assigned"}
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Append appends the option that Subtype names, as it would be parsed.
func (o *Option) Append(b []byte) []byte {
	switch o.Subtype {
	case MPDSS:
		return o.DSS.Append(b)
	case MPCapable:
		return o.Capable.Append(b)
	case MPJoin:
		return o.Join.Append(b)
	case MPAddAddr:
		return o.AddAddr.Append(b)
	case MPRemoveAddr:
		return o.RemoveAddr.Append(b)
	case MPPrio:
		return o.Prio.Append(b)
	case MPFail:
		return o.Fail.Append(b)
	case MPFastClose:
		return o.FastClose.Append(b)
	case MPTCPRst:
		return o.Reset.Append(b)
	case MPExperimental:
		return o.Experimental.Append(b)
	}
	panic("mptcp: append of unassigned " + o.Subtype.String())
}

// startError says what is wrong with the first bytes of an option, or that
// there are too few of them.
func startError(b []byte) error {
	if len(b) > 0 && b[0] != Kind {
		return &Error{Reason: fmt.Sprintf("option kind %d where %d belongs", b[0], Kind)}
	}
	if len(b) > 1 && (b[1] < minLen || b[1] > MaxLen) {
		return &Error{Reason: fmt.Sprintf("option length %d is not within %d..%d", b[1], minLen, MaxLen)}
	}
	return ErrShort
}

// badLength is the error of an option whose length no form of it has.
func badLength(b []byte) error {
	return &Error{Subtype(b[2] >> 4), len(b), "no form of it has this length"}
}

// Phase says which message of a handshake an MP_CAPABLE or MP_JOIN is; on the
// wire the option's length says it.
type Phase uint8

// The phases, named after the TCP segments that carry them in RFC 8684.
const (
	PhaseSYN     Phase = iota
	PhaseSYNACK        // from the listener
	PhaseACK           // ends the exchange
	PhaseACKData       // MP_CAPABLE only: the ACK carries the first data too
)
