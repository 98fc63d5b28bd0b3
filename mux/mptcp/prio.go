package mptcp

// Prio is MP_PRIO, which makes the subflow that carries it a backup, or a
// regular one again (RFC 8684, Section 3.3.8). It binds the receiver's sending.
//
//	+---------------+---------------+-------+-----+-+
//	|     Kind      |  Length = 3   |Subtype|(res)|B|
//	+---------------+---------------+-------+-----+-+
type Prio struct {
	Backup bool
}

// Append appends the option to b.
func (p *Prio) Append(b []byte) []byte {
	head := byte(MPPrio) << 4
	if p.Backup {
		head |= 1
	}
	return append(b, Kind, 3, head)
}

func (p *Prio) parse(b []byte) error {
	if len(b) != 3 {
		return badLength(b)
	}
	p.Backup = b[2]&1 != 0
	return nil
}
