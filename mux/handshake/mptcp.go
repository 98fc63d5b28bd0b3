package handshake

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// The MPTCP handshakes (RFC 8684, Sections 3.1 and 3.2), inside the stream of a
// new subflow, after TLS:
//
//	client                      server
//	MP_CAPABLE (4)    ------>                 first subflow: flags
//	                  <------   MP_CAPABLE (12)    its key
//	MP_CAPABLE (20)   ------>                 both keys; data may follow at once
//
//	MP_JOIN (12)      ------>                 each further one: token, nonce
//	                  <------   MP_JOIN (16)       its HMAC, its nonce
//	MP_JOIN (24)      ------>                 the client's HMAC
//	                  <------   DSS with Data ACK  now data may follow
//
// Everything here runs in the goroutine of its caller, which has set deadlines
// on the connection and closes it after an error. Not one byte more than the
// handshake is read: what follows belongs to the frame reader.

// A ProtocolError is a violation by the peer. It ends the subflow it came on.
type ProtocolError string

func (e ProtocolError) Error() string { return "protocol error: " + string(e) }

// A ResetError is an MP_TCPRST from the peer: it refused or ended the subflow.
type ResetError struct {
	Reason    mptcp.Reason
	Transient bool   // trying again may help
	Limit     string // of the server, by which it refuses; "" = it does not say
}

func (e *ResetError) Error() string {
	if e.Limit != "" {
		return "the server refuses: " + e.Limit + " is reached"
	}
	if e.Transient {
		return fmt.Sprintf("peer reset the subflow: %s, for now", e.Reason)
	}
	return fmt.Sprintf("peer reset the subflow: %s", e.Reason)
}

// Result is what the peer brought to the first subflow, and what was
// agreed.
type Result struct {
	Remote   mptcp.Key
	Checksum bool // either side's wish binds both
	DenyJoin bool // the peer's C flag: no joins to its address and port
}

func capableFlags(checksum, denyJoin bool) uint8 {
	f := uint8(mptcp.FlagSHA256)
	if checksum {
		f |= mptcp.FlagChecksum
	}
	if denyJoin {
		f |= mptcp.FlagDenyJoin
	}
	return f
}

// Capable opens a session on a fresh connection. own is the client's
// key; checksum asks for DSS checksums.
func Capable(rw io.ReadWriter, own mptcp.Key, checksum bool) (r Result, err error) {
	syn := mptcp.Capable{Phase: mptcp.PhaseSYN, Version: mptcp.Version, Flags: capableFlags(checksum, false)}
	if _, err := rw.Write(syn.Append(nil)); err != nil {
		return r, explainTLS(err)
	}
	var o mptcp.Option
	if err := readReply(rw, &o, mptcp.MPCapable); err != nil {
		return r, explainTLS(err)
	}
	c := &o.Capable
	if c.Phase != mptcp.PhaseSYNACK {
		return r, violation(rw, mptcp.ReasonMPTCP, "MP_CAPABLE is not the answer to ours")
	}
	if why := checkCapable(c); why != "" {
		return r, violation(rw, mptcp.ReasonMPTCP, why)
	}
	if c.Sender == own {
		return r, violation(rw, mptcp.ReasonMPTCP, "peer's key is ours")
	}
	r = Result{c.Sender, checksum || c.Flags&mptcp.FlagChecksum != 0, c.Flags&mptcp.FlagDenyJoin != 0}
	ack := mptcp.Capable{
		Phase: mptcp.PhaseACK, Version: mptcp.Version, Flags: capableFlags(r.Checksum, false), Sender: own, Receiver: c.Sender,
	}
	_, err = rw.Write(ack.Append(nil))
	return r, err
}

// ReadFirst reads a server's first option of a new connection, which says what
// the client wants: Capable or Join, each in PhaseSYN. It refuses anything else.
func ReadFirst(rw io.ReadWriter) (o mptcp.Option, err error) {
	if err := readOption(rw, &o); err != nil {
		return o, malformed(rw, err)
	}
	switch {
	case o.Subtype == mptcp.MPCapable && o.Capable.Phase == mptcp.PhaseSYN:
		if why := checkCapable(&o.Capable); why != "" {
			return o, violation(rw, mptcp.ReasonMPTCP, why)
		}
		return o, nil
	case o.Subtype == mptcp.MPJoin && o.Join.Phase == mptcp.PhaseSYN:
		return o, nil
	}
	return o, violation(rw, mptcp.ReasonMPTCP, "subflow starts with neither MP_CAPABLE nor MP_JOIN")
}

