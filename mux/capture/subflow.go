package capture

import (
	"io"
	"math/rand/v2"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A Subflow draws one subflow as the TCP connection that it would be if
// its options were in TCP headers, where Wireshark looks for them:
//
//	SYN      MP_CAPABLE or MP_JOIN     the handshake, with real addresses
//	SYN/ACK                            and ports; TLS is not in the picture
//	ACK
//	ACK      DSS, then the mapped bytes as the segment's payload
//	ACK      every other option, with no payload
//	RST/ACK  MP_TCPRST
//
// The sequence number of a segment is the initial one + 1 + the bytes mapped
// before, so that it agrees with the relative SSN of the mapping. It is guarded
// by the Capture's lock; a nil one captures nothing.
type Subflow struct {
	c    *Capture
	ends [2]end // in, out: indexed by who sends
}

// A end is one of the two hosts.
type end struct {
	addr netip.AddrPort
	seq  uint32
	id   uint32
}

// Subflow returns the picture of a subflow between two addresses, of which
// client says whether the local one has dialled.
func (c *Capture) Subflow(local, remote netip.AddrPort, client bool) *Subflow {
	if c == nil {
		return nil
	}
	f := &Subflow{c: c}
	// A stream that is no TCP connection has no addresses: any will do.
	ports := [2]uint16{1, 2}
	if client {
		ports = [2]uint16{2, 1}
	}
	for i, a := range [2]netip.AddrPort{remote, local} {
		if !local.IsValid() || !remote.IsValid() || local.Addr().Is4() != remote.Addr().Is4() {
			a = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(ports[i])}), ports[i])
		}
		f.ends[i] = end{addr: a, seq: rand.Uint32()}
	}
	return f
}

// Frame captures one option and what its DSS maps, if anything. opts holds
// exactly that option.
func (f *Subflow) Frame(out bool, opts, payload []byte) {
	if f == nil || !f.c.on.Load() {
		return
	}
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	// What does not fit into one packet goes into a second one, under the
	// same mapping.
	room := 0xFFFF - packet.TCPOverhead(f.ends[0].addr.Addr(), len(opts))
	for len(payload) > room {
		f.segment(out, segmentFlags(opts), opts, payload[:room])
		opts, payload = nil, payload[room:]
	}
	f.segment(out, segmentFlags(opts), opts, payload)
}

// Options captures several options in a row, none of which maps anything.
func (f *Subflow) Options(out bool, opts []byte) {
	if f == nil || !f.c.on.Load() {
		return
	}
	for len(opts) > 2 {
		n := int(opts[1])
		if n < 3 || n > mptcp.MaxLen || n > len(opts) {
			return // no option
		}
		f.Frame(out, opts[:n], nil)
		opts = opts[n:]
	}
}

// segmentFlags chooses the TCP flags that an option is sent with in RFC 8684.
func segmentFlags(opts []byte) uint8 {
	if len(opts) < 3 {
		return packet.FlagACK
	}
	switch subtype, n := mptcp.Subtype(opts[2]>>4), len(opts); {
	case subtype == mptcp.MPTCPRst:
		return packet.FlagRST | packet.FlagACK
	case subtype == mptcp.MPCapable && n == 4, subtype == mptcp.MPJoin && n == 12:
		return packet.FlagSYN
	case subtype == mptcp.MPCapable && n == 12, subtype == mptcp.MPJoin && n == 16:
		return packet.FlagSYN | packet.FlagACK
	}
	return packet.FlagACK
}

// synOptions go with a SYN: a maximum segment size of 65,495, so that our large
// segments are no wonder, and a window scale of 14, so that the constant window
// below (1 GiB) is never full.
var synOptions = []byte{2, 4, 0xFF, 0xD7, 3, 3, 14}

// segment writes one TCP segment and moves the sequence numbers on. The caller
// holds the lock.
func (f *Subflow) segment(out bool, flags uint8, opts, payload []byte) {
	from, to := &f.ends[0], &f.ends[1]
	if out {
		from, to = to, from
	}
	var room [packet.MaxTCPOptions]byte
	if flags&packet.FlagSYN != 0 && len(opts)+len(synOptions) <= len(room) {
		opts = append(append(room[:0], opts...), synOptions...)
	}
	h := packet.TCP{
		Src: from.addr, Dst: to.addr, Seq: from.seq, Flags: flags, Window: 0xFFFF, TTL: 64, ID: from.id,
		Bare: true, Options: opts,
	}
	if flags&packet.FlagACK != 0 {
		h.Ack = to.seq
	}
	if len(payload) > 0 {
		h.Flags |= packet.FlagPSH
	}
	n := packet.TCPOverhead(to.addr.Addr(), len(opts))
	if !to.addr.Addr().Is4() {
		n -= packet.FragmentHeaderLen
	}
	if cap(f.c.segment) < n+len(payload) {
		f.c.segment = make([]byte, 1<<16)
	}
	b := f.c.segment[:n+len(payload)]
	copy(b[n:], payload)
	packet.PutTCP(b, &h)
	f.c.write(frames, out, b)
	from.seq += uint32(len(payload))
	if flags&packet.FlagSYN != 0 {
		from.seq++
	}
	from.id++
}

// Tap returns rw, whose messages are captured as they pass. It is for the
// handshake, where each write is one option and reads end with an option.
func (f *Subflow) Tap(rw io.ReadWriter) io.ReadWriter {
	if f == nil {
		return rw
	}
	return &tap{rw: rw, f: f}
}

type tap struct {
	rw  io.ReadWriter
	f   *Subflow
	got []byte // of an option that is not whole yet
}

func (t *tap) Write(b []byte) (int, error) {
	t.f.Options(true, b)
	return t.rw.Write(b)
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.rw.Read(b)
	t.got = append(t.got, b[:n]...)
	for len(t.got) >= 3 && t.got[0] == mptcp.Kind {
		k := int(t.got[1])
		if k < 3 || k > mptcp.MaxLen || k > len(t.got) {
			break // the end of it, or nonsense that the reader refuses
		}
		t.f.Frame(false, t.got[:k], nil)
		t.got = t.got[k:]
	}
	return n, err
}
