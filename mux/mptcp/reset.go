package mptcp

import "fmt"

// Reason says why a subflow is reset (RFC 8684, Section 3.6, Table 1).
type Reason uint8

// The reasons of RFC 8684.
const (
	ReasonUnspecified Reason = 0
	ReasonMPTCP       Reason = 1 // the option or its keys are wrong: trying again changes nothing
	ReasonResources   Reason = 2
	ReasonProhibited  Reason = 3
	ReasonOutstanding Reason = 4 // too much data waits for acknowledgement elsewhere
	ReasonPerformance Reason = 5
	ReasonMiddlebox   Reason = 6
)

var reasonNames = [...]string{
	"unspecified error", "MPTCP-specific error", "lack of resources", "administratively prohibited",
	"too much outstanding data", "unacceptable performance", "middlebox interference",
}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Reset is MP_TCPRST, which says why the subflow that carries it ends
// (RFC 8684, Section 3.6).
//
//	+---------------+---------------+-------+-+-+-+-+---------------+
//	|     Kind      |  Length = 4   |Subtype|U|V|W|T|    Reason     |
//	+---------------+---------------+-------+-+-+-+-+---------------+
type Reset struct {
	Transient bool // T: another try later may succeed
	Reason    Reason
}

// Append appends the option to b.
func (r *Reset) Append(b []byte) []byte {
	head := byte(MPTCPRst) << 4
	if r.Transient {
		head |= 1
	}
	return append(b, Kind, 4, head, byte(r.Reason))
}

func (r *Reset) parse(b []byte) error {
	if len(b) != 4 {
		return badLength(b)
	}
	r.Transient, r.Reason = b[2]&1 != 0, Reason(b[3])
	return nil
}