// AcceptCapable answers the MP_CAPABLE that ReadFirst returned. own is the
// server's key, whose token the caller has seen to be unique here; denyJoin
// sets the C flag.
func AcceptCapable(rw io.ReadWriter, first *mptcp.Option, own mptcp.Key, denyJoin bool) (r Result, err error) {
	asked := first.Capable.Flags
	flags := capableFlags(asked&mptcp.FlagChecksum != 0, denyJoin)
	syn := mptcp.Capable{Phase: mptcp.PhaseSYNACK, Version: mptcp.Version, Flags: flags, Sender: own}
	if _, err := rw.Write(syn.Append(nil)); err != nil {
		return r, err
	}
	var o mptcp.Option
	if err := readReply(rw, &o, mptcp.MPCapable); err != nil {
		return r, err
	}
	c := &o.Capable
	switch {
	case c.Phase != mptcp.PhaseACK:
		return r, violation(rw, mptcp.ReasonMPTCP, "MP_CAPABLE is not the third message")
	case c.Receiver != own:
		return r, violation(rw, mptcp.ReasonMPTCP, "peer did not return our key")
	case c.Sender == own:
		return r, violation(rw, mptcp.ReasonMPTCP, "peer's key is ours")
	case c.Flags&mptcp.FlagChecksum != flags&mptcp.FlagChecksum:
		return r, violation(rw, mptcp.ReasonMPTCP, "peer disagrees about checksums")
	}
	if why := checkCapable(c); why != "" {
		return r, violation(rw, mptcp.ReasonMPTCP, why)
	}
	return Result{c.Sender, flags&mptcp.FlagChecksum != 0, asked&mptcp.FlagDenyJoin != 0}, nil
}

// checkCapable says why a version or flags cannot be accepted, or "".
func checkCapable(c *mptcp.Capable) string {
	switch {
	case c.Version != mptcp.Version:
		return fmt.Sprintf("peer speaks version %d of MPTCP, we speak %d", c.Version, mptcp.Version)
	case c.Flags&mptcp.FlagExtensible != 0:
		return "peer demands an extension of MPTCP"
	case c.Flags&mptcp.FlagSHA256 == 0:
		return "peer does not offer HMAC-SHA256"
	}
	return ""
}

// Params is what a side brings to a further subflow.
type Params struct {
	Local, Remote mptcp.Key // of the session
	AddrID        uint8     // of this side's address
	Backup        bool      // the peer shall send here only when nothing else is left
	Ack           uint64    // server: the Data ACK of the fourth message
}

// Join adds a subflow on a fresh connection to a session. It returns when
// data may be sent. When the server does not know the session, the error is a
// *ResetError that is not transient.
func Join(rw io.ReadWriter, p Params) error {
	mine := newNonce()
	syn := mptcp.Join{
		Phase: mptcp.PhaseSYN, Backup: p.Backup, AddrID: p.AddrID, Token: p.Remote.Token(), Nonce: mine,
	}
	if _, err := rw.Write(syn.Append(nil)); err != nil {
		return explainTLS(err)
	}
	var o mptcp.Option
	if err := readReply(rw, &o, mptcp.MPJoin); err != nil {
		return explainTLS(err)
	}
	j := &o.Join
	if j.Phase != mptcp.PhaseSYNACK {
		return violation(rw, mptcp.ReasonMPTCP, "MP_JOIN is not the answer to ours")
	}
	if want := mptcp.JoinHMAC(p.Remote, p.Local, j.Nonce, mine); !hmac.Equal(want[:8], j.HMAC[:8]) {
		return violation(rw, mptcp.ReasonProhibited, "server's HMAC is wrong")
	}
	ack := mptcp.Join{Phase: mptcp.PhaseACK}
	proof := mptcp.JoinHMAC(p.Local, p.Remote, mine, j.Nonce)
	copy(ack.HMAC[:], proof[:])
	if _, err := rw.Write(ack.Append(nil)); err != nil {
		return err
	}
	if err := readReply(rw, &o, mptcp.MPDSS); err != nil {
		return err
	}
	if !o.DSS.HasAck || o.DSS.HasMap {
		return violation(rw, mptcp.ReasonMPTCP, "the fourth message is not a Data ACK")
	}
	return nil
}

// AcceptJoin answers the MP_JOIN that ReadFirst returned, whose session the
// caller has found by its token, and whose TLS identity is the session's.
func AcceptJoin(rw io.ReadWriter, first *mptcp.Option, p Params) error {
	mine, theirs := newNonce(), first.Join.Nonce
	syn := mptcp.Join{Phase: mptcp.PhaseSYNACK, Backup: p.Backup, AddrID: p.AddrID, Nonce: mine}
	proof := mptcp.JoinHMAC(p.Local, p.Remote, mine, theirs)
	copy(syn.HMAC[:8], proof[:])
	if _, err := rw.Write(syn.Append(nil)); err != nil {
		return err
	}
	var o mptcp.Option
	if err := readReply(rw, &o, mptcp.MPJoin); err != nil {
		return err
	}
	if o.Join.Phase != mptcp.PhaseACK {
		return violation(rw, mptcp.ReasonMPTCP, "MP_JOIN is not the third message")
	}
	if want := mptcp.JoinHMAC(p.Remote, p.Local, theirs, mine); !hmac.Equal(want[:20], o.Join.HMAC[:]) {
		return violation(rw, mptcp.ReasonProhibited, "client's HMAC is wrong")
	}
	d := mptcp.DSS{HasAck: true, Ack8: true, Ack: p.Ack}
	_, err := rw.Write(d.Append(nil))
	return err
}

// Refuse tells the peer by MP_TCPRST that the subflow ends for good.
func Refuse(w io.Writer, reason mptcp.Reason) error {
	_, err := w.Write((&mptcp.Reset{Reason: reason}).Append(nil))
	return err
}

// RefuseTransient does the same and says that another try may succeed.
func RefuseTransient(w io.Writer, reason mptcp.Reason) error {
	_, err := w.Write((&mptcp.Reset{Transient: true, Reason: reason}).Append(nil))
	return err
}

// violation refuses the subflow and returns why as an error.
func violation(w io.Writer, reason mptcp.Reason, why string) error {
	return errors.Join(ProtocolError(why), Refuse(w, reason))
}

// malformed refuses the subflow if err says that what came is no option, and returns err.
func malformed(w io.Writer, err error) error {
	if _, read := errors.AsType[*mptcp.Error](err); read {
		return errors.Join(err, Refuse(w, mptcp.ReasonMPTCP))
	}
	return err
}

// readReply reads the peer's next message, which must be of the subtype want,
// and refuses any other. MP_TCPRST becomes a *ResetError.
func readReply(rw io.ReadWriter, o *mptcp.Option, want mptcp.Subtype) error {
	if err := readOption(rw, o); err != nil {
		return malformed(rw, err)
	}
	switch o.Subtype {
	case want:
		return nil
	case mptcp.MPTCPRst:
		refused := &ResetError{Reason: o.Reset.Reason, Transient: o.Reset.Transient}
		if o.Reset.Reason == mptcp.ReasonResources {
			refused.Limit = readLimit(rw)
		}
		return refused
	}
	return violation(rw, mptcp.ReasonMPTCP, fmt.Sprintf("%s where %s belongs", o.Subtype, want))
}

// readOption reads exactly one option, however much the peer has sent. A
// mapping has no place in a handshake, so it does not matter here whether it
// would carry a checksum.
func readOption(r io.Reader, o *mptcp.Option) error {
	var b [mptcp.MaxLen]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return err
	}
	if _, err := o.Parse(b[:2], false); err != mptcp.ErrShort {
		return err // the kind or the length is wrong
	}
	n := int(b[1])
	if _, err := io.ReadFull(r, b[2:n]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	_, err := o.Parse(b[:n], false)
	return err
}

// NewKey returns a random key.
func NewKey() mptcp.Key {
	var b [8]byte
	_, _ = rand.Read(b[:]) // does not fail (crypto/rand.Read)
	return mptcp.Key(binary.BigEndian.Uint64(b[:]))
}

func newNonce() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}
